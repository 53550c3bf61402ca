package credential

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Severity says what a finding means for the use of a credential.
type Severity string

const (
	// Refused means that the credential is not used.
	Refused Severity = "refused"
	// Warning means that the credential is used, and a partner may refuse it or a person may regret
	// it.
	Warning Severity = "warning"
)

// The reasons of warnings.
const (
	// ChainOutOfOrder: a certificate is not followed by its issuer, which stands elsewhere.
	ChainOutOfOrder Reason = "ChainOutOfOrder"
	// ChainIncomplete: the issuer of a certificate is not there.
	ChainIncomplete Reason = "ChainIncomplete"
	// CertificateUnrelated: a certificate has nothing to do with the chain.
	CertificateUnrelated Reason = "CertificateUnrelated"
	// IntermediateExpired: an intermediate certificate is not valid now.
	IntermediateExpired Reason = "IntermediateExpired"
	// ExpiresSoon: the client certificate ends within [SoonDays] days.
	ExpiresSoon Reason = "ExpiresSoon"
	// NoSubjectAltName: the client certificate has no subject alternative name.
	NoSubjectAltName Reason = "NoSubjectAltName"
	// WeakKey: the key of a certificate is too short.
	WeakKey Reason = "WeakKey"
	// WeakSignature: a certificate is signed with SHA-1 or MD5.
	WeakSignature Reason = "WeakSignature"
	// ServerCAIsClientIssuer: the CA of the server is the one that issued the client certificate.
	ServerCAIsClientIssuer Reason = "ServerCAIsClientIssuer"
)

// SoonDays is how many days before its end a credential expires soon.
const SoonDays = 30

// minRSABits is the shortest RSA key of which the sidecar presents a certificate: Envoy refuses to
// load shorter ones
// (https://github.com/envoyproxy/envoy/blob/main/source/common/tls/context_impl.cc).
const minRSABits = 2048

// Finding is one thing that a person should know about a credential.
type Finding struct {
	Severity Severity `json:"severity"`
	Reason   Reason   `json:"reason"`
	// Message says, on one line, what is wrong, where, and what would be right.
	Message string `json:"message"`
}

// FindingsOf are the problems of a [*RefusedError] as findings; none for any other error and for
// nil.
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

// Review says what is doubtful about a chain that [Check] accepts, and about the CA of the server
// next to it, at the time now. serverCA is empty where the CA comes from elsewhere. The chain is
// taken in the order in which it stands.
func Review(chain Chain, serverCA []*x509.Certificate, now time.Time) []Finding {
	if len(chain.Certificates) == 0 {
		return nil
	}
	return slices.Concat(
		reviewOrder(chain),
		reviewUnrelated(chain),
		reviewValidity(chain, now),
		reviewNames(chain.Certificates[0]),
		reviewStrength(chain),
		reviewServerCA(chain, serverCA),
	)
}

func warning(reason Reason, format string, args ...any) Finding {
	return Finding{Warning, reason, fmt.Sprintf(format, args...)}
}

func reviewOrder(chain Chain) []Finding {
	certificates, everything := chain.Certificates, chain.withRoot()
	path := pathOf(certificates[0], everything)
	// The end of a path may lack its issuer, which is the root then. That it is the end shows where no
	// certificate is off the path.
	whole := len(path) > 1 && !slices.ContainsFunc(everything, func(c *x509.Certificate) bool { return !slices.ContainsFunc(path, c.Equal) })
	var findings []Finding
	// What stands behind the longest path needs no order, and would cost a signature for every pair.
	for i, certificate := range certificates[:min(len(certificates)-1, maxLinks)] {
		switch at := slices.IndexFunc(everything, func(c *x509.Certificate) bool { return c != certificate && issuedBy(certificate, c) }); {
		case at == i+1, at < 0 && whole, selfSigned(certificate):
		case at < 0:
			findings = append(findings, missingIssuer(everything, i))
		default:
			findings = append(findings, warning(ChainOutOfOrder, "certificate %d (%s) must be followed by its issuer, which is certificate %d (%s): many servers read a chain in order only",
				i+1, identify(certificate), at+1, identify(everything[at])))
		}
	}
	if only := certificates[0]; len(certificates) == 1 && chain.Root == nil && !selfSigned(only) {
		findings = append(findings, warning(ChainIncomplete, "the certificate stands alone, without its issuer %s: partners that trust only a root above that one refuse it; "+
			"if the issuer is an intermediate, put its certificate behind", issuerName(only)))
	}
	return findings
}

