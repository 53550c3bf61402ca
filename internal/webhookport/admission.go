package webhookport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	// maxBody is also controller-runtime's limit: two objects of 3 MiB, the maximum of an API
	// server, plus some overhead.
	maxBody = 7 << 20
	// smallBody is the maximum size of a body that is read without waiting. There are at most
	// maxConnections of them at a time. Nearly all admission requests are smaller.
	smallBody = 32 << 10
	// largeBodies bounds the bytes of larger bodies that are read at the same time: two of the
	// maximum size.
	largeBodies = 2 * maxBody
	// lightMemory bounds the total weight of concurrent requests of at most maxLight, and
	// heavyMemory that of the others. Nearly all requests are light, so they never wait for heavy
	// ones. The heaviest request has maxHeavy: two objects of 3 MiB that are mostly text. Including
	// uncollected garbage, all of them stay within the chart's memory limit.
	lightMemory, maxLight, heavyMemory, maxHeavy = 16 << 20, 1 << 20, 64 << 20, 32 << 20
	// minWeight limits light requests to 128, because each can read EgressTargets from the API server.
	minWeight = lightMemory / 128
	// maxUID bounds the UID, which is logged and returned. An API server's UID has 36 bytes.
	maxUID = 128
	// maxWait is the maximum time that a request waits for its turn. No API server waits longer:
	// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#timeouts
	maxWait = 30 * time.Second
)

// Values of the reason label.
const (
	reasonClientCertificate = "client-certificate"
	reasonMethod            = "method"
	reasonContentType       = "content-type"
	reasonTooLarge          = "too-large"
	reasonUnreadable        = "unreadable"
	reasonBusy              = "busy"
	reasonMalformed         = "malformed"
)

// Admission serves admission requests with a webhook, and answers everything else with a bare
// status code. It replaces the http.Handler of controller-runtime's admission.Webhook, because that
// one has no limits, and its responses and logs reveal details of unreadable requests.
type Admission struct {
	webhook             *admission.Webhook
	clients             *ClientCA
	large, light, heavy *semaphore.Weighted
	refused             *prometheus.CounterVec
	lines               *lines
}

// NewAdmission returns a handler that passes requests to webhook and limits its log. If clients is
// not nil, it accepts only clients with a certificate from one of these CAs. It registers the
// counters mtls_egress_webhook_refused_requests_total (by reason) and
// mtls_egress_webhook_dropped_log_lines_total with registry.
func NewAdmission(webhook *admission.Webhook, clients *ClientCA, registry prometheus.Registerer) (*Admission, error) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mtls_egress_webhook_refused_requests_total",
		Help: "HTTP requests to the webhook port that were refused because they were not admission requests or " +
			"exceeded a limit, by reason (client-certificate, method, content-type, too-large, " +
			"unreadable, busy, malformed).",
	}, []string{"reason"})
	for _, reason := range []string{reasonClientCertificate, reasonMethod, reasonContentType, reasonTooLarge,
		reasonUnreadable, reasonBusy, reasonMalformed} {
		refused.WithLabelValues(reason)
	}
	dropped := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "mtls_egress_webhook_dropped_log_lines_total",
		Help: "Log lines of admission requests that were dropped because their source exceeded a " +
			"hundred lines per second.",
	})
	if err := errors.Join(registry.Register(refused), registry.Register(dropped)); err != nil {
		return nil, err
	}
	bounds := &lines{dropped: dropped, bySource: map[string]*rate.Limiter{}}
	webhook.Handler, webhook.LogConstructor = bounds.bound(webhook.Handler), requestLog
	return &Admission{
		webhook: webhook,
		clients: clients,
		lines:   bounds,
		large:   semaphore.NewWeighted(largeBodies),
		light:   semaphore.NewWeighted(lightMemory),
		heavy:   semaphore.NewWeighted(heavyMemory),
		refused: refused,
	}, nil
}

