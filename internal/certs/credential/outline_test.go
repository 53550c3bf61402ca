package credential

import (
	"bytes"
	"crypto/x509"
	"testing"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"mtls.egress/webhook/test/pki"
)

// TestTheOutlineHasTheSubjectThatGoReads changes each byte of real and generated certificates.
// crypto/x509 ignores some trailing bytes, which BoringSSL and the outline refuse.
func TestTheOutlineHasTheSubjectThatGoReads(t *testing.T) {
	originals := [][]byte{pki.NewCA(t, "Partner CA").Issue(t, pki.Client("orders")).Certificate.Raw}
	for root := range bundle.Roots() {
		if _, ok := outlined(root.Certificate); !ok {
			t.Errorf("a root that browsers trust has no outline: %x", root.Certificate)
		}
		if len(originals) < 4 {
			originals = append(originals, root.Certificate)
		}
	}
	both, onlyGo, onlyOutline := 0, 0, 0
	for _, original := range originals {
		for at := range original {
			for _, change := range []byte{0x01, 0x80, 0xff} {
				der := bytes.Clone(original)
				der[at] ^= change
				certificate, err := x509.ParseCertificate(der)
				subject, ok := outlined(der)
				switch {
				case err == nil && ok:
					both++
					if !bytes.Equal(subject, certificate.RawSubject) {
						t.Errorf("byte %d changed by %#x: the subject is %x, want %x", at, change, subject, certificate.RawSubject)
					}
				case err == nil:
					onlyGo++
				case ok:
					onlyOutline++
				}
			}
		}
	}
	if onlyGo > both/100 {
		t.Errorf("Go reads %d changed certificates without an outline, and %d with", onlyGo, both)
	}
	t.Logf("changed certificates: %d read by both, %d only by Go, %d only an outline", both, onlyGo, onlyOutline)
}
