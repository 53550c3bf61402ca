package check

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
)

// tlsSettingRules returns the rules for the TLS settings of a DestinationRule.
func tlsSettingRules() []Rule {
	return []Rule{
		{
			ID: "MTE218", Group: Istio, Name: "simple-with-client-files", Severity: Error,
			Summary: "The TLS mode is SIMPLE, but the settings name files of a client certificate.",
			Effect:  "The sidecar presents no client certificate. A partner that requires one refuses the calls with 503.",
			Fix:     "Use the mode MUTUAL.",
			find:    byHand(simpleWithClientFiles),
		},
		{
			ID: "MTE219", Group: Istio, Name: "sni-without-names", Severity: Warning,
			Summary: "The TLS settings have sni, but no subjectAltNames.",
			Effect: "With sni alone, Istio checks only who signed the server's certificate, not its name: a certificate for " +
				"another host is accepted. With neither of the two, Istio checks the name.",
			Fix:  "Add subjectAltNames with the partner's host.",
			find: byHand(sniWithoutNames),
		},
		{
			ID: "MTE220", Group: Istio, Name: "names-with-wildcard", Severity: Warning,
			Summary: "subjectAltNames has a wildcard.",
			Effect: "The sidecar compares the text: only a certificate with exactly this wildcard is accepted. One " +
				"that names the host is refused with 503.",
			Fix:  "Write the host that the app calls.",
			find: byHand(namesWithWildcard),
		},
		{
			ID: "MTE221", Group: Istio, Name: "ca-missing", Severity: Warning,
			Summary: "The TLS settings with a client certificate have no caCertificates.",
			Effect: "The sidecar trusts the public CAs of its image, so servers with a certificate of the partner's own CA " +
				"are refused with 503. Istio before 1.20 checks nothing.",
			Fix:  "Set caCertificates to the file with the partner's CA, or to system if it is a public one.",
			find: byHand(caMissing),
		},
		{
			ID: "MTE222", Group: Istio, Name: "verification-skipped", Severity: Warning,
			Summary: "insecureSkipVerify is set.",
			Effect:  "The sidecar accepts every server certificate, so anyone on the way can read and answer the calls.",
			Fix:     "Remove insecureSkipVerify, and set caCertificates and subjectAltNames.",
			find:    byHand(verificationSkipped),
		},
		{
			ID: "MTE223", Group: Istio, Name: "certificate-pair-incomplete", Severity: Error,
			Summary: "The TLS mode is MUTUAL, but clientCertificate or privateKey is missing.",
			Effect: "Istio refuses the object, and calls to its subset get 503. Where the validation is off, the sidecar " +
				"leaves out the TLS settings, and calls leave in plain text to port 443.",
			Fix:  "Set both clientCertificate and privateKey.",
			find: byHand(certificatePairIncomplete),
		},
		{
			ID: "MTE224", Group: Istio, Name: "credential-and-files", Severity: Error,
			Summary: "The TLS settings have credentialName and names of files.",
			Effect:  "Istio refuses the object. Calls to its subset get 503; without a subset, they leave in plain text.",
			Fix:     "Use either credentialName or files.",
			find:    byHand(credentialAndFiles),
		},
		{
			ID: "MTE225", Group: Istio, Name: "connection-age-unlimited", Severity: Warning,
			Summary: "The client certificate is renewed, but maxConnectionDuration is not set.",
			Effect: "Open connections present the old certificate for as long as they are used, also after it has expired. " +
				"With 3 seconds, all calls used the new one after 3.0 seconds, and 0 of 1,000 failed.",
			Fix:  "Set connectionPool.tcp.maxConnectionDuration, for example to 300s.",
			find: byHand(connectionAgeUnlimited),
		},
		{
			ID: "MTE226", Group: Istio, Name: "http2-forced", Severity: Warning,
			Summary: "The sidecar is told to speak HTTP/2 with the partner.",
			Effect:  "The sidecar offers h2 alone. Calls to a partner with HTTP/1.1 alone get 503.",
			Fix: "Use the protocol HTTPS or HTTP in the ServiceEntry, and useClientProtocol: true in place of " +
				"h2UpgradePolicy: UPGRADE, unless the partner is known to speak HTTP/2. gRPC works with either.",
			find: byHand(http2Forced),
		},
		{
			ID: "MTE227", Group: Istio, Name: "no-names-for-tcp", Severity: Warning,
			Summary: "TLS starts on a port that isn't HTTP, with neither sni nor subjectAltNames.",
			Effect: "Without a Host header, Istio has no name to send or to check: the handshake has no SNI, and any " +
				"certificate that the CA signed is accepted.",
			Fix:  "Set sni and subjectAltNames.",
			find: byHand(noNamesForTCP),
		},
	}
}

