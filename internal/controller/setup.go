package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
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
	"mtls.egress/webhook/internal/workload"
)

// DefaultTeamLabels are the usual value of Options.TeamLabels.
func DefaultTeamLabels() []string { return []string{"team"} }

// DefaultTargetRetention is the default of Options.TargetRetention.
const DefaultTargetRetention = 10 * time.Minute

// Options are the options of Setup. The zero value of each field means its default.
type Options struct {
	// TargetRetention is how long the controller keeps an EgressTarget that it created after the
	// deletion of the last Pod. Default: DefaultTargetRetention.
	TargetRetention time.Duration
	// MeshConfig returns the mesh configuration. If sidecars resolve unknown hosts themselves, anchors
	// have the app ports of all targets, including targets without Pods. Default (nil): Istio's
	// defaults.
	MeshConfig func() mesh.Config
	// Policy is the policy on which hosts all namespaces may reach. Its Sinkhole is the one of
	// informers.Options of the manager's cache. Default (nil): every namespace may reach every host,
	// unless the annotation of the namespace forbids it.
	Policy *policy.Cluster
	// PodIPs are the addresses of this Pod, none of which may be a sinkhole address. Default: not
	// compared.
	PodIPs []netip.Addr
	// RootNamespace is Istio's root namespace. Its Sidecar applies to namespaces without one. Default:
	// istio-system.
	RootNamespace string
	// ExpiryWarnings are the warning periods before a certificate expires. Each causes a condition and
	// an event. They are shortened for short-lived certificates. Default (nil):
	// plan.DefaultExpiryWarnings.
	ExpiryWarnings []time.Duration
	// VerifyTargets selects the targets to verify with a handshake with the partner. Default:
	// VerifyOff.
	VerifyTargets VerifyTargets
	// VerifyInterval is the interval of handshakes with an unchanged credential. Default:
	// DefaultVerifyInterval.
	VerifyInterval time.Duration
	// Prober makes the handshakes. Default: a Prober with its defaults.
	Prober *verify.Prober
	// SurveyInterval is the interval of surveys for Pods that ask for a target but were not injected.
	// Default: DefaultSurveyInterval.
	SurveyInterval time.Duration
	// ReadOwners enables reading the metadata of the owners of Pods: Deployments and other kinds.
	// Default: false.
	ReadOwners bool
	// TeamLabels are the keys of the labels of EgressTargets and Namespaces with the team that owns a
	// target, most important first. The cache must keep those of Namespaces: see informers.Options.
	// Default (nil): no metric has the team.
	TeamLabels []string
	// Workloads are the kinds whose annotations admission propagates. Default (nil): workload.Known().
	Workloads workload.Kinds
	// Clock is the clock for expiry and retention. Default: the system's clock.
	Clock clock.PassiveClock
	// Registerer registers the metrics. Default (nil): no metrics.
	Registerer prometheus.Registerer
}

// workers is the number of concurrent reconciliations. Most of their time is spent waiting for the
// API server.
const workers = 16

// Setup adds the controllers to a manager. The manager must use informers.Options and a scheme with
// api/v1alpha1 and the Kubernetes kinds. The controllers run on the leader, but every replica fills
// its caches. Setup fails if the CRD of EgressTarget is not installed. Istio's CRDs can be
// installed later.
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
	if options.Workloads == nil {
		options.Workloads = workload.Known()
	}
	networks, err := readNetworks(ctx, mgr.GetAPIReader())
	if err != nil {
		return err
	}
	if err := options.Policy.Sinkhole.CheckUnused(options.PodIPs, networks); err != nil {
		return err
	}
	recorder := mgr.GetEventRecorder(FieldManager)
	cache, err := informers.NewCache(ctx, mgr.GetCache(), options.Policy.Sinkhole)
	if err != nil {
		return err
	}
	workloads, err := addWorkloadEvents(mgr, recorder, options)
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
		workloads: workloads,
		clock:     options.Clock,
		retention: cmp.Or(options.TargetRetention, DefaultTargetRetention),
	}
	requests := requests{cache: cache, rootNamespace: reconciler.facts.rootNamespace}
	// It has an element while all targets must be reconciled.
	changes := make(chan event.GenericEvent, 1)
	certificates := make(chan event.GenericEvent)
	if err := followCertificates(mgr, certificates, changes); err != nil {
		return err
	}
	egressTargets, err := addEgressTargetController(ctx, mgr, reconciler, requests, changes, certificates)
	if err != nil {
		return err
	}
	if err := addIstioWatch(ctx, mgr, egressTargets, cache, requests, changes); err != nil {
		return err
	}
	if err := addVerificationController(mgr, reconciler, requests, options); err != nil {
		return err
	}
	if err := addSidecarController(mgr, newSidecarReconciler(cache.Pods, recorder, workloads)); err != nil {
		return err
	}
	survey, err := addSurvey(mgr, recorder, options)
	if err != nil {
		return err
	}
	if options.Registerer == nil {
		return nil
	}
	err = errors.Join(
		options.Registerer.Register(newCollector(cache, mgr.Elected(), options.TeamLabels)),
		options.Registerer.Register(reconciler.writer.Repairs()),
		options.Registerer.Register(survey),
	)
	if err != nil {
		return fmt.Errorf("register the controller's metrics: %w", err)
	}
	return nil
}

func addWorkloadEvents(mgr ctrl.Manager, recorder events.EventRecorder, options Options) (*workloadEvents, error) {
	var live client.Reader
	if options.ReadOwners {
		live = mgr.GetAPIReader()
	}
	workloads := newWorkloadEvents(live, recorder)
	if err := mgr.Add(workloads); err != nil {
		return nil, fmt.Errorf("add the events on workloads: %w", err)
	}
	return workloads, nil
}

