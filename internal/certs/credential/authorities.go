package credential

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mtls.egress/webhook/internal/certs/jks"
	"mtls.egress/webhook/internal/certs/pfx"
)

const (
	// ServerCASkipped means that a certificate of the CA of the server can't be read, and others can.
	ServerCASkipped Reason = "ServerCASkipped"
	// ServerCANotCA means that no certificate of the CA of the server is a CA.
	ServerCANotCA Reason = "ServerCANotCA"
	// ServerCAExpiresSoon means that all certificates of the CA of the server expire within [SoonDays]
	// days.
	ServerCAExpiresSoon Reason = "ServerCAExpiresSoon"
	// CertificateSkipped means that a certificate next to the client certificate can't be read.
	CertificateSkipped Reason = "CertificateSkipped"
)

// Authorities are the CA certificates of a server. They are alternatives: the sidecar accepts a
// server whose chain ends at any of them.
type Authorities struct {
	// Certificates are those that can be read, in the order of the file.
	Certificates []*x509.Certificate
	// Skipped are warnings about the others. The sidecar loads them, so they can stay in the file.
	Skipped []Finding
	// encoded are all certificates in DER, in the order of the file.
	encoded [][]byte
}

// ServerCA describes the CA of a server by the certificate that expires last. Until then, one of
// its certificates is valid.
type ServerCA struct {
	// Subject and SerialNumber are like those of a [Credential].
	Subject, SerialNumber string
	// NotBefore and NotAfter are the bounds of the validity, inclusive and in UTC.
	NotBefore, NotAfter time.Time
	// NotCA reports whether none of the certificates is a CA. See the Reason ServerCANotCA.
	NotCA bool
	// Skipped is the number of certificates that can't be read.
	Skipped int
	// Warnings are the findings with the reasons ServerCANotCA and ServerCASkipped.
	Warnings []Finding
}

// last returns the certificate that expires last: of those that are CAs, or of all if none is.
func (a Authorities) last() (certificate *x509.Certificate, notCA bool) {
	if authority := newest(a.Certificates, isAuthority); authority != nil {
		return authority, false
	}
	return newest(a.Certificates, func(*x509.Certificate) bool { return true }), true
}

// isAuthority reports whether certificate can sign others. Certificates before version 3 have no
// extension that says so.
func isAuthority(certificate *x509.Certificate) bool {
	return certificate.IsCA || certificate.Version < 3 && selfSigned(certificate)
}

// describe describes the CA, which must have a certificate.
func (a Authorities) describe() *ServerCA {
	last, notCA := a.last()
	return &ServerCA{
		Subject: DistinguishedName(last.RawSubject), SerialNumber: serialNumber(last),
		NotBefore: last.NotBefore.UTC(), NotAfter: last.NotAfter.UTC(),
		NotCA: notCA, Skipped: len(a.Skipped), Warnings: a.warnings(),
	}
}

// warnings returns the findings that don't depend on the time.
func (a Authorities) warnings() []Finding {
	last, notCA := a.last()
	if last == nil || !notCA {
		return a.Skipped
	}
	ask := "the certificate of its issuer " + issuerName(last)
	if selfSigned(last) {
		ask = "a CA certificate, or for each new certificate before the server presents it"
	}
	return append([]Finding{warning(ServerCANotCA,
		"the CA of the server is not a CA but the certificate of a server (%s): calls succeed only while the server "+
			"presents this very certificate, and fail after the partner renews it; ask the partner for %s",
		identify(last), ask)}, a.Skipped...)
}

// review returns all findings about the CA at the time now.
func (a Authorities) review(now time.Time) []Finding {
	findings := a.warnings()
	last, _ := a.last()
	if last == nil || now.After(last.NotAfter) || !last.NotAfter.Before(now.AddDate(0, 0, SoonDays)) {
		return findings
	}
	return append(slices.Clip(findings), warning(ServerCAExpiresSoon,
		"the CA of the server expires on %s (%s): %s; ask the partner for the current one", date(last.NotAfter),
		identify(last), Validity(DaysLeft(last.NotAfter, now))))
}

