package serving

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxCAs bounds a caBundle. With the default durations it holds two; more means that something
// keeps replacing the CA's Secret, which must not let the bundle grow to the size limit of objects.
const maxCAs = 8

// MergeBundle is the caBundle to write: the CA certificates in ca, and beside them those in current
// that have not expired, because replicas may still serve leaves of theirs. Everything else in
// current is dropped, and of more than eight the oldest.
//
// Whose an earlier CA was does not count. When the certificates come from elsewhere than before, as
// after a change of the chart's servingCertificate.provider, replicas of both kinds are there for a
// while. Whoever could put a CA there could as well have the API server call somebody else.
//
// The result depends only on which certificates there are, not on their order, so that replicas
// that see the Secret at different times agree and do not overwrite each other. It has the newest
// CA first.
//
// It is an error when ca holds no CA certificate that is valid until after now: an empty caBundle
// would mean the trust store of the API server's machine.
func MergeBundle(current, ca []byte, now time.Time) ([]byte, error) {
	signing, err := parseBundle(ca)
	if err != nil {
		return nil, fmt.Errorf("the CA certificate cannot be read: %w", err)
	}
	signing = slices.DeleteFunc(signing, func(c *x509.Certificate) bool { return !c.IsCA || now.After(c.NotAfter) })
	if len(signing) == 0 {
		return nil, errors.New("the CA certificate is missing, expired, or not one of a CA")
	}

	earlier, _ := parseBundle(current) // what cannot be read signed nothing
	earlier = slices.DeleteFunc(earlier, func(c *x509.Certificate) bool {
		return !c.IsCA || now.After(c.NotAfter) || slices.ContainsFunc(signing, c.Equal)
	})
	slices.SortFunc(earlier, newestFirst)
	earlier = slices.CompactFunc(earlier, (*x509.Certificate).Equal)
	earlier = earlier[:min(len(earlier), max(0, maxCAs-len(signing)))]

	bundle := slices.Concat(signing, earlier)
	slices.SortFunc(bundle, newestFirst)
	bundle = slices.CompactFunc(bundle, (*x509.Certificate).Equal)
	var out bytes.Buffer
	for _, certificate := range bundle {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: certificate.Raw}))
	}
	return out.Bytes(), nil
}

const certificateBlock = "CERTIFICATE"

func newestFirst(a, b *x509.Certificate) int {
	return cmp.Or(b.NotBefore.Compare(a.NotBefore), bytes.Compare(a.Raw, b.Raw))
}

// parseBundle returns the certificates that can be read, and an error about those that cannot.
func parseBundle(bundle []byte) (certificates []*x509.Certificate, err error) {
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return certificates, err
		}
		if block.Type != certificateBlock {
			continue
		}
		certificate, problem := x509.ParseCertificate(block.Bytes)
		if problem != nil {
			err = errors.Join(err, problem)
			continue
		}
		certificates = append(certificates, certificate)
	}
}
