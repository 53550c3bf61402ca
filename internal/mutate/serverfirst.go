package mutate

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// serverFirst returns the well-known ports of server-first protocols. A sidecar that expects HTTP
// on such a port waits for the client's first bytes, so the connection hangs.
//
// https://istio.io/latest/docs/ops/deployment/application-requirements/#server-first-protocols
func serverFirst() map[int32]string {
	return map[int32]string{
		21:   "FTP",
		22:   "SSH",
		25:   "SMTP",
		110:  "POP3",
		143:  "IMAP",
		587:  "SMTP",
		3306: "MySQL",
		5900: "VNC",
		6667: "IRC",
	}
}

// serverFirstWarnings returns a warning for each target whose app port is one of serverFirst. Such
// a target makes the sidecars of all Pods in the namespace expect HTTP on the port.
func serverFirstWarnings(targets []egress.Target, annotations *field.Path) []Warning {
	var warnings []Warning
	for _, t := range targets {
		if protocol, found := serverFirst()[t.AppPort]; found {
			warnings = append(warnings, warningf(
				ReasonServerFirst, annotations.Key(egress.AnnotationTarget),
				"appPort %d of the EgressTarget %s is the port of %s, a server-first protocol. The sidecars of the "+
					"namespace expect HTTP on it, so calls from other Pods to such a server can "+
					"hang; choose another appPort", t.AppPort, t.Host, protocol))
		}
	}
	return warnings
}
