package credential

import (
	"bytes"
	"crypto"
	"crypto/md5" //nolint:gosec // Old authorities signed with it.
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Chain is a client certificate and what leads from it to the root of its issuer.
type Chain struct {
	// Certificates are those to present: the leaf first, each followed by its issuer, the root not
	// among them (RFC 8446 §4.4.2 lets it out). A self-signed leaf stands alone.
	Certificates []*x509.Certificate
	// Root is the self-signed end of the chain; nil when it wasn't found.
	Root *x509.Certificate
	// Unrelated are certificates that came along and belong to neither.
	Unrelated []*x509.Certificate
}

// withRoot are the certificates to present and, behind them, the root where it was found.
func (c Chain) withRoot() []*x509.Certificate {
	if c.Root == nil {
		return c.Certificates
	}
	return append(slices.Clone(c.Certificates), c.Root)
}

// Arrange finds the chain of the private key in a bundle, whatever the order of the certificates.
// Of several certificates for the key it takes the one that is valid longest. The error says which
// certificates there are instead, or that there are too many to be searched.
func Arrange(bundle Bundle) (Chain, error) {
	if problem := checkChain(bundle.Certificates); problem != "" {
		return Chain{}, errors.New("there are " + problem)
	}
	leaf := newest(bundle.Certificates, func(c *x509.Certificate) bool { return belongs(bundle.PrivateKey, c) })
	if leaf == nil {
		return Chain{}, noLeaf(bundle)
	}
	return follow(leaf, bundle.Certificates), nil
}

// follow finds what leads from leaf to its root among candidates. The leaf may be one of them.
func follow(leaf *x509.Certificate, candidates []*x509.Certificate) Chain {
	path := pathOf(leaf, candidates)
	chain := Chain{Certificates: path}
	if end := len(path) - 1; end > 0 && selfSigned(path[end]) {
		chain = Chain{Certificates: path[:end:end], Root: path[end]}
	}
	for _, certificate := range candidates {
		if !slices.ContainsFunc(slices.Concat(path, chain.Unrelated), certificate.Equal) {
			chain.Unrelated = append(chain.Unrelated, certificate)
		}
	}
	return chain
}

// maxLinks is how many certificates a path has at most. Real ones have three or four, and Java
// takes none of more than five intermediates unless it is told to
// (https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/security/cert/PKIXBuilderParameters.html#setMaxPathLength(int)).
const maxLinks = 20

// pathOf is a certificate and, each behind the one that it signed, its issuers among candidates: up
// to a self-signed one, or as far as they are there. It ends at maxLinks at the latest.
func pathOf(certificate *x509.Certificate, candidates []*x509.Certificate) []*x509.Certificate {
	path := []*x509.Certificate{certificate}
	for last := certificate; len(path) < maxLinks && !selfSigned(last); last = path[len(path)-1] {
		issuer := issuerOf(last, candidates, path)
		if issuer == nil {
			break
		}
		path = append(path, issuer)
	}
	return path
}

func noLeaf(bundle Bundle) error {
	if len(bundle.Certificates) == 0 {
		return errors.New("there is no certificate")
	}
	const shown = 5
	var found []string
	for _, certificate := range bundle.Certificates[:min(shown, len(bundle.Certificates))] {
		found = append(found, fmt.Sprintf("%s, %s", identify(certificate), keyType(certificate.PublicKey)))
	}
	if more := len(bundle.Certificates) - shown; more > 0 {
		found = append(found, fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("no certificate belongs to the private key (%s): found %s; each is for another key. "+
		"Take the key that the certificate was requested with, or have a certificate made of this key's request",
		keyType(bundle.PrivateKey.Public()), strings.Join(found, "; "))
}

// issuerOf is the issuer of certificate among candidates. A self-signed one is preferred, as it
// ends the chain where another of the same key, signed by somebody else's root, would lengthen it.
func issuerOf(certificate *x509.Certificate, candidates, used []*x509.Certificate) *x509.Certificate {
	var fitting []*x509.Certificate
	for _, candidate := range candidates {
		if !slices.ContainsFunc(used, candidate.Equal) && issuedBy(certificate, candidate) {
			fitting = append(fitting, candidate)
		}
	}
	if root := newest(fitting, selfSigned); root != nil {
		return root
	}
	return newest(fitting, func(*x509.Certificate) bool { return true })
}

// newest is the candidate that is valid longest among those that fit.
func newest(candidates []*x509.Certificate, fits func(*x509.Certificate) bool) *x509.Certificate {
	var found *x509.Certificate
	for _, candidate := range candidates {
		if fits(candidate) && (found == nil || candidate.NotAfter.After(found.NotAfter)) {
			found = candidate
		}
	}
	return found
}

// issuedBy reports whether issuer, which is an authority, has signed certificate.
func issuedBy(certificate, issuer *x509.Certificate) bool {
	if !bytes.Equal(certificate.RawIssuer, issuer.RawSubject) {
		return false
	}
	err := certificate.CheckSignatureFrom(issuer)
	_, insecure := errors.AsType[x509.InsecureAlgorithmError](err)
	if insecure || errors.Is(err, x509.ErrUnsupportedAlgorithm) {
		return signedBy(certificate, issuer)
	}
	return err == nil
}

// selfSigned doesn't ask for an authority's extensions, which client certificates that signed
// themselves lack.
func selfSigned(certificate *x509.Certificate) bool {
	return bytes.Equal(certificate.RawIssuer, certificate.RawSubject) && signedBy(certificate, certificate)
}

// signedBy reports whether the key of signer, which has the name of the certificate's issuer, has
// signed certificate. Signatures that are too weak to be trusted (SHA-1, MD5) are checked like any
// other, as nothing is trusted here. Those that crypto/x509 can't check, as RSA-PSS with a salt
// that isn't as long as the hash (https://pkg.go.dev/crypto/x509#SignatureAlgorithm), are decided
// by the key identifiers, and by the names alone where one of the two has none (RFC 4158 §3.5.12).
func signedBy(certificate, signer *x509.Certificate) bool {
	if key, ok := signer.PublicKey.(*rsa.PublicKey); ok && certificate.SignatureAlgorithm == x509.MD5WithRSA {
		digest := md5.Sum(certificate.RawTBSCertificate) //nolint:gosec // What was signed with MD5 is checked with MD5; a warning tells of it.
		return rsa.VerifyPKCS1v15(key, crypto.MD5, digest[:], certificate.Signature) == nil
	}
	err := signer.CheckSignature(certificate.SignatureAlgorithm, certificate.RawTBSCertificate, certificate.Signature)
	if errors.Is(err, x509.ErrUnsupportedAlgorithm) {
		issuer, subject := certificate.AuthorityKeyId, signer.SubjectKeyId
		return len(issuer) == 0 || len(subject) == 0 || bytes.Equal(issuer, subject)
	}
	return err == nil
}
