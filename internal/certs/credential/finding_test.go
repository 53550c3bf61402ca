package credential_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

// numbered returns a client template with a fixed serial number and a subject alternative name.
func numbered(serial int64) pki.Template {
	template := pki.Client("orders")
	template.SerialNumber = big.NewInt(serial)
	template.DNSNames = []string{"orders.example.com"}
	return template
}

func authority(name string, serial int64) pki.Template {
	return pki.Template{
		Subject:      pki.Client(name).Subject,
		SerialNumber: big.NewInt(serial),
		IsCA:         true,
		KeyUsage:     x509.KeyUsageCertSign,
	}
}

func TestReviewTellsEveryDoubt(t *testing.T) {
	root := pki.SelfSigned(t, authority("Root", 1))
	upper := &pki.CA{Pair: root.Issue(t, authority("Upper", 2))}
	issuing := &pki.CA{Pair: upper.Issue(t, authority("Issuing", 3))}
	stranger := pki.SelfSigned(t, authority("Stranger", 9))
	good := issuing.Issue(t, numbered(0x10)).Certificate
	chainOf := func(certificates ...*x509.Certificate) credential.Chain {
		return credential.Chain{Certificates: certificates, Root: root.Certificate}
	}
	changed := func(change func(*pki.Template)) *x509.Certificate {
		template := numbered(0x10)
		change(&template)
		return issuing.Issue(t, template).Certificate
	}
	old := authority("Issuing", 4)
	old.NotAfter, old.Key = now().AddDate(0, 0, -1), issuing.Key
	expired := upper.Issue(t, old).Certificate
	namesake := upper.Issue(t, authority("Issuing", 5)).Certificate
	short := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	tiny := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))

	warn := func(reason credential.Reason, message string) []credential.Finding {
		return []credential.Finding{{Severity: credential.Warning, Reason: reason, Message: message}}
	}
	const leaf = `(subject "CN=orders", serial 10)`
	tests := map[string]struct {
		chain    credential.Chain
		serverCA []*x509.Certificate
		want     []credential.Finding
	}{
		"nothing": {},
		"a whole chain, and another CA for the server": {
			chain:    chainOf(good, issuing.Certificate, upper.Certificate),
			serverCA: []*x509.Certificate{stranger.Certificate},
		},
		"a chain with its root": {
			chain: credential.Chain{
				Certificates: []*x509.Certificate{good, issuing.Certificate, upper.Certificate, root.Certificate},
			},
		},
		"intermediates whose root nobody showed": {
			chain: credential.Chain{Certificates: []*x509.Certificate{good, issuing.Certificate, upper.Certificate}},
		},
		"the leaf alone": {
			chain: credential.Chain{Certificates: []*x509.Certificate{good}},
			want: warn(credential.ChainIncomplete,
				`the certificate is alone, without its issuer "CN=Issuing": partners that trust only a root `+
					`above that issuer reject `+
					`it; if the issuer is an intermediate, append its certificate`),
		},
		"a gap in the middle": {
			chain: chainOf(good, upper.Certificate),
			want: warn(credential.ChainIncomplete,
				`certificate 1 `+leaf+` is not followed by its issuer "CN=Issuing", and the file doesn't `+
					`contain that one: request `+
					`the intermediate certificate from the issuer, and append it`),
		},
		"the intermediates in the wrong order": {
			chain: chainOf(good, upper.Certificate, issuing.Certificate),
			want: append(
				warn(credential.ChainOutOfOrder,
					`certificate 1 `+leaf+` must be followed by its issuer, which is certificate 3 (subject `+
						`"CN=Issuing", serial 03): many servers require a chain in order`),
				warn(credential.ChainOutOfOrder,
					`certificate 2 (subject "CN=Upper", serial 02) must be followed by its issuer, which is `+
						`certificate 4 (subject "CN=Root", serial 01): many servers require a chain in order`)...),
		},
		"the intermediates in the wrong order, and no root": {
			chain: credential.Chain{Certificates: []*x509.Certificate{good, upper.Certificate, issuing.Certificate}},
			want: warn(credential.ChainOutOfOrder,
				`certificate 1 `+leaf+` must be followed by its issuer, which is certificate 3 (subject `+
					`"CN=Issuing", serial 03): many servers require a chain in order`),
		},
		"an issuer of that name that didn't sign": {
			chain: credential.Chain{Certificates: []*x509.Certificate{good, namesake, upper.Certificate}},
			want: warn(
				credential.ChainIncomplete,
				`certificate 1 `+leaf+` is not followed by its issuer "CN=Issuing": certificate 2 (subject `+
					`"CN=Issuing", serial 05) has that `+
					`name, but didn't sign it or is not a CA; request the certificate that did from `+
					`the issuer, and append it`,
			),
		},
		"the leaf twice, and nothing else": {
			chain: credential.Chain{Certificates: []*x509.Certificate{good, good}},
			want: warn(credential.ChainIncomplete,
				`certificate 1 `+leaf+` is not followed by its issuer "CN=Issuing", and the file doesn't `+
					`contain that one: request `+
					`the intermediate certificate from the issuer, and append it`),
		},
		"the CA of the server in the file of the chain, of which it is no part": {
			chain: credential.Chain{
				Certificates: []*x509.Certificate{
					good,
					issuing.Certificate,
					upper.Certificate,
					root.Certificate,
					stranger.Certificate,
				},
			},
			serverCA: []*x509.Certificate{stranger.Certificate},
		},
		"a certificate that belongs to nobody": {
			chain: credential.Chain{
				Certificates: []*x509.Certificate{good, issuing.Certificate, upper.Certificate},
				Unrelated:    []*x509.Certificate{stranger.Certificate},
			},
			want: warn(credential.CertificateUnrelated,
				`a certificate doesn't belong to the chain and is omitted (subject "CN=Stranger", serial 09)`),
		},
		"the last day": {
			chain: chainOf(changed(func(t *pki.Template) { t.NotAfter = now().Add(time.Hour) }), issuing.Certificate,
				upper.Certificate),
			want: warn(
				credential.ExpiresSoon,
				`the certificate expires on 2026-07-01T13:00:00Z (0 days left): `+leaf[1:len(leaf)-1]+`; request a new one now`,
			),
		},
		"thirty days are not soon": {
			chain: chainOf(changed(func(t *pki.Template) { t.NotAfter = now().AddDate(0, 0, 30) }), issuing.Certificate,
				upper.Certificate),
		},
		"an intermediate that has ended": {
			chain: chainOf(good, expired, upper.Certificate),
			want: warn(credential.IntermediateExpired,
				`certificate 2 of the chain is valid from 2020-01-01T00:00:00Z to 2026-06-30T12:00:00Z only (subject `+
					`"CN=Issuing", serial 04): request the current one from the issuer`),
		},
		"no names": {
			chain: chainOf(changed(func(t *pki.Template) { t.DNSNames = nil }), issuing.Certificate, upper.Certificate),
			want: warn(
				credential.NoSubjectAltName,
				`the certificate has no subject alternative name `+leaf+`: partners that check names, such `+
					`as Istio's gateway with subjectAltNames, use these and not the CN; if the request had `+
					`some, the CA removed them`,
			),
		},
		"a short RSA key": {
			chain: chainOf(changed(func(t *pki.Template) { t.Key = short }), issuing.Certificate, upper.Certificate),
			want: warn(credential.WeakKey,
				`certificate 1 of the chain has an RSA key of 1024 bits `+leaf+`: less than 2048 is insecure, `+
					`and the sidecar rejects such a certificate`),
		},
		"a short ECDSA key": {
			chain: chainOf(changed(func(t *pki.Template) { t.Key = tiny }), issuing.Certificate, upper.Certificate),
			want: warn(credential.WeakKey,
				`certificate 1 of the chain has an ECDSA key of 224 bits `+leaf+`: use P-256 or P-384`),
		},
		"the root of the client as the CA of the server": {
			chain:    chainOf(good, issuing.Certificate, upper.Certificate),
			serverCA: []*x509.Certificate{stranger.Certificate, root.Certificate},
			want: warn(
				credential.ServerCAIsClientIssuer,
				`the CA of the server is the issuer of the client certificate (subject "CN=Root", serial 01): `+
					`that is correct only if the same CA signs both; otherwise every call fails, so ask the partner `+
					`which CA signs the server's certificate`,
			),
		},
		"an issuer that isn't in the chain as the CA of the server": {
			chain: credential.Chain{
				Certificates: []*x509.Certificate{good, issuing.Certificate},
			},
			serverCA: []*x509.Certificate{upper.Certificate},
			want: warn(
				credential.ServerCAIsClientIssuer,
				`the CA of the server is the issuer of the client certificate (subject "CN=Upper", serial 02): `+
					`that is correct only if the same CA signs both; otherwise every call fails, so ask the partner `+
					`which CA signs the server's certificate`,
			),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			authorities := credential.Authorities{Certificates: test.serverCA}
			if diff := cmp.Diff(test.want, credential.Review(test.chain, authorities, now())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestReviewKnowsSHA1 uses certificates that Go can't sign.
func TestReviewKnowsSHA1(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, args := range [][]string{
		{"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file("ca.key"),
			"-out", file("ca.pem"), "-subj", "/CN=Old CA", "-days", "36500", "-sha1"},
		{"req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file("key.pem"),
			"-out", file("csr.pem"), "-subj", "/CN=orders", "-addext", "subjectAltName=DNS:orders.example.com"},
		{"x509", "-req", "-in", file("csr.pem"), "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-set_serial", "16",
			"-sha1", "-copy_extensions", "copy", "-days", "36500", "-out", file("cert.pem")},
	} {
		if output, ok := openssl(t, args...); !ok {
			t.Fatal(output)
		}
	}
	read := func(name string) []byte { return must[[]byte](t)(os.ReadFile(file(name))) }
	key, err := credential.ReadPrivateKey("key.pem", read("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := credential.ReadCertificates("both.pem", append(read("ca.pem"), read("cert.pem")...))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := credential.Arrange(credential.Bundle{PrivateKey: key, Certificates: certificates})
	if err != nil {
		t.Fatal(err)
	}
	if len(chain.Certificates) != 1 || chain.Root == nil {
		t.Fatalf("the chain was not found by its names: %d certificates, root %v", len(chain.Certificates),
			chain.Root != nil)
	}
	want := []credential.Finding{
		{
			Severity: credential.Warning,
			Reason:   credential.WeakSignature,
			Message: `certificate 1 of the chain is signed with ECDSA-SHA1 (subject "CN=orders", serial 10), which ` +
				`most servers reject: request SHA-256`,
		},
	}
	if diff := cmp.Diff(want, credential.Review(chain, credential.Authorities{}, time.Now())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestArrangeFindsTheChain(t *testing.T) {
	root := pki.NewCA(t, "Root")
	other := pki.NewCA(t, "Other Root")
	issuing := root.Intermediate(t, "Issuing")
	client := issuing.Issue(t, numbered(1))
	renewed := numbered(2)
	renewed.Key, renewed.NotAfter = client.Key, pki.Epoch().AddDate(200, 0, 0)
	newer := issuing.Issue(t, renewed).Certificate
	self := pki.SelfSigned(t, numbered(3))
	crossed := authority("Root", 5)
	crossed.Key = root.Key
	cross := other.Issue(t, crossed).Certificate
	list := func(certificates ...*x509.Certificate) []*x509.Certificate { return certificates }

	tests := map[string]struct {
		bundle credential.Bundle
		want   credential.Chain
		err    string
	}{
		"any order": {
			bundle: credential.Bundle{
				PrivateKey:   client.Key,
				Certificates: list(root.Certificate, issuing.Certificate, client.Certificate),
			},
			want: credential.Chain{
				Certificates: list(client.Certificate, issuing.Certificate),
				Root:         root.Certificate,
			},
		},
		"everything twice": {
			bundle: credential.Bundle{
				PrivateKey:   client.Key,
				Certificates: list(client.Certificate, issuing.Certificate, client.Certificate, issuing.Certificate),
			},
			want: credential.Chain{Certificates: list(client.Certificate, issuing.Certificate)},
		},
		"a renewed certificate": {
			bundle: credential.Bundle{PrivateKey: client.Key, Certificates: list(client.Certificate, newer)},
			want:   credential.Chain{Certificates: list(newer), Unrelated: list(client.Certificate)},
		},
		"signed by itself": {
			bundle: credential.Bundle{PrivateKey: self.Key, Certificates: list(self.Certificate, root.Certificate)},
			want:   credential.Chain{Certificates: list(self.Certificate), Unrelated: list(root.Certificate)},
		},
		"a root that is signed by another one too": {
			bundle: credential.Bundle{
				PrivateKey:   client.Key,
				Certificates: list(client.Certificate, cross, other.Certificate, issuing.Certificate, root.Certificate),
			},
			want: credential.Chain{
				Certificates: list(client.Certificate, issuing.Certificate, cross),
				Root:         root.Certificate,
				CrossRoot:    other.Certificate,
			},
		},
		"a root that another one signed, which is not in the file": {
			bundle: credential.Bundle{
				PrivateKey:   client.Key,
				Certificates: list(client.Certificate, root.Certificate, issuing.Certificate, cross),
			},
			want: credential.Chain{
				Certificates: list(client.Certificate, issuing.Certificate, cross),
				Root:         root.Certificate,
			},
		},
		"only the other root": {
			bundle: credential.Bundle{
				PrivateKey:   client.Key,
				Certificates: list(client.Certificate, cross, other.Certificate, issuing.Certificate),
			},
			want: credential.Chain{
				Certificates: list(client.Certificate, issuing.Certificate, cross),
				Root:         other.Certificate,
			},
		},
		"no certificate": {bundle: credential.Bundle{PrivateKey: client.Key}, err: "there is no certificate"},
		"another key": {
			bundle: credential.Bundle{PrivateKey: self.Key, Certificates: list(client.Certificate)},
			err: `no certificate matches the private key (ecdsa-p256): found subject "CN=orders", serial 01, ` +
				`ecdsa-p256; each is for another ` +
				`key. Use the private key that the certificate was requested with, or request ` +
				`a certificate for this key`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := credential.Arrange(test.bundle)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff(test.err, message); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPathsAreBounded uses a path that is longer than any real one. Each step verifies a signature
// for every certificate with the name.
func TestPathsAreBounded(t *testing.T) {
	const links, longest = 30, 20
	last := pki.SelfSigned(t, authority("Same", links+1))
	certificates := []*x509.Certificate{last.Certificate}
	for i := range links - 1 {
		last = &pki.CA{Pair: last.Issue(t, authority("Same", int64(links-i)))}
		certificates = append([]*x509.Certificate{last.Certificate}, certificates...)
	}
	want := credential.Chain{Certificates: certificates[:longest], Unrelated: certificates[longest:]}
	got := must[credential.Chain](t)(
		credential.Arrange(credential.Bundle{PrivateKey: last.Key, Certificates: certificates}),
	)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOrderIsReviewedAsFarAsPathsGo(t *testing.T) {
	const certificates, longest = 30, 20
	ca := pki.SelfSigned(t, authority("Partner CA", 1))
	var chain credential.Chain
	for i := range int64(certificates) {
		chain.Certificates = append(chain.Certificates, ca.Issue(t, numbered(i+2)).Certificate)
	}
	var got []credential.Reason
	for _, finding := range credential.Review(chain, credential.Authorities{}, now()) {
		got = append(got, finding.Reason)
	}
	if diff := cmp.Diff(slices.Repeat([]credential.Reason{credential.ChainIncomplete}, longest), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestArrangeTellsIssuersOfOneNameApart uses signatures that Go neither creates nor accepts. The
// other CA with the same name expires later, so it would be preferred if it matched.
func TestArrangeTellsIssuersOfOneNameApart(t *testing.T) {
	const (
		with    = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
		without = "subjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n"
	)
	rsaKey, ecKey := []string{"-newkey", "rsa:2048"}, []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"}
	longSalt := []string{"-sha256", "-sigopt", "rsa_padding_mode:pss"}
	tests := map[string]struct {
		key, sign   []string
		identifiers string
		// files are the CAs to choose from. want is the root that is found, or "" for none.
		files []string
		want  string
	}{
		"RSA-PSS with a salt longer than the hash, by key identifiers": {
			rsaKey,
			longSalt,
			with,
			[]string{"old", "new"},
			"old",
		},
		"RSA-PSS of another key":                    {rsaKey, longSalt, with, []string{"new"}, ""},
		"RSA-PSS without key identifiers, by names": {rsaKey, longSalt, without, []string{"old"}, "old"},
		"RSA with SHA-1, by the signature": {
			rsaKey,
			[]string{"-sha1"},
			without,
			[]string{"old", "new"},
			"old",
		},
		"RSA with SHA-1 of another key":      {rsaKey, []string{"-sha1"}, without, []string{"new"}, ""},
		"ECDSA with SHA-1, by the signature": {ecKey, []string{"-sha1"}, without, []string{"old", "new"}, "old"},
		"RSA with MD5, by the signature":     {rsaKey, []string{"-md5"}, without, []string{"old", "new"}, "old"},
		"RSA with MD5 of another key":        {rsaKey, []string{"-md5"}, without, []string{"new"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := func(name string) string { return filepath.Join(dir, name) }
			run := func(args ...[]string) {
				if output, ok := openssl(t, slices.Concat(args...)...); !ok {
					t.Fatal(output)
				}
			}
			read := func(name string) []byte { return must[[]byte](t)(os.ReadFile(file(name))) }
			config := write(
				t,
				"config",
				[]byte(
					"[req]\ndistinguished_name=name\nx509_extensions=ca\n[name]\n[ca]\n"+
						"basicConstraints=critical,CA:TRUE\n"+test.identifiers,
				),
			)
			extensions := write(t, "extensions", []byte(test.identifiers))
			for ca, days := range map[string]string{"old": "3000", "new": "9000"} {
				run(
					[]string{
						"req",
						"-x509",
						"-config",
						config,
						"-subj",
						"/CN=Partner CA",
						"-nodes",
						"-keyout",
						file(ca + ".key"),
						"-out",
						file(ca + ".pem"),
						"-days",
						days,
					},
					test.key,
					test.sign,
				)
			}
			run(
				[]string{
					"req",
					"-new",
					"-config",
					config,
					"-subj",
					"/CN=orders",
					"-nodes",
					"-keyout",
					file("key.pem"),
					"-out",
					file("csr.pem"),
				},
				test.key,
			)
			run(
				[]string{
					"x509",
					"-req",
					"-in",
					file("csr.pem"),
					"-CA",
					file("old.pem"),
					"-CAkey",
					file("old.key"),
					"-set_serial",
					"16",
					"-days",
					"1000",
					"-extfile",
					extensions,
					"-out",
					file("leaf.pem"),
				},
				test.sign,
			)

			certificate := func(name string) *x509.Certificate {
				return must[[]*x509.Certificate](t)(credential.ReadCertificates(name, read(name+".pem")))[0]
			}
			leaf := certificate("leaf")
			bundle := credential.Bundle{
				PrivateKey:   must[crypto.Signer](t)(credential.ReadPrivateKey("key.pem", read("key.pem"))),
				Certificates: []*x509.Certificate{leaf},
			}
			want := credential.Chain{Certificates: []*x509.Certificate{leaf}}
			for _, ca := range test.files {
				authority := certificate(ca)
				bundle.Certificates = append(bundle.Certificates, authority)
				if ca == test.want {
					want.Root = authority
				} else {
					want.Unrelated = append(want.Unrelated, authority)
				}
			}
			if diff := cmp.Diff(want, must[credential.Chain](t)(credential.Arrange(bundle))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestDaysLeftBeyondADuration counts the days until the end of a certificate without one (RFC 5280
// §4.1.2.5).
func TestDaysLeftBeyondADuration(t *testing.T) {
	from, end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	const want = 2_912_442
	if got := credential.DaysLeft(end, from); got != want {
		t.Errorf("%d days, want %d", got, want)
	}
	if got := credential.DaysLeft(from, end); got != -want-1 {
		t.Errorf("%d days, want %d", got, -want-1)
	}
}

func TestDaysLeftAreWholeDays(t *testing.T) {
	const day = 24 * time.Hour
	for left, want := range map[time.Duration]int{0: 0, day - 1: 0, day: 1, 10*day + time.Hour: 10, -1: -1, -day: -1,
		-day - 1: -2} {
		if got := credential.DaysLeft(now().Add(left), now()); got != want {
			t.Errorf("%s: %d days, want %d", left, got, want)
		}
	}
}
