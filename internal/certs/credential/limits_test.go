package credential_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

// ones returns the number with n bits that are all set.
func ones(bits int) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	return n.Sub(n, big.NewInt(1))
}

// hostileKey returns an RSA private key in PKCS#1 with inconsistent numbers. The cost for a parser
// grows with their length. Without the values for the Chinese remainder theorem, the parser must
// compute them.
func hostileKey(tb testing.TB, version, modulus, primes int, crt bool) []byte {
	tb.Helper()
	type withoutCRT struct {
		Version int
		N       *big.Int
		E       int
		D, P, Q *big.Int
	}
	key := withoutCRT{version, ones(modulus), 65537, ones(modulus - 1), ones(primes), ones(primes)}
	if !crt {
		return must[[]byte](tb)(asn1.Marshal(key))
	}
	return must[[]byte](tb)(asn1.Marshal(struct {
		Version             int
		N                   *big.Int
		E                   int
		D, P, Q, Dp, Dq, QI *big.Int
	}{key.Version, key.N, key.E, key.D, key.P, key.Q, ones(primes - 1), ones(primes - 1), ones(primes - 1)}))
}

// pkcs8 wraps a PKCS#1 key in PKCS#8.
func pkcs8(tb testing.TB, key []byte) []byte {
	tb.Helper()
	return must[[]byte](tb)(asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1},
		Parameters: asn1.NullRawValue}, key}))
}

// rsaPublic is a signer of which only the public key is used.
type rsaPublic struct {
	crypto.Signer
	bits int
}

func (r rsaPublic) Public() crypto.PublicKey { return &rsa.PublicKey{N: ones(r.bits), E: 1<<31 - 1} }

// hostileCertificate returns a certificate, signed by ca, for an RSA key with the given size and
// the largest exponent that Go accepts.
func hostileCertificate(tb testing.TB, ca *pki.CA, template pki.Template, bits int) []byte {
	tb.Helper()
	return must[[]byte](tb)(x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          big.NewInt(0x0a1b2c),
		Subject:               template.Subject,
		DNSNames:              template.DNSNames,
		NotBefore:             pki.Epoch(),
		NotAfter:              pki.Epoch().AddDate(100, 0, 0),
		KeyUsage:              template.KeyUsage,
		ExtKeyUsage:           template.ExtKeyUsage,
		IsCA:                  template.IsCA,
		BasicConstraintsValid: true,
		ExtraExtensions:       template.ExtraExtensions,
	}, ca.Certificate, rsaPublic{bits: bits}.Public(), ca.Key))
}

func certificates(certificate []byte, count int) []byte {
	return bytes.Repeat(block("CERTIFICATE", certificate), count)
}

