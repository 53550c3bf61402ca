// Package meshconfig watches the ConfigMap that contains Istio's mesh configuration.
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

// readAgain is the delay before a retry after reading or watching the ConfigMap failed.
const readAgain = 5 * time.Second

// errNotRead is the problem before the first read.
var errNotRead = errors.New("the mesh configuration has not been read yet")

// Watch watches the ConfigMap that contains the mesh configuration. It is not an informer of a
// manager's cache: without permission to read the ConfigMap, that cache would never sync. It is the
// store of its own reflector, and stores only the configuration.
type Watch struct {
	configMaps toolscache.ListerWatcher
	log        logr.Logger

	mutex   sync.Mutex
	config  mesh.Config
	problem error
}

// New returns a watch of the ConfigMap with that name. It does nothing until Start.
func New(config *rest.Config, name types.NamespacedName, log logr.Logger) (*Watch, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	// RBAC's resourceNames require a field selector on the name.
	// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name)
	return &Watch{
		configMaps: toolscache.NewListWatchFromClient(
			clients.CoreV1().RESTClient(), string(corev1.ResourceConfigMaps), name.Namespace, byName),
		log:     log.WithValues("configMap", name.String()),
		problem: errNotRead,
	}, nil
}

// NeedLeaderElection returns false, because every replica answers admission requests.
func (w *Watch) NeedLeaderElection() bool { return false }

// Start watches the ConfigMap until ctx is done.
func (w *Watch) Start(ctx context.Context) error {
	options := toolscache.ReflectorOptions{Name: "mesh configuration"}
	reflector := toolscache.NewReflectorWithOptions(w.configMaps, &corev1.ConfigMap{}, w, options)
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := reflector.ListAndWatchWithContext(ctx); err != nil && ctx.Err() == nil {
			w.fail(err)
		}
	}, readAgain)
	return nil
}

// Config returns the last mesh configuration that was read, or Istio's defaults before the first
// read.
func (w *Watch) Config() mesh.Config {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.config
}

// Problem returns the reason why the mesh configuration can't be read now, or nil if it can.
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

// Replace is part of toolscache.ReflectorStore. It gets the result of a list: nothing or the
// ConfigMap.
func (w *Watch) Replace(objects []any, _ string) error {
	if len(objects) == 0 {
		return w.see(nil)
	}
	return w.see(objects[0])
}

// Resync is part of toolscache.ReflectorStore.
func (w *Watch) Resync() error { return nil }

// see processes the current ConfigMap, or nil if it doesn't exist.
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

// fail records why the mesh configuration can't be read. The last one that was read stays in
// effect.
func (w *Watch) fail(err error) {
	w.mutex.Lock()
	news := w.problem == nil || w.problem.Error() != err.Error()
	w.problem = err
	w.mutex.Unlock()
	if news {
		w.log.Error(err, "Can't read the mesh configuration, so the last one that was read stays in effect. "+
			"Set the ConfigMap with --mesh-config")
	}
}
