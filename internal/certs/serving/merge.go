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

// maxCAs is the maximum number of CAs in a caBundle. With the default durations, it contains two.
// More than two mean that something repeatedly replaces the Secret of the CA. That must not grow
// the bundle to the size limit of objects.
const maxCAs = 8

// MergeBundle returns the caBundle to write: the CA certificates in ca, and the CA certificates in
// current that have not expired, because replicas can still serve leaves of those. It drops
// everything else in current, and the oldest CAs if there are more than eight.
//
// The origin of an earlier CA doesn't matter. If the source of the certificates changes, for
// example with the chart's servingCertificate.provider, replicas with both sources run for a while.
// A user who could add a CA here could also change the address that the API server calls.
//
// The result depends only on the set of certificates and not on their order. Therefore replicas
// that see the Secret at different times agree, and don't overwrite each other. The newest CA is
// the first.
//
// It is an error if ca contains no unexpired CA certificate: with an empty caBundle, the API server
// would use the trust store of its machine.
func MergeBundle(current, ca []byte, now time.Time) ([]byte, error) {
	signing, err := parseBundle(ca)
	if err != nil {
		return nil, fmt.Errorf("the CA certificate cannot be read: %w", err)
	}
	signing = slices.DeleteFunc(signing, func(c *x509.Certificate) bool { return !c.IsCA || now.After(c.NotAfter) })
	if len(signing) == 0 {
		return nil, errors.New("the CA certificate is missing, expired, or not a CA")
	}

	earlier, _ := parseBundle(current) // unreadable certificates signed nothing
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

// parseBundle returns the readable certificates in bundle, and an error for the unreadable ones.
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
