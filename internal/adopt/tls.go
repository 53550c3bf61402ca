package adopt

import (
	"fmt"
	"slices"
	"strings"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

// systemCAs is the value of caCertificates for the CAs that the sidecar's image trusts.
const systemCAs = "system"

// readTLS reads the names in the TLS settings. The files are read with the workloads, which know
// the Secret.
func (s *set) readTLS() {
	rule, spec := s.rules[0], &s.proposal.EgressTarget.Spec
	if sni := s.tls.GetSni(); sni != "" && sni != s.host {
		if strings.Contains(sni, "*") {
			s.refuse(fmt.Sprintf("the %s has the server name %s, and that of a target has no wildcard; write the name that "+
				"the partner expects", reference(rule.Object), sni))
		}
		spec.SNI = sni
	}
	names := s.tls.GetSubjectAltNames()
	if len(names) == 0 {
		names = s.entries[0].Value.Spec.GetSubjectAltNames()
	}
	if len(names) > 0 && !slices.Equal(names, []string{s.host}) {
		spec.SubjectAltNames = slices.Clone(names)
	}
	if len(names) == 0 && s.tls.GetSni() != "" {
		s.change(fmt.Sprintf("The partner's certificate must be for %s. Today the sidecar accepts a certificate for any "+
			"name, because the DestinationRule has sni without subjectAltNames. If the partner shows another name, set "+
			"subjectAltNames in the EgressTarget first.", s.host))
	}
	if s.tls.GetInsecureSkipVerify().GetValue() {
		s.change("The partner's certificate is checked. Today it isn't (insecureSkipVerify).")
	}
	if s.tls.GetCaCrl() != "" {
		s.lose(rule.Object, "caCrl", "revoked certificates of the partner are not refused", true)
	}
}

// setSecret writes the Secret and its keys into the EgressTarget.
func (s *set) setSecret(secret Secret) {
	s.proposal.Secret = secret
	spec := &s.proposal.EgressTarget.Spec
	if secret.Name != egress.DefaultSecretName(s.host) {
		spec.Credential.SecretName = secret.Name
	}
	for _, known := range []egress.Layout{credential.CertKeyLayout(), credential.TLSLayout()} {
		if secret.Layout.Certificate == known.Certificate && secret.Layout.PrivateKey == known.PrivateKey {
			if secret.Layout.ServerCA != known.ServerCA && secret.Layout.ServerCA != "" {
				spec.ServerCA = &v1alpha1.ServerCA{SecretKey: secret.Layout.ServerCA}
			}
			return
		}
	}
	if secret.Layout.Certificate == "" {
		return // the controller finds the keys
	}
	spec.Credential.Keys = &v1alpha1.CredentialKeys{
		Certificate: secret.Layout.Certificate, PrivateKey: secret.Layout.PrivateKey,
	}
	if secret.Layout.ServerCA != "" {
		spec.ServerCA = &v1alpha1.ServerCA{SecretKey: secret.Layout.ServerCA}
	}
}
