package credential

import (
	"bytes"
	"crypto"
	"crypto/md5" //nolint:gosec // Old CAs sign with it.
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Chain is a client certificate with the issuers that lead to its root.
type Chain struct {
	// Certificates are those to present: the leaf first, each followed by its issuer, without the
	// root (RFC 8446 §4.4.2 allows omitting it). A self-signed leaf is the only one.
	Certificates []*x509.Certificate
	// Root is the self-signed end of the chain. nil if it wasn't found. If another root signed its key
	// too, Certificates end with that cross certificate, and a server can trust either root.
	Root *x509.Certificate
	// CrossRoot is the self-signed end of the chain through the cross certificate. nil if it wasn't
	// found.
	CrossRoot *x509.Certificate
	// Unrelated are the other certificates in the bundle.
	Unrelated []*x509.Certificate
}

// withRoot returns the certificates to present, followed by the roots that were found.
func (c Chain) withRoot() []*x509.Certificate {
	whole := slices.Clone(c.Certificates)
	for _, root := range []*x509.Certificate{c.Root, c.CrossRoot} {
		if root != nil {
			whole = append(whole, root)
		}
	}
	return whole
}

// Arrange returns the chain of the private key in a bundle. The certificates can have any order. If
// several certificates match the key, the one that expires last is the leaf. If none matches, the
// error lists the certificates. Bundles that are too large to search also result in an error.
func Arrange(bundle Bundle) (Chain, error) {
	if problem := checkChain(bundle.Certificates); problem != "" {
		return Chain{}, errors.New("there are " + problem)
	}
	leaf := newest(bundle.Certificates, ownedBy(bundle.PrivateKey))
	if leaf == nil {
		return Chain{}, noLeaf(bundle)
	}
	return follow(leaf, bundle.Certificates), nil
}

// follow returns the chain from leaf to its root among candidates, which can include the leaf.
func follow(leaf *x509.Certificate, candidates []*x509.Certificate) Chain {
	path := pathOf(leaf, candidates)
	chain := Chain{Certificates: path}
	if end := len(path) - 1; end > 0 && selfSigned(path[end]) {
		chain = Chain{Certificates: path[:end:end], Root: path[end]}
		chain.cross(candidates)
	}
	for _, certificate := range candidates {
		if !slices.ContainsFunc(slices.Concat(chain.withRoot(), chain.Unrelated), certificate.Equal) {
			chain.Unrelated = append(chain.Unrelated, certificate)
		}
	}
	return chain
}

// cross appends the certificate that another root issued for the key of c's root, if it is among
// candidates, and its issuers. Servers that only trust the other root need it.
func (c *Chain) cross(candidates []*x509.Certificate) {
	first := newest(candidates, func(candidate *x509.Certificate) bool { return isCross(candidate, c.Root) })
	if first == nil {
		return
	}
	path := pathOf(first, candidates)
	if end := len(path) - 1; selfSigned(path[end]) {
		path, c.CrossRoot = path[:end], path[end]
	}
	c.Certificates = append(c.Certificates, path...)
}

// isCross reports whether certificate is for the name and the key of root, but from another issuer.
func isCross(certificate, root *x509.Certificate) bool {
	return root != nil && bytes.Equal(certificate.RawSubject, root.RawSubject) &&
		bytes.Equal(certificate.RawSubjectPublicKeyInfo, root.RawSubjectPublicKeyInfo) &&
		!bytes.Equal(certificate.RawIssuer, certificate.RawSubject)
}

// maxLinks is the maximum number of certificates in a path. Real chains have three or four, and by
// default Java rejects more than five intermediates
// (https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/security/cert/PKIXBuilderParameters.html#setMaxPathLength(int)).
const maxLinks = 20

// pathOf returns certificate, followed by its issuers among candidates. Each certificate precedes
// its issuer. The path ends at a self-signed certificate, at a missing issuer, or at maxLinks.
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
	return fmt.Errorf("no certificate matches the private key (%s): found %s; each is for another "+
		"key. Use the private key that the certificate was requested with, or request a certificate for this key",
		keyType(bundle.PrivateKey.Public()), strings.Join(found, "; "))
}

// issuerOf returns the issuer of certificate among candidates. It prefers a self-signed one, which
// ends the chain, to a cross certificate of the same key.
func issuerOf(certificate *x509.Certificate, candidates, used []*x509.Certificate) *x509.Certificate {
	var matching []*x509.Certificate
	for _, candidate := range candidates {
		if !slices.ContainsFunc(used, candidate.Equal) && issuedBy(certificate, candidate) {
			matching = append(matching, candidate)
		}
	}
	if root := newest(matching, selfSigned); root != nil {
		return root
	}
	return newest(matching, func(*x509.Certificate) bool { return true })
}

// newest returns the matching candidate that expires last.
func newest(candidates []*x509.Certificate, matches func(*x509.Certificate) bool) *x509.Certificate {
	var found *x509.Certificate
	for _, candidate := range candidates {
		if matches(candidate) && (found == nil || candidate.NotAfter.After(found.NotAfter)) {
			found = candidate
		}
	}
	return found
}

// issuedBy reports whether issuer is a CA that signed certificate.
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

// selfSigned reports whether certificate signed itself. It doesn't require the extensions of a CA,
// which self-signed client certificates don't have.
func selfSigned(certificate *x509.Certificate) bool {
	return bytes.Equal(certificate.RawIssuer, certificate.RawSubject) && signedBy(certificate, certificate)
}

// signedBy reports whether the key of signer signed certificate. The subject of signer must be the
// issuer of certificate. Weak signatures (SHA-1, MD5) are verified like any other, because nothing
// is trusted here. crypto/x509 can't verify some signatures, such as RSA-PSS with a salt that has
// another length than the hash (https://pkg.go.dev/crypto/x509#SignatureAlgorithm). For those, the
// key identifiers decide, or only the names if a key identifier is missing (RFC 4158 §3.5.12).
func signedBy(certificate, signer *x509.Certificate) bool {
	if key, ok := signer.PublicKey.(*rsa.PublicKey); ok && certificate.SignatureAlgorithm == x509.MD5WithRSA {
		digest := md5.Sum(certificate.RawTBSCertificate) //nolint:gosec // Review warns about MD5.
		return rsa.VerifyPKCS1v15(key, crypto.MD5, digest[:], certificate.Signature) == nil
	}
	err := signer.CheckSignature(certificate.SignatureAlgorithm, certificate.RawTBSCertificate, certificate.Signature)
	if errors.Is(err, x509.ErrUnsupportedAlgorithm) {
		issuer, subject := certificate.AuthorityKeyId, signer.SubjectKeyId
		return len(issuer) == 0 || len(subject) == 0 || bytes.Equal(issuer, subject)
	}
	return err == nil
}
