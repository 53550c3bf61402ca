package scene

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"mtls.egress/webhook/api/v1alpha1"
)

// EgressTargets is a client for those of a namespace.
func (s *Scene) EgressTargets(namespace string) dynamic.ResourceInterface {
	return s.Dynamic.Resource(v1alpha1.GroupVersion().WithResource("egresstargets")).Namespace(namespace)
}

// EgressTarget reads the one of a host.
func (s *Scene) EgressTarget(ctx context.Context, namespace, host string) (*v1alpha1.EgressTarget, error) {
	content, err := s.EgressTargets(namespace).Get(ctx, host, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return ReadEgressTarget(content)
}

// ReadEgressTarget converts what the client of EgressTargets returns.
func ReadEgressTarget(content *unstructured.Unstructured) (*v1alpha1.EgressTarget, error) {
	egressTarget := &v1alpha1.EgressTarget{}
	return egressTarget, runtime.DefaultUnstructuredConverter.FromUnstructured(content.Object, egressTarget)
}
