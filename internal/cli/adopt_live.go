package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
)

// adoptCluster is the namespace whose hand-written objects are taken over.
type adoptCluster struct {
	client.Client

	config    *rest.Config
	namespace string
	options   manifests.Options
	timeout   time.Duration
	shown     progress
	// sidecar returns the reader of a Pod's sidecar.
	sidecar func(*corev1.Pod) Sidecar
}

// connect connects to the cluster of the kubeconfig.
func (f *adoptFlags) connect(options manifests.Options, diagnostics io.Writer) (*adoptCluster, error) {
	config, err := f.connection.config(usersTimeout)
	if err != nil {
		return nil, err
	}
	// Admission warns of what is wrong with a workload.
	config.WarningHandler = rest.NewWarningWriter(diagnostics, rest.WarningWriterOptions{Deduplicate: true})
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	namespace := f.namespace
	if namespace == "" {
		if namespace, _, err = clientConfig(f.connection.kubeconfig, f.connection.context).Namespace(); err != nil {
			return nil, fmt.Errorf("loading the kubeconfig: %w", err)
		}
	}
	options.Namespace = namespace
	return &adoptCluster{
		Client: c, config: config, namespace: namespace, options: options, timeout: f.timeout,
		shown:   f.connection.progress(diagnostics),
		sidecar: func(pod *corev1.Pod) Sidecar { return &adminSidecar{config: config, pod: pod} },
	}, nil
}

// read returns the objects of the namespace that matter: Istio's, EgressTargets, and the workloads
// that nothing else creates.
func (c *adoptCluster) read(ctx context.Context) (*check.World, error) {
	kinds := []schema.GroupKind{{Group: v1alpha1.GroupVersion().Group, Kind: v1alpha1.Kind}, {Kind: "Pod"}}
	for _, kind := range append(mesh.HostKinds(), mesh.KindSidecar) {
		kinds = append(kinds, schema.GroupKind{Group: mesh.GroupVersion().Group, Kind: kind})
	}
	byKind := c.options.Workloads.ByKind()
	kinds = append(kinds, slices.SortedFunc(maps.Keys(byKind), func(a, b schema.GroupKind) int {
		return cmp.Compare(a.String(), b.String())
	})...)
	defer c.shown.wait("reading the objects of the namespace " + c.namespace)()
	var documents []manifests.Document
	for _, kind := range kinds {
		mapping, err := c.RESTMapper().RESTMapping(kind)
		if meta.IsNoMatchError(err) {
			continue // the cluster has no such kind
		}
		if err != nil {
			return nil, fmt.Errorf("looking for the kind %s: %w", kind, err)
		}
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.List(ctx, list, client.InNamespace(c.namespace)); err != nil {
			return nil, fmt.Errorf("listing the objects of the kind %s in the namespace %s: %w", kind.Kind, c.namespace, err)
		}
		for i := range list.Items {
			if item := &list.Items[i]; metav1.GetControllerOf(item) == nil && !isFinished(item) {
				documents = append(documents,
					manifests.Document{Source: "cluster", Number: len(documents) + 1, Line: 1, Object: item.Object})
			}
		}
	}
	return check.NewWorld(documents, c.options), nil
}

// isFinished reports whether the object is a Pod or Job that makes no calls any more.
func isFinished(object *unstructured.Unstructured) bool {
	phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
	completed, found, _ := unstructured.NestedString(object.Object, "status", "completionTime")
	return object.GetKind() == "Pod" && (phase == string(corev1.PodSucceeded) || phase == string(corev1.PodFailed)) ||
		object.GetKind() == "Job" && found && completed != ""
}

// decode converts an object to a typed one.
func decode(object map[string]any, typed any) error {
	encoded, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return json.Unmarshal(encoded, typed)
}
