package credential_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/certs/pfx"
)

// ber is a style of BER encoding.
type ber struct {
	// indefinite reports whether nested values have an end-of-contents instead of a length.
	indefinite bool
	// piece is the segment size of octet strings in bytes. 0 means one segment.
	piece int
	// long reports whether lengths of more than a byte have a leading zero.
	long bool
	// behind is additional content after the AuthenticatedSafe, covered by its MAC.
	behind string
}

// styles are the style of NSS, the style of Bouncy Castle's BEROctetString with segments of 1000
// bytes, and two that no tool writes.
func styles() map[string]ber {
	return map[string]ber{
		"as NSS":                {indefinite: true, piece: 1 << 16},
		"as Bouncy Castle":      {indefinite: true, piece: 1000},
		"in pieces of one byte": {indefinite: true, piece: 1},
		"in lengths too long":   {long: true, piece: 7},
	}
}

// encode encodes values in DER in this style.
func (b ber) encode(tb testing.TB, der []byte) (encoded []byte) {
	tb.Helper()
	for len(der) > 0 {
		var value asn1.RawValue
		der = must[[]byte](tb)(asn1.Unmarshal(der, &value))
		identifier, content := value.FullBytes[0], value.Bytes
		switch {
		case value.IsCompound:
			content = b.encode(tb, content)
		case b.piece > 0 && (identifier == asn1.TagOctetString || identifier == 0x80):
			identifier |= 0x20
			var pieces []byte
			for len(content) > 0 {
				size := min(b.piece, len(content))
				pieces = append(append(append(pieces, asn1.TagOctetString), b.length(size)...), content[:size]...)
				content = content[size:]
			}
			content = pieces
		}
		if b.indefinite && identifier&0x20 != 0 {
			encoded = append(append(append(encoded, identifier, 0x80), content...), 0, 0)
			continue
		}
		encoded = append(append(append(encoded, identifier), b.length(len(content))...), content...)
	}
	return encoded
}

func (b ber) length(size int) []byte {
	switch {
	case size < 0x80:
		return []byte{byte(size)}
	case b.long:
		return []byte{0x83, 0, byte(size >> 8), byte(size)}
	default:
		return []byte{0x82, byte(size >> 8), byte(size)}
	}
}

// pdu is a PKCS#12 file (RFC 7292 §4).
type pdu struct {
	Version  int
	AuthSafe struct {
		Type    asn1.ObjectIdentifier
		Content []byte `asn1:"tag:0,explicit"`
	}
	MAC struct {
		Digest struct {
			Algorithm pkix.AlgorithmIdentifier
			Value     []byte
		}
		Salt       []byte
		Iterations int `asn1:"optional,default:1"`
	} `asn1:"optional"`
}

// convert encodes both layers of a PKCS#12 file in this style, with a matching MAC. It also returns
// the content that the MAC covers.
func (b ber) convert(tb testing.TB, der []byte, secret string) (file, content []byte) {
	tb.Helper()
	var p12 pdu
	must[[]byte](tb)(asn1.Unmarshal(der, &p12))
	content = append(b.encode(tb, p12.AuthSafe.Content), b.behind...)
	if len(p12.MAC.Digest.Value) > 0 {
		p12.MAC.Digest.Value = remac(tb, p12, content, secret)
	}
	p12.AuthSafe.Content = content
	return b.encode(tb, must[[]byte](tb)(asn1.Marshal(p12))), content
}

// remac returns the MAC of other content, with the password encoding of the present MAC.
func remac(tb testing.TB, p12 pdu, content []byte, secret string) []byte {
	tb.Helper()
	var encoded []byte
	for _, unit := range append(utf16.Encode([]rune(secret)), 0) {
		encoded = append(encoded, byte(unit>>8), byte(unit))
	}
	hash := map[string]crypto.Hash{"1.3.14.3.2.26": crypto.SHA1, "2.16.840.1.101.3.4.2.1": crypto.SHA256,
		"2.16.840.1.101.3.4.2.3": crypto.SHA512, "1.2.840.113549.1.5.14": crypto.SHA256,
	}[p12.MAC.Digest.Algorithm.Algorithm.String()]
	keys := [][]byte{pbmac1Key(tb, p12, secret)}
	if keys[0] == nil {
		keys = [][]byte{
			pfx.Derive(hash, pfx.ForMAC, encoded, p12.MAC.Salt, p12.MAC.Iterations, hash.Size()),
			pfx.Derive(hash, pfx.ForMAC, nil, p12.MAC.Salt, p12.MAC.Iterations, hash.Size()),
		}
	}
	for _, key := range keys {
		sum := func(message []byte) []byte {
			code := hmac.New(hash.New, key)
			code.Write(message)
			return code.Sum(nil)
		}
		if hmac.Equal(sum(p12.AuthSafe.Content), p12.MAC.Digest.Value) {
			return sum(content)
		}
	}
	tb.Fatal("the MAC of the file in DER is another")
	return nil
}

