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
		r.refuse(item.problem(ReasonInvalidObject, []any{"data"},
			"is not a valid Secret: values of data must be base64, and those of stringData text"))
		return
	}
	credential.MergeStringData(typed)
	r.secrets[nameKey(item.namespace(), typed.Name)] = secret{location: item.location, object: typed}
}

func nameKey(namespace, name string) string {
	return namespace + "/" + name
}

// credentials checks the Secrets in use, and the CA of the server if it is in a ConfigMap of the
// input. Objects that are not part of the input are assumed to be valid, and so are refused ones,
// so that the other problems of the target are found, too.
func (r *renderer) credentials(t egress.Target, inUse map[string]int32) []plan.CredentialCheck {
	r.checkServerCA(t)
	var checks []plan.CredentialCheck
	for _, secretName := range slices.Sorted(maps.Keys(inUse)) {
		found, given := r.secrets[nameKey(t.Namespace, secretName)]
		if !given {
			checks = append(checks, plan.AssumedCredential(t, secretName, inUse[secretName]))
			continue
		}
		check := plan.CheckCredential(t, secretName, inUse[secretName], found.object, r.options.Now)
		if check.Err != nil {
			r.refuse(Problem{
				Location: found.location, Reason: ReasonUnusableSecret,
				Message: fmt.Sprintf("is not a usable credential for %s: %v", t.Host, credential.ForOwner(check.Err)),
			})
			check = plan.AssumedCredential(t, secretName, inUse[secretName])
		}
		checks = append(checks, check)
	}
	return checks
}
