// Package meshconfig follows the ConfigMap that holds Istio's mesh configuration.
package meshconfig

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"

	"mtls.egress/webhook/internal/mesh"
)

// readAgain is the pause after the ConfigMap could not be read or its watch broke off.
const readAgain = 5 * time.Second

// errNotRead is the problem of a mesh configuration that was not read yet.
var errNotRead = errors.New("the mesh configuration has not been read yet")

// Watch follows the one ConfigMap that holds the mesh configuration. It is not an informer of a
// manager's cache: one that may not read the ConfigMap would keep that cache from ever being
// filled. It is the store of its own reflector, which calls it for all that a list or the watch
// brings, and keeps nothing else.
type Watch struct {
	configMaps toolscache.ListerWatcher
	log        logr.Logger

	mutex   sync.Mutex
	config  mesh.Config
	problem error
}

// New returns a watch of the ConfigMap of that name, which does nothing until Start.
func New(config *rest.Config, name types.NamespacedName, log logr.Logger) (*Watch, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	// By field selector on the name, which is what RBAC's resourceNames allow.
	// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name)
	return &Watch{
		configMaps: toolscache.NewListWatchFromClient(clients.CoreV1().RESTClient(), string(corev1.ResourceConfigMaps), name.Namespace, byName),
		log:        log.WithValues("configMap", name.String()),
		problem:    errNotRead,
	}, nil
}

// NeedLeaderElection is false: every replica answers admission requests.
func (w *Watch) NeedLeaderElection() bool { return false }

// Start follows the ConfigMap until ctx ends.
func (w *Watch) Start(ctx context.Context) error {
	reflector := toolscache.NewReflectorWithOptions(w.configMaps, &corev1.ConfigMap{}, w, toolscache.ReflectorOptions{Name: "mesh configuration"})
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := reflector.ListAndWatchWithContext(ctx); err != nil && ctx.Err() == nil {
			w.fail(err)
		}
	}, readAgain)
	return nil
}

// Config returns the mesh configuration as it was last read, and Istio's defaults before.
func (w *Watch) Config() mesh.Config {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.config
}

// Problem returns why the mesh configuration can't be read now, nil if it can.
func (w *Watch) Problem() error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.problem
}

// Add is part of toolscache.ReflectorStore.
func (w *Watch) Add(object any) error { return w.see(object) }

// Update is part of toolscache.ReflectorStore.
func (w *Watch) Update(object any) error { return w.see(object) }

// Delete is part of toolscache.ReflectorStore.
func (w *Watch) Delete(any) error { return w.see(nil) }

// Replace is part of toolscache.ReflectorStore: what a list has found, nothing or the ConfigMap.
func (w *Watch) Replace(objects []any, _ string) error {
	if len(objects) == 0 {
		return w.see(nil)
	}
	return w.see(objects[0])
}

// Resync is part of toolscache.ReflectorStore.
func (w *Watch) Resync() error { return nil }

// see takes the ConfigMap as it is now, nil for none.
func (w *Watch) see(object any) error {
	config, err := read(object)
	if err != nil {
		w.fail(err)
		return nil
	}
	w.mutex.Lock()
	news := w.problem != nil || !reflect.DeepEqual(w.config, config)
	w.config, w.problem = config, nil
	w.mutex.Unlock()
	if news {
		w.log.Info("Read the mesh configuration", "dynamicDNS", config.DynamicDNS, "registryOnly", config.RegistryOnly,
			"virtualServiceExportTo", config.VirtualServiceExportTo,
			"destinationRuleExportTo", config.DestinationRuleExportTo, "serviceExportTo", config.ServiceExportTo)
	}
	return nil
}

func read(object any) (mesh.Config, error) {
	configMap, _ := object.(*corev1.ConfigMap)
	if configMap == nil {
		return mesh.Config{}, errors.New("the ConfigMap does not exist")
	}
	text, found := configMap.Data[mesh.MeshConfigKey]
	if !found {
		return mesh.Config{}, fmt.Errorf("the ConfigMap has no key %s", mesh.MeshConfigKey)
	}
	return mesh.ReadConfig(text)
}

// fail takes why the mesh configuration can't be read. What was last read holds.
func (w *Watch) fail(err error) {
	w.mutex.Lock()
	news := w.problem == nil || w.problem.Error() != err.Error()
	w.problem = err
	w.mutex.Unlock()
	if news {
		w.log.Error(err, "Can't read the mesh configuration; what was last read holds. Name the right ConfigMap with --mesh-config")
	}
}
