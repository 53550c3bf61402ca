package credential

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mtls.egress/webhook/internal/egress"
)

// Severity is the effect of a finding on the use of a credential.
type Severity string

const (
	// Refused means that the credential is not used.
	Refused Severity = "refused"
	// Warning means that the credential is used, but a partner may reject it.
	Warning Severity = "warning"
)

// The reasons of warnings.
const (
	// ChainOutOfOrder: a certificate is not followed by its issuer, which is elsewhere in the
	// chain.
	ChainOutOfOrder Reason = "ChainOutOfOrder"
	// ChainIncomplete: the issuer of a certificate is missing.
	ChainIncomplete Reason = "ChainIncomplete"
	// SeveralCertificates: several certificates match the private key, and the newest one is used.
	SeveralCertificates Reason = "SeveralCertificates"
	// CertificateUnrelated: a certificate doesn't belong to the chain.
	CertificateUnrelated Reason = "CertificateUnrelated"
	// IntermediateExpired: an intermediate certificate is not valid now.
	IntermediateExpired Reason = "IntermediateExpired"
	// ExpiresSoon: the client certificate expires within [SoonDays] days.
	ExpiresSoon Reason = "ExpiresSoon"
	// NoSubjectAltName: the client certificate has no subject alternative name.
	NoSubjectAltName Reason = "NoSubjectAltName"
	// WeakKey: the key of a certificate is too short.
	WeakKey Reason = "WeakKey"
	// WeakSignature: a certificate is signed with SHA-1 or MD5.
	WeakSignature Reason = "WeakSignature"
	// ServerCAIsClientIssuer: the CA of the server is the issuer of the client certificate.
	ServerCAIsClientIssuer Reason = "ServerCAIsClientIssuer"
)

// SoonDays is the number of days before the expiry of a credential when it gets [ExpiresSoon].
const SoonDays = 30

// minRSABits is the size of the shortest RSA key that the sidecar supports. Envoy rejects shorter
// ones
// (https://github.com/envoyproxy/envoy/blob/main/source/common/tls/context_impl.cc).
const minRSABits = 2048

// Finding is an error or a warning about a credential.
type Finding struct {
	Severity Severity `json:"severity"`
	Reason   Reason   `json:"reason"`
	// Message describes the problem, its location and the fix, on one line.
	Message string `json:"message"`
}

// FindingsOf returns the problems of a [*RefusedError] as findings. For any other error and for nil
// it returns nil.
func FindingsOf(err error) []Finding {
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return nil
	}
	findings := make([]Finding, 0, len(refused.Problems))
	for _, problem := range refused.Problems {
		findings = append(findings, Finding{Refused, problem.Reason, problem.Message})
	}
	return findings
}

// Review returns warnings about a chain that [Check] accepts, and about the CA of the server, at
// the time now. serverCA is empty if the CA has another source. Review doesn't reorder the chain.
func Review(chain Chain, serverCA Authorities, now time.Time) []Finding {
	if len(chain.Certificates) == 0 {
		return serverCA.review(now)
	}
	return slices.Concat(reviewOrder(chain), reviewUnrelated(chain), reviewValidity(chain, now),
		reviewNames(chain.Certificates[0]), reviewStrength(chain), reviewClientIssuer(chain, serverCA.Certificates),
		serverCA.review(now), reviewIssuer(publicCAs(), chain.withRoot()))
}

func warning(reason Reason, format string, args ...any) Finding {
	return Finding{Warning, reason, fmt.Sprintf(format, args...)}
}

