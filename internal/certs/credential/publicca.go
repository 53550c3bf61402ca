package credential

import (
	"crypto/x509"
	"sync"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// PublicCA means that a public CA issued the client certificate. Browsers require that public CAs
// stop issuing certificates for TLS clients in 2026, so a renewal fails or lacks clientAuth.
// https://letsencrypt.org/2025/05/14/ending-tls-client-authentication/
const PublicCA Reason = "PublicCA"

// publicCAs returns the CAs that browsers trust, as Mozilla lists them.
var publicCAs = sync.OnceValue(func() *x509.CertPool { //nolint:gochecknoglobals // parsed once
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		if certificate, err := x509.ParseCertificate(root.Certificate); err == nil {
			pool.AddCert(certificate)
		}
	}
	return pool
})

// leadsTo reports whether the chain of the first certificate ends at one of the roots. It is
// verified at the beginning of that certificate's validity, because whether a CA has expired since
// doesn't matter.
func leadsTo(roots *x509.CertPool, chain []*x509.Certificate) bool {
	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: chain[0].NotBefore,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

// reviewIssuer returns a warning if the chain ends at one of the roots.
func reviewIssuer(roots *x509.CertPool, chain []*x509.Certificate) []Finding {
	if !leadsTo(roots, chain) {
		return nil
	}
	return []Finding{warning(PublicCA, "the client certificate (%s) comes from a public CA, %s: public CAs stop issuing "+
		"certificates for TLS clients in 2026, so its renewal will fail or lack clientAuth; ask the partner which "+
		"private CA it accepts, and request the next certificate there", identify(chain[0]), issuerName(chain[0]))}
}
