package webhookport

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// review returns an AdmissionReview with a request as JSON.
func review(request string) string {
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":` + request + `}`
}

const goodRequest = `{"uid":"5f2f1f6e","kind":{"version":"v1","kind":"Pod"},` +
	`"namespace":"project","object":{"kind":"Pod"}}`

func newAdmission(t *testing.T, handle admission.HandlerFunc) *Admission {
	t.Helper()
	a, err := NewAdmission(&admission.Webhook{Handler: handle}, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhatIsNoAdmissionRequestGetsABareStatus(t *testing.T) {
	long := func(count int) string { return strings.Repeat("a", count) }
	for name, test := range map[string]struct {
		method, contentType, body string
		chunked                   bool
		status                    int
		reason                    string
	}{
		"another method": {method: http.MethodGet, status: http.StatusMethodNotAllowed,
			reason: reasonMethod},
		"another content type": {contentType: "text/plain", body: review(goodRequest),
			status: http.StatusUnsupportedMediaType, reason: reasonContentType},
		"no body": {status: http.StatusBadRequest, reason: reasonMalformed},
		"no JSON": {body: "text", status: http.StatusBadRequest, reason: reasonMalformed},
		"JSON that ends too early": {body: review(goodRequest)[:50], status: http.StatusBadRequest,
			reason: reasonMalformed},
		"another type": {body: `{"apiVersion":"v1","kind":"Pod"}`, status: http.StatusBadRequest,
			reason: reasonMalformed},
		"another version": {body: strings.Replace(review(goodRequest), "k8s.io/v1", "k8s.io/v1beta1", 1),
			status: http.StatusBadRequest, reason: reasonMalformed},
		"no request":                {body: review("null"), status: http.StatusBadRequest, reason: reasonMalformed},
		"a request of another type": {body: review(`"text"`), status: http.StatusBadRequest, reason: reasonMalformed},
		"no UID": {body: review(`{"namespace":"project"}`), status: http.StatusBadRequest,
			reason: reasonMalformed},
		"no namespace": {body: review(`{"uid":"1"}`), status: http.StatusBadRequest,
			reason: reasonMalformed},
		"an invalid namespace": {body: review(`{"uid":"1","namespace":"../.."}`), status: http.StatusBadRequest,
			reason: reasonMalformed},
		"a UID for the log to hold": {body: review(`{"uid":"` + long(1000) + `","namespace":"project"}`),
			status: http.StatusBadRequest, reason: reasonMalformed},
		"a name for the log to hold": {body: review(`{"uid":"1","namespace":"project","name":"` + long(1000) + `"}`),
			status: http.StatusBadRequest, reason: reasonMalformed},
		"an unknown operation": {body: review(`{"uid":"1","namespace":"project","operation":"` + long(1000) +
			`"}`), status: http.StatusBadRequest, reason: reasonMalformed},
		"nesting without end": {body: review(`{"uid":"1","namespace":"project","object":` +
			strings.Repeat("[", 12_000)), status: http.StatusBadRequest, reason: reasonMalformed},
		"too large": {body: long(maxBody + 1), status: http.StatusRequestEntityTooLarge,
			reason: reasonTooLarge},
		"too large without a length": {body: long(maxBody + 1), chunked: true,
			status: http.StatusRequestEntityTooLarge, reason: reasonTooLarge},
		"arrays that grow in memory": {body: review(`{"uid":"1","namespace":"project","object":{"spec":{"containers":[` +
			strings.Repeat("0,", 50_000) + `0]}}}`), status: http.StatusRequestEntityTooLarge, reason: reasonTooLarge},
		"objects that grow in memory": {body: review(`{"uid":"1","namespace":"project","object":{` +
			strings.Repeat(`"a":"",`, 500_000) +
			`"a":""}}`), status: http.StatusRequestEntityTooLarge, reason: reasonTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAdmission(t, func(context.Context, admission.Request) admission.Response {
				t.Error("the handler was called")
				return admission.Allowed("")
			})
			var body io.Reader = strings.NewReader(test.body)
			if test.chunked {
				body = io.MultiReader(body)
			}
			method, contentType := http.MethodPost, "application/json"
			if test.method != "" {
				method = test.method
			}
			if test.contentType != "" {
				contentType = test.contentType
			}
			request := httptest.NewRequestWithContext(t.Context(), method, "/mutate", body)
			request.Header.Set("Content-Type", contentType)
			recorder := httptest.NewRecorder()
			a.ServeHTTP(recorder, request)
			got := []any{recorder.Code, recorder.Body.String(), recorder.Header()}
			if diff := cmp.Diff([]any{test.status, "", http.Header{"Connection": {"close"}}}, got); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
			if counted := testutil.ToFloat64(a.refused.WithLabelValues(test.reason)); counted != 1 {
				t.Errorf("the reason %s was counted %g times", test.reason, counted)
			}
		})
	}
}

func TestAnAdmissionRequestIsAnswered(t *testing.T) {
	for name, handle := range map[string]admission.HandlerFunc{
		"with the handler's response": func(_ context.Context, request admission.Request) admission.Response {
			return admission.Denied("not in " + request.Namespace)
		},
		"also when the handler panics": func(context.Context,
			admission.Request) admission.Response {
			panic("a mistake")
		},
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mutate",
				strings.NewReader(review(goodRequest)))
			request.Header.Set("Content-Type", "application/json; charset=utf-8")
			recorder := httptest.NewRecorder()
			newAdmission(t, handle).ServeHTTP(recorder, request)
			var answer admissionv1.AdmissionReview
			if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
			if answer.Kind != "AdmissionReview" || answer.APIVersion != "admission.k8s.io/v1" ||
				answer.Request != nil ||
				answer.Response == nil ||
				answer.Response.UID != types.UID("5f2f1f6e") ||
				answer.Response.Allowed {
				t.Errorf("response: %+v", answer)
			}
		})
	}
}
