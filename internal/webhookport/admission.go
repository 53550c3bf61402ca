package webhookport

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	// maxBody is what controller-runtime allows, too: two objects of the 3 MiB that an API server
	// takes, and something around them.
	maxBody = 7 << 20
	// smallBody is the most that a body may have that is read at once. All connections together can
	// hold no more than maxConnections of them. Nearly every admission request is smaller.
	smallBody = 32 << 10
	// largeBodies is how many bytes of larger bodies are read at one time: two of the largest.
	largeBodies = 2 * maxBody
	// lightMemory is what the requests of no more than maxLight take at one time, by weight, and
	// heavyMemory what the others do. Nearly every request is light, so they don't stand behind the
	// others. The heaviest may take half: two objects of 3 MiB that are not far from plain text. With
	// what the garbage collector has not yet collected all stay within the memory limit of the chart.
	lightMemory, maxLight, heavyMemory = 16 << 20, 1 << 20, 64 << 20
	// minWeight makes at most 128 of the light ones, 64 of one source, as each may ask the API server
	// for EgressTargets.
	minWeight = lightMemory / 128
	// maxUID bounds what of a request is logged, and sent back. An API server's have 36.
	maxUID = 128
	// maxWait is how long a request waits for its turn. No API server waits longer:
	// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#timeouts
	maxWait = 30 * time.Second
)

// The reasons that the metric counts.
const (
	reasonClientCertificate = "client-certificate"
	reasonMethod            = "method"
	reasonContentType       = "content-type"
	reasonTooLarge          = "too-large"
	reasonUnreadable        = "unreadable"
	reasonBusy              = "busy"
	reasonMalformed         = "malformed"
)

// Admission answers admission requests by a webhook, and everything else by a bare status. It is
// what controller-runtime's admission.Webhook does as an http.Handler, but for the bounds, and for
// what that one tells and logs of requests it can't read.
type Admission struct {
	webhook             *admission.Webhook
	clients             *ClientCA
	large, light, heavy *shares
	refused             *prometheus.CounterVec
	lines               *lines
}

// NewAdmission returns a handler of the requests for webhook, whose log it bounds, of clients with
// a certificate that one of the authorities has signed; of all where those are nil. Its counters
// mtls_egress_webhook_refused_requests_total, by reason, and
// mtls_egress_webhook_dropped_log_lines_total are registered with registry.
func NewAdmission(webhook *admission.Webhook, clients *ClientCA, registry prometheus.Registerer) (*Admission, error) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mtls_egress_webhook_refused_requests_total",
		Help: "HTTP requests to the webhook's port that were not admission requests, or came while there was no room for them, by reason (client-certificate, method, content-type, too-large, unreadable, busy, malformed).",
	}, []string{"reason"})
	for _, reason := range []string{reasonClientCertificate, reasonMethod, reasonContentType, reasonTooLarge, reasonUnreadable, reasonBusy, reasonMalformed} {
		refused.WithLabelValues(reason)
	}
	dropped := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "mtls_egress_webhook_dropped_log_lines_total",
		Help: "Lines that admission requests of one source would have written into the log beyond a hundred in a second.",
	})
	if err := errors.Join(registry.Register(refused), registry.Register(dropped)); err != nil {
		return nil, err
	}
	bounds := &lines{dropped: dropped, bySource: map[string]*rate.Limiter{}}
	webhook.Handler, webhook.LogConstructor = bounds.bound(webhook.Handler), requestLog
	return &Admission{webhook: webhook, clients: clients, lines: bounds, large: newShares(largeBodies), light: newShares(lightMemory), heavy: newShares(heavyMemory), refused: refused}, nil
}

// refusal is why a request is not answered, with the status to say so.
type refusal struct {
	status int
	reason string
}

// ServeHTTP answers one request.
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
	source := sourceOf(r.RemoteAddr)
	size := r.ContentLength
	if size < 0 { // it isn't told
		size = maxBody
	}
	if size > smallBody {
		release, err := a.large.take(ctx, source, size)
		if err != nil {
			return nil, &refusal{http.StatusServiceUnavailable, reasonBusy}
		}
		defer release()
	}
	body, refused := read(r, size)
	if refused != nil {
		return nil, refused
	}
	defer work(r.Context())()
	cost := max(minWeight, weight(body))
	if cost > heavyMemory/2 {
		return nil, &refusal{http.StatusRequestEntityTooLarge, reasonTooLarge}
	}
	memory := a.light
	if cost > maxLight {
		memory = a.heavy
	}
	release, err := memory.take(ctx, source, cost)
	if err != nil {
		return nil, &refusal{http.StatusServiceUnavailable, reasonBusy}
	}
	defer release()
	return a.review(context.WithValue(r.Context(), sourceKey{}, source), body)
}

// read returns the body, of which size is the most that there can be.
func read(r *http.Request, size int64) ([]byte, *refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, size))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, &refusal{http.StatusRequestEntityTooLarge, reasonTooLarge}
	}
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, reasonUnreadable}
	}
	return body, nil
}

func (a *Admission) review(ctx context.Context, body []byte) ([]byte, *refusal) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || !wellFormed(&review) {
		return nil, &refusal{http.StatusBadRequest, reasonMalformed}
	}
	response := a.webhook.Handle(ctx, admission.Request{AdmissionRequest: *review.Request})
	answer, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: &response.AdmissionResponse})
	if err != nil {
		return nil, &refusal{http.StatusInternalServerError, reasonMalformed}
	}
	return answer, nil
}

// wellFormed reports whether an API server can have sent this: our kinds are all in namespaces.
// Without one, EgressTargets of all namespaces would be found. What is logged of a request is
// bounded here.
func wellFormed(review *admissionv1.AdmissionReview) bool {
	request := review.Request
	return review.GroupVersionKind() == admissionv1.SchemeGroupVersion.WithKind("AdmissionReview") && request != nil &&
		slices.Contains([]admissionv1.Operation{"", admissionv1.Create, admissionv1.Update, admissionv1.Delete, admissionv1.Connect}, request.Operation) &&
		request.UID != "" && len(request.UID) <= maxUID && len(request.Kind.Kind) <= validation.DNS1123LabelMaxLength &&
		len(validation.IsDNS1123Label(request.Namespace)) == 0 && len(request.Name) <= validation.DNS1123SubdomainMaxLength
}