func reviewOrder(chain Chain) []Finding {
	certificates, everything := chain.Certificates, chain.withRoot()
	found := follow(certificates[0], everything)
	// The issuer of the last certificate in a path can be missing, if it is the root. It is the last
	// one if all certificates are in the path.
	whole := len(found.withRoot()) > 1 && len(found.Unrelated) == 0
	var findings []Finding
	// Certificates after the longest possible path need no order. Checking them would verify a
	// signature for each pair.
	for i, certificate := range certificates[:min(len(certificates)-1, maxLinks)] {
		switch at := slices.IndexFunc(everything,
			func(c *x509.Certificate) bool { return c != certificate && issuedBy(certificate, c) }); {
		case at == i+1, at < 0 && (whole || isCross(certificate, found.Root)), selfSigned(certificate):
		case at < 0:
			findings = append(findings, missingIssuer(everything, i))
		default:
			findings = append(
				findings,
				warning(ChainOutOfOrder,
					"certificate %d (%s) must be followed by its issuer, which is certificate %d (%s): many "+
						"servers require a chain in order", i+1, identify(certificate), at+1, identify(everything[at])),
			)
		}
	}
	if only := certificates[0]; len(certificates) == 1 && chain.Root == nil && !selfSigned(only) {
		findings = append(
			findings,
			warning(ChainIncomplete,
				"the certificate is alone, without its issuer %s: partners that trust only a root above that issuer "+
					"reject it; if the issuer is an intermediate, append its certificate", issuerName(only)),
		)
	}
	return findings
}

// missingIssuer returns the warning for certificate i, whose issuer isn't among all.
func missingIssuer(all []*x509.Certificate, i int) Finding {
	orphan := all[i]
	for j, candidate := range all {
		if j != i && bytes.Equal(candidate.RawSubject, orphan.RawIssuer) {
			return warning(ChainIncomplete,
				"certificate %d (%s) is not followed by its issuer %s: certificate %d (%s) has that name, but didn't "+
					"sign it or is not a CA; request the certificate that did from the issuer, and append it",
				i+1, identify(orphan),
				issuerName(orphan), j+1, identify(candidate))
		}
	}
	return warning(ChainIncomplete,
		"certificate %d (%s) is not followed by its issuer %s, and the file doesn't contain that one: request the "+
			"intermediate certificate from the issuer, and append it", i+1, identify(orphan), issuerName(orphan))
}

func issuerName(certificate *x509.Certificate) string {
	return Quote(DistinguishedName(certificate.RawIssuer))
}

func reviewUnrelated(chain Chain) []Finding {
	leaf := chain.Certificates[0]
	var findings []Finding
	superseded := 0
	for _, certificate := range chain.Unrelated {
		if bytes.Equal(certificate.RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo) {
			superseded++
			continue
		}
		findings = append(
			findings,
			warning(CertificateUnrelated, "a certificate doesn't belong to the chain and is omitted (%s)",
				identify(certificate)),
		)
	}
	if superseded > 0 {
		findings = append(findings, warning(SeveralCertificates,
			"the file holds %d certificates for its key; the newest, serial %s, expires %s, is used, and the others are "+
				"omitted", superseded+1, Printable(serialNumber(leaf)), date(leaf.NotAfter)))
	}
	return findings
}

func reviewValidity(chain Chain, now time.Time) []Finding {
	var findings []Finding
	if leaf := chain.Certificates[0]; !now.After(leaf.NotAfter) && leaf.NotAfter.Before(now.AddDate(0, 0, SoonDays)) {
		findings = append(
			findings,
			warning(ExpiresSoon, "the certificate expires on %s (%s): %s; request a new one now", date(leaf.NotAfter),
				Validity(DaysLeft(leaf.NotAfter, now)), identify(leaf)),
		)
	}
	for i, certificate := range chain.Certificates[1:] {
		if now.After(certificate.NotAfter) || now.Before(certificate.NotBefore) {
			findings = append(
				findings,
				warning(IntermediateExpired,
					"certificate %d of the chain is valid from %s to %s only (%s): request the "+
						"current one from the issuer", i+2, date(certificate.NotBefore), date(certificate.NotAfter),
					identify(certificate)),
			)
		}
	}
	return findings
}

