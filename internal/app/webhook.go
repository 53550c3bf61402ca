package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/serving"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/meshconfig"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/paging"
	"mtls.egress/webhook/internal/policy/lookup"
	"mtls.egress/webhook/internal/webhookport"
	"mtls.egress/webhook/internal/workload"
)

// mutatePath is the path in the chart's MutatingWebhookConfiguration.
const mutatePath = "/mutate"

// Webhook holds the options of the webhook process.
type Webhook struct {
	Process

	// Workloads are the kinds of workloads whose annotations admission propagates.
	Workloads workload.Kinds
	// Injector is the name of the ConfigMap in the root namespace with the configuration of Istio's
	// sidecar injector.
	Injector string
	// RequireInjection rejects Pods into which Istio will inject no sidecar.
	RequireInjection bool
	// Host and Port are the listen address for admission requests. An empty Host means all
	// addresses.
	Host string
	Port int
	// ClientCA authenticates clients. If nil, every client is accepted.
	ClientCA *webhookport.ClientCA
	// ShutdownDelay is how long the webhook still serves admission requests after the first signal.
	ShutdownDelay time.Duration
	// Certificate configures the serving certificate. Run overwrites its logger.
	Certificate serving.Options
}

// Run serves admission requests until SIGTERM or SIGINT, and then for ShutdownDelay while /readyz
// fails. A second signal ends it immediately with an error.
func (w Webhook) Run() error {
	draining := &drain{}
	begin := func() {
		w.Log.Info("Stopping: no longer ready, still serving admission requests", "shutdownDelay",
			w.ShutdownDelay.String())
		draining.begin()
	}
	return runUntilStopped(w.ShutdownDelay, begin,
		func(ctx context.Context) (ctrl.Manager, error) { return w.manager(ctx, draining) })
}

// manager wires admission, the serving certificate and the health checks. There is no leader
// election, because every replica serves.
func (w Webhook) manager(ctx context.Context, draining *drain) (ctrl.Manager, error) {
	if err := w.Policy.Sinkhole.CheckUnused(w.PodIPs, nil); err != nil {
		return nil, err
	}
	w.Certificate.Logger = w.Log.WithName("serving")
	source, err := serving.New(w.Config, w.Certificate)
	if err != nil {
		return nil, err
	}
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	log := w.Log.WithName("webhook")
	manager, err := ctrl.NewManager(w.Config, ctrl.Options{
		Scheme:                  scheme,
		Logger:                  w.Log,
		Cache:                   admissionCache(),
		Metrics:                 metricsserver.Options{BindAddress: w.MetricsAddress},
		HealthProbeBindAddress:  w.HealthAddress,
		PprofBindAddress:        w.ProfilingAddress,
		WebhookServer:           webhookport.NewServer(w.Host, w.Port, source.GetCertificate, w.ClientCA, log),
		GracefulShutdownTimeout: new(gracefulStop),
	})
	if err != nil {
		return nil, err
	}
	meshConfig, err := w.followMeshConfig(manager)
	if err != nil {
		return nil, err
	}
	injector, err := w.followInjector(manager)
	if err != nil {
		return nil, err
	}
	return manager, errors.Join(
		manager.Add(source),
		metrics.Registry.Register(notAfterMetric(source)),
		w.addAdmission(manager, func() bool { return meshConfig.Config().DynamicDNS }, injector.Config, draining),
		addWebhookChecks(ctx, manager, source, draining, w.Log.WithName("health")))
}

// followInjector has a manager follow the configuration of the sidecar injector.
func (w Webhook) followInjector(manager ctrl.Manager) (*meshconfig.Watch[interception.Injector], error) {
	name := types.NamespacedName{Namespace: w.MeshConfig.Namespace, Name: w.Injector}
	return follow(manager, w.Process, name, meshconfig.Injector(), w.Log.WithName("injector-config"))
}

// admissionCache returns the cache options for admission. Of EgressTargets the cache drops most of
// the status. Reading any other kind fails.
func admissionCache() cache.Options {
	return cache.Options{
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.EgressTarget{}:   {Transform: admissionTransform()},
			lookup.NamespaceMetadata(): lookup.CacheOptions(),
		},
		ReaderFailOnMissingInformer: true,
		NewInformer:                 paging.NewInformer,
	}
}

func admissionTransform() toolscache.TransformFunc {
	compact := egress.Compactor()
	return func(object any) (any, error) {
		egressTarget, ok := object.(*v1alpha1.EgressTarget)
		if !ok {
			return object, nil
		}
		kept := compact(egressTarget)
		status := v1alpha1.EgressTargetStatus{Credentials: kept.Status.Credentials, Address: kept.Status.Address}
		if programmed := meta.FindStatusCondition(kept.Status.Conditions,
			v1alpha1.ConditionProgrammed); programmed != nil {
			status.Conditions = []metav1.Condition{
				{Type: programmed.Type, Status: programmed.Status, Reason: egress.Once(programmed.Reason)},
			}
		}
		kept.Status = status
		return kept, nil
	}
}

func notAfterMetric(source *serving.Source) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mtls_egress_serving_certificate_not_after_timestamp_seconds",
		Help: "Expiry time of this replica's serving certificate, in seconds since the Unix " +
			"epoch, or 0 if it has none.",
	}, func() float64 {
		if notAfter := source.NotAfter(); !notAfter.IsZero() {
			return float64(notAfter.Unix())
		}
		return 0
	})
}

func (w Webhook) addAdmission(
	manager ctrl.Manager, dynamicDNS func() bool, injector func() interception.Injector, draining *drain,
) error {
	handler, err := mutate.NewHandler(mutate.Options{
		Cached: manager.GetClient(), Live: manager.GetAPIReader(),
		Workloads: w.Workloads, Policy: w.Policy, RequireInjection: w.RequireInjection,
		DynamicDNS: dynamicDNS, Injector: injector, Registry: metrics.Registry,
	})
	if err != nil {
		return err
	}
	admissions, err := webhookport.NewAdmission(&webhook.Admission{Handler: handler}, w.ClientCA, metrics.Registry)
	if err != nil {
		return fmt.Errorf("registering the metrics of the webhook server: %w", err)
	}
	manager.GetWebhookServer().Register(mutatePath, draining.handler(admissions))
	return nil
}

// addWebhookChecks adds the health checks. /healthz succeeds as long as the process responds,
// because a restart fixes nothing else. /readyz succeeds if the webhook can serve an admission
// request.
func addWebhookChecks(
	ctx context.Context,
	manager ctrl.Manager,
	source *serving.Source,
	draining *drain,
	log logr.Logger,
) error {
	// GetInformer also starts the informer. The cache holds only kinds that have been requested.
	egressTargets, err := manager.GetCache().GetInformer(ctx, &v1alpha1.EgressTarget{})
	if err != nil {
		return fmt.Errorf("reading the EgressTargets: %w", err)
	}
	namespaces, err := manager.GetCache().GetInformer(ctx, lookup.NamespaceMetadata())
	if err != nil {
		return fmt.Errorf("reading the Namespaces: %w", err)
	}
	problems := []error{manager.AddHealthzCheck("ping", healthz.Ping)}
	for name, check := range map[string]healthz.Checker{
		"cache": synced("the EgressTargets and Namespaces",
			func() bool { return egressTargets.HasSynced() && namespaces.HasSynced() }),
		"serving-certificate": source.Check,
		"webhook-server":      manager.GetWebhookServer().StartedChecker(),
		"shutdown":            draining.check,
	} {
		problems = append(problems, manager.AddReadyzCheck(name, reported(log, name, check)))
	}
	return errors.Join(problems...)
}