// TestWhatIsTooLargeIsRefusedUnread checks that oversized input is refused before parsing, because
// users who can write a Secret control it. Each row would cost the parser seconds, or more memory
// than a real credential.
func TestWhatIsTooLargeIsRefusedUnread(t *testing.T) {
	ca := pki.NewCA(t, "Partner CA")
	client := ca.Issue(t, orders())
	good := secret(client, ca)
	large := orders()
	large.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: make([]byte, 70_000)}}
	alike := orders()
	alike.Subject = pkix.Name{CommonName: "Partner CA"}
	const (
		keyLimit  = `; at most 16384 are read: store a key of 2048 to 4096 bits`
		readAgain = `"key" (private key) is an RSA key in a form that the sidecar can't read: the key needs two ` +
			`primes and all values for the Chinese remainder theorem (RFC 8017 appendix A.1.2); store a ` +
			`key that OpenSSL generated`
	)
	tests := map[string]struct {
		part  string
		value []byte
		want  string
	}{
		"a modulus of 262,144 bits in PKCS#1": {
			"key",
			block("RSA PRIVATE KEY", hostileKey(t, 0, 262_144, 131_072, true)),
			`"key" (private key) has a block of 147500 bytes: at most 16384 are read; store a key of 2048 to 4096 bits`,
		},
		"a modulus of 16,385 bits in PKCS#1": {
			"key",
			block("RSA PRIVATE KEY", hostileKey(t, 0, 16_385, 8_192, true)),
			`"key" (private key) has an RSA modulus of 16385 bits` + keyLimit,
		},
		"a modulus of 16,385 bits in PKCS#8": {
			"key",
			block("PRIVATE KEY", pkcs8(t, hostileKey(t, 0, 16_385, 8_192, true))),
			`"key" (private key) has an RSA modulus of 16385 bits` + keyLimit,
		},
		"primes longer than the modulus": {
			"key",
			block("RSA PRIVATE KEY", hostileKey(t, 0, 2_048, 20_000, true)),
			readAgain,
		},
		"no values for the remainder theorem": {
			"key",
			block("RSA PRIVATE KEY", hostileKey(t, 0, 16_384, 16_384, false)),
			readAgain,
		},
		"more than two primes": {
			"key",
			block("RSA PRIVATE KEY", hostileKey(t, 1, 4_096, 2_048, true)),
			readAgain,
		},
		"more than two primes, in PKCS#8": {
			"key",
			block("PRIVATE KEY", pkcs8(t, hostileKey(t, 1, 4_096, 2_048, true))),
			readAgain,
		},
		"a certificate with 16,385 bits": {
			"cert",
			block("CERTIFICATE", hostileCertificate(t, ca, orders(), 16_385)),
			`"cert" (client certificate): certificate 1 of 1 has an RSA modulus of 16385 bits; at most 16384 are ` +
				`read: have it issued for a key of 2048 to 4096 bits`,
		},
		"16,385 bits further back in the chain": {
			"cert",
			slices.Concat(client.CertPEM, block("CERTIFICATE", hostileCertificate(t, ca, orders(), 16_385))),
			`"cert" (client certificate): certificate 2 of 2 has an RSA modulus of 16385 bits; at most 16384 are ` +
				`read: have it issued for a key of 2048 to 4096 bits`,
		},
		"a certificate of 70,000 bytes": {
			"cert",
			ca.Issue(t, large).CertPEM,
			`"cert" (client certificate): certificate 1 of 1 has 70366 bytes; at most 65536 are read: have it issued ` +
				`with fewer names or extensions`,
		},
		"16,385 bits in the CA of the server": {
			"cacert",
			block("CERTIFICATE", hostileCertificate(t, ca, orders(), 16_385)),
			`"cacert" (CA of the server) holds no certificate that can be read: certificate 1 of 1 (subject "CN=orders") ` +
				`has an RSA modulus of 16385 bits; at most 16384 are read: have it issued for a key of 2048 to 4096 bits; ` +
				`ask the partner for a CA with an RSA key or a key on P-256 or P-384`,
		},
		"1,001 certificates in the CA": {
			"cacert",
			certificates(ca.Certificate.Raw, 1_001),
			`"cacert" (CA of the server) holds 1001 certificates: at most 1000 are read; keep those that are needed`,
		},
		"101 certificates in the chain": {
			"cert",
			certificates(client.Certificate.Raw, 101),
			`"cert" (client certificate) holds 101 certificates: the limit for a chain is 100; keep only the client ` +
				`certificate and its chain to the root`,
		},
		"a chain in which each could sign another": {
			"cert",
			certificates(hostileCertificate(t, ca, alike, 16_384), 20),
			`"cert" (client certificate) holds 20 certificates with names so alike and keys so long that a search ` +
				`for the chain would take too long; keep only the client certificate and its chain to the root`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := map[string][]byte{"cert": good["cert"], "key": good["key"], "cacert": good["cacert"]}
			data[test.part] = test.value
			_, err := credential.Check(data, credential.CertKeyLayout(), now())
			var got string
			for _, problem := range problemsOf(t, err) {
				if problem.Key == test.part && problem.Reason != credential.PrivateKeyMismatch {
					got = problem.Message
				}
			}
			// The length of an ECDSA signature varies by a few bytes.
			if diff := cmp.Diff(withoutSize(test.want), withoutSize(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// withoutSize replaces the number of bytes in a message.
func withoutSize(message string) string {
	before, after, found := strings.Cut(message, " has 70")
	if !found {
		return message
	}
	_, after, _ = strings.Cut(after, " bytes")
	return before + " has 70… bytes" + after
}

// TestLargestCredentialsAreRead checks that credentials at the limits are accepted.
func TestLargestCredentialsAreRead(t *testing.T) {
	ca := pki.NewCA(t, "Partner CA")
	data := map[string][]byte{
		"cert": block("CERTIFICATE", hostileCertificate(t, ca, orders(), 16_384)),
		"key":  ca.KeyPEM,
		"cacert": slices.Concat(certificates(ca.Certificate.Raw, 999),
			block("CERTIFICATE", hostileCertificate(t, ca, orders(), 16_384))),
	}
	got, err := credential.Check(data, credential.CertKeyLayout(), now())
	if got == nil || got.KeyType != "rsa-16384" {
		t.Errorf("the credential is %+v", got)
	}
	want := []credential.Problem{
		{
			Reason: credential.PrivateKeyMismatch,
			Key:    "key",
			Message: `"key" (private key) does not match the certificate in "cert" ` + ordersID +
				`: store the private key that this certificate was requested with`,
		},
	}
	if diff := cmp.Diff(want, problemsOf(t, err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// hostileInputs returns values of a Secret, by description, with the highest cost that the limits
// allow.
func hostileInputs(tb testing.TB) map[string]map[string][]byte {
	tb.Helper()
	ca := pki.NewCA(tb, "Partner CA")
	client := ca.Issue(tb, orders())
	with := func(part string, value []byte) map[string][]byte {
		data := secret(client, ca)
		data[part] = value
		return data
	}
	names := orders()
	for i := range 3_000 {
		names.DNSNames = append(names.DNSNames, fmt.Sprintf("%d.example.com", i))
	}
	extensions := orders()
	for i := range 3_000 {
		extensions.ExtraExtensions = append(extensions.ExtraExtensions,
			pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, i}, Value: []byte{5, 0}})
	}
	whole := hostileCertificate(tb, ca, orders(), 16_384)
	inputs := map[string]map[string][]byte{
		"262,144 bits, PKCS#1": with("key", block("RSA PRIVATE KEY", hostileKey(tb, 0, 262_144, 131_072, true))),
		"262,144 bits, PKCS#8": with("key",
			block("PRIVATE KEY", pkcs8(tb, hostileKey(tb, 0, 262_144, 131_072, true)))),
		"16,384 bits, half primes":      with("key", block("RSA PRIVATE KEY", hostileKey(tb, 0, 16_384, 8_192, true))),
		"16,384 bits, long primes":      with("key", block("RSA PRIVATE KEY", hostileKey(tb, 0, 16_384, 16_384, true))),
		"16,384 bits, without CRT":      with("key", block("RSA PRIVATE KEY", hostileKey(tb, 0, 16_384, 16_384, false))),
		"100 certificates, 16,384 bits": with("cert", certificates(whole, 100)),
		"the CA, 16,384 bits":           with("cacert", certificates(whole, credential.MaxPartSize/(len(whole)*3/2))),
		"the CA, as many as fit":        with("cacert", certificates(ca.Certificate.Raw, 1_000)),
		"the CA, 3,000 names each":      with("cacert", certificates(ca.Issue(tb, names).Certificate.Raw, 10)),
		"the CA, 3,000 extensions each": with("cacert", certificates(ca.Issue(tb, extensions).Certificate.Raw, 10)),
		"PEM without an end": with("cacert",
			bytes.Repeat([]byte("-----BEGIN A-----\n"), credential.MaxPartSize/18)),
		"PEM of empty blocks": with(
			"cacert",
			bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), credential.MaxPartSize/54),
		),
		"PEM of headers": with("cacert",
			slices.Concat([]byte("-----BEGIN A-----\n"), bytes.Repeat([]byte("a: b\n"), credential.MaxPartSize/6))),
		"PEM with an end that is another": with("cacert",
			bytes.Repeat([]byte("-----BEGIN A-----\n-----END B-----\n"), credential.MaxPartSize/34)),
		"base64 of nothing": with("cacert", bytes.Repeat([]byte("A"), credential.MaxPartSize)),
		"blanks":            with("cacert", bytes.Repeat([]byte(" "), credential.MaxPartSize)),
		"nested DER":        with("cacert", block("CERTIFICATE", bytes.Repeat([]byte{0x30, 0x80}, 30_000))),
	}
	return inputs
}

// BenchmarkJudgeHostile measures Check for each hostile input.
func BenchmarkJudgeHostile(b *testing.B) {
	inputs := hostileInputs(b)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range inputs {
			if !yield(name) {
				return
			}
		}
	}) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = credential.Check(inputs[name], credential.CertKeyLayout(), now())
			}
		})
	}
}

