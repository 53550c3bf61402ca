package mutate

import (
	"fmt"

	"mtls.egress/webhook/internal/egress"
)

// serverFirst are ports on which servers usually speak first, by the protocol. A sidecar that
// expects HTTP on such a port waits for the client's first bytes, so that neither side speaks.
// https://istio.io/latest/docs/ops/deployment/application-requirements/#server-first-protocols
func serverFirst() map[int32]string {
	return map[int32]string{
		21: "FTP", 22: "SSH", 25: "SMTP", 110: "POP3", 143: "IMAP", 587: "SMTP", 3306: "MySQL", 5900: "VNC", 6667: "IRC",
	}
}

// serverFirstWarnings returns a warning for each target whose app port is one of serverFirst: with
// it, sidecars of all Pods of the namespace expect HTTP there.
func serverFirstWarnings(targets []egress.Target) []string {
	var warnings []string
	for _, t := range targets {
		if protocol, found := serverFirst()[t.AppPort]; found {
			warnings = append(warnings, fmt.Sprintf(
				"appPort %d of the EgressTarget %s is the port of %s, where servers speak first: sidecars of the namespace expect HTTP on it, so calls of other Pods to such a server may hang; choose another appPort",
				t.AppPort, t.Host, protocol))
		}
	}
	return warnings
}
