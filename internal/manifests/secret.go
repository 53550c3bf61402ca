package manifests

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/plan"
)

// secret is a Secret of the input.
type secret struct {
	location Location
	object   *corev1.Secret
}

// collectSecret decodes a Secret in the form in which an API server stores it.
func (r *renderer) collectSecret(item item) {
	typed := &corev1.Secret{}
	if err := item.decodeInto(typed); err != nil {
		// The converter's error can contain the value, which may be a key.
		r.refuse(item.location, "is not a valid Secret: values of data must be base64, and those of stringData text")
		return
	}
	credential.MergeStringData(typed)
	r.secrets[nameKey(item.namespace(), typed.Name)] = secret{location: item.location, object: typed}
}

func nameKey(namespace, name string) string {
	return namespace + "/" + name
}

// credentials checks the Secrets in use, and the CA of the server if it is in a ConfigMap of the
// input. Objects that are not part of the input are assumed to be valid.
func (r *renderer) credentials(t egress.Target, inUse map[string]int32) (checks []plan.CredentialCheck, ok bool) {
	if !r.checkServerCA(t) {
		return nil, false
	}
	for _, secretName := range slices.Sorted(maps.Keys(inUse)) {
		found, given := r.secrets[nameKey(t.Namespace, secretName)]
		if !given {
			checks = append(checks, plan.AssumedCredential(t, secretName, inUse[secretName]))
			continue
		}
		check := plan.CheckCredential(t, secretName, inUse[secretName], found.object, r.options.Now)
		if check.Err != nil {
			r.refuse(found.location,
				fmt.Sprintf("is not a usable credential for %s: %v", t.Host, credential.ForOwner(check.Err)))
			return nil, false
		}
		checks = append(checks, check)
	}
	return checks, true
}
