package check

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
)

// istioRules returns the rules for hand-written Istio objects.
func istioRules() []Rule {
	return []Rule{
		{
			ID: "MTE201", Group: Istio, Name: "tls-on-bare-port", Severity: Error,
			Summary: "A DestinationRule starts TLS on port 443 itself, instead of on a subset that only the " +
				"VirtualService uses.",
			Effect: "The app's own https calls to the host get two layers of TLS and fail. When the DestinationRule is " +
				"deleted, calls leave in plain text to port 443.",
			Fix: "Write the TLS settings into a subset, and let the VirtualService route port 80 to that subset; or " +
				"replace the objects with the annotation mtls.egress/target.",
			find: tlsOnBarePort,
		},
	}
}

// isOrigination reports whether the settings start TLS.
func isOrigination(settings *networking.ClientTLSSettings) bool {
	return settings != nil &&
		(settings.Mode == networking.ClientTLSSettings_SIMPLE || settings.Mode == networking.ClientTLSSettings_MUTUAL)
}

func tlsOnBarePort(w *World, report report) {
	for _, rule := range w.DestinationRules {
		if isOrigination(rule.Value.Spec.TrafficPolicy.GetTls()) {
			report(rule.Object, []any{"spec", "trafficPolicy", "tls"},
				fmt.Sprintf("TLS applies to all ports of %s, so the app's own https calls get two layers of TLS",
					rule.Value.Spec.Host))
		}
		for n, level := range rule.Value.Spec.TrafficPolicy.GetPortLevelSettings() {
			if isOrigination(level.Tls) && level.Port.GetNumber() == 443 {
				report(rule.Object, []any{"spec", "trafficPolicy", "portLevelSettings", n, "tls"},
					fmt.Sprintf("TLS applies to port 443 of %s, so the app's own https calls get two layers of TLS, and "+
						"without this DestinationRule calls leave in plain text", rule.Value.Spec.Host))
			}
		}
	}
}
