package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	cliflag "k8s.io/component-base/cli/flag"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/serving"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/meshconfig"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/paging"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/policy/lookup"
	"mtls.egress/webhook/internal/target"
	"mtls.egress/webhook/internal/webhookport"
)

const (
	// mutatePath is where the MutatingWebhookConfiguration of the chart sends admission requests.
	mutatePath = "/mutate"
	// crdInterval is how often a replica looks for Istio's CRDs.
	crdInterval = 10 * time.Second
	// helpColumns is the width of the help, the same for a terminal, a file and a test.
	helpColumns = 120
)

func newServeCommand() *cobra.Command {
	options := &serveOptions{}
	groups := options.flags()
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Answer admission requests and program targets, in a cluster or beside one",
		Long: `Answer admission requests on every replica, and program targets on the one that is the leader.

Runs in the cluster with the chart's service account, or outside with a kubeconfig. It needs the CRD of EgressTarget. While
Istio's CRDs are missing, Pods are realised, and programming their targets waits.

On SIGTERM or SIGINT /readyz fails at once, admission requests are answered for the time of --shutdown-delay, then those under
way are completed. A second signal ends the process at once.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := options.validate(); err != nil {
				return usageError(err)
			}
			log := options.log.install(cmd.ErrOrStderr())
			log.Info("Starting", "version", ownVersion(), "flags", flagValues(cmd.Flags()))
			return serve(options, log)
		},
	}
	for _, group := range groups.Order {
		cmd.Flags().AddFlagSet(groups.FlagSets[group])
	}
	cliflag.SetUsageAndHelpFunc(cmd, groups, helpColumns)
	return cmd
}

func ownVersion() string {
	info, _ := debug.ReadBuildInfo()
	return buildVersion(version, info)
}

// flagValues returns all flags but help, which say nothing secret.
func flagValues(flags *pflag.FlagSet) map[string]string {
	values := map[string]string{}
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "help" {
			values[flag.Name] = flag.Value.String()
		}
	})
	return values
}

// serve runs until a signal.
func serve(options *serveOptions, log logr.Logger) error {
	leaveRoom()
	neverProfile()
	config, err := restConfig(options.kubeconfig, options.context)
	if err != nil {
		return usageError(err)
	}
	config.UserAgent = name + "/" + ownVersion()

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	draining := &drain{}
	begin := func() {
		log.Info("Stopping: not ready any more, still answering", "shutdownDelay", options.shutdownDelay.String())
		draining.begin()
	}
	return runUntilSignal(signals, options.shutdownDelay, begin, func(ctx context.Context) error {
		manager, err := newManager(ctx, config, options, draining, log)
		if meta.IsNoMatchError(err) {
			return fmt.Errorf("the CRD of EgressTarget (%s) is missing; the chart installs it: %w", v1alpha1.GroupVersion(), err)
		}
		if err != nil {
			return err
		}
		return run(ctx, manager)
	})
}

// run runs a manager without leader election until ctx ends, and waits then for what it is doing. One that couldn't fill its caches by then does nothing that has to be
// waited for, and would never end: https://github.com/kubernetes-sigs/controller-runtime/pull/3440.
func run(ctx context.Context, manager ctrl.Manager) error {
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	select {
	case <-manager.Elected(): // all of it has started
		return <-ended
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// newManager puts the parts together: admission, the serving certificate and the health checks, which run in every replica, and
// the controller, which runs in the leader.
func newManager(ctx context.Context, config *rest.Config, options *serveOptions, draining *drain, log logr.Logger) (ctrl.Manager, error) {
	source, err := serving.New(config, serving.Options{
		Directory:                options.certificateDir,
		Namespace:                options.namespace,
		SecretName:               options.caSecret,
		DNSNames:                 options.servingNames(),
		WebhookConfigurationName: options.webhookConfiguration,
		LeafDuration:             options.certificateDuration,
		AdoptionDelay:            options.adoptionDelay,
		Logger:                   log.WithName("serving"),
	})
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	cluster, problems := options.policy.cluster()
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	clients, err := options.clientCA(log.WithName("webhook"))
	if err != nil {
		return nil, usageError(err)
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                  scheme,
		Logger:                  log,
		Cache:                   admissionCache(),
		Metrics:                 metricsserver.Options{BindAddress: options.metricsAddress},
		HealthProbeBindAddress:  options.healthAddress,
		WebhookServer:           webhookport.NewServer(options.webhookHost, options.webhookPort, source.GetCertificate, clients, log.WithName("webhook")),
		GracefulShutdownTimeout: new(gracefulStop),
	})
	if err != nil {
		return nil, err
	}
	mesh, err := meshconfig.New(config, types.NamespacedName{Namespace: options.rootNamespace, Name: options.meshConfig}, log.WithName("mesh-config"))
	if err != nil {
		return nil, err
	}
	controllerLog := log.WithName("controller")
	return manager, errors.Join(
		manager.Add(mesh),
		metrics.Registry.Register(meshConfigMetric(mesh)),
		manager.Add(source),
		manager.Add(&programPages{release: releaseProgramPages, first: firstProgramPages, every: everyProgramPages, log: log.WithName("memory")}),
		metrics.Registry.Register(notAfterMetric(source)),
		addAdmission(manager, cluster, func() bool { return mesh.Config().DynamicDNS }, clients, draining),
		addChecks(ctx, manager, source, draining, log.WithName("health")),
		manager.Add(&terms{
			run:   controllerTerm(config, scheme, options, cluster, mesh.Config, controllerLog),
			pause: termPause, log: controllerLog,
		}),
	)
}

// admissionCache holds what admission reads: of EgressTargets all but most of the status. Reading anything else fails.
func admissionCache() cache.Options {
	return cache.Options{
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.EgressTarget{}:   {Transform: admissionKeeper()},
			lookup.NamespaceMetadata(): lookup.CacheOptions(),
		},
		ReaderFailOnMissingInformer: true,
		NewInformer:                 paging.NewInformer,
	}
}

func admissionKeeper() toolscache.TransformFunc {
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

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), informers.AddToScheme(scheme))
}

func mapperProvider(kinds []schema.GroupVersionKind) func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	return func(config *rest.Config, client *http.Client) (meta.RESTMapper, error) {
		discovered, err := apiutil.NewDynamicRESTMapper(config, client)
		if err != nil {
			return nil, err
		}
		return withIstio(discovered, kinds), nil
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

func meshConfigMetric(mesh *meshconfig.Watch) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mtls_egress_mesh_config_readable",
		Help: "1 if this replica can read the mesh configuration, 0 if it can't and what was last read holds.",
	}, func() float64 {
		if mesh.Problem() != nil {
			return 0
		}
		return 1
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

// addChecks makes /healthz succeed as long as the process answers at all, as a restart helps against nothing else, and /readyz
// succeed when an admission request would be answered.
func addChecks(ctx context.Context, manager ctrl.Manager, source *serving.Source, draining *drain, log logr.Logger) error {
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
		"cache":               synced(func() bool { return egressTargets.HasSynced() && namespaces.HasSynced() }),
		"serving-certificate": source.Check,
		"webhook-server":      manager.GetWebhookServer().StartedChecker(),
		"shutdown":            draining.check,
	} {
		problems = append(problems, manager.AddReadyzCheck(name, reported(log, name, check)))
	}
	return errors.Join(problems...)
}
