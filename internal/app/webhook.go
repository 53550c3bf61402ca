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
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/paging"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/policy/lookup"
	"mtls.egress/webhook/internal/target"
	"mtls.egress/webhook/internal/webhookport"
)

// mutatePath is where the MutatingWebhookConfiguration of the chart sends admission requests.
const mutatePath = "/mutate"

// Webhook holds the options of the process that answers admission requests.
type Webhook struct {
	Process

	// Host and Port are where admission requests are answered. An empty host is all addresses.
	Host string
	Port int
	// ClientCA has the certificate authorities of the clients that are answered; nil answers every client.
	ClientCA *webhookport.ClientCA
	// ShutdownDelay is how long admission requests are still answered after the first signal.
	ShutdownDelay time.Duration
	// Certificate holds the options of the serving certificate. Its logger is that of the process.
	Certificate serving.Options
}

// Run answers admission requests until SIGTERM or SIGINT, and then for ShutdownDelay, while /readyz fails. A second signal ends
// it at once, with an error.
func (w Webhook) Run() error {
	draining := &drain{}
	begin := func() {
		w.Log.Info("Stopping: not ready any more, still answering", "shutdownDelay", w.ShutdownDelay.String())
		draining.begin()
	}
	return runUntilStopped(w.ShutdownDelay, begin, func(ctx context.Context) (ctrl.Manager, error) { return w.manager(ctx, draining) })
}

// manager wires admission, the serving certificate and the health checks. There is no leader: every replica answers.
func (w Webhook) manager(ctx context.Context, draining *drain) (ctrl.Manager, error) {
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
		WebhookServer:           webhookport.NewServer(w.Host, w.Port, source.GetCertificate, w.ClientCA, log),
		GracefulShutdownTimeout: new(gracefulStop),
	})
	if err != nil {
		return nil, err
	}
	mesh, err := w.followMeshConfig(manager)
	if err != nil {
		return nil, err
	}
	return manager, errors.Join(
		manager.Add(source),
		metrics.Registry.Register(notAfterMetric(source)),
		addAdmission(manager, w.Policy, func() bool { return mesh.Config().DynamicDNS }, w.ClientCA, draining),
		addWebhookChecks(ctx, manager, source, draining, w.Log.WithName("health")),
	)
}

// admissionCache holds what admission reads: of EgressTargets all but most of the status. Reading anything else fails.
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
	compact := target.Compactor()
	return func(object any) (any, error) {
		egressTarget, ok := object.(*v1alpha1.EgressTarget)
		if !ok {
			return object, nil
		}
		kept := compact(egressTarget)
		status := v1alpha1.EgressTargetStatus{Credentials: kept.Status.Credentials}
		if programmed := meta.FindStatusCondition(kept.Status.Conditions, v1alpha1.ConditionProgrammed); programmed != nil {
			status.Conditions = []metav1.Condition{{Type: programmed.Type, Status: programmed.Status, Reason: target.Once(programmed.Reason)}}
		}
		kept.Status = status
		return kept, nil
	}
}

func notAfterMetric(source *serving.Source) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mtls_egress_serving_certificate_not_after_timestamp_seconds",
		Help: "When the certificate that this replica answers admission requests with expires, in seconds since 1970; 0 while it has none.",
	}, func() float64 {
		if notAfter := source.NotAfter(); !notAfter.IsZero() {
			return float64(notAfter.Unix())
		}
		return 0
	})
}

func addAdmission(manager ctrl.Manager, cluster policy.Cluster, dynamicDNS func() bool, clients *webhookport.ClientCA, draining *drain) error {
	handler, err := mutate.NewHandler(manager.GetClient(), manager.GetAPIReader(), cluster, dynamicDNS, metrics.Registry)
	if err != nil {
		return err
	}
	admissions, err := webhookport.NewAdmission(&webhook.Admission{Handler: handler}, clients, metrics.Registry)
	if err != nil {
		return fmt.Errorf("registering the metric of the webhook's port: %w", err)
	}
	manager.GetWebhookServer().Register(mutatePath, draining.handler(admissions))
	return nil
}

// addWebhookChecks makes /healthz succeed as long as the process answers at all, as a restart helps against nothing else, and /readyz
// succeed when an admission request would be answered.
func addWebhookChecks(ctx context.Context, manager ctrl.Manager, source *serving.Source, draining *drain, log logr.Logger) error {
	// Asking for an informer also makes the cache read the objects: it has nothing that nobody asked for.
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
		"cache":               synced("the EgressTargets and Namespaces", func() bool { return egressTargets.HasSynced() && namespaces.HasSynced() }),
		"serving-certificate": source.Check,
		"webhook-server":      manager.GetWebhookServer().StartedChecker(),
		"shutdown":            draining.check,
	} {
		problems = append(problems, manager.AddReadyzCheck(name, reported(log, name, check)))
	}
	return errors.Join(problems...)
}
