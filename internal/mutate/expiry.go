package mutate

import (
	"iter"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// publicCAWarnings returns a warning for each client certificate that a public CA issued, according
// to the status of its EgressTarget.
func publicCAWarnings(
	targets []egress.Target, egressTargets map[string]*v1alpha1.EgressTarget, annotations *field.Path,
) []Warning {
	var warnings []Warning
	for t, known := range presented(targets, egressTargets) {
		if known.PublicCA {
			warnings = append(warnings, warningf(ReasonCertificate, annotations.Key(egress.AnnotationTarget),
				"the client certificate for %s in the Secret %s comes from a public CA; "+
					"those stop issuing certificates for TLS clients in 2026, so ask the partner which private CA it accepts",
				t.Host, t.SecretName))
		}
	}
	return warnings
}

// serverCAWarnings returns a warning for each CA of a server that expires soon, is not a CA or has
// certificates that can't be read, according to the status of its EgressTarget.
func serverCAWarnings(
	targets []egress.Target, egressTargets map[string]*v1alpha1.EgressTarget, annotations *field.Path,
) []Warning {
	var warnings []Warning
	for t, known := range presented(targets, egressTargets) {
		if known.ServerCA != nil {
			warnings = append(warnings, serverCAWarningsOf(annotations.Key(egress.AnnotationTarget), known.ServerCA,
				"the CA of the server "+t.Host+" in the "+serverCAObject(t))...)
		}
	}
	return warnings
}

func serverCAObject(t egress.Target) string {
	if configMap := t.ServerCA.ConfigMap.Name; configMap != "" {
		return "ConfigMap " + configMap
	}
	return "Secret " + t.SecretName
}

func serverCAWarningsOf(at *field.Path, ca *v1alpha1.ServerCAStatus, which string) []Warning {
	var warnings []Warning
	if ca.NotAfter != nil && ca.EndsWithin != nil {
		warnings = append(warnings, warningf(ReasonCertificate, at,
			"%s is valid only until %s; ask the partner for the current one, and add it", which,
			ca.NotAfter.UTC().Format(time.RFC3339)))
	}
	if ca.NotCA {
		warnings = append(warnings, warningf(ReasonCertificate, at,
			"%s is not a CA but the certificate of a server (%s), so calls fail after the partner renews it; ask the partner "+
				"for the CA that issued it", which, ca.Subject))
	}
	if ca.Skipped > 0 {
		warnings = append(warnings, warningf(ReasonCertificate, at,
			"%s has certificates that can't be read: %d; the condition %s of the EgressTarget names them", which, ca.Skipped,
			v1alpha1.ConditionServerCAAtRisk))
	}
	return warnings
}

// expiryWarnings returns a warning for each client certificate that has expired or expires soon,
// according to the status of its EgressTarget. It ignores all other parts of the status, because
// they can be outdated: the problem may just have been fixed.
func expiryWarnings(
	targets []egress.Target, egressTargets map[string]*v1alpha1.EgressTarget, annotations *field.Path,
) []Warning {
	var warnings []Warning
	for t, known := range presented(targets, egressTargets) {
		if known.NotAfter == nil || known.EndsWithin == nil {
			continue
		}
		fix := "update the Secret with a new one"
		if t.Issuer != nil {
			fix = "cert-manager should have renewed it, and the condition CertificateIssued of the EgressTarget shows why it " +
				"hasn't"
		}
		warnings = append(warnings, warningf(ReasonCertificate, annotations.Key(egress.AnnotationTarget),
			"the client certificate for %s in the Secret %s is valid only until %s; %s", t.Host, t.SecretName,
			known.NotAfter.UTC().Format(time.RFC3339), fix))
	}
	return warnings
}

// presented returns each target with the status of the credential that its Pods present.
func presented(
	targets []egress.Target, egressTargets map[string]*v1alpha1.EgressTarget,
) iter.Seq2[egress.Target, v1alpha1.CredentialStatus] {
	return func(yield func(egress.Target, v1alpha1.CredentialStatus) bool) {
		for _, t := range targets {
			if egressTargets[t.Host] == nil {
				continue
			}
			for _, known := range egressTargets[t.Host].Status.Credentials {
				if known.SecretName == t.SecretName && !yield(t, known) {
					return
				}
			}
		}
	}
}
