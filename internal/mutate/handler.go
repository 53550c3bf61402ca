package mutate

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/policy/lookup"
	"mtls.egress/webhook/internal/workload"
)

// maxLookups is the maximum number of EgressTargets that a request gets one by one. For more, it
// lists the namespace, which takes one call.
const maxLookups = 4

// Values of the decision label.
const (
	decisionInjected   = "injected"
	decisionPropagated = "propagated"
	decisionUnchanged  = "unchanged"
	decisionRefused    = "refused"
	decisionError      = "error"
)

// Options are what a Handler needs. All fields are required.
type Options struct {
	// Cached reads EgressTargets and the metadata of Namespaces. What it lacks is read through Live,
	// because a Pod can be created right after its EgressTarget or Namespace.
	Cached, Live client.Reader
	// Workloads are the kinds whose annotations are propagated.
	Workloads workload.Kinds
	// Policy holds the hosts that all namespaces may reach.
	Policy policy.Cluster
	// DynamicDNS reports the setting of the mesh configuration. See mesh.Config.
	DynamicDNS func() bool
	// Injector returns the configuration of Istio's sidecar injector.
	Injector func() interception.Injector
	// RequireInjection is Facts.RequireInjection.
	RequireInjection bool
	// Registry registers the metrics.
	Registry prometheus.Registerer
}

// Handler handles admission requests. It has no side effects, so dry runs need no special case.
type Handler struct {
	Options

	kinds   map[schema.GroupKind]workload.Kind
	metrics *metrics
}

// NewHandler returns a handler. It fails if a metric can't be registered.
func NewHandler(options Options) (*Handler, error) {
	h := &Handler{Options: options, kinds: options.Workloads.ByKind()}
	var err error
	h.metrics, err = newMetrics(h.kinds, options.Registry)
	return h, err
}

// Handle injects a Pod or propagates the annotations of a workload. It logs one line per request
// with the decision and its reasons: at the level debug if the request is admitted as most are,
// without a change or as an injected Pod.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	// The initial value is reported if a panic passes through. The recovering caller answers the
	// request.
	result := outcome{decision: decisionError, reasons: []Reason{ReasonPanic}}
	defer func(start time.Time) { h.report(ctx, request, result, time.Since(start)) }(time.Now())
	var response admission.Response
	response, result = h.answer(ctx, request)
	return response
}

// outcome is the decision about a request.
type outcome struct {
	decision string
	// reasons explain a refusal or an error. Only the first one is counted.
	reasons []Reason
	// err is the error that prevented a decision.
	err error
}

func (h *Handler) report(ctx context.Context, request admission.Request, result outcome, took time.Duration) {
	kind := h.knownKind(schema.GroupKind{Group: request.Kind.Group, Kind: request.Kind.Kind})
	reason := ""
	if len(result.reasons) > 0 {
		reason = string(result.reasons[0])
	}
	h.metrics.requests.WithLabelValues(kind, result.decision, reason).Inc()
	h.metrics.duration.WithLabelValues(kind).Observe(took.Seconds())
	log := logf.FromContext(ctx)
	if result.decision == decisionUnchanged || result.decision == decisionInjected {
		log = log.V(1)
	}
	if result.decision != decisionError && !log.Enabled() {
		return // nearly all requests, for which the values needn't be made
	}
	values := []any{
		"uid",
		request.UID,
		"kind",
		request.Kind.Kind,
		"namespace",
		request.Namespace,
		"name",
		request.Name,
		"operation",
		request.Operation,
		"decision",
		result.decision,
		"reasons",
		result.reasons,
		"dryRun",
		request.DryRun != nil && *request.DryRun,
		"duration",
		took.String(),
	}
	if result.decision == decisionError {
		log.Error(result.err, "admission", values...)
		return
	}
	log.Info("admission", values...)
}