// pbmac1Key returns the key of a MAC of RFC 9579, or nil for another MAC.
func pbmac1Key(tb testing.TB, p12 pdu, secret string) []byte {
	tb.Helper()
	var parameters struct {
		Derivation struct {
			Algorithm  asn1.ObjectIdentifier
			Parameters struct {
				Salt                  []byte
				Iterations, KeyLength int
			}
		}
	}
	if len(p12.MAC.Digest.Algorithm.Algorithm) != 7 || p12.MAC.Digest.Algorithm.Algorithm[6] != 14 {
		return nil
	}
	must[[]byte](tb)(asn1.Unmarshal(p12.MAC.Digest.Algorithm.Parameters.FullBytes, &parameters))
	derivation := parameters.Derivation.Parameters
	return must[[]byte](tb)(
		pbkdf2.Key(sha256.New, secret, derivation.Salt, derivation.Iterations, derivation.KeyLength))
}

// TestPKCS12InBER checks that a file in BER results in the same bundle as the file in DER. OpenSSL
// also reads the files, which shows that they are valid.
func TestPKCS12InBER(t *testing.T) {
	p := newPartner(t)
	whole := [][]byte{p.client.CertPEM, p.issuing.CertPEM, p.root.CertPEM}
	fixture := func(name string) func(*testing.T) []byte {
		return func(t *testing.T) []byte {
			return must[[]byte](t)(os.ReadFile(filepath.Join("testdata/pkcs12", name+".p12")))
		}
	}
	openSSL := func(args ...string) func(*testing.T) []byte {
		return func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole, args...) }
	}
	java := func(options ...string) func(*testing.T) []byte {
		return func(t *testing.T) []byte {
			return importJava(t, fixture("../../../../../examples/credential/keystore")(t), "PKCS12", options...)
		}
	}
	tests := map[string]struct {
		file     func(t *testing.T) []byte
		password string
		// unprotected reports whether any password fits.
		unprotected bool
		// options of openssl, which knows PBMAC1 from 3.4 on.
		options []string
	}{
		"OpenSSL 3, AES and SHA-256":         {file: openSSL()},
		"OpenSSL 1, RC2 and 3DES":            {file: openSSL("-legacy", "-certpbe", "PBE-SHA1-RC2-40")},
		"a MAC of SHA-512":                   {file: openSSL("-macalg", "SHA512")},
		"one round of derivation":            {file: openSSL("-noiter", "-nomaciter")},
		"an empty password":                  {file: openSSL("-passout", "pass:"), password: "-"},
		"certificates that aren't encrypted": {file: openSSL("-certpbe", "NONE")},
		"friendly names": {
			file: openSSL("-name", "orders", "-caname", "issuing", "-caname", "root"),
		},
		"no MAC and nothing encrypted": {
			unprotected: true,
			file:        openSSL("-passout", "pass:", "-nomac", "-keypbe", "NONE", "-certpbe", "NONE"),
			password:    "-",
		},
		"Java 17's own":                  {file: java(), password: "changeit"},
		"Java's of old":                  {file: java("-J-Dkeystore.pkcs12.legacy"), password: "changeit"},
		"Windows":                        {file: fixture("windows-certmgr-aes"), password: "password"},
		"no bytes for an empty password": {file: fixture("windows-azure-rc2"), password: "-"},
		"a key of 4096 bits":             {file: fixture("go-pkcs12-aes192"), password: "password"},
		"PBMAC1": {file: fixture("rfc9579-a1"), password: "1234",
			options: []string{"-nomacver"}},
	}
	read := 0
	defer func() {
		t.Logf("%d files in BER read of %d, the others need tools that are not here", read, len(tests)*len(styles()))
	}()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			secret := given(test.password)
			der := test.file(t)
			want := must[credential.Bundle](t)(credential.ReadPKCS12(der, secret))
			for style, b := range styles() {
				content, _ := b.convert(t, der, secret)
				if output, ok := openssl(t, append([]string{"pkcs12", "-legacy", "-noout", "-in",
					write(t, "ber.p12", content), "-passin", "pass:" + secret}, test.options...)...); !ok {
					t.Errorf("%s: openssl doesn't read it: %s", style, output)
				}
				got, err := credential.ReadPKCS12(content, secret)
				if err != nil {
					t.Errorf("%s: %v", style, err)
					continue
				}
				read++
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-DER +BER):\n%s", style, diff)
				}
				if test.unprotected {
					continue
				}
				if _, err := credential.ReadPKCS12(content, secret+"x"); err == nil {
					t.Errorf("%s: read with another password", style)
				}
			}
		})
	}
}