func addSurvey(mgr ctrl.Manager, recorder events.EventRecorder, options Options) (*survey, error) {
	var mapper meta.RESTMapper
	if options.ReadOwners {
		mapper = mgr.GetRESTMapper()
	}
	survey := newSurvey(mgr.GetAPIReader(), recorder, mapper, options.Workloads,
		cmp.Or(options.SurveyInterval, DefaultSurveyInterval))
	if err := mgr.Add(survey); err != nil {
		return nil, fmt.Errorf("add the survey of Pods: %w", err)
	}
	return survey, nil
}

// followCertificates adds a watch that sends changed Certificates to certificates. When
// cert-manager is installed or uninstalled, it sends to changes.
func followCertificates(mgr ctrl.Manager, certificates, changes chan<- event.GenericEvent) error {
	watch, err := newCertificateWatch(mgr, certificates, func() { enqueueAll(changes, &v1alpha1.EgressTarget{}) })
	if err != nil {
		return err
	}
	if err := mgr.Add(watch); err != nil {
		return fmt.Errorf("add the watch of Certificates: %w", err)
	}
	return nil
}

// enqueueAll queues all targets because of a changed object. One pending element is enough for any
// number of changes.
func enqueueAll(changes chan<- event.GenericEvent, because client.Object) {
	select {
	case changes <- event.GenericEvent{Object: because}:
	default:
	}
}

func addEgressTargetController(
	ctx context.Context, mgr ctrl.Manager, reconciler *EgressTargetReconciler, requests requests,
	changes, certificates <-chan event.GenericEvent,
) (controller.Controller, error) {
	built, err := ctrl.NewControllerManagedBy(mgr).Named("egresstarget").
		For(&v1alpha1.EgressTarget{}, builder.WithPredicates(changed(egressTargetChanged))).
		Watches(&v1alpha1.EgressTarget{}, handler.EnqueueRequestsFromMapFunc(requests.sharing),
			builder.WithPredicates(changed(egressTargetChanged))).
		Watches(&corev1.Pod{}, podHandler(requests.cache), builder.WithPredicates(changed(podChanged))).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(requests.service),
			builder.WithPredicates(changed(serviceChanged))).
		WatchesMetadata(lookup.NamespaceMetadata(), handler.EnqueueRequestsFromMapFunc(requests.namespace),
			builder.WithPredicates(changed(annotationsChanged))).
		WatchesRawSource(source.Channel(changes, handler.EnqueueRequestsFromMapFunc(requests.all))).
		WatchesRawSource(source.Channel(certificates, handler.EnqueueRequestsFromMapFunc(certificateRequests))).
		WithOptions(queueing(workers, newUrgentFirst(urgentIn(ctx, requests.cache)))).
		Build(reconciler)
	if err != nil {
		return nil, fmt.Errorf("set up the controller of EgressTargets: %w", err)
	}
	return built, nil
}

func addVerificationController(
	mgr ctrl.Manager, shared *EgressTargetReconciler, requests requests, options Options,
) error {
	prober := cmp.Or(options.Prober, &verify.Prober{Sinkhole: options.Policy.Sinkhole})
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
		WatchesMetadata(lookup.NamespaceMetadata(), handler.EnqueueRequestsFromMapFunc(requests.namespace),
			builder.WithPredicates(changed(annotationsChanged))).
		WithOptions(queueing(verifyWorkers, nil)).
		Complete(reconciler)
	if err != nil {
		return fmt.Errorf("set up the controller that verifies targets: %w", err)
	}
	return nil
}

func addSidecarController(mgr ctrl.Manager, reconciler *SidecarReconciler) error {
	err := ctrl.NewControllerManagedBy(mgr).Named("sidecar").
		For(&corev1.Pod{}, builder.WithPredicates(predicate.NewPredicateFuncs(withoutSidecar), changed(podChanged))).
		WithOptions(queueing(1, nil)).
		Complete(reconciler)
	if err != nil {
		return fmt.Errorf("set up the controller of Pods without a sidecar: %w", err)
	}
	return nil
}

// queueing returns the options of a controller with a fairQueue and an order. Default (nil):
// requests come as they were added. It disables controller-runtime's priority queue: in v0.24 it
// can deadlock when the process stops, and the leader then holds its Lease until the grace period
// ends.
// https://github.com/kubernetes-sigs/controller-runtime/issues/3538
func queueing(workers int, order workqueue.Queue[reconcile.Request]) controller.Options {
	type (
		queue   = workqueue.TypedRateLimitingInterface[reconcile.Request]
		limiter = workqueue.TypedRateLimiter[reconcile.Request]
		config  = workqueue.TypedRateLimitingQueueConfig[reconcile.Request]
		delayed = workqueue.TypedDelayingQueueConfig[reconcile.Request]
		ordered = workqueue.TypedQueueConfig[reconcile.Request]
	)
	return controller.Options{
		MaxConcurrentReconciles: workers,
		UsePriorityQueue:        new(false),
		NewQueue: func(name string, limits limiter) queue {
			first := workqueue.NewTypedWithConfig(ordered{Name: name, Queue: order})
			later := workqueue.NewTypedDelayingQueueWithConfig(delayed{Name: name, Queue: first})
			all := workqueue.NewTypedRateLimitingQueueWithConfig(limits, config{Name: name, DelayingQueue: later})
			return newFairQueue(all, share(workers))
		},
	}
}
