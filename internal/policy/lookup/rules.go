// Package lookup reads the inputs of the policy from the cluster, for admission and the controller.
package lookup

import (
	"context"
	"fmt"
	"strings"

	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/policy"
)

// NamespaceMetadata returns an object for reading the metadata of a Namespace. Caches use the same
// type. Nothing else of a Namespace is needed.
func NamespaceMetadata() *metav1.PartialObjectMetadata {
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return metadata
}

// injectionLabels returns the labels of a Namespace that say whether Istio injects a sidecar.
func injectionLabels() []string {
	return []string{egress.LabelInjection, label.IoIstioRev.Name, label.IoIstioDataplaneMode.Name}
}

// CacheOptions returns the cache options for NamespaceMetadata. The cache keeps only the annotation
// and labels: those for injection, and the given ones.
func CacheOptions(labels ...string) cache.ByObject {
	labels = append(injectionLabels(), labels...)
	return cache.ByObject{Transform: func(object any) (any, error) {
		metadata, ok := object.(*metav1.PartialObjectMetadata)
		if !ok {
			return object, nil
		}
		kept := NamespaceMetadata()
		kept.Name, kept.UID, kept.ResourceVersion = metadata.Name, metadata.UID, metadata.ResourceVersion
		if value, found := metadata.Annotations[egress.AnnotationAllowedTargets]; found {
			metav1.SetMetaDataAnnotation(&kept.ObjectMeta, egress.AnnotationAllowedTargets, value)
		}
		for _, name := range labels {
			if value, found := metadata.Labels[name]; found {
				metav1.SetMetaDataLabel(&kept.ObjectMeta, name, value)
			}
		}
		return kept, nil
	}}
}

// Services returns the hosts that equal the short name, NAME.NAMESPACE, of a Service, which the
// cluster's DNS resolves. Only a host of two labels whose second label is a Namespace can be one.
// The Namespace is read from cached, so for most hosts nothing else is read. The Service is read
// from live.
func Services(ctx context.Context, cached, live client.Reader, hosts []string) ([]string, error) {
	var found []string
	for _, host := range hosts {
		name, namespace, _ := strings.Cut(host, ".")
		if strings.Contains(namespace, ".") {
			continue
		}
		err := cached.Get(ctx, client.ObjectKey{Name: namespace}, NamespaceMetadata())
		if err == nil {
			err = live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, serviceMetadata())
		}
		switch {
		case err == nil:
			found = append(found, host)
		case !absent.Object(err):
			return nil, fmt.Errorf("reading whether %s is a Service: %w", host, err)
		}
	}
	return found, nil
}

func serviceMetadata() *metav1.PartialObjectMetadata {
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Service"))
	return metadata
}

// Namespace returns the metadata of a Namespace. It reads the Namespace from cached and, if it is
// missing there, from live, because it may have just been created. A Namespace that doesn't exist
// has no metadata; the API server rejects all objects in it. If live is nil, a Namespace that is
// missing in cached is an error.
func Namespace(ctx context.Context, cached, live client.Reader, name string) (*metav1.PartialObjectMetadata, error) {
	metadata := NamespaceMetadata()
	err := cached.Get(ctx, client.ObjectKey{Name: name}, metadata)
	if absent.Object(err) && live != nil {
		err = absent.Ignore(live.Get(ctx, client.ObjectKey{Name: name}, metadata))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the namespace %s: %w", name, err)
	}
	return metadata, nil
}

// Rules returns the rules for the targets of a namespace. See Namespace.
func Rules(
	ctx context.Context, cached, live client.Reader, cluster policy.Cluster, namespace string,
) (policy.Rules, error) {
	metadata, err := Namespace(ctx, cached, live, namespace)
	if err != nil {
		return policy.Rules{}, err
	}
	return policy.Rules{Cluster: cluster, Namespace: policy.ReadNamespace(metadata.Annotations)}, nil
}