// ReadServerCA parses the CA certificates of a server from a PEM or DER file. name is the name of
// the file, for messages. It skips certificates that can't be read, except for those for which the
// sidecar refuses the whole file. It returns an error if none is left.
func ReadServerCA(name string, content []byte) (Authorities, error) {
	p := part{serverCAPart, name}
	encoded, _, problem := encodedCertificates(p, content)
	var authorities Authorities
	if problem == "" {
		authorities, problem = parseAuthorities(p, encoded)
	}
	if problem != "" {
		return Authorities{}, errors.New(problem)
	}
	return authorities, nil
}

// ReadTrustStore is like [ReadServerCA], and also reads the trust stores of Java: PKCS#12 and JKS
// with certificates and no private key. A JKS is read without its password too, and then its digest
// is not verified. If password is the reason for the error, it is a [*WrongPasswordError].
func ReadTrustStore(name string, content []byte, password string) (Authorities, error) {
	contents, isStore, err := storeOf(content, password)
	p := part{serverCAPart, name}
	switch {
	case errors.Is(err, errNoPassword):
		return Authorities{}, fmt.Errorf("%s: %w: a trust store needs it, and a key store with a private key isn't the CA "+
			"of a server", p, err)
	case err != nil:
		return Authorities{}, fmt.Errorf("%s: %w", p, err)
	case !isStore:
		return ReadServerCA(name, content)
	case len(contents.Keys) > 0:
		return Authorities{}, fmt.Errorf("%s holds a private key, so it is the key store of a client: ask the partner for "+
			"the CA of the server's certificate", p)
	case len(contents.Certificates) == 0:
		return Authorities{}, fmt.Errorf("%s holds no certificate", p)
	}
	var encoded [][]byte
	for _, item := range contents.Certificates {
		encoded = append(encoded, item.DER)
	}
	authorities, problem := parseAuthorities(p, encoded)
	if problem != "" {
		return Authorities{}, errors.New(problem)
	}
	return authorities, nil
}

// storeOf decodes a file that is PKCS#12 or a Java key store. isStore is false for other files.
func storeOf(content []byte, password string) (contents pfx.Contents, isStore bool, err error) {
	switch {
	case jks.Is(content):
		contents, err = readJavaStore(content, password)
		return contents, true, err
	case IsPKCS12(content):
		contents, err = readPKCS12(content, password)
		return contents, true, err
	}
	return pfx.Contents{}, false, nil
}

// readAuthorities is like ReadServerCA for a PEM value of a Secret or ConfigMap. problem is "" if
// the CA can be used.
func readAuthorities(p part, value []byte) (authorities Authorities, problem string) {
	encoded, problem := certificateBlocks(p, value)
	if problem != "" {
		return Authorities{}, problem
	}
	return parseAuthorities(p, encoded)
}

func parseAuthorities(p part, encoded [][]byte) (authorities Authorities, problem string) {
	if problem := checkCount(p, len(encoded)); problem != "" {
		return Authorities{}, problem
	}
	read, unread := parseEach(encoded)
	var refused, all []string
	for _, one := range unread {
		all = append(all, one.String())
		if !one.outlined {
			refused = append(refused, one.String())
		}
		authorities.Skipped = append(authorities.Skipped, warning(ServerCASkipped,
			"%s: %s is skipped, because it %s; if it signs the server's certificate, ask the partner for a CA with an RSA "+
				"key or a key on P-256 or P-384; otherwise remove it", p, one.which, one.why))
	}
	switch {
	case len(refused) > 0:
		return Authorities{}, fmt.Sprintf(
			"%s: %s; the sidecar refuses the whole file with it, so remove it or fetch it again", p, few(refused))
	case len(read) == 0:
		return Authorities{}, fmt.Sprintf("%s holds no certificate that can be read: %s; ask the partner for a CA with an "+
			"RSA key or a key on P-256 or P-384", p, few(all))
	}
	authorities.Certificates, authorities.encoded = read, encoded
	return authorities, ""
}

