package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/target"
)

// credentials reads the Secrets in use, each by name from the API server, and checks them in the order of their names,
// with the CA of the server where a ConfigMap has it. A Secret or ConfigMap that can't be read gives a check that says so,
// and an error, so that it is read again.
func (r *EgressTargetReconciler) credentials(
	ctx context.Context, t target.Target, inUse map[string]int32, now time.Time,
) ([]plan.CredentialCheck, error) {
	inConfigMap := t.ServerCA.ConfigMap.Name != ""
	var configMap *corev1.ConfigMap
	var configMapErr error
	if inConfigMap {
		configMap, configMapErr = readByName[corev1.ConfigMap](ctx, r.live, t.Namespace, t.ServerCA.ConfigMap.Name)
	}
	var checks []plan.CredentialCheck
	errs := []error{configMapErr}
	for _, name := range slices.Sorted(maps.Keys(inUse)) {
		secret, err := readByName[corev1.Secret](ctx, r.live, t.Namespace, name)
		if err = cmp.Or(err, configMapErr); err != nil {
			errs = append(errs, err)
			checks = append(checks, plan.Unreadable(name, inUse[name], err))
			continue
		}
		check := plan.CheckCredential(t, name, inUse[name], secret, now)
		if inConfigMap {
			check = check.WithServerCA(t, configMap, now)
		}
		checks = append(checks, check)
	}
	return checks, errors.Join(errs...)
}

// readByName returns a Secret or a ConfigMap, nil when it doesn't exist. Resource version 0 lets the API server answer from its own
// watch cache instead of etcd, which makes a read cheap and its answer at most moments old.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
func readByName[T any, P interface {
	*T
	client.Object
}](ctx context.Context, live client.Reader, namespace, name string) (*T, error) {
	object := new(T)
	there, err := absent.Read(ctx, live, fmt.Sprintf("%T", object), namespace, name, P(object), &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}})
	if err != nil || !there {
		return nil, err
	}
	return object, nil
}
