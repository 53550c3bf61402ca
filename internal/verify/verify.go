package verify

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

// Problems returns all problems of the chain that a server sends, as [Prober.Probe] does, for a
// client that trusts one CA.
func Problems(chain []*x509.Certificate, authority *x509.Certificate, names []string, now time.Time) []Problem {
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	return verify(chain, roots, names, now)
}

// verify returns all problems of a server's chain, whose first certificate is the leaf. The client
// trusts roots and expects one of names at the time now. The sidecar would stop at the first
// problem.
func verify(chain []*x509.Certificate, roots *x509.CertPool, names []string, now time.Time) []Problem {
	if len(chain) == 0 {
		return []Problem{{ServerNotTrusted, "the server has no certificate"}}
	}
	leaf := chain[0]
	problems := verifyValidity(leaf, now)

	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	// The validity of the leaf is checked above. If now is outside of it, the rest of the chain is
	// checked at the nearest time within.
	at := now
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	// As in Envoy, which sets X509_V_FLAG_PARTIAL_CHAIN, each certificate in roots ends a chain,
	// self-signed or not
	// (https://github.com/envoyproxy/envoy/blob/main/source/common/tls/cert_validator/default_validator.cc).
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case err == nil:
	case invalid.Reason == x509.IncompatibleUsage && invalid.Cert != nil:
		problems = append(problems, Problem{NotForServerAuth, fmt.Sprintf(
			"the server's certificate (%s) may not be used by a server: its extended key usage, or that of a CA above it, "+
				"must include serverAuth",
			subject(leaf))})
	default:
		problems = append(problems, distrust(chain, err))
	}

	if _, found := matched(leaf, names); !found {
		problems = append(problems,
			Problem{ServerNameMismatch, fmt.Sprintf("the server's certificate is for %s, but must be for %s: "+
				"another server answers there, or the EgressTarget must list its name in subjectAltNames",
				list(namesOf(leaf), "no name"), list(names, "no name"))})
	}
	return problems
}

func verifyValidity(leaf *x509.Certificate, now time.Time) []Problem {
	switch {
	case now.After(leaf.NotAfter):
		return []Problem{
			{
				ServerCertificateExpired,
				fmt.Sprintf("the server's certificate (%s) expired on %s: the partner must renew it",
					subject(leaf), date(leaf.NotAfter)),
			},
		}
	case now.Before(leaf.NotBefore):
		return []Problem{
			{
				ServerCertificateNotYetValid,
				fmt.Sprintf(
					"the server's certificate (%s) is valid only from %s on: the partner must use the "+
						"previous one until then, or a clock is wrong",
					subject(leaf), date(leaf.NotBefore)),
			},
		}
	default:
		return nil
	}
}

// distrust returns the problem of an untrusted chain. It omits errors of the x509 package that
// contain the current time, because a message must not change with every handshake.
func distrust(chain []*x509.Certificate, err error) Problem {
	why := ""
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	switch {
	case isInvalid && invalid.Reason == x509.Expired && invalid.Cert != nil:
		why = fmt.Sprintf(
			", and above it a certificate (%s) is valid only from %s to %s",
			subject(invalid.Cert), date(invalid.Cert.NotBefore), date(invalid.Cert.NotAfter))
	case !isUnknown:
		why = fmt.Sprintf(" (%s)", credential.Printable(err.Error()))
	}
	return Problem{
		ServerNotTrusted,
		fmt.Sprintf(
			"the server's certificate (%s) does not chain to the expected CA: its issuer is %s, the server sends %s%s; ask "+
				"the partner which CA signs the server's certificate, and store that CA where serverCA of the EgressTarget points",
			subject(chain[0]), issuer(chain[0]), egress.Counted(len(chain), "certificate"), why),
	}
}

// matched returns the first of names that a certificate has, or false if it has none of them.
func matched(leaf *x509.Certificate, names []string) (name string, found bool) {
	at := slices.IndexFunc(names, func(name string) bool { return carries(leaf, name) })
	if at < 0 {
		return "", false
	}
	return names[at], true
}

// carries reports whether a certificate has a name. It compares names like Envoy does for Istio's
// subjectAltNames, which are exact matchers without a type: DNS names with wildcards in the
// certificate, and URIs, email and IP addresses literally. See matchSubjectAltName and dnsNameMatch
// in
// https://github.com/envoyproxy/envoy/blob/main/source/common/tls/cert_validator/san_matcher.cc and
// …/source/common/tls/utility.cc.
func carries(leaf *x509.Certificate, name string) bool {
	if slices.ContainsFunc(leaf.DNSNames, func(pattern string) bool { return matches(name, pattern) }) {
		return true
	}
	return slices.Contains(otherNames(leaf), name)
}

// matches reports whether a DNS name matches a DNS name in a certificate, in which "*" can match a
// part of the first label or all of it.
func matches(name, pattern string) bool {
	name, pattern = strings.ToLower(name), strings.ToLower(pattern)
	if name == pattern {
		return true
	}
	label, domain, several := strings.Cut(name, ".")
	labelPattern, domainPattern, severalPattern := strings.Cut(pattern, ".")
	if !several || !severalPattern || domain != domainPattern || strings.Contains(domainPattern, "*") {
		return false
	}
	if strings.HasPrefix(labelPattern, "xn--") || strings.Count(labelPattern, "*") != 1 {
		return false
	}
	before, after, _ := strings.Cut(labelPattern, "*")
	return len(label) >= len(before)+len(after) && strings.HasPrefix(label, before) && strings.HasSuffix(label, after)
}

func namesOf(leaf *x509.Certificate) []string {
	return slices.Concat(leaf.DNSNames, otherNames(leaf))
}

func otherNames(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.EmailAddresses)
	for _, uri := range leaf.URIs {
		names = append(names, uri.String())
	}
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func subject(certificate *x509.Certificate) string {
	return "subject " + credential.Quote(credential.DistinguishedName(certificate.RawSubject))
}

func issuer(certificate *x509.Certificate) string {
	return credential.Quote(credential.DistinguishedName(certificate.RawIssuer))
}

// list formats the first few of many values for a message, because a server can send thousands.
func list(texts []string, none string) string {
	const shown = 5
	if len(texts) == 0 {
		return none
	}
	var words []string
	for _, text := range texts[:min(shown, len(texts))] {
		words = append(words, credential.Quote(text))
	}
	joined := strings.Join(words, ", ")
	if more := len(texts) - shown; more > 0 {
		joined += " and " + strconv.Itoa(more) + " more"
	}
	return joined
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }
