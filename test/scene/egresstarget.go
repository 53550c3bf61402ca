package scene

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
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

// ProgramTargets creates the EgressTargets of hosts that a namespace lacks, and waits until each is
// programmed, open or closed.
func (s *Scene) ProgramTargets(ctx context.Context, namespace string, hosts ...string) error {
	for _, host := range hosts {
		made := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
		made.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind("EgressTarget"))
		made.SetName(host)
		_, err := s.EgressTargets(namespace).Create(ctx, made, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	for _, host := range hosts {
		if err := Until(ctx, "the target "+host+" to be programmed", func(ctx context.Context) error {
			egressTarget, err := s.EgressTarget(ctx, namespace, host)
			if err == nil && meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionProgrammed) == nil {
				err = errors.New("it has no condition Programmed yet")
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
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
