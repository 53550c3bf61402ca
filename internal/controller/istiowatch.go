package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/mesh"
)

// retryIstio is the interval of checks for Istio's CRDs.
const retryIstio = 10 * time.Second

// istioWatch adds Istio's kinds to the cache and to the controller of EgressTargets once the API
// server serves them. A controller that watches them from the start would fail after two minutes
// without them (CacheSyncTimeout).
type istioWatch struct {
	// missing returns the kinds that the API server doesn't serve.
	missing func() ([]string, error)
	// setMissing makes targets report the missing kinds.
	setMissing func([]string)
	// add adds the kinds. If the cache is running, it waits until they are synced.
	add func(context.Context) error
	// reconcileAll queues all targets.
	reconcileAll func()
	log          logr.Logger
}

// addIstioWatch adds Istio's kinds to a controller now, or adds a watch to the manager that does so
// once they are served.
func addIstioWatch(
	ctx context.Context, mgr ctrl.Manager, to controller.Controller,
	cache informers.Cache, requests requests, changes chan<- event.GenericEvent,
) error {
	asking, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	w := &istioWatch{
		missing:    func() ([]string, error) { return informers.MissingKinds(asking.ServerResourcesForGroupVersion) },
		setMissing: cache.SetMissing,
		add: func(ctx context.Context) error {
			if err := cache.AddIstio(ctx); err != nil {
				return err
			}
			for _, kind := range informers.Kinds() {
				watch := source.Kind(mgr.GetCache(), client.Object(mesh.NewUnstructured(kind)),
					handler.EnqueueRequestsFromMapFunc(requests.istio), changed(istioObjectChanged))
				if err := to.Watch(watch); err != nil {
					return fmt.Errorf("watch the objects of kind %s: %w", kind, err)
				}
			}
			return nil
		},
		reconcileAll: func() { enqueueAll(changes, &v1alpha1.EgressTarget{}) },
		log:          mgr.GetLogger().WithName("istio"),
	}
	missing, err := w.missing()
	switch {
	case err != nil:
		return fmt.Errorf("check for Istio's CRDs: %w", err)
	case len(missing) == 0:
		return w.add(ctx)
	}
	w.setMissing(missing) // before a target is reconciled
	if err := mgr.Add(w); err != nil {
		return fmt.Errorf("add the watch for Istio's CRDs: %w", err)
	}
	return nil
}

// NeedLeaderElection returns false, because standby replicas also fill their caches.
func (*istioWatch) NeedLeaderElection() bool { return false }

// Start returns when the kinds are added or ctx is done.
func (w *istioWatch) Start(ctx context.Context) error {
	err := wait.PollUntilContextCancel(ctx, retryIstio, true, func(ctx context.Context) (done bool, err error) {
		missing, err := w.missing()
		switch {
		case err != nil:
			w.log.Error(err, "Can't check for Istio's CRDs", "retryAfter", retryIstio.String())
			return false, nil
		case len(missing) > 0:
			w.setMissing(missing)
			w.log.Error(nil, "Istio's CRDs are missing: no target can be programmed, so calls of injected Pods fail. "+
				"Install Istio 1.30 or newer", "missing", missing, "retryAfter", retryIstio.String())
			return false, nil
		}
		if err := w.add(ctx); err != nil {
			return false, err
		}
		w.log.Info("Istio's CRDs are installed")
		w.reconcileAll()
		return true, nil
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
