package check

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
)

// credentialRules returns the rules for the Secrets of the input.
func credentialRules() []Rule {
	return slices.Concat(refusedCredentialRules(), doubtfulCredentialRules())
}

// ofCredential returns a rule for the reasons.
func ofCredential(
	id, name string, severity Severity, summary, effect, fix string, reasons ...credential.Reason,
) Rule {
	return Rule{
		ID: id, Group: Credentials, Name: name, Severity: severity, Summary: summary, Effect: effect, Fix: fix,
		find: func(w *World, report report) {
			for _, found := range w.flaws() {
				if slices.Contains(reasons, found.reason) {
					report(found.Object, found.path, found.message)
				}
			}
		},
	}
}

const closed = "The controller refuses the Secret and closes the target: calls get 503 from the sidecar."

func refusedCredentialRules() []Rule {
	return []Rule{
		ofCredential("MTE301", "credential-keys", Error,
			"The Secret lacks the keys of a credential, or has those of two.", closed,
			"Use the keys cert, key and cacert, or tls.crt, tls.key and ca.crt, or name yours in spec.credential.keys of "+
				"the EgressTarget.",
			credential.LayoutUnknown, credential.LayoutAmbiguous, credential.SecretKeyMissing),
		ofCredential("MTE302", "certificate-unreadable", Error,
			"The client certificate or its chain can't be read.", closed,
			"Store the certificate as PEM, followed by its intermediates. The command credential import does it.",
			credential.CertificateUnreadable),
		ofCredential("MTE303", "private-key-unreadable", Error,
			"The private key can't be read, or is encrypted.", closed,
			"Store one decrypted key as PEM. The command credential import does it.",
			credential.PrivateKeyUnreadable),
		ofCredential("MTE304", "private-key-mismatch", Error,
			"The private key belongs to another certificate.", closed,
			"Store the key that the certificate was requested with, and the client certificate before its intermediates.",
			credential.PrivateKeyMismatch),
		ofCredential("MTE305", "certificate-expired", Error,
			"The client certificate has expired.",
			closed+" A programmed target keeps its certificate, and the partner refuses the handshake.",
			"Request a new certificate from its issuer.",
			credential.CertificateExpired),
		ofCredential("MTE306", "certificate-not-yet-valid", Error,
			"The client certificate is not valid yet.", closed,
			"Use the previous certificate until then.",
			credential.CertificateNotYetValid),
		ofCredential("MTE307", "not-for-client-auth", Error,
			"The extensions of the certificate don't allow a TLS client.",
			closed+" Partners refuse such a certificate.",
			"Request a certificate with the extended key usage clientAuth.",
			credential.NotForClientAuth),
		ofCredential("MTE308", "server-ca-missing", Error,
			"The CA of the partner's server is not chosen.", closed,
			"Add it to the Secret under cacert or ca.crt, or name its source in serverCA of the EgressTarget.",
			credential.ServerCANotChosen, credential.ServerCAMissing),
		ofCredential("MTE309", "server-ca-unreadable", Error,
			"The CA of the partner's server can't be read, or has expired.", closed,
			"Store the CA of the server certificate as PEM.",
			credential.ServerCAUnreadable, credential.ServerCAExpired),
	}
}

func doubtfulCredentialRules() []Rule {
	return []Rule{
		ofCredential("MTE310", "certificate-expires-soon", Warning,
			"The client certificate expires within 30 days.",
			"Calls fail afterwards.",
			"Request a new certificate now. No restart is needed after the Secret changes.",
			credential.ExpiresSoon),
		ofCredential("MTE311", "certificate-chain", Warning,
			"The chain of the client certificate is incomplete, out of order, or has other certificates in it.",
			"Partners that know only the root refuse the handshake.",
			"Store the client certificate first, followed by each issuer up to the root, which can be left out.",
			credential.ChainIncomplete, credential.ChainOutOfOrder, credential.CertificateUnrelated,
			credential.IntermediateExpired),
		ofCredential("MTE312", "no-subject-alternative-name", Warning,
			"The client certificate has no subject alternative name.",
			"Partners that check names refuse it. They use these names and not the CN.",
			"Request a certificate with the names that the partner expects.",
			credential.NoSubjectAltName),
		ofCredential("MTE313", "weak-certificate", Warning,
			"A key of the chain is too short, or a signature uses SHA-1 or MD5.",
			"The sidecar refuses RSA keys below 2048 bits. Most servers refuse such signatures.",
			"Request a certificate with RSA 2048, P-256 or better, signed with SHA-256.",
			credential.WeakKey, credential.WeakSignature),
		ofCredential("MTE314", "server-ca-is-client-issuer", Warning,
			"The CA of the server is the issuer of the client certificate.",
			"Every call fails, unless the same CA signs the partner's server certificate.",
			"Ask the partner which CA signs its server certificate, and store that one.",
			credential.ServerCAIsClientIssuer),
		ofCredential("MTE315", "public-ca", Warning,
			"The client certificate comes from a public CA.",
			"Public CAs stop issuing certificates for TLS clients in 2026: the renewal fails or lacks clientAuth.",
			"Ask the partner which private CA it accepts.",
			credential.PublicCA),
		ofCredential("MTE316", "server-ca-expires-soon", Warning,
			"The CA of the partner's server expires within 30 days.",
			"Calls fail afterwards.",
			"Ask the partner for the current CA, and add it to the old one.",
			credential.ServerCAExpiresSoon),
		ofCredential("MTE317", "server-ca-is-a-server-certificate", Warning,
			"The CA of the partner's server is not a CA, but the certificate of a server.",
			"Calls fail after the partner renews that certificate.",
			"Ask the partner for the CA that issued it.",
			credential.ServerCANotCA),
		ofCredential("MTE318", "server-ca-skipped", Warning,
			"A certificate among the CAs of the partner's server can't be read.",
			"If it signed the partner's certificate, the handshake can't be checked in advance.",
			"Remove it, or ask its issuer for one with a positive serial number and a key on a NIST curve.",
			credential.ServerCASkipped),
	}
}

