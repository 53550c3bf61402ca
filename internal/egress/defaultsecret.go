package egress

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
)

func namesNoSecret(egressTarget *v1alpha1.EgressTarget) bool {
	return egressTarget == nil || egressTarget.Spec.Credential.SecretName == ""
}

// defaultSecrets finds hosts that would share a Secret because no annotation and no EgressTarget
// names one. Sharing would present a certificate to a partner that it wasn't issued for.
type defaultSecrets struct {
	egressTargets map[string]*v1alpha1.EgressTarget
	// ofPod holds the hosts of the Pod that were already checked, and others those of the
	// namespace with the default Secret of one of them. Both are keyed by default Secret name.
	ofPod, others map[string]string
}

func newDefaultSecrets(intent Intent, egressTargets map[string]*v1alpha1.EgressTarget) defaultSecrets {
	d := defaultSecrets{egressTargets: egressTargets, ofPod: map[string]string{}, others: map[string]string{}}
	asked := intent.Hosts()
	for host, egressTarget := range egressTargets {
		same := func(asked string) bool { return sameDefaultSecret(asked, host) }
		if slices.Contains(asked, host) || !slices.ContainsFunc(asked, same) || !UsesDefaultSecret(egressTarget) {
			continue
		}
		name := DefaultSecretName(host)
		if oldest, taken := d.others[name]; !taken || byAge(egressTarget, egressTargets[oldest]) < 0 {
			d.others[name] = host
		}
	}
	return d
}

// UsesDefaultSecret reports whether Pods present, or are going to present, the default Secret to
// the host. That is the case if the EgressTarget names no Secret and its status doesn't show that
// all Pods name another one. An EgressTarget that the controller created and that no Pod uses
// doesn't count, because it is about to be deleted.
func UsesDefaultSecret(egressTarget *v1alpha1.EgressTarget) bool {
	if !namesNoSecret(egressTarget) {
		return false
	}
	credentials := egressTarget.Status.Credentials
	return len(credentials) == 0 || slices.ContainsFunc(credentials, func(one v1alpha1.CredentialStatus) bool {
		return one.SecretName == DefaultSecretName(egressTarget.Name) &&
			(one.Pods > 0 || !MadeByController(egressTarget))
	})
}

// byAge orders EgressTargets by creation time, and by name if created within the same second.
func byAge(a, b *v1alpha1.EgressTarget) int {
	if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
		return order
	}
	return strings.Compare(a.Name, b.Name)
}

// check rejects the default Secret name of host if it is too long to exist, or if another host of
// the Pod or the namespace has the same one. Of two EgressTargets the older keeps the name, so
// adding an EgressTarget never blocks Pods that were admitted before.
func (d defaultSecrets) check(host string, path *field.Path) field.ErrorList {
	name := DefaultSecretName(host)
	if len(name) > validation.DNS1123SubdomainMaxLength {
		return field.ErrorList{field.Required(path.Key(AnnotationSecret), fmt.Sprintf(
			"the default Secret name of %s is longer than %d characters; write %s: <secret>",
			quotedExcerpt(host), validation.DNS1123SubdomainMaxLength, AnnotationSecret))}
	}
	another := strings.TrimSuffix(name, secretSuffix) + "-2" + secretSuffix
	if other, taken := d.ofPod[name]; taken {
		return field.ErrorList{field.Required(path.Key(AnnotationSecret), fmt.Sprintf(
			"%s and %s both default to the Secret %s; name a Secret for each host, for example %s: %s=%s,%s=%s, or "+
				"%s: %s if it is meant for both", other, host, name, AnnotationSecret, other, name, host, another,
			AnnotationSecret, name))}
	}
	d.ofPod[name] = host
	other, taken := d.others[name]
	if own := d.egressTargets[host]; !taken || own != nil && byAge(own, d.egressTargets[other]) < 0 {
		return nil
	}
	return field.ErrorList{field.Required(path.Key(AnnotationSecret), fmt.Sprintf(
		"%s defaults to the Secret %s, which is already the default Secret of %s in this namespace; name a Secret "+
			"for this host, for example %s: %s=%s, or %s: %s=%s if the credential is meant for both", host, name, other,
		AnnotationSecret, host, another, AnnotationSecret, host, name))}
}
