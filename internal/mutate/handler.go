package mutate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"mtls.egress/webhook/api/v1alpha1"
)

// maxLookups is how many EgressTargets are looked up one by one for a request. For more the namespace is listed, which is one call.
const maxLookups = 4

// The decisions that the metric counts.
const (
	decisionRealised   = "realised"
	decisionPropagated = "propagated"
	decisionUnchanged  = "unchanged"
	decisionRefused    = "refused"
	decisionError      = "error"
)

// Handler answers admission requests. It writes nothing, so it needs no special case for dry runs.
type Handler struct {
	cached   client.Reader
	live     client.Reader
	requests *prometheus.CounterVec
}

// NewHandler returns a handler that reads EgressTargets through cached and, for hosts that the cache doesn't know, through
// live: a Pod may come right after the EgressTarget that it needs. Its counter mtls_egress_admission_requests_total, by kind
// and decision, is registered with registry.
func NewHandler(cached, live client.Reader, registry prometheus.Registerer) (*Handler, error) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mtls_egress_admission_requests_total",
		Help: "Admission requests by kind of object and decision (realised, propagated, unchanged, refused, error).",
	}, []string{"kind", "decision"})
	if err := registry.Register(requests); err != nil {
		return nil, fmt.Errorf("registering the admission metric: %w", err)
	}
	return &Handler{cached: cached, live: live, requests: requests}, nil
}

// Handle realises a Pod or propagates a workload's annotations.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	subject, err := DecodeSubject(schema.GroupKind{Group: request.Kind.Group, Kind: request.Kind.Kind}, request.Object.Raw)
	if err != nil {
		return h.failed(ctx, request, http.StatusBadRequest, err)
	}
	var previous *Previous
	if request.Operation == admissionv1.Update {
		if previous, err = decodePrevious(request.OldObject.Raw); err != nil {
			return h.failed(ctx, request, http.StatusBadRequest, err)
		}
	}
	egressTargets, err := h.egressTargets(ctx, request.Namespace, subject.Hosts())
	if err != nil {
		return h.failed(ctx, request, http.StatusInternalServerError, err)
	}
	result := subject.Mutate(request.Namespace, previous, egressTargets)
	return h.respond(ctx, request, result)
}

func decodePrevious(object []byte) (*Previous, error) {
	var previous metav1.PartialObjectMetadata
	if err := json.Unmarshal(object, &previous); err != nil {
		return nil, fmt.Errorf("reading the object before the update: %w", err)
	}
	return &Previous{Annotations: previous.Annotations}, nil
}

func (h *Handler) respond(ctx context.Context, request admission.Request, result Result) admission.Response {
	decision := decide(request.Kind.Kind, result)
	h.requests.WithLabelValues(kindLabel(request), decision).Inc()
	logf.FromContext(ctx).V(1).Info("admission", "uid", request.UID, "kind", request.Kind.Kind,
		"namespace", request.Namespace, "name", request.Name, "decision", decision)
	if len(result.Errors) > 0 {
		messages := make([]string, len(result.Errors))
		for i, problem := range result.Errors {
			messages[i] = problem.Error()
		}
		response := admission.Denied(strings.Join(messages, "; "))
		response.Warnings = result.Warnings
		return response
	}
	response := admission.Patched("", result.Operations...)
	response.Warnings = result.Warnings
	return response
}

func decide(kind string, result Result) string {
	switch {
	case len(result.Errors) > 0:
		return decisionRefused
	case len(result.Operations) == 0:
		return decisionUnchanged
	case kind == "Pod":
		return decisionRealised
	default:
		return decisionPropagated
	}
}

// failed answers a request that could not be judged. The object isn't let through: it asks for a client certificate, and
// without the mutation its calls would leave in plain text.
func (h *Handler) failed(ctx context.Context, request admission.Request, code int32, err error) admission.Response {
	h.requests.WithLabelValues(kindLabel(request), decisionError).Inc()
	logf.FromContext(ctx).Error(err, "admission failed", "uid", request.UID, "kind", request.Kind.Kind,
		"namespace", request.Namespace, "name", request.Name)
	return admission.Errored(code, err)
}

// kindLabel is the kind of a request for the metric. Anybody who reaches the port can send any text for it, and each would be a series.
func kindLabel(request admission.Request) string {
	if IsSubject(schema.GroupKind{Group: request.Kind.Group, Kind: request.Kind.Kind}) {
		return request.Kind.Kind
	}
	return "other"
}

// egressTargets returns the EgressTargets of a namespace by host. Those of hosts are looked up in the API server when the
// cache lacks them.
func (h *Handler) egressTargets(ctx context.Context, namespace string, hosts []string) (map[string]*v1alpha1.EgressTarget, error) {
	if len(hosts) == 0 {
		return nil, nil
	}
	var cached v1alpha1.EgressTargetList
	if err := h.cached.List(ctx, &cached, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("reading the EgressTargets of namespace %s: %w", namespace, err)
	}
	found := make(map[string]*v1alpha1.EgressTarget, len(cached.Items))
	add := func(items []v1alpha1.EgressTarget) {
		for i := range items {
			found[items[i].Name] = &items[i]
		}
	}
	add(cached.Items)
	unknown := slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { return found[host] != nil })
	if len(unknown) > maxLookups {
		var live v1alpha1.EgressTargetList
		if err := h.live.List(ctx, &live, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("reading the EgressTargets of namespace %s: %w", namespace, err)
		}
		add(live.Items)
		return found, nil
	}
	for _, host := range unknown {
		var egressTarget v1alpha1.EgressTarget
		err := h.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: host}, &egressTarget)
		switch {
		case err == nil:
			found[host] = &egressTarget
		case !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("reading the EgressTarget %s/%s: %w", namespace, host, err)
		}
	}
	return found, nil
}