// TestPKCS12OfNSS reads a key store of NSS, also when it is corrupted or read with another
// password.
func TestPKCS12OfNSS(t *testing.T) {
	const wrong = "the password is wrong"
	want := must[credential.Chain](t)(
		credential.Arrange(
			must[credential.Bundle](t)(
				credential.ReadPKCS12(must[[]byte](t)(os.ReadFile("../../../examples/credential/keystore.p12")),
					"changeit"),
			),
		),
	)
	as := func(name string) []byte { return must[[]byte](t)(os.ReadFile("testdata/pkcs12/nss-" + name + ".p12")) }
	old := as("rc2")
	changed := func(at int) []byte {
		content := bytes.Clone(old)
		content[at] ^= 1
		return content
	}
	for name, test := range map[string]struct {
		content  []byte
		password string
		want     string
	}{
		"AES and SHA-256":                  {content: as("aes"), password: "changeit"},
		"AES and SHA-384":                  {content: as("sha384"), password: "changeit"},
		"RC2 and SHA-1":                    {content: old, password: "changeit"},
		"another password":                 {content: old, password: "changed", want: wrong},
		"no password":                      {content: old, want: "the file has a password, and none was given"},
		"a password of UCS-4":              {content: old, password: "🔑", want: wrong},
		"a byte changed in what is sealed": {content: changed(len(old) / 2), password: "changeit", want: wrong},
		"a byte changed in the MAC":        {content: changed(len(old) - 40), password: "changeit", want: wrong},
		"a byte changed in the outer layer": {content: changed(6), password: "changeit",
			want: unreadable("the outer structure", "PFX)")},
		"a newline behind it": {content: append(bytes.Clone(old), '\n'), password: "changeit",
			want: "the file has 1 extra byte at its end: it was changed in transit; download it again in binary mode"},
	} {
		t.Run(name, func(t *testing.T) {
			bundle, err := credential.ReadPKCS12(test.content, test.password)
			if err != nil || test.want != "" {
				if err == nil || err.Error() != test.want {
					t.Errorf("got  %v\nwant %q", err, test.want)
				}
				return
			}
			if diff := cmp.Diff(want, must[credential.Chain](t)(credential.Arrange(bundle))); diff != "" {
				t.Errorf("(-the source +NSS's):\n%s", diff)
			}
		})
	}
	for size := 5; size < len(old); size++ {
		if _, err := credential.ReadPKCS12(old[:size], "changeit"); err == nil || err.Error() != stopped(size) {
			t.Errorf("the first %d bytes: %v", size, err)
		}
	}
}

// TestAnyByteOfBERChanged checks that a changed byte is refused or has no effect. Under the MAC, it
// always results in a wrong password.
func TestAnyByteOfBERChanged(t *testing.T) {
	p := newPartner(t)
	der := must[[]byte](t)(
		pkcs12.LegacyRC2.WithIterations(
			1).Encode(p.client.Key, p.client.Certificate, []*x509.Certificate{p.issuing.Certificate}, password),
	)
	file, content := ber{indefinite: true, piece: 1 << 16}.convert(t, der, password)
	want := must[credential.Bundle](t)(credential.ReadPKCS12(file, password))
	begin := bytes.Index(file, content)
	if begin < 0 {
		t.Fatal("the content isn't whole in the file")
	}
	for at := range file {
		for _, bits := range []byte{0x01, 0x20, 0x80, 0xff} {
			changed := bytes.Clone(file)
			changed[at] ^= bits
			bundle, err := credential.ReadPKCS12(changed, password)
			switch sealed := at >= begin && at < begin+len(content); {
			case sealed && (err == nil || err.Error() != "the password is wrong"):
				t.Errorf("byte %d of %d, changed by %#x: %v", at, len(file), bits, err)
			case err == nil && !cmp.Equal(want, bundle):
				t.Errorf("byte %d of %d, changed by %#x: another bundle", at, len(file), bits)
			}
		}
	}
}
