package render

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

// collectSecret reads a Secret as an API server would store it.
func (r *renderer) collectSecret(item item) {
	typed := &corev1.Secret{}
	if err := item.decodeInto(typed); err != nil {
		// The converter's words may repeat what it could not read, which is a key here.
		r.refuse(item.location, "can't be read as a Secret; data holds base64, stringData holds text")
		return
	}
	credential.MergeStringData(typed)
	r.secrets[nameKey(item.namespace(), typed.Name)] = secret{location: item.location, object: typed}
}

func nameKey(namespace, name string) string {
	return namespace + "/" + name
}

// credentials checks the Secrets in use, and the CA of the server where a ConfigMap of the input
// has it. What isn't part of the input is taken to be as it should be.
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
			r.refuse(found.location, fmt.Sprintf("can't be the credential of %s: %v", t.Host, credential.ForOwner(check.Err)))
			return nil, false
		}
		checks = append(checks, check)
	}
	return checks, true
}