// flaw is one problem of a credential.
type flaw struct {
	manifests.Object

	reason  credential.Reason
	path    []any
	message string
}

// flaws returns the problems of all credentials in the input.
func (w *World) flaws() []flaw {
	if w.credentialFlaws == nil {
		w.credentialFlaws = []flaw{}
		for _, secret := range w.Secrets {
			w.credentialFlaws = append(w.credentialFlaws, w.flawsOf(secret)...)
		}
	}
	return w.credentialFlaws
}

// flawsOf returns the problems of a Secret: for each target that uses it, or, for a Secret that no
// target uses, those that it has for any.
func (w *World) flawsOf(secret Typed[*corev1.Secret]) []flaw {
	value := secret.Value.DeepCopy()
	credential.MergeStringData(value)
	inspected := inspection{world: w, secret: secret, value: value}
	used := false
	for _, use := range w.review.Uses {
		if use.Target.Namespace == value.Namespace && slices.Contains(use.Secrets, value.Name) {
			used = true
			layout, _, err := credential.CheckSecret(use.Target, value, w.Options.Now)
			inspected.refused(err)
			inspected.review(layout)
		}
	}
	_, annotated := value.Annotations[egress.AnnotationHost]
	if used {
		return inspected.flaws
	}
	layout, err := credential.DetectLayout(value.Data)
	switch {
	case err != nil && annotated:
		inspected.refused(err)
	case err == nil && (annotated || looksLikeAClient(value.Data[layout.Certificate])):
		if _, found := value.Data[layout.ServerCA]; !found || !annotated {
			layout.ServerCA = ""
		}
		_, err := credential.Check(value.Data, layout, w.Options.Now)
		inspected.refused(err)
		inspected.review(layout)
	}
	if !annotated {
		inspected.flaws = slices.DeleteFunc(inspected.flaws, func(f flaw) bool { return !trueOfServers(f.reason) })
	}
	return inspected.flaws
}

// looksLikeAClient reports whether the certificate of a Secret that nothing names may be that of a
// client.
func looksLikeAClient(content []byte) bool {
	certificates, err := credential.ReadCertificates("", content)
	if err != nil || len(certificates) == 0 || certificates[0].IsCA {
		return false
	}
	usages := certificates[0].ExtKeyUsage
	return len(usages) == 0 || slices.Contains(usages, x509.ExtKeyUsageClientAuth) ||
		slices.Contains(usages, x509.ExtKeyUsageAny)
}

// trueOfServers reports whether a certificate with this problem fails for a server as well. A
// Secret that no target uses may belong to one.
func trueOfServers(reason credential.Reason) bool {
	return slices.Contains([]credential.Reason{
		credential.PrivateKeyUnreadable, credential.PrivateKeyMismatch, credential.CertificateExpired,
		credential.CertificateNotYetValid, credential.ExpiresSoon, credential.ChainOutOfOrder,
		credential.IntermediateExpired, credential.WeakKey, credential.WeakSignature,
	}, reason)
}

// inspection collects the problems of one Secret, each once.
type inspection struct {
	world  *World
	secret Typed[*corev1.Secret]
	// value is the Secret as the API server stores it.
	value *corev1.Secret
	flaws []flaw
}

func (i *inspection) add(reason credential.Reason, key, message string) {
	if slices.ContainsFunc(i.flaws, func(f flaw) bool { return f.reason == reason && f.message == message }) {
		return
	}
	var path []any
	if _, asText := i.secret.Value.StringData[key]; asText {
		path = []any{"stringData", key}
	} else if key != "" {
		path = []any{"data", key}
	}
	i.flaws = append(i.flaws, flaw{Object: i.secret.Object, reason: reason, path: path, message: message})
}

// refused adds the problems of a [*credential.RefusedError].
func (i *inspection) refused(err error) {
	if refused, ok := errors.AsType[*credential.RefusedError](credential.ForOwner(err)); ok {
		for _, problem := range refused.Problems {
			i.add(problem.Reason, problem.Key, problem.Message)
		}
	}
}

// review adds the warnings about the keys of a layout.
func (i *inspection) review(layout egress.Layout) {
	chain, err := credential.ReadCertificates(layout.Certificate, i.value.Data[layout.Certificate])
	if err != nil {
		return // refused
	}
	var serverCA credential.Authorities
	if layout.ServerCA != "" {
		serverCA, _ = credential.ReadServerCA(layout.ServerCA, i.value.Data[layout.ServerCA]) // or refused
	}
	for _, finding := range credential.Review(credential.Chain{Certificates: chain}, serverCA, i.world.Options.Now) {
		key := layout.Certificate
		if strings.HasPrefix(string(finding.Reason), "ServerCA") {
			key = layout.ServerCA
		}
		i.add(finding.Reason, key, finding.Message)
	}
}
