package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/apply"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/issuance"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/policy/lookup"
	"mtls.egress/webhook/internal/verify"
)

// DefaultTargetRetention is how long an EgressTarget that the controller created stays after its
// last Pod.
const DefaultTargetRetention = 10 * time.Minute

// Options of Setup. The zero value has the defaults of each field.
type Options struct {
	// TargetRetention is how long an EgressTarget that the controller created stays after its last Pod
	// is gone. Default: DefaultTargetRetention.
	TargetRetention time.Duration
	// MeshConfig returns the mesh configuration. Where sidecars resolve unknown hosts themselves,
	// anchors have the app ports of all targets, whether or not they have Pods. Default (nil): Istio's
	// defaults.
	MeshConfig func() mesh.Config
	// Policy says which hosts all namespaces may reach, and what holds for others. Default (nil):
	// every namespace reaches every host that its own annotation doesn't rule out.
	Policy *policy.Cluster
	// RootNamespace is Istio's root namespace, whose Sidecar applies where a namespace has none.
	// Default: istio-system.
	RootNamespace string
	// ExpiryWarnings are how long before its end a certificate is warned of, by a condition and by an
	// event for each; less for certificates of a short life. Default (nil):
	// plan.DefaultExpiryWarnings.
	ExpiryWarnings []time.Duration
	// VerifyTargets says which targets are verified by a handshake with the partner. Default:
	// VerifyOff.
	VerifyTargets VerifyTargets
	// VerifyInterval is how often a credential is tried that didn't change. Default:
	// DefaultVerifyInterval.
	VerifyInterval time.Duration
	// Prober makes the handshakes. Default: one with its own defaults.
	Prober *verify.Prober
	// SurveyInterval is how often all Pods are looked through for those that ask for a target and were
	// not injected. Default: DefaultSurveyInterval.
	SurveyInterval time.Duration
	// Clock tells the time for expiry and retention. Default: the computer's.
	Clock clock.PassiveClock
	// Registerer takes the metrics. Default: none, and no metrics.
	Registerer prometheus.Registerer
}

// workers is how many hosts are reconciled at a time. Most of a reconciliation is waiting for the
// API server.
const workers = 16

// Setup adds the controllers to a manager that was made with informers.Options and with a scheme
// that knows api/v1alpha1, the kinds of Kubernetes and those of informers.AddToScheme. They run on
// the leader; every replica fills its caches. Setup fails if the CRD of EgressTarget is not
// installed; Istio's may come later.
func Setup(ctx context.Context, mgr ctrl.Manager, options Options) error {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.MeshConfig == nil {
		options.MeshConfig = func() mesh.Config { return mesh.Config{} }
	}
	if options.Policy == nil {
		options.Policy = &policy.Cluster{Other: policy.OtherAllow}
	}
	recorder := mgr.GetEventRecorder(FieldManager)
	cache, err := informers.NewCache(ctx, mgr.GetCache())
	if err != nil {
		return err
	}
	live, writing := mgr.GetAPIReader(), client.WithFieldOwner(mgr.GetClient(), FieldManager)
	reconciler := &EgressTargetReconciler{
		facts: &factReader{
			cache:         cache,
			live:          live,
			clock:         options.Clock,
			warnings:      plan.NewExpiryWarnings(options.ExpiryWarnings),
			policy:        *options.Policy,
			rootNamespace: cmp.Or(options.RootNamespace, mesh.DefaultRootNamespace),
			meshConfig:    options.MeshConfig,
			issuer:        issuance.Issuer{Live: live, Client: writing},
		},
		live:   live,
		client: writing,
		writer: apply.NewWriter(apply.Writer{
			Cached: cache.IstioObject, Live: live, Client: writing,
		}),
		events:    recorder,
		clock:     options.Clock,
		retention: cmp.Or(options.TargetRetention, DefaultTargetRetention),
	}
	requests := requests{cache: cache, rootNamespace: reconciler.facts.rootNamespace}
	// It holds an element while all targets have to be looked at.
	changes := make(chan event.GenericEvent, 1)
	certificates := make(chan event.GenericEvent)
	if err := followCertificates(mgr, certificates, changes); err != nil {
		return err
	}
	egressTargets, err := addEgressTargetController(mgr, reconciler, requests, changes, certificates)
	if err != nil {
		return err
	}
	if err := addIstioWatch(ctx, mgr, egressTargets, cache, requests, changes); err != nil {
		return err
	}
	if err := addVerificationController(mgr, reconciler, requests, options); err != nil {
		return err
	}
	if err := addSidecarController(mgr, &SidecarReconciler{pods: cache.Pods, events: recorder, reported: map[types.NamespacedName]types.UID{}}); err != nil {
		return err
	}
	survey := newSurvey(mgr.GetAPIReader(), cmp.Or(options.SurveyInterval, DefaultSurveyInterval))
	if err := mgr.Add(survey); err != nil {
		return fmt.Errorf("add the survey of Pods: %w", err)
	}
	if options.Registerer == nil {
		return nil
	}
	err = errors.Join(
		options.Registerer.Register(newCollector(cache, mgr.Elected())),
		options.Registerer.Register(reconciler.writer.Repairs()),
		options.Registerer.Register(survey),
	)
	if err != nil {
		return fmt.Errorf("register the controller's metrics: %w", err)
	}
	return nil
}