// BenchmarkSlowest checks generated inputs, and reports the slowest one as ms/slowest. The inputs
// have random sizes within and beyond the limits, and random changed bytes. The seed is fixed, so
// that runs are comparable.
func BenchmarkSlowest(b *testing.B) {
	const inputs = 1_000
	ca := pki.NewCA(b, "Partner CA")
	random := mathrand.New(mathrand.NewPCG(14, 2026))
	bits := func() int { return []int{512, 2_048, 8_192, 16_384, 16_385, 65_536}[random.IntN(6)] - random.IntN(2) }
	key := func() []byte {
		der := hostileKey(b, random.IntN(2), bits(), bits(), random.IntN(2) == 0)
		if random.IntN(2) == 0 {
			return block("PRIVATE KEY", pkcs8(b, der))
		}
		return block("RSA PRIVATE KEY", der)
	}
	chain := func() []byte {
		template := orders()
		for i := range random.IntN(4_000) {
			template.DNSNames = append(template.DNSNames, fmt.Sprintf("%d.example.com", i))
		}
		for i := range random.IntN(2_000) {
			template.ExtraExtensions = append(template.ExtraExtensions,
				pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, i}, Value: make([]byte, random.IntN(20))})
		}
		if random.IntN(2) == 0 {
			template.Subject = pkix.Name{CommonName: "Partner CA"}
		}
		one := block("CERTIFICATE", hostileCertificate(b, ca, template, max(1_024, bits())))
		return bytes.Repeat(one, 1+random.IntN(credential.MaxPartSize/len(one)))
	}
	broken := func(value []byte) []byte {
		for range random.IntN(4) {
			value[random.IntN(len(value))] = byte(random.IntN(256))
		}
		return value
	}
	values := make([]map[string][]byte, 0, inputs)
	for range inputs {
		values = append(values,
			map[string][]byte{"cert": broken(chain()), "key": broken(key()), "cacert": broken(chain())})
	}
	var slowest time.Duration
	for b.Loop() {
		for _, data := range values {
			begun := time.Now()
			_, _ = credential.Check(data, credential.CertKeyLayout(), now())
			slowest = max(slowest, time.Since(begun))
		}
	}
	b.ReportMetric(float64(slowest.Microseconds())/1_000, "ms/slowest")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1_000/float64(b.N*inputs), "ms/input")
}