func simpleWithClientFiles(h *handWritten, report report) {
	for _, s := range h.starts {
		if !s.presents() && s.hasClientFiles() {
			report(s.Object, s.at("mode"), fmt.Sprintf(
				"with the mode SIMPLE, the sidecar doesn't present %s to %s", s.tls.ClientCertificate, s.host))
		}
	}
}

func sniWithoutNames(h *handWritten, report report) {
	for _, s := range h.starts {
		inEntry := slices.ContainsFunc(h.entriesFor(s.host), func(e entry) bool {
			return len(e.Value.Spec.SubjectAltNames) > 0
		})
		if s.tls.Sni != "" && len(s.tls.SubjectAltNames) == 0 && !inEntry && !s.skipsVerification() &&
			!h.ignoredBySidecars(s) && !h.onlyInGateways(s.host) {
			report(s.Object, s.at("sni"), fmt.Sprintf(
				"sni (%s) without subjectAltNames turns off the check of the server's name; add subjectAltNames: [%[1]s]",
				s.tls.Sni))
		}
	}
}

func (s start) skipsVerification() bool { return s.tls.GetInsecureSkipVerify().GetValue() }

func namesWithWildcard(h *handWritten, report report) {
	for _, s := range h.starts {
		for n, name := range s.tls.SubjectAltNames {
			if strings.Contains(name, "*") {
				report(s.Object, append(s.at("subjectAltNames"), n),
					name+" is compared as text, so the server's certificate must contain exactly this name")
			}
		}
	}
}

func caMissing(h *handWritten, report report) {
	for _, s := range h.starts {
		if s.presents() && s.tls.CaCertificates == "" && s.tls.CredentialName == "" && !s.skipsVerification() {
			report(s.Object, s.path, fmt.Sprintf(
				"without caCertificates, the server of %s must have a certificate of a public CA", s.host))
		}
	}
}

func verificationSkipped(h *handWritten, report report) {
	for _, s := range h.starts {
		if s.skipsVerification() {
			report(s.Object, s.at("insecureSkipVerify"), "every certificate is accepted as that of "+s.host)
		}
	}
}

func certificatePairIncomplete(h *handWritten, report report) {
	for _, s := range h.starts {
		if !s.presents() || s.tls.CredentialName != "" || s.tls.ClientCertificate != "" && s.tls.PrivateKey != "" {
			continue
		}
		missing := "privateKey is"
		switch {
		case s.tls.ClientCertificate == "" && s.tls.PrivateKey == "":
			missing = "clientCertificate and privateKey are"
		case s.tls.ClientCertificate == "":
			missing = "clientCertificate is"
		}
		report(s.Object, s.path, fmt.Sprintf("the mode is MUTUAL, but %s missing", missing))
	}
}

func credentialAndFiles(h *handWritten, report report) {
	for _, s := range h.starts {
		if s.tls.CredentialName != "" && (s.hasClientFiles() || s.tls.CaCertificates != "") {
			report(s.Object, s.at("credentialName"), fmt.Sprintf(
				"credentialName (%s) can't be combined with clientCertificate, privateKey or caCertificates",
				s.tls.CredentialName))
		}
	}
}

func connectionAgeUnlimited(h *handWritten, report report) {
	for _, s := range h.starts {
		if !s.presents() || s.pool.GetTcp().GetMaxConnectionDuration() != nil {
			continue
		}
		if source, renewed := h.renewed(s); renewed {
			report(s.Object, s.path, fmt.Sprintf(
				"%s renews the client certificate, but open connections to %s keep the old one without a limit", source, s.host))
		}
	}
}

