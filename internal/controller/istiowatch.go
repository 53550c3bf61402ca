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
)

// retryIstio is the pause between two looks for Istio's CRDs.
const retryIstio = 10 * time.Second

// istioWatch adds the kinds of Istio to the cache and to the controller of EgressTargets once the API server serves them. A
// controller that watched them from the beginning would end after two minutes without them (CacheSyncTimeout).
type istioWatch struct {
	// missing returns the kinds that are not served.
	missing func() ([]string, error)
	// setMissing has targets say what is missing.
	setMissing func([]string)
	// add adds the kinds, and returns when the cache holds them, if it runs.
	add func(context.Context) error
	// reconcileAll queues all targets.
	reconcileAll func()
	log          logr.Logger
}

// addIstioWatch adds the kinds of Istio to a controller now, or has the manager do so once they are served.
func addIstioWatch(
	ctx context.Context, mgr ctrl.Manager, to controller.Controller, cache informers.Cache, requests requests, changes chan<- event.GenericEvent,
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
				watch := source.Kind(mgr.GetCache(), client.Object(informers.NewIstioObject(kind)),
					handler.EnqueueRequestsFromMapFunc(requests.istio), changed(istioObjectChanged))
				if err := to.Watch(watch); err != nil {
					return fmt.Errorf("watch the objects of kind %s: %w", kind, err)
				}
			}
			return nil
		},
		reconcileAll: func() { tellAll(changes, &v1alpha1.EgressTarget{}) },
		log:          mgr.GetLogger().WithName("istio"),
	}
	missing, err := w.missing()
	switch {
	case err != nil:
		return fmt.Errorf("find out whether Istio's CRDs are installed: %w", err)
	case len(missing) == 0:
		return w.add(ctx)
	}
	w.setMissing(missing) // before a target is reconciled
	if err := mgr.Add(w); err != nil {
		return fmt.Errorf("add the look for Istio's CRDs: %w", err)
	}
	return nil
}

// NeedLeaderElection is false: a standby fills its cache too.
func (*istioWatch) NeedLeaderElection() bool { return false }

// Start returns when the kinds are added, or ctx ended.
func (w *istioWatch) Start(ctx context.Context) error {
	err := wait.PollUntilContextCancel(ctx, retryIstio, true, func(ctx context.Context) (done bool, err error) {
		missing, err := w.missing()
		switch {
		case err != nil:
			w.log.Error(err, "Can't find out whether Istio's CRDs are installed", "retryAfter", retryIstio.String())
			return false, nil
		case len(missing) > 0:
			w.setMissing(missing)
			w.log.Error(nil, "Istio's CRDs are missing: no target can be programmed, so calls of injected Pods fail. Install Istio 1.22 or newer",
				"missing", missing, "retryAfter", retryIstio.String())
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
