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
	// has its certificate. If there are files, only they are sources.
	MissingIssuer string `json:"missingIssuer,omitempty"`
	// IssuerURLs are addresses from which the missing issuer can be fetched, as the last certificate
	// names them (RFC 5280 §4.2.2.1). They are only printed.
	IssuerURLs []string `json:"issuerURLs,omitempty"`
	// Namesakes are the files that have a CA with the name of an issuer of the server, but with
	// another key, if no file has the CA to trust.
	Namesakes []string `json:"namesakes,omitempty"`
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
// chooses the CA to trust. If there are files, it is one that a file has: a root, or otherwise an
// intermediate. What only the server sends is not trusted then. Without files, it is the root from
// the chain or the CAs of the system, in this order, or otherwise the last certificate of the
// chain, unless that is the server's. Nothing is fetched.
func Present(sent []*x509.Certificate, files []Source, system *x509.CertPool, now time.Time) (*Presented, error) {
	if len(sent) == 0 {
		return nil, errors.New("the server sends no certificate")
	}
	if problem := checkChain(sent); problem != "" {
		return nil, errors.New("the server sends " + problem)
	}
	path := pathOf(sent[0], sent)
	last := path[len(path)-1]
	var authority *x509.Certificate
	if len(files) > 0 {
		authority = inFiles(sent, files, now)
	} else {
		authority = topOf(sent, path, system, now)
	}
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
	if authority == nil || presented.Kind == TrustIntermediate && !selfSigned(last) && rootIn(sent, system, now) == nil {
		presented.MissingIssuer = DistinguishedName(last.RawIssuer)
	}
	if authority == nil {
		presented.Namesakes = namesakes(path, files)
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
func topOf(sent, path []*x509.Certificate, system *x509.CertPool, now time.Time) *x509.Certificate {
	last := path[len(path)-1]
	if selfSigned(last) {
		return last
	}
	if root := rootIn(sent, system, now); root != nil {
		return root
	}
	if len(path) > 1 {
		return last
	}
	return nil
}

// inFiles returns the CA of a server that the files have: the first root, or otherwise the first
// other certificate. nil if they have none.
func inFiles(sent []*x509.Certificate, files []Source, now time.Time) (authority *x509.Certificate) {
	for _, file := range files {
		found := inFile(sent, file.Certificates, now)
		if found != nil && selfSigned(found) {
			return found
		}
		if authority == nil {
			authority = found
		}
	}
	return authority
}

// inFile returns the CA of a server that a file has, or nil.
func inFile(sent, certificates []*x509.Certificate, now time.Time) *x509.Certificate {
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		// The search would end at the certificate of the server itself.
		if !certificate.Equal(sent[0]) {
			pool.AddCert(certificate)
		}
	}
	if anchor := rootIn(sent, pool, now); anchor != nil {
		return anchor
	}
	// A CA that expired or that signed with SHA-1 is the CA all the same. [Review] and the handshake
	// report it.
	path := pathOf(sent[0], sent)
	last := path[len(path)-1]
	candidates := certificates
	if checkChain(candidates) != "" {
		// A bundle of public CAs is searched by name.
		candidates = named(candidates, last.RawIssuer)
	}
	// The next issuer counts: one above it doesn't help while the server doesn't send this one.
	if extended := pathOf(last, candidates); len(extended) > 1 {
		return extended[1]
	}
	for _, certificate := range slices.Backward(path) {
		if slices.ContainsFunc(certificates, certificate.Equal) {
			return certificate
		}
	}
	return nil
}

// namesakes returns the files that have a certificate with the name of an issuer in the path, which
// another key signed.
func namesakes(path []*x509.Certificate, files []Source) (names []string) {
	for _, file := range files {
		if slices.ContainsFunc(file.Certificates, func(candidate *x509.Certificate) bool {
			return slices.ContainsFunc(path, func(signed *x509.Certificate) bool {
				return bytes.Equal(signed.RawIssuer, candidate.RawSubject) && !signedBy(signed, candidate)
			})
		}) {
			names = append(names, file.Name)
		}
	}
	return names
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

// rootIn returns the certificate of a pool that validates what a server sends, or nil. It prefers
// roots to intermediates, and the highest intermediate.
func rootIn(sent []*x509.Certificate, pool *x509.CertPool, now time.Time) *x509.Certificate {
	if pool == nil {
		return nil
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range sent[1:] {
		intermediates.AddCert(certificate)
	}
	chains, err := sent[0].Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		// An expired server has a CA all the same.
		CurrentTime: within(sent[0], now),
	})
	if err != nil {
		return nil
	}
	slices.SortStableFunc(chains, func(a, b []*x509.Certificate) int { return len(a) - len(b) })
	for _, chain := range chains {
		if end := chain[len(chain)-1]; selfSigned(end) {
			return end
		}
	}
	longest := chains[len(chains)-1]
	return longest[len(longest)-1]
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
