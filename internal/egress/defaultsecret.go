package egress

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
)

func namesNoSecret(egressTarget *v1alpha1.EgressTarget) bool {
	return egressTarget == nil || egressTarget.Spec.Credential.SecretName == ""
}

// defaultSecrets finds the hosts that would share a Secret because no one named one: a certificate
// would be shown to a partner that it is not for.
type defaultSecrets struct {
	egressTargets map[string]*v1alpha1.EgressTarget
	// ofPod are the hosts of the Pod that were checked, others those of the namespace, by the default
	// Secret that they have.
	ofPod, others map[string]string
}

func newDefaultSecrets(intent Intent, egressTargets map[string]*v1alpha1.EgressTarget) defaultSecrets {
	d := defaultSecrets{egressTargets: egressTargets, ofPod: map[string]string{}, others: map[string]string{}}
	asked := map[string]bool{}
	for _, host := range intent.Hosts() {
		asked[host] = true
	}
	// The eldest comes last, and stays.
	for _, host := range slices.SortedFunc(maps.Keys(egressTargets), func(a, b string) int { return -byAge(egressTargets[a], egressTargets[b]) }) {
		if !asked[host] && UsesDefaultSecret(egressTargets[host]) {
			d.others[DefaultSecretName(host)] = host
		}
	}
	return d
}

// UsesDefaultSecret reports whether Pods present the default Secret to the host, or will: the
// EgressTarget names no Secret, and the status doesn't say that all Pods name another. An
// EgressTarget that the controller made and no Pod uses is on its way out.
func UsesDefaultSecret(egressTarget *v1alpha1.EgressTarget) bool {
	if !namesNoSecret(egressTarget) {
		return false
	}
	credentials := egressTarget.Status.Credentials
	return len(credentials) == 0 || slices.ContainsFunc(credentials, func(one v1alpha1.CredentialStatus) bool {
		return one.SecretName == DefaultSecretName(egressTarget.Name) && (one.Pods > 0 || !MadeByController(egressTarget))
	})
}

// byAge orders EgressTargets by their creation, and by name where a second has several.
func byAge(a, b *v1alpha1.EgressTarget) int {
	if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
		return order
	}
	return strings.Compare(a.Name, b.Name)
}

// check refuses the default Secret name of host where it is too long to exist, or where another
// host of the Pod or of the namespace has it too. Of two EgressTargets the elder keeps it, so that
// one that is added later stops no Pod that ran before.
func (d defaultSecrets) check(host string, path *field.Path) field.ErrorList {
	name := DefaultSecretName(host)
	if len(name) > validation.DNS1123SubdomainMaxLength {
		return field.ErrorList{field.Required(path.Key(AnnotationSecret), fmt.Sprintf(
			"the default Secret name of %s is longer than the %d characters that a name can have; write %s: <secret>",
			quoted(host), validation.DNS1123SubdomainMaxLength, AnnotationSecret))}
	}
	another := strings.TrimSuffix(name, secretSuffix) + "-2" + secretSuffix
	if other, taken := d.ofPod[name]; taken {
		return field.ErrorList{field.Required(path.Key(AnnotationSecret), fmt.Sprintf(
			"%s and %s both default to the Secret %s; say which is whose, for example %s: %s=%s,%s=%s, or %s: %s if it is meant for both",
			other, host, name, AnnotationSecret, other, name, host, another, AnnotationSecret, name))}
	}
	d.ofPod[name] = host
	other, taken := d.others[name]
	if own := d.egressTargets[host]; !taken || own != nil && byAge(own, d.egressTargets[other]) < 0 {
		return nil
	}
	return field.ErrorList{field.Required(path.Key(AnnotationSecret), fmt.Sprintf(
		"%s defaults to the Secret %s, which %s of this namespace has by default already; name the Secret of this host, for example %s: %s=%s, or %s: %s=%s if the credential is meant for both",
		host, name, other, AnnotationSecret, host, another, AnnotationSecret, host, name))}
}
