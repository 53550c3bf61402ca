// Package meshconfig watches the ConfigMaps that contain Istio's configuration.
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

	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/mesh"
)

// readAgain is the delay before a retry after reading or watching the ConfigMap failed.
const readAgain = 5 * time.Second

// errNotRead is the problem before the first read.
var errNotRead = errors.New("the configuration has not been read yet")

// Source describes a configuration of type T in a ConfigMap.
type Source[T any] struct {
	// Name is what messages call it.
	Name string
	// Flag is the flag with the name of the ConfigMap.
	Flag string
	// Read parses the data of the ConfigMap.
	Read func(data map[string]string) (T, error)
	// Describe returns keys and values for the log.
	Describe func(T) []any
}

// Mesh is the mesh configuration.
func Mesh() Source[mesh.Config] {
	return Source[mesh.Config]{
		Name: "mesh configuration", Flag: "--mesh-config",
		Read: func(data map[string]string) (mesh.Config, error) {
			text, found := data[mesh.MeshConfigKey]
			if !found {
				return mesh.Config{}, fmt.Errorf("the ConfigMap has no key %s", mesh.MeshConfigKey)
			}
			return mesh.ReadConfig(text)
		},
		Describe: func(config mesh.Config) []any {
			return []any{
				"dynamicDNS", config.DynamicDNS, "registryOnly", config.RegistryOnly,
				"virtualServiceExportTo", config.VirtualServiceExportTo,
				"destinationRuleExportTo", config.DestinationRuleExportTo, "serviceExportTo", config.ServiceExportTo,
			}
		},
	}
}

// Injector is the configuration of the sidecar injector.
func Injector() Source[interception.Injector] {
	return Source[interception.Injector]{
		Name: "injector's configuration", Flag: "--injector-config",
		Read: func(data map[string]string) (interception.Injector, error) {
			for _, key := range []string{interception.InjectorConfigKey, interception.InjectorValuesKey} {
				if _, found := data[key]; !found {
					return interception.Injector{}, fmt.Errorf("the ConfigMap has no key %s", key)
				}
			}
			return interception.ReadInjector(data[interception.InjectorConfigKey], data[interception.InjectorValuesKey])
		},
		Describe: func(injector interception.Injector) []any {
			return []any{
				"everyNamespace", injector.EveryNamespace, "onRequest", injector.OnRequest,
				"interception", injector.Interception,
			}
		},
	}
}

// Watch watches the ConfigMap that contains a configuration. It is not an informer of a manager's
// cache: without permission to read the ConfigMap, that cache would never sync. It is the store of
// its own reflector, and stores only the configuration.
type Watch[T any] struct {
	source     Source[T]
	configMaps toolscache.ListerWatcher
	log        logr.Logger

	mutex   sync.Mutex
	config  T
	problem error
}

// New returns a watch of the ConfigMap with that name. It does nothing until Start.
func New[T any](
	config *rest.Config, name types.NamespacedName, source Source[T], log logr.Logger,
) (*Watch[T], error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	// RBAC's resourceNames require a field selector on the name.
	// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name)
	return &Watch[T]{
		source: source,
		configMaps: toolscache.NewListWatchFromClient(
			clients.CoreV1().RESTClient(), string(corev1.ResourceConfigMaps), name.Namespace, byName),
		log:     log.WithValues("configMap", name.String()),
		problem: errNotRead,
	}, nil
}

// NeedLeaderElection returns false, because every replica answers admission requests.
func (w *Watch[T]) NeedLeaderElection() bool { return false }

// Start watches the ConfigMap until ctx is done.
func (w *Watch[T]) Start(ctx context.Context) error {
	options := toolscache.ReflectorOptions{Name: w.source.Name}
	reflector := toolscache.NewReflectorWithOptions(w.configMaps, &corev1.ConfigMap{}, w, options)
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := reflector.ListAndWatchWithContext(ctx); err != nil && ctx.Err() == nil {
			w.fail(err)
		}
	}, readAgain)
	return nil
}

// Config returns the last configuration that was read, or Istio's defaults, the zero value, before
// the first read.
func (w *Watch[T]) Config() T {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.config
}

// Problem returns the reason why the configuration can't be read now, or nil if it can.
func (w *Watch[T]) Problem() error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.problem
}

// Add is part of toolscache.ReflectorStore.
func (w *Watch[T]) Add(object any) error { return w.see(object) }

// Update is part of toolscache.ReflectorStore.
func (w *Watch[T]) Update(object any) error { return w.see(object) }

// Delete is part of toolscache.ReflectorStore.
func (w *Watch[T]) Delete(any) error { return w.see(nil) }

// Replace is part of toolscache.ReflectorStore. It gets the result of a list: nothing or the
// ConfigMap.
func (w *Watch[T]) Replace(objects []any, _ string) error {
	if len(objects) == 0 {
		return w.see(nil)
	}
	return w.see(objects[0])
}

// Resync is part of toolscache.ReflectorStore.
func (w *Watch[T]) Resync() error { return nil }

// see processes the current ConfigMap, or nil if it doesn't exist.
func (w *Watch[T]) see(object any) error {
	config, err := w.read(object)
	if err != nil {
		w.fail(err)
		return nil
	}
	w.mutex.Lock()
	news := w.problem != nil || !reflect.DeepEqual(w.config, config)
	w.config, w.problem = config, nil
	w.mutex.Unlock()
	if news {
		w.log.Info("Read the "+w.source.Name, w.source.Describe(config)...)
	}
	return nil
}

func (w *Watch[T]) read(object any) (config T, err error) {
	configMap, _ := object.(*corev1.ConfigMap)
	if configMap == nil {
		return config, errors.New("the ConfigMap does not exist")
	}
	return w.source.Read(configMap.Data)
}

// fail records why the configuration can't be read. The last one that was read stays in
// effect.
func (w *Watch[T]) fail(err error) {
	w.mutex.Lock()
	news := w.problem == nil || w.problem.Error() != err.Error()
	w.problem = err
	w.mutex.Unlock()
	if news {
		w.log.Error(err, "Can't read the "+w.source.Name+", so the last one that was read stays in effect. "+
			"Set the ConfigMap with "+w.source.Flag)
	}
}
