package credential

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"time"
)

// Presented is what a server presents, and the CA to trust for it.
type Presented struct {
	// Chain is the certificate of the server with the issuers that it sends, each followed by its
	// issuer, and then the other certificates that it sends.
	Chain []Details `json:"chain"`
	// Trust is the CA to trust, or nil if no source has one. Kind is its kind.
	Trust *Details  `json:"trust,omitempty"`
	Kind  TrustKind `json:"kind,omitempty"`
	// Sources report which sources have the CA to trust.
	Sources []SourceResult `json:"sources"`
	// MissingIssuer is the issuer of the last certificate in the notation of RFC 4514, if no source
	// has its certificate.
	MissingIssuer string `json:"missingIssuer,omitempty"`
	// IssuerURLs are addresses from which the missing issuer can be fetched, as the last certificate
	// names them (RFC 5280 §4.2.2.1). They are only printed.
	IssuerURLs []string `json:"issuerURLs,omitempty"`
	// Authority is the CA to trust. nil if Trust is.
	Authority *x509.Certificate `json:"-"`
}

// TrustKind is the kind of a CA to trust.
type TrustKind string

// The kinds of a CA to trust.
const (
	// TrustRoot is a root. It stays when the partner changes the CA below it.
	TrustRoot TrustKind = "root"
	// TrustIntermediate is the last certificate that the server sends, if no source has the root.
	TrustIntermediate TrustKind = "intermediate"
	// TrustUnsent is an intermediate that the server doesn't send, from another source. The root
	// alone would not be enough.
	TrustUnsent TrustKind = "unsent-intermediate"
	// TrustServer is the self-signed certificate of the server itself.
	TrustServer TrustKind = "server"
)

// The names of the sources of a CA that every server has.
const (
	SourceChain  = "the chain that the server sends"
	SourceSystem = "the CAs that this machine trusts"
)

// Source is a file with CA certificates.
type Source struct {
	Name         string
	Certificates []*x509.Certificate
}

// SourceResult reports whether a source has the CA to trust.
type SourceResult struct {
	Source string `json:"source"`
	Found  bool   `json:"found"`
}

// Present describes the certificates that a server sends, of which the first is its own, and
// chooses the CA to trust: the root at the end of the chain, from the chain, the files or the CAs
// of the system, in this order. If no source has the root, it is the last certificate that was
// found, unless that is the server's. Nothing is fetched.
func Present(sent []*x509.Certificate, files []Source, system *x509.CertPool, now time.Time) (*Presented, error) {
	if len(sent) == 0 {
		return nil, errors.New("the server sends no certificate")
	}
	if problem := checkChain(sent); problem != "" {
		return nil, errors.New("the server sends " + problem)
	}
	path := pathOf(sent[0], sent)
	last := path[len(path)-1]
	authority := topOf(path, files, system, now)
	presented := &Presented{Authority: authority, Kind: kindOf(sent, authority)}

	shown := slices.Clone(path)
	for _, certificate := range sent {
		if !slices.ContainsFunc(shown, certificate.Equal) {
			shown = append(shown, certificate)
		}
	}
	presented.Chain = detail(shown, now)
	if !selfSigned(last) {
		for _, url := range last.IssuingCertificateURL {
			presented.IssuerURLs = append(presented.IssuerURLs, Printable(url))
		}
	}
	if authority == nil || presented.Kind == TrustIntermediate {
		presented.MissingIssuer = DistinguishedName(last.RawIssuer)
	}
	if authority == nil {
		return presented, nil
	}
	presented.Trust = &detail([]*x509.Certificate{authority}, now)[0]
	presented.Sources = append(presented.Sources,
		SourceResult{SourceChain, slices.ContainsFunc(sent, authority.Equal)})
	for _, file := range files {
		presented.Sources = append(presented.Sources,
			SourceResult{file.Name, slices.ContainsFunc(file.Certificates, authority.Equal)})
	}
	presented.Sources = append(presented.Sources, SourceResult{SourceSystem, inPool(authority, system)})
	return presented, nil
}

// topOf returns the certificate at the end of the path that can be trusted, or nil.
func topOf(path []*x509.Certificate, files []Source, system *x509.CertPool, now time.Time) *x509.Certificate {
	last := path[len(path)-1]
	if selfSigned(last) {
		return last
	}
	var highest *x509.Certificate
	if len(path) > 1 {
		highest = last
	}
	for _, file := range files {
		if checkChain(file.Certificates) != "" {
			// A bundle of public CAs is searched by name.
			file.Certificates = named(file.Certificates, last.RawIssuer)
		}
		// The next issuer counts: one above it doesn't help while the server doesn't send this one.
		extended := pathOf(last, file.Certificates)
		if len(extended) > 1 && selfSigned(extended[1]) {
			return extended[1]
		}
		if len(extended) > 1 {
			highest = extended[1]
		}
	}
	if root := rootIn(path, system, now); root != nil {
		return root
	}
	return highest
}

// named returns the certificates with a subject.
func named(certificates []*x509.Certificate, subject []byte) (found []*x509.Certificate) {
	for _, certificate := range certificates {
		if bytes.Equal(certificate.RawSubject, subject) && len(found) < maxLinks {
			found = append(found, certificate)
		}
	}
	return found
}

// rootIn returns the root of the path in a pool, or nil.
func rootIn(path []*x509.Certificate, pool *x509.CertPool, now time.Time) *x509.Certificate {
	if pool == nil {
		return nil
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range path[1:] {
		intermediates.AddCert(certificate)
	}
	chains, err := path[0].Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		// An expired server has a CA all the same.
		CurrentTime: within(path[0], now),
	})
	if err != nil {
		return nil
	}
	shortest := slices.MinFunc(chains, func(a, b []*x509.Certificate) int { return len(a) - len(b) })
	return shortest[len(shortest)-1]
}

// inPool reports whether a pool, which can't be listed, has a certificate.
func inPool(certificate *x509.Certificate, pool *x509.CertPool) bool {
	if pool == nil {
		return false
	}
	chains, err := certificate.Verify(x509.VerifyOptions{
		Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: certificate.NotAfter,
	})
	return err == nil && slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool {
		return chain[len(chain)-1].Equal(certificate)
	})
}

// within returns now, or the nearest time at which a certificate is valid.
func within(certificate *x509.Certificate, now time.Time) time.Time {
	switch {
	case now.After(certificate.NotAfter):
		return certificate.NotAfter
	case now.Before(certificate.NotBefore):
		return certificate.NotBefore
	default:
		return now
	}
}

func kindOf(sent []*x509.Certificate, authority *x509.Certificate) TrustKind {
	switch {
	case authority == nil:
		return ""
	case authority.Equal(sent[0]):
		return TrustServer
	case selfSigned(authority):
		return TrustRoot
	case !slices.ContainsFunc(sent, authority.Equal):
		return TrustUnsent
	default:
		return TrustIntermediate
	}
}

// EncodeCertificate returns a certificate in PEM.
func EncodeCertificate(certificate *x509.Certificate) []byte {
	return encodeCertificates([]*x509.Certificate{certificate})
}
