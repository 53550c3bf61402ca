package apply

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
)

// Status writes a status of an EgressTarget with server-side apply. manager is the field manager.
// Fields that it wrote before and that status lacks are removed. Fields of other managers stay, in
// particular conditions of other types. egressTarget identifies the object. With its resource
// version, a write based on a stale cache is a conflict. Without it, only a write to another UID is
// a conflict.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/
func Status(
	ctx context.Context, c client.Client,
	egressTarget *v1alpha1.EgressTarget, status v1alpha1.EgressTargetStatus, manager string,
) error {
	return applyStatus(ctx, c, egressTarget, &status, manager)
}

// Conditions is like Status, for a manager that only writes conditions.
func Conditions(
	ctx context.Context, c client.Client,
	egressTarget *v1alpha1.EgressTarget, conditions []metav1.Condition, manager string,
) error {
	status := struct {
		Conditions []metav1.Condition `json:"conditions,omitempty"`
	}{conditions}
	return applyStatus(ctx, c, egressTarget, &status, manager)
}

// applyStatus writes a pointer to a status, or to a part of one.
func applyStatus(
	ctx context.Context, c client.Client, egressTarget *v1alpha1.EgressTarget, status any, manager string,
) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{"status": content}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.Kind))
	object.SetNamespace(egressTarget.Namespace)
	object.SetName(egressTarget.Name)
	object.SetUID(egressTarget.UID)
	object.SetResourceVersion(egressTarget.ResourceVersion)
	configuration := client.ApplyConfigurationFromUnstructured(object)
	if err := c.Status().Apply(ctx, configuration, client.FieldOwner(manager), client.ForceOwnership); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	return nil
}
