package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

const reasonProxyIgnoresRenewals = "ProxyIgnoresRenewals"

// ignoresRenewals reports whether sidecars of an Istio version ignore a renewed certificate in a
// mounted file after the second renewal: those with 3cf3b784e4b (1.29.0) and without its fix (1.29.3,
// 1.30.3).
// https://github.com/istio/istio/issues/59912
func ignoresRenewals(proxy string) bool {
	parsed, err := version.ParseGeneric(proxy)
	if err != nil || parsed.Major() != 1 {
		return false // a version that is not Istio's own
	}
	return (parsed.Minor() == 29 || parsed.Minor() == 30) && parsed.Patch() < 3
}

// rotation returns the condition RotationUnreliable, or nil if no sidecar is affected.
func rotation(demands []Demand) *Condition {
	var versions []string
	affected := podsWithout(demands, func(d Demand) bool {
		if !ignoresRenewals(d.ProxyVersion) {
			return true
		}
		versions = append(versions, d.ProxyVersion)
		return false
	})
	if len(affected) == 0 {
		return nil
	}
	slices.Sort(versions)
	return new(True(reasonProxyIgnoresRenewals, fmt.Sprintf("the sidecars of %s (Istio %s) use a renewed certificate once, and "+
		"ignore later renewals until they restart (istio/istio#59912); upgrade the sidecars to 1.29.3, 1.30.3 or newer, or "+
		"restart the Pods after each renewal", some(affected), strings.Join(slices.Compact(versions), ", "))))
}
