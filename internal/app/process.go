// Package app wires the two server processes: the webhook, which handles admission requests, and
// the controller, which programs targets. Each runs without the other.
package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/meshconfig"
	"mtls.egress/webhook/internal/policy"
)

// Process holds the options that both processes share.
type Process struct {
	// Config is the connection to the API server.
	Config *rest.Config
	// Policy is the cluster-wide policy: which hosts a namespace may reach.
	Policy policy.Cluster
	// PodIPs are the addresses of this Pod, or empty if it doesn't run in one.
	PodIPs []netip.Addr
	// MeshConfig is the ConfigMap with the mesh configuration. Its namespace is the root namespace
	// of the mesh.
	MeshConfig types.NamespacedName
	// MetricsAddress, HealthAddress and ProfilingAddress are [HOST]:PORT. Disabled turns the first and
	// the last off.
	MetricsAddress, HealthAddress, ProfilingAddress string
	Log                                             logr.Logger
}

// Disabled is an address that disables a server.
const Disabled = "0"

// runUntilStopped builds a manager and runs it until a signal. On the signal it calls begin
// immediately and stops the manager after delay.
func runUntilStopped(delay time.Duration, begin func(), build func(context.Context) (ctrl.Manager, error)) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	return runUntilSignal(signals, delay, begin, func(ctx context.Context) error {
		manager, err := build(ctx)
		if meta.IsNoMatchError(err) {
			return fmt.Errorf("the CRD of EgressTarget (%s) is missing; the chart installs it: %w",
				v1alpha1.GroupVersion(), err)
		}
		if err != nil {
			return err
		}
		return run(ctx, manager)
	})
}

// run runs a manager until ctx is canceled, and then waits until it has stopped and, if it was the
// leader, has released its Lease. It doesn't wait for a manager whose caches never synced, because
// such a manager never stops:
// https://github.com/kubernetes-sigs/controller-runtime/pull/3440.
func run(ctx context.Context, manager ctrl.Manager) error {
	cachesFilled := make(started)
	if err := manager.Add(cachesFilled); err != nil {
		return err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- manager.Start(ctx) }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
	}
	select {
	case <-cachesFilled:
		return <-stopped
	default:
		return nil
	}
}

// started is closed when a manager starts the runnables that need its caches. That is before it
// tries to become the leader.
type started chan struct{}

// Start is part of manager.Runnable.
func (s started) Start(context.Context) error {
	close(s)
	return nil
}

// NeedLeaderElection is false: the caches of a standby sync too.
func (started) NeedLeaderElection() bool { return false }

// NewScheme returns a scheme with the Kubernetes core kinds and EgressTarget.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(corev1.AddToScheme(scheme), networkingv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// followMeshConfig has a manager follow the mesh configuration. See follow.
func (p Process) followMeshConfig(manager ctrl.Manager) (*meshconfig.Watch[mesh.Config], error) {
	return follow(manager, p, p.MeshConfig, meshconfig.Mesh(), p.Log.WithName("mesh-config"))
}

// follow has a manager follow a configuration of Istio, and registers the metric that reports
// whether it is readable.
func follow[T any](
	manager ctrl.Manager, p Process, name types.NamespacedName, source meshconfig.Source[T], log logr.Logger,
) (*meshconfig.Watch[T], error) {
	watch, err := meshconfig.New(p.Config, name, source, log)
	if err != nil {
		return nil, err
	}
	readable := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mtls_egress_mesh_config_readable",
		Help: "1 if this process can read a ConfigMap with Istio's configuration, or 0 if it can't. If 0, the " +
			"configuration that was last read applies.",
		ConstLabels: prometheus.Labels{"configmap": name.Name},
	}, func() float64 {
		if watch.Problem() != nil {
			return 0
		}
		return 1
	})
	return watch, errors.Join(manager.Add(watch), metrics.Registry.Register(readable))
}
