package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

// readMeshConfigAgain is the pause after the ConfigMap could not be read or its watch broke off.
const readMeshConfigAgain = 5 * time.Second

// meshConfigWatch follows the one ConfigMap that holds the mesh configuration, on the leader. It is no informer of the
// manager's cache: a ConfigMap that nobody may read would keep that from ever being filled, and the controller from running.
// It is the store of its own reflector, which calls it for all that a list or the watch brings and keeps nothing.
type meshConfigWatch struct {
	configMaps toolscache.ListerWatcher
	name       types.NamespacedName
	capture    *dnsCapture
	// changes gets an element when all targets have to be programmed anew. It has room for one, so that a watch never waits.
	changes chan<- event.GenericEvent
	log     logr.Logger
}

func newMeshConfigWatch(mgr ctrl.Manager, name types.NamespacedName, capture *dnsCapture, changes chan<- event.GenericEvent) (*meshConfigWatch, error) {
	clients, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	// By field selector on the name, which is what RBAC's resourceNames allow.
	// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name)
	return &meshConfigWatch{
		configMaps: toolscache.NewListWatchFromClient(clients.CoreV1().RESTClient(), string(corev1.ResourceConfigMaps), name.Namespace, byName),
		name:       name,
		capture:    capture,
		changes:    changes,
		log:        mgr.GetLogger().WithName("mesh-config").WithValues("configMap", name.String()),
	}, nil
}

// Start follows the ConfigMap until ctx ends.
func (w *meshConfigWatch) Start(ctx context.Context) error {
	reflector := toolscache.NewReflectorWithOptions(w.configMaps, &corev1.ConfigMap{}, w, toolscache.ReflectorOptions{Name: "mesh configuration"})
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := reflector.ListAndWatchWithContext(ctx); err != nil && ctx.Err() == nil {
			w.fail(err)
		}
	}, readMeshConfigAgain)
	return nil
}

// Add is part of toolscache.ReflectorStore.
func (w *meshConfigWatch) Add(object any) error { return w.see(object) }

// Update is part of toolscache.ReflectorStore.
func (w *meshConfigWatch) Update(object any) error { return w.see(object) }

// Delete is part of toolscache.ReflectorStore.
func (w *meshConfigWatch) Delete(any) error { return w.see(nil) }

// Replace is part of toolscache.ReflectorStore: what a list has found, nothing or the ConfigMap.
func (w *meshConfigWatch) Replace(objects []any, _ string) error {
	if len(objects) == 0 {
		return w.see(nil)
	}
	return w.see(objects[0])
}

// Resync is part of toolscache.ReflectorStore.
func (w *meshConfigWatch) Resync() error { return nil }

// see takes the ConfigMap as it is now, nil for none.
func (w *meshConfigWatch) see(object any) error {
	configMap, _ := object.(*corev1.ConfigMap)
	on, err := dnsCaptureOf(configMap)
	if err != nil {
		w.fail(err)
		return nil
	}
	changed, news := w.capture.learn(on)
	if news {
		w.log.Info("Read the mesh configuration", "dnsCapture", on)
	}
	if changed {
		w.tell()
	}
	return nil
}

func (w *meshConfigWatch) fail(err error) {
	if w.capture.fail(err) {
		w.log.Error(err, "Can't find out from the mesh configuration whether sidecars answer DNS; what was last known holds. "+
			"Name the right ConfigMap with --mesh-config, or say it with --dns-capture=true or false")
	}
}

// tell has all targets programmed anew.
func (w *meshConfigWatch) tell() {
	tellAll(w.changes, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: w.name.Name}})
}