// ReadChain is like [ReadCertificates], but skips certificates that can't be read, and returns
// warnings about them. It returns an error if none is left.
func ReadChain(name string, content []byte) (certificates []*x509.Certificate, skipped []Finding, err error) {
	p := part{certificatePart, name}
	encoded, _, problem := encodedCertificates(p, content)
	if problem != "" {
		return nil, nil, errors.New(problem)
	}
	return parseChain(p, encoded)
}

// parseChain is [ReadChain] for certificates in DER.
func parseChain(p part, encoded [][]byte) (certificates []*x509.Certificate, skipped []Finding, err error) {
	if problem := checkCount(p, len(encoded)); problem != "" {
		return nil, nil, errors.New(problem)
	}
	certificates, unread := parseEach(encoded)
	var all []string
	for _, one := range unread {
		all = append(all, one.String())
		skipped = append(skipped, warning(CertificateSkipped, "%s: %s is skipped, because it %s; if it belongs to the chain "+
			"of the client certificate, request it again from the issuer", p, one.which, one.why))
	}
	if len(certificates) == 0 {
		return nil, nil, fmt.Errorf("%s: %s", p, few(all))
	}
	return certificates, skipped, nil
}

// unreadable is a certificate of a file that crypto/x509 can't read, or that is too large to.
type unreadable struct {
	// which has the position in the file, and the subject if it is known. why is the reason.
	which, why string
	// outlined reports whether the sidecar loads the certificate.
	outlined bool
}

func (u unreadable) String() string { return u.which + " " + u.why }

func parseEach(encoded [][]byte) (certificates []*x509.Certificate, unread []unreadable) {
	for i, der := range encoded {
		certificate, why := parseCertificate(der)
		if why == "" {
			certificates = append(certificates, certificate)
			continue
		}
		one := unreadable{which: fmt.Sprintf("certificate %d of %d", i+1, len(encoded)), why: why}
		var subject []byte
		if subject, one.outlined = outlined(der); one.outlined {
			one.which += fmt.Sprintf(" (subject %s)", Quote(DistinguishedName(subject)))
		}
		unread = append(unread, one)
	}
	return certificates, unread
}

// few joins the first of many texts for a message.
func few(texts []string) string {
	const shown = 5
	joined := strings.Join(texts[:min(shown, len(texts))], "; ")
	if more := len(texts) - shown; more > 0 {
		joined += fmt.Sprintf("; and %d more", more)
	}
	return joined
}

// parseCertificate parses a certificate in DER. why is "" if it is valid.
func parseCertificate(der []byte) (certificate *x509.Certificate, why string) {
	if len(der) > maxCertificateSize {
		return nil, fmt.Sprintf("has %d bytes; at most %d are read: have it issued with fewer names or extensions",
			len(der), maxCertificateSize)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, "cannot be read: " + Printable(err.Error())
	}
	if problem := checkModulus(certificate); problem != "" {
		return nil, problem
	}
	return certificate, ""
}

// Encode returns all certificates of the CA in PEM, also those that are skipped.
func (a Authorities) Encode() []byte { return encodeDER(a.encoded) }

// Trusted is a certificate that the sidecar trusts.
type Trusted struct {
	// Subject is like that of a [Credential].
	Subject string
	// Fingerprint is the SHA-256 fingerprint, as OpenSSL and browsers show it.
	Fingerprint string
}

// Trusted describes all certificates that [Authorities.Encode] returns, in the same order.
func (a Authorities) Trusted() (trusted []Trusted) {
	for _, der := range a.encoded {
		// The sidecar refuses the file if this fails, so such a file was not read.
		subject, _ := outlined(der)
		trusted = append(trusted, Trusted{DistinguishedName(subject), Fingerprint(der)})
	}
	return trusted
}

// Fingerprint returns the SHA-256 fingerprint of a certificate in DER, as OpenSSL and browsers show
// it.
func Fingerprint(der []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(der)), " ", ":")
}
