package app

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/informers"
)

// LeaseName is the name of the Lease for leader election.
const LeaseName = "mtls-egress-webhook-controller"

// Controller holds the options of the controller process.
type Controller struct {
	Process

	// LeaderElection enables leader election. Standby replicas fill their caches and wait.
	LeaderElection bool
	// Namespace is the namespace of the Lease.
	Namespace string
	// Options configures the controller. Run overwrites MeshConfig, Policy, PodIPs, RootNamespace
	// and Registerer with those of the process.
	Options controller.Options
}

// Run runs the controller until SIGTERM or SIGINT. It then waits for running reconciliations and
// releases the Lease. A second signal ends it immediately with an error. Losing the Lease also ends
// it with an error, and the kubelet restarts the container.
func (c Controller) Run() error {
	begin := func() { c.Log.Info("Stopping") }
	return runUntilStopped(0, begin, c.manager)
}

func (c Controller) manager(ctx context.Context) (ctrl.Manager, error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	manager, err := ctrl.NewManager(c.Config, ctrl.Options{
		Scheme:                        scheme,
		Logger:                        c.Log,
		Cache:                         informers.Options(c.Policy.Sinkhole, c.Options.TeamLabels...),
		MapperProvider:                informers.MapperProvider,
		Metrics:                       metricsserver.Options{BindAddress: c.MetricsAddress},
		HealthProbeBindAddress:        c.HealthAddress,
		PprofBindAddress:              c.ProfilingAddress,
		LeaderElection:                c.LeaderElection,
		LeaderElectionID:              LeaseName,
		LeaderElectionNamespace:       c.Namespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       new(gracefulStop),
	})
	if err != nil {
		return nil, err
	}
	mesh, err := c.followMeshConfig(manager)
	if err != nil {
		return nil, err
	}
	c.Options.MeshConfig, c.Options.RootNamespace = mesh.Config, c.MeshConfig.Namespace
	c.Options.PodIPs = c.PodIPs
	c.Options.Policy, c.Options.Registerer = &c.Policy, metrics.Registry
	return manager, errors.Join(
		controller.Setup(ctx, manager, c.Options),
		c.addChecks(ctx, manager),
	)
}

// addChecks adds the health checks. /healthz succeeds as long as the process responds. /readyz
// succeeds after the caches have synced, also on a standby.
func (c Controller) addChecks(ctx context.Context, manager ctrl.Manager) error {
	egressTargets, err := manager.GetCache().GetInformer(ctx, &v1alpha1.EgressTarget{})
	if err != nil {
		return fmt.Errorf("reading the EgressTargets: %w", err)
	}
	pods, err := manager.GetCache().GetInformer(ctx, &corev1.Pod{})
	if err != nil {
		return fmt.Errorf("reading the Pods: %w", err)
	}
	cache := synced("the EgressTargets and Pods", func() bool { return egressTargets.HasSynced() && pods.HasSynced() })
	return errors.Join(manager.AddHealthzCheck("ping", healthz.Ping),
		manager.AddReadyzCheck("cache", reported(c.Log.WithName("health"), "cache", cache)))
}
