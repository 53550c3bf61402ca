package manifests

import (
	"fmt"
	"strings"
	"time"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/plan"
)

// explain returns one sentence about a target: the call, its destination, the client certificate,
// the name and CA that the server is checked against, and what happens if a part is missing.
func explain(use *use, decided plan.Plan, credentials []plan.CredentialCheck) string {
	t := use.target
	if decided.Closed {
		return fmt.Sprintf("%s%s of the Pods of %s: %s.", inNamespace(t.Namespace), t.AppURL(),
			callers(use, credentials), decided.Programmed.Message)
	}
	way := plan.Way(decided.Target)
	if way != "" {
		way = " by " + way
	}
	return fmt.Sprintf(
		"%s%s leaves the Pods of %s as TLS to %s:%d%s (server name %s), with %s; the server certificate must be for %s "+
			"and signed by %s; if any part is missing, the call is dropped at %s, which is not routed.",
		inNamespace(t.Namespace), t.AppURL(), callers(use, credentials), t.Host, t.Port, way, t.SNI,
		certificates(credentials), strings.Join(t.SubjectAltNames, " or "), serverCA(t, decided.Layout), t.Address())
}

func inNamespace(namespace string) string {
	if namespace == "" {
		return ""
	}
	return "Namespace " + namespace + ": "
}

func callers(use *use, credentials []plan.CredentialCheck) string {
	if len(use.pods) == 0 {
		return "any workload with this target"
	}
	var names []string
	for _, one := range credentials {
		for _, location := range use.callers[one.SecretName] {
			name := location.Kind + " " + location.Name
			if len(credentials) > 1 {
				name += " (Secret " + one.SecretName + ")"
			}
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

func certificates(credentials []plan.CredentialCheck) string {
	texts := make([]string, len(credentials))
	for n, one := range credentials {
		texts[n] = certificate(one)
	}
	return strings.Join(texts, " and ")
}

func certificate(one plan.CredentialCheck) string {
	if one.Credential == nil {
		return fmt.Sprintf("the client certificate in key %s of the Secret %s, which is not part of the input",
			one.Layout.Certificate, one.SecretName)
	}
	return fmt.Sprintf("the client certificate %s in key %s of the Secret %s, valid until %s", one.Credential.Subject,
		one.Layout.Certificate, one.SecretName, one.Credential.NotAfter.UTC().Format(time.DateOnly))
}

func serverCA(t egress.Target, layout egress.Layout) string {
	switch {
	case t.ServerCA.System:
		return "a CA that the sidecar image trusts"
	case t.ServerCA.ConfigMap.Name != "":
		return fmt.Sprintf("a CA in key %s of the ConfigMap %s", t.ServerCA.ConfigMap.Key, t.ServerCA.ConfigMap.Name)
	}
	return fmt.Sprintf("a CA in key %s of that Secret", layout.ServerCA)
}
