package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/target"
)

// findings reads the Secrets in use, each by name from the API server, and judges them in the order of their names.
func (r *EgressTargetReconciler) findings(ctx context.Context, t target.Target, inUse map[string]int32, now time.Time) ([]finding, error) {
	var found []finding
	for _, name := range slices.Sorted(maps.Keys(inUse)) {
		data, err := r.secretData(ctx, t.Namespace, name)
		if err != nil {
			return nil, err
		}
		found = append(found, judge(t, name, inUse[name], data, now))
	}
	return found, nil
}

// secretData returns nil when the Secret doesn't exist, and never nil when it does. Resource version 0 lets the API server
// answer from its own watch cache instead of etcd, which makes a read cheap and its answer at most moments old.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
func (r *EgressTargetReconciler) secretData(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	var secret corev1.Secret
	err := r.live.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &secret, &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the Secret %s/%s: %w", namespace, name, err)
	}
	if secret.Data == nil {
		return map[string][]byte{}, nil
	}
	return secret.Data, nil
}