// BenchmarkInspectHostile measures the inspect command for input within the limits. Unlike Check,
// it verifies signatures.
func BenchmarkInspectHostile(b *testing.B) {
	ca := pki.SelfSigned(
		b,
		pki.Template{
			Subject:  pkix.Name{CommonName: "Partner CA"},
			IsCA:     true,
			KeyUsage: x509.KeyUsageCertSign,
			Key:      must[*rsa.PrivateKey](b)(rsa.GenerateKey(rand.Reader, 2048)),
		},
	)
	alike := pki.Template{Subject: pkix.Name{CommonName: "Partner CA"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}
	var signed struct {
		Content, Algorithm asn1.RawValue
		Signature          asn1.BitString
	}
	if _, err := asn1.Unmarshal(hostileCertificate(b, ca, alike, 16_384), &signed); err != nil {
		b.Fatal(err)
	}
	// As long as the modulus, but less: it is used in calculations before it is found to be invalid.
	signed.Signature = asn1.BitString{Bytes: bytes.Repeat([]byte{0x77}, 2_048), BitLength: 8 * 2_048}
	file := certificates(must[[]byte](b)(asn1.Marshal(signed)), 11)
	for b.Loop() {
		must[*credential.Material](b)(credential.MaterialOfCertificates("f.pem", file)).Inspect(now())
	}
}
