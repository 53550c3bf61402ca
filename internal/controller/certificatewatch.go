package controller

import (
	"context"
	"fmt"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// retryCertManager is the interval of retries while Certificates can't be listed, usually
// because cert-manager is not installed.
const retryCertManager = 10 * time.Second

// certificateWatch watches the Certificates that the controller created. It runs on the leader. It
// is not an informer of the manager's cache: without cert-manager in the cluster, that cache would
// never sync, and the controller would not run. It watches only metadata, which changes with the
// status too. It is the store of its own reflector, and stores nothing.
type certificateWatch struct {
	certificates toolscache.ListerWatcher
	// changed receives each changed Certificate.
	changed chan<- event.GenericEvent
	// enqueueAll queues all targets, because the conditions of targets with an issuer change when
	// cert-manager is installed or uninstalled.
	enqueueAll func()
	log        logr.Logger

	done <-chan struct{}
	// there reports whether the cluster serves Certificates. nil means unknown.
	there *bool
}

func newCertificateWatch(
	mgr ctrl.Manager, changed chan<- event.GenericEvent, enqueueAll func(),
) (*certificateWatch, error) {
	clients, err := metadata.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	certificates := clients.Resource(certmanagerv1.SchemeGroupVersion.WithResource("certificates"))
	ours := labels.SelectorFromSet(labels.Set{egress.LabelManagedBy: egress.ValueManagedBy}).String()
	return &certificateWatch{
		certificates: &toolscache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				options.LabelSelector = ours
				return certificates.List(ctx, options)
			},
			WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
				options.LabelSelector = ours
				return certificates.Watch(ctx, options)
			},
		},
		changed:    changed,
		enqueueAll: enqueueAll,
		log:        mgr.GetLogger().WithName("certificates"),
	}, nil
}

// Start watches the Certificates until ctx is done.
func (w *certificateWatch) Start(ctx context.Context) error {
	w.done = ctx.Done()
	reflector := toolscache.NewReflectorWithOptions(
		w.certificates, &metav1.PartialObjectMetadata{}, w, toolscache.ReflectorOptions{Name: "certificates"},
	)
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		err := reflector.ListAndWatchWithContext(ctx)
		switch {
		case ctx.Err() != nil:
		case apierrors.IsNotFound(err):
			w.found(false)
		case err != nil:
			w.log.Error(err, "Can't watch the Certificates of cert-manager; their changes take effect late")
		}
	}, retryCertManager)
	return nil
}

func (w *certificateWatch) found(there bool) {
	if w.there != nil && *w.there != there {
		w.enqueueAll()
	}
	w.there = &there
}

// Add is part of toolscache.ReflectorStore.
func (w *certificateWatch) Add(object any) error { return w.send(object) }

// Update is part of toolscache.ReflectorStore.
func (w *certificateWatch) Update(object any) error { return w.send(object) }

// Delete is part of toolscache.ReflectorStore.
func (w *certificateWatch) Delete(object any) error { return w.send(object) }

// Replace is part of toolscache.ReflectorStore. It gets the result of a list.
func (w *certificateWatch) Replace(objects []any, _ string) error {
	w.found(true)
	for _, object := range objects {
		if err := w.send(object); err != nil {
			return err
		}
	}
	return nil
}

// Resync is part of toolscache.ReflectorStore.
func (w *certificateWatch) Resync() error { return nil }

func (w *certificateWatch) send(object any) error {
	certificate, ok := object.(client.Object)
	if !ok {
		return nil
	}
	select {
	case w.changed <- event.GenericEvent{Object: certificate}:
	case <-w.done:
	}
	return nil
}

// certificateRequests returns the EgressTarget that owns a Certificate.
func certificateRequests(_ context.Context, certificate client.Object) []reconcile.Request {
	owner := metav1.GetControllerOf(certificate)
	if owner == nil || owner.Kind != v1alpha1.Kind {
		return nil
	}
	return []reconcile.Request{
		{NamespacedName: types.NamespacedName{Namespace: certificate.GetNamespace(), Name: owner.Name}},
	}
}
