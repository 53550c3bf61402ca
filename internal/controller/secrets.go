package controller

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

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
		configMap, configMapErr = absent.ReadByName[corev1.ConfigMap](ctx, r.live, t.Namespace, t.ServerCA.ConfigMap.Name)
	}
	var checks []plan.CredentialCheck
	errs := []error{configMapErr}
	for _, name := range slices.Sorted(maps.Keys(inUse)) {
		secret, err := absent.ReadByName[corev1.Secret](ctx, r.live, t.Namespace, name)
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
