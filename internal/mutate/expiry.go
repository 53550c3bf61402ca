package mutate

import (
	"fmt"
	"time"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// expiryWarnings tell of client certificates of the targets that end soon or have ended, as the
// statuses of their EgressTargets have it. Nothing else that a status says of a credential is told
// here: it may have been put right a moment ago.
func expiryWarnings(targets []egress.Target, egressTargets map[string]*v1alpha1.EgressTarget) []string {
	var warnings []string
	for _, t := range targets {
		if egressTargets[t.Host] == nil {
			continue
		}
		for _, known := range egressTargets[t.Host].Status.Credentials {
			if known.SecretName == t.SecretName && known.NotAfter != nil && known.EndsWithin != nil {
				cure := "put the next one into the Secret"
				if t.Issuer != nil {
					cure = "cert-manager should have renewed it, and the condition CertificateIssued of the EgressTarget says why it hasn't"
				}
				warnings = append(warnings, fmt.Sprintf("the client certificate for %s in the Secret %s is valid until %s only; %s", t.Host, t.SecretName, known.NotAfter.UTC().Format(time.RFC3339), cure))
			}
		}
	}
	return warnings
}