// refusal is the reason and status code of a refused request.
type refusal struct {
	status int
	reason string
}

// ServeHTTP serves one request.
func (a *Admission) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, refused := a.answer(r)
	if refused != nil {
		a.refused.WithLabelValues(refused.reason).Inc()
		w.Header().Set("Connection", "close")
		w.WriteHeader(refused.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // the client may have gone
}

func (a *Admission) answer(r *http.Request) (answer []byte, refused *refusal) {
	if a.clients != nil && !presented(r) {
		return nil, &refusal{http.StatusUnauthorized, reasonClientCertificate}
	}
	if r.Method != http.MethodPost {
		return nil, &refusal{http.StatusMethodNotAllowed, reasonMethod}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &refusal{http.StatusUnsupportedMediaType, reasonContentType}
	}
	if r.ContentLength > maxBody {
		return nil, &refusal{http.StatusRequestEntityTooLarge, reasonTooLarge}
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxWait)
	defer cancel()
	size := r.ContentLength
	if size < 0 { // unknown
		size = maxBody
	}
	if size > smallBody {
		if err := a.large.Acquire(ctx, size); err != nil {
			return nil, &refusal{http.StatusServiceUnavailable, reasonBusy}
		}
		defer a.large.Release(size)
	}
	body, refused := read(r, size)
	if refused != nil {
		return nil, refused
	}
	cost := max(minWeight, weight(body))
	if cost > maxHeavy {
		return nil, &refusal{http.StatusRequestEntityTooLarge, reasonTooLarge}
	}
	memory := a.light
	if cost > maxLight {
		memory = a.heavy
	}
	if err := memory.Acquire(ctx, cost); err != nil {
		return nil, &refusal{http.StatusServiceUnavailable, reasonBusy}
	}
	defer memory.Release(cost)
	return a.review(context.WithValue(r.Context(), sourceKey{}, sourceOf(r.RemoteAddr)), body)
}

// read returns the body, which has at most size bytes.
func read(r *http.Request, size int64) ([]byte, *refusal) {
	var body bytes.Buffer
	if size <= smallBody { // a client that claims more must also send it
		body.Grow(int(size) + bytes.MinRead)
	}
	_, err := body.ReadFrom(http.MaxBytesReader(nil, r.Body, size))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, &refusal{http.StatusRequestEntityTooLarge, reasonTooLarge}
	}
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, reasonUnreadable}
	}
	return body.Bytes(), nil
}

func (a *Admission) review(ctx context.Context, body []byte) ([]byte, *refusal) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || !wellFormed(&review) {
		return nil, &refusal{http.StatusBadRequest, reasonMalformed}
	}
	response := a.webhook.Handle(ctx, admission.Request{AdmissionRequest: *review.Request})
	answer, err := json.Marshal(
		admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: &response.AdmissionResponse})
	if err != nil {
		return nil, &refusal{http.StatusInternalServerError, reasonMalformed}
	}
	return answer, nil
}

// wellFormed reports whether an API server can have sent the review. All supported kinds are
// namespaced. Without a namespace, the lookup would return EgressTargets of all namespaces. The
// checks also bound what is logged about a request.
func wellFormed(review *admissionv1.AdmissionReview) bool {
	request := review.Request
	operations := []admissionv1.Operation{
		"", admissionv1.Create, admissionv1.Update, admissionv1.Delete, admissionv1.Connect,
	}
	return review.GroupVersionKind() == admissionv1.SchemeGroupVersion.WithKind("AdmissionReview") && request != nil &&
		slices.Contains(operations, request.Operation) &&
		request.UID != "" && len(request.UID) <= maxUID &&
		len(request.Kind.Kind) <= validation.DNS1123LabelMaxLength &&
		len(validation.IsDNS1123Label(request.Namespace)) == 0 &&
		len(request.Name) <= validation.DNS1123SubdomainMaxLength
}