// renewed reports whether the input shows that something renews the certificate of the settings,
// and what: a certificate of cert-manager for the Secret, or a CSI driver.
func (h *handWritten) renewed(s start) (source string, renewed bool) {
	for _, pods := range h.selected(s.destinationRule) {
		volume, found := pods.volumeOf(s.tls.ClientCertificate)
		if !found {
			continue
		}
		if volume.CSI != nil {
			return "the CSI driver " + volume.CSI.Driver, true
		}
		if name, found := h.certificates[pods.Location.Namespace+"/"+secretOf(volume)]; found {
			return "Certificate " + name, true
		}
	}
	name, found := h.certificates[s.Location.Namespace+"/"+s.tls.CredentialName]
	return "Certificate " + name, found && s.tls.CredentialName != ""
}

// secretOf returns the name of the Secret of a volume.
func secretOf(volume corev1.Volume) string {
	if volume.Secret != nil {
		return volume.Secret.SecretName
	}
	if volume.Projected != nil {
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil {
				return source.Secret.Name
			}
		}
	}
	return ""
}

// certificatesIn returns the names of cert-manager's Certificates by namespace/Secret.
func certificatesIn(objects []manifests.Object) map[string]string {
	found := map[string]string{}
	for _, object := range objects {
		if object.Kind.Group != "cert-manager.io" || object.Kind.Kind != "Certificate" {
			continue
		}
		if spec, ok := object.Content["spec"].(map[string]any); ok {
			if secret, ok := spec["secretName"].(string); ok {
				found[object.Location.Namespace+"/"+secret] = object.Location.Name
			}
		}
	}
	return found
}

func http2Forced(h *handWritten, report report) {
	for _, s := range h.starts {
		if s.pool.GetHttp().GetH2UpgradePolicy() == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE &&
			!s.pool.GetHttp().GetUseClientProtocol() {
			report(s.Object, s.path, "h2UpgradePolicy: UPGRADE makes the sidecar speak only HTTP/2 with "+s.host)
			continue
		}
		for _, e := range h.entriesFor(s.host) {
			for n, port := range e.Value.Spec.Ports {
				applies := (s.port == 0 || s.port == port.Number) && h.reaches(s, port.Number)
				if applies && strings.EqualFold(port.Protocol, "HTTP2") {
					report(e.Object, []any{"spec", "ports", n, "protocol"}, fmt.Sprintf(
						"the protocol %s makes the sidecar speak only HTTP/2 with %s", port.Protocol, s.host))
				}
			}
		}
	}
}

// reaches reports whether calls of sidecars reach the settings on the port.
func (h *handWritten) reaches(s start, number uint32) bool {
	routes := h.sidecarRoutes(s.host)
	if len(routes) == 0 {
		return s.subset == ""
	}
	return slices.ContainsFunc(routes, func(r route) bool {
		to := r.destination.GetPort().GetNumber()
		return s.leadsTo(r) && (to == 0 || to == number)
	})
}

func noNamesForTCP(h *handWritten, report report) {
	for _, s := range h.starts {
		if s.tls.Sni != "" || len(s.tls.SubjectAltNames) > 0 || s.skipsVerification() {
			continue
		}
		for _, e := range h.entriesFor(s.host) {
			index := slices.IndexFunc(e.Value.Spec.Ports, func(port *networking.ServicePort) bool {
				return port.Number != 0 && (s.port == 0 || s.port == port.Number) && port.Protocol != "" &&
					!mesh.IsHTTP(port.Protocol) && !isTLS(port.Protocol)
			})
			if index >= 0 && len(h.routesOf[s.host]) == 0 && len(e.Value.Spec.SubjectAltNames) == 0 {
				report(s.Object, s.path, fmt.Sprintf(
					"port %d of %s has the protocol %s, so there is no Host header to take a server name from; set sni and "+
						"subjectAltNames", e.Value.Spec.Ports[index].Number, s.host, e.Value.Spec.Ports[index].Protocol))
			}
		}
	}
}
