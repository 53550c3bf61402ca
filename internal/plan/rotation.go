package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"mtls.egress/webhook/internal/certs/credential"
)

const reasonProxyIgnoresRenewals = "ProxyIgnoresRenewals"

// IgnoresRenewals reports whether sidecars of an Istio version ignore a renewed certificate in a
// mounted file after the second renewal: those with 3cf3b784e4b (1.29.0) and without its fix
// (1.29.3, 1.30.3).
// https://github.com/istio/istio/issues/59912
func IgnoresRenewals(proxy string) bool {
	parsed, err := version.ParseGeneric(proxy)
	if err != nil || parsed.Major() != 1 {
		return false // a version that is not Istio's own
	}
	return (parsed.Minor() == 29 || parsed.Minor() == 30) && parsed.Patch() < 3
}

// renewalAtRisk returns the condition RenewalAtRisk, or nil if no client certificate comes from a
// public CA.
func renewalAtRisk(checks []CredentialCheck) *Condition {
	var messages []string
	for _, c := range checks {
		if c.Credential != nil && c.Credential.PublicCA {
			messages = append(messages, fmt.Sprintf("%s, issued by %s and valid until %s", c.SecretName,
				Shorten(c.Credential.Issuer, maxStatusName), c.Credential.NotAfter.UTC().Format(time.RFC3339)))
		}
	}
	if len(messages) == 0 {
		return nil
	}
	return new(True(string(credential.PublicCA), "public CAs stop issuing certificates for TLS clients in 2026, so "+
		"these can't be renewed; ask the partner which private CA it accepts, and request the next certificate there: "+
		strings.Join(messages, "; ")))
}

// serverCAAtRisk returns the condition ServerCAAtRisk, or nil if there are no warnings about the CA
// of the server.
func serverCAAtRisk(checks []CredentialCheck) *Condition {
	const shown = 3
	var reason credential.Reason
	var messages []string
	for _, c := range checks {
		if c.ServerCA == nil {
			continue
		}
		warnings := c.ServerCA.Warnings
		for _, one := range warnings[:min(shown, len(warnings))] {
			if reason == "" || one.Reason == credential.ServerCANotCA {
				reason = one.Reason
			}
			messages = append(messages, c.SecretName+": "+one.Message)
		}
		if more := len(warnings) - shown; more > 0 {
			messages = append(messages, fmt.Sprintf("%s: %d more", c.SecretName, more))
		}
	}
	if len(messages) == 0 {
		return nil
	}
	return new(True(string(reason), strings.Join(messages, "; ")))
}

// rotation returns the condition RotationUnreliable, or nil if no sidecar is affected.
func rotation(demands []Demand) *Condition {
	ignores := map[string]bool{} // by version, of which there are few
	affected := podsWithout(demands, func(d Demand) bool {
		if _, known := ignores[d.ProxyVersion]; !known {
			ignores[d.ProxyVersion] = IgnoresRenewals(d.ProxyVersion)
		}
		return !ignores[d.ProxyVersion]
	})
	if len(affected) == 0 {
		return nil
	}
	maps.DeleteFunc(ignores, func(_ string, ignores bool) bool { return !ignores })
	return new(True(reasonProxyIgnoresRenewals, fmt.Sprintf("the sidecars of %s (Istio %s) use a renewed certificate "+
		"once, and ignore later renewals until they restart (istio/istio#59912); upgrade the sidecars to 1.29.3, 1.30.3 or "+
		"newer, or restart the Pods after each renewal",
		some(affected), strings.Join(slices.Sorted(maps.Keys(ignores)), ", "))))
}
