package credential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"mtls.egress/webhook/internal/egress"
)

// Credential describes a client certificate, for users and for the status. It contains no secret.
type Credential struct {
	// Subject and Issuer are RFC 4514 strings, for example "CN=orders,O=Example,C=DE".
	Subject, Issuer string
	// SerialNumber is in lowercase hexadecimal, two digits per byte, without separators, and with a
	// minus sign if the CA wrote a negative number.
	SerialNumber string
	// NotBefore and NotAfter are the bounds of the validity, inclusive and in UTC.
	NotBefore, NotAfter time.Time
	// SHA256 is the fingerprint of the DER certificate in lowercase hexadecimal, without separators.
	SHA256 string
	// The subject alternative names. Characters that aren't printable are replaced.
	DNSNames, Emails, IPAddresses, URIs []string
	// ChainLength is the number of certificates, including the leaf.
	ChainLength int
	// KeyType is the algorithm and size of the leaf's key, for example "ecdsa-p256" or "rsa-3072".
	KeyType string
	// PublicCA reports whether a public CA issued the certificate. See the Reason PublicCA.
	PublicCA bool
	// ServerCA describes the CA of the server. nil if it can't be read or has another source.
	ServerCA *ServerCA
}

// Check validates the credential that data contains under the keys of layout, at the time now, and
// describes it. A credential is usable if
//   - the certificate, its chain and the private key are readable,
//   - the private key matches the first certificate,
//   - that certificate is valid now,
//   - its extensions allow a TLS client, and
//   - unless layout.ServerCA is empty, the CA of the server is readable and one of its certificates
//     is valid now.
//
// Check doesn't validate the issuer of the certificate, the strength of its key, or whether the
// chain is complete.
//
// If the credential is not usable, the error is a [*RefusedError] with all problems. The Credential
// is not nil if the first certificate is readable, even if there is an error, so that a status can
// show the refused certificate.
func Check(data map[string][]byte, layout egress.Layout, now time.Time) (*Credential, error) {
	problems := missing(data, layout)
	certificate := part{certificatePart, layout.Certificate}
	privateKey := part{privateKeyPart, layout.PrivateKey}

	var chain []*x509.Certificate
	if _, absent := certificate.absence(data); !absent {
		read, problem := readCertificates(certificate, data[certificate.key])
		if problem != "" {
			problems = append(problems, Problem{CertificateUnreadable, certificate.key, problem})
		}
		chain = read
	}

	var key crypto.Signer
	if _, absent := privateKey.absence(data); !absent {
		read, problem := readPrivateKey(privateKey, data[privateKey.key])
		if problem != "" {
			problems = append(problems, Problem{PrivateKeyUnreadable, privateKey.key, problem})
		}
		key = read
	}

	if len(chain) > 0 && key != nil {
		problems = append(problems, checkMatch(certificate, privateKey, chain, key)...)
	}
	if len(chain) > 0 {
		problems = append(problems, checkValidity(certificate, chain[0], now)...)
		problems = append(problems, checkUsage(certificate, chain[0])...)
	}
	var serverCA *ServerCA
	if layout.ServerCA != "" {
		read, found := checkServerCA(part{serverCAPart, layout.ServerCA}, data, now)
		serverCA, problems = read, append(problems, found...)
	}

	if len(chain) == 0 {
		return nil, refuseKeys("the Secret", data, problems...)
	}
	described := describe(chain)
	described.ServerCA = serverCA
	return described, refuseKeys("the Secret", data, problems...)
}

func describe(chain []*x509.Certificate) *Credential {
	leaf := chain[0]
	fingerprint := sha256.Sum256(leaf.Raw)
	var ips, uris []string
	for _, ip := range leaf.IPAddresses {
		ips = append(ips, ip.String())
	}
	for _, uri := range leaf.URIs {
		uris = append(uris, uri.String())
	}
	return &Credential{
		Subject:      DistinguishedName(leaf.RawSubject),
		Issuer:       DistinguishedName(leaf.RawIssuer),
		SerialNumber: serialNumber(leaf),
		NotBefore:    leaf.NotBefore.UTC(),
		NotAfter:     leaf.NotAfter.UTC(),
		SHA256:       hex.EncodeToString(fingerprint[:]),
		DNSNames:     visibleNames(leaf.DNSNames),
		Emails:       visibleNames(leaf.EmailAddresses),
		IPAddresses:  ips,
		URIs:         visibleNames(uris),
		ChainLength:  len(chain),
		KeyType:      keyType(leaf.PublicKey),
		PublicCA:     leadsTo(publicCAs(), chain),
	}
}

func serialNumber(certificate *x509.Certificate) string {
	digits := hex.EncodeToString(certificate.SerialNumber.Bytes())
	switch certificate.SerialNumber.Sign() {
	case 0:
		return "00"
	case -1:
		return "-" + digits
	}
	return digits
}

func keyType(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ecdsa-" + strings.ToLower(strings.ReplaceAll(key.Curve.Params().Name, "-", ""))
	case ed25519.PublicKey:
		return "ed25519"
	default:
		return "unknown"
	}
}

// identify names a certificate in a message.
func identify(certificate *x509.Certificate) string {
	return fmt.Sprintf("subject %s, serial %s", Quote(DistinguishedName(certificate.RawSubject)),
		Printable(serialNumber(certificate)))
}

func checkMatch(certificate, privateKey part, chain []*x509.Certificate, key crypto.Signer) []Problem {
	for i, candidate := range chain {
		if !belongs(key, candidate) {
			continue
		}
		if i == 0 {
			return nil
		}
		return []Problem{
			{
				PrivateKeyMismatch,
				certificate.key,
				fmt.Sprintf(
					"%s has its certificates in the wrong order: the private key belongs to certificate %d of %d "+
						"(%s), which must come first, followed by its intermediates", certificate, i+1, len(chain),
					identify(candidate)),
			},
		}
	}
	return []Problem{
		{
			PrivateKeyMismatch,
			privateKey.key,
			fmt.Sprintf(
				"%s does not match the certificate in %q (%s): store the private key that this certificate was "+
					"requested with", privateKey, certificate.key, identify(chain[0])),
		},
	}
}

func belongs(key crypto.Signer, certificate *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	return ok && public.Equal(certificate.PublicKey)
}

func checkValidity(p part, leaf *x509.Certificate, now time.Time) []Problem {
	switch {
	case now.After(leaf.NotAfter):
		return []Problem{{CertificateExpired, p.key, fmt.Sprintf(
			"%s expired on %s (%s): request a new one from its issuer", p, date(leaf.NotAfter), identify(leaf))}}
	case now.Before(leaf.NotBefore):
		return []Problem{
			{
				CertificateNotYetValid,
				p.key,
				fmt.Sprintf("%s is valid only from %s on (%s): use the previous one until then", p,
					date(leaf.NotBefore), identify(leaf)),
			},
		}
	default:
		return nil
	}
}

func date(t time.Time) string {
	return t.UTC().Format(time.RFC3339)
}

// Printable sanitizes text from a certificate for a message. It replaces line breaks, control
// characters and invisible characters, and truncates long text.
func Printable(text string) string {
	const longest = 200

	runes := []rune(visible(text))
	if len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return string(runes)
}

// Quote returns Printable text as a Go string literal, for use within a sentence. Text from outside
// can't end the quotation.
func Quote(text string) string { return strconv.Quote(Printable(text)) }

// visible replaces all characters that are not printable.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// visibleNames returns names of a certificate that are safe for a status and a terminal.
func visibleNames(names []string) []string {
	var shown []string
	for _, name := range names {
		shown = append(shown, visible(name))
	}
	return shown
}