func (h *Handler) answer(ctx context.Context, request admission.Request) (admission.Response, outcome) {
	h.metrics.inFlight.Inc()
	defer h.metrics.inFlight.Dec()
	kind := schema.GroupKind{Group: request.Kind.Group, Kind: request.Kind.Kind}
	subject, err := Decode(h.kinds, kind, request.Object.Raw)
	if err != nil {
		return failed(http.StatusBadRequest, ReasonUnreadable, err)
	}
	facts, err := h.facts(ctx, request.Namespace, subject.Hosts())
	if err != nil {
		return failed(http.StatusInternalServerError, ReasonLookupFailed, err)
	}
	if request.Operation == admissionv1.Update {
		if facts.Previous, err = subject.decodePrevious(request.OldObject.Raw); err != nil {
			return failed(http.StatusBadRequest, ReasonUnreadable, err)
		}
	}
	result := subject.Mutate(facts)
	return respond(result), outcome{decision: decide(kind, result), reasons: result.Reasons()}
}

// facts reads what admission needs to know for these hosts.
func (h *Handler) facts(ctx context.Context, namespace string, hosts []string) (Facts, error) {
	facts := Facts{Namespace: namespace, Rules: policy.Rules{Cluster: h.Policy}, RequireInjection: h.RequireInjection}
	if len(hosts) == 0 {
		return facts, nil
	}
	var err error
	if facts.EgressTargets, err = h.egressTargets(ctx, namespace, hosts); err != nil {
		return facts, err
	}
	metadata, err := lookup.Namespace(ctx, h.Cached, h.Live, namespace)
	if err != nil {
		return facts, err
	}
	facts.Rules.Namespace = policy.ReadNamespace(metadata.Annotations)
	facts.Rules.DynamicDNS = h.DynamicDNS()
	if facts.Rules.Services, err = lookup.Services(ctx, h.Cached, h.Live, hosts); err != nil {
		return facts, err
	}
	facts.Injector = h.Injector()
	facts.NamespaceLabels = metadata.Labels
	if metadata.UID != "" && metadata.Labels == nil { // it exists, and its labels are known
		facts.NamespaceLabels = map[string]string{}
	}
	return facts, nil
}

func respond(result Result) admission.Response {
	if len(result.Errors) > 0 {
		messages := make([]string, len(result.Errors))
		for i, problem := range result.Errors {
			messages[i] = problem.Error()
		}
		response := admission.Denied(strings.Join(messages, "; "))
		response.Warnings = Texts(result.Warnings)
		return response
	}
	response := admission.Patched("", result.Operations...)
	response.Warnings = Texts(result.Warnings)
	return response
}

func decide(kind schema.GroupKind, result Result) string {
	switch {
	case len(result.Errors) > 0:
		return decisionRefused
	case len(result.Operations) == 0:
		return decisionUnchanged
	case IsPod(kind):
		return decisionInjected
	default:
		return decisionPropagated
	}
}

// failed answers a request that could not be decided. It rejects the object, because the object may
// request a client certificate, and without the mutation its calls would leave in plain text.
func failed(code int32, reason Reason, err error) (admission.Response, outcome) {
	return admission.Errored(code, err), outcome{decision: decisionError, reasons: []Reason{reason}, err: err}
}

// egressTargets returns the EgressTargets of a namespace by host, which must not be changed, as the
// cache has the same. It gets those of hosts that the cache lacks from the API server.
func (h *Handler) egressTargets(
	ctx context.Context,
	namespace string,
	hosts []string,
) (map[string]*v1alpha1.EgressTarget, error) {
	var cached v1alpha1.EgressTargetList
	if err := h.Cached.List(ctx, &cached, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
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
		if err := h.Live.List(ctx, &live, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("reading the EgressTargets of namespace %s: %w", namespace, err)
		}
		add(live.Items)
		return found, nil
	}
	for _, host := range unknown {
		var egressTarget v1alpha1.EgressTarget
		err := h.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: host}, &egressTarget)
		switch {
		case err == nil:
			found[host] = &egressTarget
		case !absent.Object(err):
			return nil, fmt.Errorf("reading the EgressTarget %s/%s: %w", namespace, host, err)
		}
	}
	return found, nil
}