// followCertificates has certificates get the Certificates that change, and changes an element when
// cert-manager comes.
func followCertificates(mgr ctrl.Manager, certificates, changes chan<- event.GenericEvent) error {
	watch, err := newCertificateWatch(mgr, certificates, func() { tellAll(changes, &v1alpha1.EgressTarget{}) })
	if err != nil {
		return err
	}
	if err := mgr.Add(watch); err != nil {
		return fmt.Errorf("add the watch of Certificates: %w", err)
	}
	return nil
}

// tellAll has all targets looked at, because of an object that changed. One element is enough,
// however many changes came before it is taken.
func tellAll(changes chan<- event.GenericEvent, because client.Object) {
	select {
	case changes <- event.GenericEvent{Object: because}:
	default:
	}
}

func addEgressTargetController(mgr ctrl.Manager, reconciler *EgressTargetReconciler, requests requests, changes, certificates <-chan event.GenericEvent) (controller.Controller, error) {
	built, err := ctrl.NewControllerManagedBy(mgr).Named("egresstarget").
		For(&v1alpha1.EgressTarget{}, builder.WithPredicates(changed(egressTargetChanged))).
		Watches(&v1alpha1.EgressTarget{}, handler.EnqueueRequestsFromMapFunc(requests.sharing), builder.WithPredicates(changed(egressTargetChanged))).
		Watches(&corev1.Pod{}, podHandler(requests.cache), builder.WithPredicates(changed(podChanged))).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(requests.service), builder.WithPredicates(changed(serviceChanged))).
		WatchesMetadata(lookup.NamespaceMetadata(), handler.EnqueueRequestsFromMapFunc(requests.namespace), builder.WithPredicates(changed(annotationsChanged))).
		WatchesRawSource(source.Channel(changes, handler.EnqueueRequestsFromMapFunc(requests.all))).
		WatchesRawSource(source.Channel(certificates, handler.EnqueueRequestsFromMapFunc(certificateRequests))).
		WithOptions(queueing(workers)).
		Build(reconciler)
	if err != nil {
		return nil, fmt.Errorf("set up the controller of EgressTargets: %w", err)
	}
	return built, nil
}

func addVerificationController(mgr ctrl.Manager, shared *EgressTargetReconciler, requests requests, options Options) error {
	prober := cmp.Or(options.Prober, &verify.Prober{})
	reconciler := &VerificationReconciler{
		cache:           shared.facts.cache,
		live:            shared.live,
		client:          shared.client,
		events:          shared.events,
		clock:           shared.clock,
		policy:          shared.facts.policy,
		targets:         cmp.Or(options.VerifyTargets, VerifyOff),
		interval:        cmp.Or(options.VerifyInterval, DefaultVerifyInterval),
		probe:           prober.Probe,
		handshakeLimits: newHandshakeLimits(handshakesPerSecond),
		trials:          map[types.NamespacedName]map[string]trial{},
	}
	err := ctrl.NewControllerManagedBy(mgr).Named("verification").
		For(&v1alpha1.EgressTarget{}, builder.WithPredicates(changed(credentialsChanged))).
		WatchesMetadata(lookup.NamespaceMetadata(), handler.EnqueueRequestsFromMapFunc(requests.namespace), builder.WithPredicates(changed(annotationsChanged))).
		WithOptions(queueing(verifyWorkers)).
		Complete(reconciler)
	if err != nil {
		return fmt.Errorf("set up the controller that verifies targets: %w", err)
	}
	return nil
}

func addSidecarController(mgr ctrl.Manager, reconciler *SidecarReconciler) error {
	err := ctrl.NewControllerManagedBy(mgr).Named("sidecar").
		For(&corev1.Pod{}, builder.WithPredicates(predicate.NewPredicateFuncs(withoutSidecar), changed(podChanged))).
		WithOptions(queueing(1)).
		Complete(reconciler)
	if err != nil {
		return fmt.Errorf("set up the controller of Pods without a sidecar: %w", err)
	}
	return nil
}

// queueing returns the options of a controller with a fairQueue. It leaves controller-runtime's
// priority queue off: in v0.24 it can lock up when the process is stopped, and the leader then
// keeps its Lease until the grace period is over.
// https://github.com/kubernetes-sigs/controller-runtime/issues/3538
func queueing(workers int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: workers,
		UsePriorityQueue:        new(false),
		NewQueue: func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
			return newFairQueue(workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{Name: name}), share(workers))
		},
	}
}