// missingIssuer tells of a certificate whose issuer isn't among all.
func missingIssuer(all []*x509.Certificate, i int) Finding {
	orphan := all[i]
	for j, candidate := range all {
		if j != i && bytes.Equal(candidate.RawSubject, orphan.RawIssuer) {
			return warning(ChainIncomplete, "certificate %d (%s) is not followed by its issuer %s: certificate %d (%s) has that name, but didn't sign it or is no authority; "+
				"ask the issuer for the certificate that did, and put it behind", i+1, identify(orphan), issuerName(orphan), j+1, identify(candidate))
		}
	}
	return warning(ChainIncomplete, "certificate %d (%s) is not followed by its issuer %s, and neither is that one elsewhere in the file: "+
		"ask the issuer for the intermediate certificate and put it behind", i+1, identify(orphan), issuerName(orphan))
}

func issuerName(certificate *x509.Certificate) string {
	return strconv.Quote(Printable(DistinguishedName(certificate.RawIssuer)))
}

func reviewUnrelated(chain Chain) []Finding {
	var findings []Finding
	for _, certificate := range chain.Unrelated {
		findings = append(findings, warning(CertificateUnrelated, "a certificate has nothing to do with the chain and is left out (%s)", identify(certificate)))
	}
	return findings
}

func reviewValidity(chain Chain, now time.Time) []Finding {
	var findings []Finding
	if leaf := chain.Certificates[0]; !now.After(leaf.NotAfter) && leaf.NotAfter.Before(now.AddDate(0, 0, SoonDays)) {
		findings = append(findings, warning(ExpiresSoon, "the certificate ends on %s (%s): %s; order the next one now", date(leaf.NotAfter), days(DaysLeft(leaf.NotAfter, now)), identify(leaf)))
	}
	for i, certificate := range chain.Certificates[1:] {
		if now.After(certificate.NotAfter) || now.Before(certificate.NotBefore) {
			findings = append(findings, warning(IntermediateExpired, "certificate %d of the chain is valid from %s to %s only (%s): ask the issuer for today's",
				i+2, date(certificate.NotBefore), date(certificate.NotAfter), identify(certificate)))
		}
	}
	return findings
}

// DaysLeft is the number of whole days from now to the end of a validity, rounded down: 0 on the
// last day, negative after the end.
func DaysLeft(notAfter, now time.Time) int {
	const day = 24 * time.Hour
	left := notAfter.Sub(now)
	if left < 0 {
		return int((left - day + 1) / day)
	}
	return int(left / day)
}

func days(n int) string {
	switch {
	case n == 1:
		return "1 day left"
	case n < 0:
		return "expired"
	default:
		return strconv.Itoa(n) + " days left"
	}
}

func reviewNames(leaf *x509.Certificate) []Finding {
	// Other forms of names exist (otherName, directoryName), so that the extension decides.
	if _, found := extension(leaf, 2, 5, 29, 17); found {
		return nil
	}
	return []Finding{warning(NoSubjectAltName,
		"the certificate has no subject alternative name (%s): partners that check names look there, as Istio's gateway does with subjectAltNames, and not at the CN; "+
			"if the request had some, the CA dropped them", identify(leaf))}
}

func reviewStrength(chain Chain) []Finding {
	var findings []Finding
	for i, certificate := range chain.Certificates {
		switch key := certificate.PublicKey.(type) {
		case *rsa.PublicKey:
			if key.N.BitLen() < minRSABits {
				findings = append(findings, warning(WeakKey, "certificate %d of the chain has an RSA key of %d bits (%s): less than %d is breakable, and the sidecar refuses to present such a certificate",
					i+1, key.N.BitLen(), identify(certificate), minRSABits))
			}
		case *ecdsa.PublicKey:
			if key.Params().BitSize < 256 {
				findings = append(findings, warning(WeakKey, "certificate %d of the chain has an ECDSA key of %d bits (%s): use P-256 or P-384", i+1, key.Params().BitSize, identify(certificate)))
			}
		}
		if !selfSigned(certificate) && weakSignature(certificate) {
			findings = append(findings, warning(WeakSignature, "certificate %d of the chain is signed with %s (%s), which most servers of today refuse: ask for SHA-256",
				i+1, certificate.SignatureAlgorithm, identify(certificate)))
		}
	}
	return findings
}

func weakSignature(certificate *x509.Certificate) bool {
	name := certificate.SignatureAlgorithm.String()
	return strings.Contains(name, "SHA1") || strings.Contains(name, "MD5") || strings.Contains(name, "MD2")
}

// reviewServerCA knows the mistake of taking the ca.crt of the client's own issuer for the CA of
// the server (https://github.com/cert-manager/cert-manager/issues/1571).
func reviewServerCA(chain Chain, serverCA []*x509.Certificate) []Finding {
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
		// Each try may verify a signature.
		if bytes.Equal(end.RawIssuer, authority.RawSubject) {
			tries++
		}
		// Whoever signed the others has the key of one that stands in the path.
		if isIssuer || open && tries <= maxLinks && issuedBy(end, authority) {
			return []Finding{warning(ServerCAIsClientIssuer,
				"the CA of the server is the issuer of the client certificate (%s): that is right only where one CA signs both; "+
					"else every call fails, so ask the partner which CA signs the certificate of the server", identify(authority))}
		}
	}
	return nil
}