// DaysLeft returns the number of whole days from now until notAfter, rounded down: 0 on the last
// day, negative after the expiry.
func DaysLeft(notAfter, now time.Time) int {
	// A Duration ends after 292 years, and certificates without an end are valid until 9999.
	const day = 24 * 60 * 60
	left := notAfter.Unix() - now.Unix()
	if notAfter.Nanosecond() < now.Nanosecond() {
		left--
	}
	if left < 0 {
		return int((left - day + 1) / day)
	}
	return int(left / day)
}

// Validity returns the days left for a message: "1 day left", or "expired".
func Validity(daysLeft int) string {
	if daysLeft < 0 {
		return "expired"
	}
	return egress.Counted(daysLeft, "day") + " left"
}

func reviewNames(leaf *x509.Certificate) []Finding {
	// There are other types of names (otherName, directoryName), so this checks the extension
	// itself.
	if _, found := extension(leaf, 2, 5, 29, 17); found {
		return nil
	}
	return []Finding{
		warning(NoSubjectAltName,
			"the certificate has no subject alternative name (%s): partners that check names, such as Istio's gateway with "+
				"subjectAltNames, use these and not the CN; if the request had some, the CA removed them",
			identify(leaf)),
	}
}

func reviewStrength(chain Chain) []Finding {
	var findings []Finding
	for i, certificate := range chain.Certificates {
		switch key := certificate.PublicKey.(type) {
		case *rsa.PublicKey:
			if key.N.BitLen() < minRSABits {
				findings = append(
					findings,
					warning(WeakKey,
						"certificate %d of the chain has an RSA key of %d bits (%s): less than %d is insecure, and "+
							"the sidecar rejects such a certificate", i+1, key.N.BitLen(), identify(certificate),
						minRSABits),
				)
			}
		case *ecdsa.PublicKey:
			if key.Params().BitSize < 256 {
				findings = append(
					findings,
					warning(WeakKey, "certificate %d of the chain has an ECDSA key of %d bits (%s): use P-256 or P-384",
						i+1, key.Params().BitSize, identify(certificate)),
				)
			}
		}
		if !selfSigned(certificate) && weakSignature(certificate) {
			findings = append(
				findings,
				warning(WeakSignature,
					"certificate %d of the chain is signed with %s (%s), which most servers reject: request SHA-256",
					i+1, certificate.SignatureAlgorithm, identify(certificate)),
			)
		}
	}
	return findings
}

func weakSignature(certificate *x509.Certificate) bool {
	name := certificate.SignatureAlgorithm.String()
	return strings.Contains(name, "SHA1") || strings.Contains(name, "MD5") || strings.Contains(name, "MD2")
}

// reviewClientIssuer detects a common mistake: using the ca.crt of the client certificate's issuer
// as the CA of the server (https://github.com/cert-manager/cert-manager/issues/1571).
func reviewClientIssuer(chain Chain, serverCA []*x509.Certificate) []Finding {
	if len(serverCA) == 0 {
		return nil
	}
	path := pathOf(chain.Certificates[0], chain.withRoot())
	end := path[len(path)-1]
	open, tries := !selfSigned(end), 0
	for _, authority := range serverCA {
		isIssuer := slices.ContainsFunc(path[1:], func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubjectPublicKeyInfo, authority.RawSubjectPublicKeyInfo)
		})
		// Each attempt can verify a signature.
		if bytes.Equal(end.RawIssuer, authority.RawSubject) {
			tries++
		}
		// The issuers of all other certificates are in the path, so isIssuer detects them by their
		// key.
		if isIssuer || open && tries <= maxLinks && issuedBy(end, authority) {
			return []Finding{
				warning(ServerCAIsClientIssuer,
					"the CA of the server is the issuer of the client certificate (%s): that is correct only if the "+
						"same CA signs both; otherwise every call fails, so ask the partner which CA "+
						"signs the server's certificate",
					identify(authority)),
			}
		}
	}
	return nil
}
