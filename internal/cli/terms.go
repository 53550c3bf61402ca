package cli

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/policy"
)

// termPause is the time between the end of a term and the next candidacy.
const termPause = time.Second

// terms runs the controller in the replica that is the leader, beside admission and apart from it: with a manager of its own, which is made anew for each term. A manager
// of controller-runtime ends when it loses its Lease, as in an outage of the API server that is longer than the Lease's renewal may take. Admission has to go on then: the
// API server asks for it in the moment in which it is back. The same goes for whatever else ends the controller.
type terms struct {
	// run is one term: it waits for the leadership, and ends when that or ctx does.
	run   func(ctx context.Context) error
	pause time.Duration
	log   logr.Logger
}

// NeedLeaderElection is false: every replica is a candidate.
func (t *terms) NeedLeaderElection() bool { return false }

// Start returns when ctx ends, with what its last term says of that.
func (t *terms) Start(ctx context.Context) error {
	for {
		err := t.run(ctx)
		if ctx.Err() != nil {
			return err
		}
		t.log.Error(err, "The controller ended and is started anew; admission goes on", "retryAfter", t.pause.String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(t.pause):
		}
	}
}

// controllerTerm returns one term of the controller. Caches are filled when it has become the leader, so that the other replicas need no memory for what they don't read.
func controllerTerm(
	restConfig *rest.Config, scheme *runtime.Scheme, options *serveOptions, cluster policy.Cluster, meshConfig func() mesh.Config,
	log logr.Logger,
) func(context.Context) error {
	return func(ctx context.Context) error {
		cacheOptions := informers.Options()
		kinds, err := istioKinds(cacheOptions, scheme)
		if err != nil {
			return err
		}
		manager, err := ctrl.NewManager(restConfig, ctrl.Options{
			Scheme:                        scheme,
			Logger:                        log,
			Cache:                         cacheOptions,
			MapperProvider:                mapperProvider(kinds),
			Metrics:                       metricsserver.Options{BindAddress: disabled},
			HealthProbeBindAddress:        disabled,
			LeaderElection:                options.leaderElect,
			LeaderElectionID:              name,
			LeaderElectionNamespace:       options.namespace,
			LeaderElectionReleaseOnCancel: true,
			GracefulShutdownTimeout:       new(gracefulStop),
			// The names of the controllers are those of the term before.
			Controller: config.Controller{SkipNameValidation: new(true)},
		})
		if err != nil {
			return err
		}
		client, err := discovery.NewDiscoveryClientForConfigAndClient(restConfig, manager.GetHTTPClient())
		if err != nil {
			return err
		}
		registered := &registrations{Registerer: metrics.Registry}
		defer registered.end()
		if err := manager.Add(&crdWait{
			kinds:           kinds,
			serverResources: client.ServerResourcesForGroupVersion,
			interval:        crdInterval,
			start: func(ctx context.Context) error {
				spareMemory(ctx)
				return controller.Setup(ctx, manager, controller.Options{
					TargetRetention: options.targetRetention,
					ExpiryWarnings:  options.expiryWarnings,
					VerifyTargets:   controller.VerifyTargets(options.verifyTargets),
					VerifyInterval:  options.verifyInterval,
					SurveyInterval:  options.surveyInterval,
					MeshConfig:      meshConfig,
					RootNamespace:   options.rootNamespace,
					Policy:          &cluster,
					Registerer:      registered,
				})
			},
			log: log,
		}); err != nil {
			return err
		}
		if err := manager.Start(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		return errors.New("it stopped without a reason")
	}
}

// leaderGCPercent is GOGC in the leader. Its caches are most of its memory and hardly change, so with Go's default, 100, as much again would be garbage that waits to be
// collected.
const leaderGCPercent = 20

// spareMemory has garbage collected sooner until ctx ends, unless GOGC says when.
func spareMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	before := debug.SetGCPercent(leaderGCPercent)
	context.AfterFunc(ctx, func() { debug.SetGCPercent(before) })
}

// registrations are the metrics of one term.
type registrations struct {
	prometheus.Registerer
	collectors []prometheus.Collector
}

// Register is part of prometheus.Registerer.
func (r *registrations) Register(collector prometheus.Collector) error {
	if err := r.Registerer.Register(collector); err != nil {
		return err
	}
	r.collectors = append(r.collectors, collector)
	return nil
}

func (r *registrations) end() {
	for _, collector := range r.collectors {
		r.Unregister(collector)
	}
}
