package credential_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

// openssl runs the openssl command, or skips the test if it is not installed.
func openssl(t *testing.T, args ...string) (output string, ok bool) {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs the openssl command to compare with")
	}
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	return string(out), err == nil
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsageAgreesWithOpenSSL(t *testing.T) {
	extension := func(value any, oid ...int) pkix.Extension {
		return pkix.Extension{Id: oid, Value: must[[]byte](t)(asn1.Marshal(value))}
	}
	netscape := func(bits byte) []pkix.Extension {
		return []pkix.Extension{
			extension(asn1.BitString{Bytes: []byte{bits}, BitLength: 8}, 2, 16, 840, 1, 113730, 1, 1),
		}
	}
	usage := func(usages ...x509.ExtKeyUsage) []x509.ExtKeyUsage { return usages }
	const looser, stricter = "looser than OpenSSL", "stricter than OpenSSL"

	tests := map[string]struct {
		template   pki.Template
		want       bool
		difference string
	}{
		"no usage extension at all": {want: true},
		"clientAuth": {
			template: pki.Template{ExtKeyUsage: usage(x509.ExtKeyUsageClientAuth)},
			want:     true,
		},
		"clientAuth among others": {
			template: pki.Template{ExtKeyUsage: usage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)},
			want:     true,
		},
		"serverAuth alone": {
			template: pki.Template{ExtKeyUsage: usage(x509.ExtKeyUsageServerAuth)},
		},
		"emailProtection alone": {
			template: pki.Template{ExtKeyUsage: usage(x509.ExtKeyUsageEmailProtection)},
		},
		"codeSigning and timeStamping": {
			template: pki.Template{ExtKeyUsage: usage(x509.ExtKeyUsageCodeSigning, x509.ExtKeyUsageTimeStamping)},
		},
		"OCSPSigning alone": {
			template: pki.Template{ExtKeyUsage: usage(x509.ExtKeyUsageOCSPSigning)},
		},
		"the old Netscape step-up purpose": {
			template: pki.Template{ExtKeyUsage: usage(x509.ExtKeyUsageNetscapeServerGatedCrypto)},
		},
		"a purpose that nobody knows": {
			template: pki.Template{
				ExtraExtensions: []pkix.Extension{extension([]asn1.ObjectIdentifier{{1, 2, 3}}, 2, 5, 29, 37)},
			},
		},
		"any purpose": {
			template:   pki.Template{ExtKeyUsage: usage(x509.ExtKeyUsageAny)},
			want:       true,
			difference: looser,
		},
		"any purpose and clientAuth": {
			template: pki.Template{ExtKeyUsage: usage(x509.ExtKeyUsageAny, x509.ExtKeyUsageClientAuth)},
			want:     true,
		},
		"digitalSignature": {
			template: pki.Template{KeyUsage: x509.KeyUsageDigitalSignature},
			want:     true,
		},
		"digitalSignature and keyEncipherment": {
			template: pki.Template{KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment},
			want:     true,
		},
		"keyEncipherment alone": {
			template: pki.Template{KeyUsage: x509.KeyUsageKeyEncipherment},
		},
		"nonRepudiation alone": {
			template: pki.Template{KeyUsage: x509.KeyUsageContentCommitment},
		},
		"keyAgreement alone": {
			template:   pki.Template{KeyUsage: x509.KeyUsageKeyAgreement},
			difference: stricter,
		},
		"keyAgreement and decipherOnly": {
			template:   pki.Template{KeyUsage: x509.KeyUsageKeyAgreement | x509.KeyUsageDecipherOnly},
			difference: stricter,
		},
		"clientAuth without digitalSignature": {
			template: pki.Template{
				KeyUsage:    x509.KeyUsageKeyEncipherment,
				ExtKeyUsage: usage(x509.ExtKeyUsageClientAuth),
			},
		},
		"digitalSignature without clientAuth": {
			template: pki.Template{
				KeyUsage:    x509.KeyUsageDigitalSignature,
				ExtKeyUsage: usage(x509.ExtKeyUsageServerAuth),
			},
		},
		"an authority without usages": {template: pki.Template{IsCA: true}, want: true},
		"an authority that may sign certificates only": {
			template: pki.Template{IsCA: true, KeyUsage: x509.KeyUsageCertSign},
		},
		"an authority that may sign anything": {
			template: pki.Template{IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature},
			want:     true,
		},
		"Netscape type SSL client": {
			template: pki.Template{ExtraExtensions: netscape(0x80)},
			want:     true,
		},
		"Netscape type SSL client and server": {
			template: pki.Template{ExtraExtensions: netscape(0xc0)},
			want:     true,
		},
		"Netscape type SSL server": {template: pki.Template{ExtraExtensions: netscape(0x40)}},
	}
	ca := pki.NewCA(t, "Partner CA")
	root := write(t, "ca.pem", ca.CertPEM)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := ca.Issue(t, test.template)
			_, err := credential.Check(secret(client, ca), credential.CertKeyLayout(), now())
			if ours := err == nil; ours != test.want {
				t.Fatalf("accepted: %t, want %t (%v)", ours, test.want, err)
			}
			for _, problem := range problemsOf(t, err) {
				if problem.Reason != credential.NotForClientAuth {
					t.Errorf("refused for another reason: %+v", problem)
				}
			}

			output, theirs := openssl(t, "verify", "-purpose", "sslclient", "-attime",
				strconv.FormatInt(now().Unix(), 10), "-CAfile", root, write(t, "client.pem", client.CertPEM))
			difference := ""
			switch {
			case test.want && !theirs:
				difference = looser
			case !test.want && theirs:
				difference = stricter
			}
			if difference != test.difference {
				t.Errorf("%q, want %q; openssl says:\n%s", difference, test.difference, output)
			}
		})
	}
}

// TestSubjectIsWrittenAsOpenSSLWritesIt also compares with fixed strings, for machines without
// openssl.
func TestSubjectIsWrittenAsOpenSSLWritesIt(t *testing.T) {
	type attribute = pkix.AttributeTypeAndValue
	set := func(attributes ...attribute) pkix.RelativeDistinguishedNameSET { return attributes }
	cn := func(value any) attribute { return attribute{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: value} }
	ou := func(value any) attribute { return attribute{Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: value} }
	dc := func(value string) pkix.RelativeDistinguishedNameSET {
		return set(
			attribute{
				Type:  asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25},
				Value: asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(value)},
			},
		)
	}
	tests := map[string]struct {
		name pkix.RDNSequence
		want string
	}{
		"no attribute": {want: ""},
		"the last attribute comes first": {
			name: pkix.RDNSequence{set(ou("first")), set(ou("second")), set(cn("orders"))},
			want: "CN=orders,OU=second,OU=first",
		},
		"two attributes in one set": {
			name: pkix.RDNSequence{set(cn("orders"), ou("shop"))},
			want: "CN=orders+OU=shop",
		},
		"domain components": {
			name: pkix.RDNSequence{dc("com"), dc("example"), set(cn("orders"))},
			want: "CN=orders,DC=example,DC=com",
		},
		"every character that needs an escape": {
			name: pkix.RDNSequence{set(cn(`a,b+c"d\e<f>g;h`))},
			want: `CN=a\,b\+c\"d\\e\<f\>g\;h`,
		},
		"blanks at the ends":              {name: pkix.RDNSequence{set(cn("  a b  "))}, want: `CN=\  a b \ `},
		"a number sign at the start only": {name: pkix.RDNSequence{set(cn("#1#2"))}, want: `CN=\#1#2`},
		"a line break":                    {name: pkix.RDNSequence{set(cn("a\nb"))}, want: `CN=a\0Ab`},
		"letters beyond ASCII":            {name: pkix.RDNSequence{set(cn("Müller"))}, want: `CN=Müller`},
		"UTF-16 as old Windows writes it": {
			name: pkix.RDNSequence{set(cn(asn1.RawValue{Tag: asn1.TagBMPString, Bytes: []byte{0, 'o', 0, 'k'}}))},
			want: "CN=ok",
		},
		"an attribute without a name, as binary": {
			name: pkix.RDNSequence{set(attribute{Type: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: "x"})},
			want: "1.2.3.4=#130178",
		},
	}
	ca := pki.NewCA(t, "Partner CA")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			template := pki.Client("")
			template.DNSNames = []string{"orders.example.com"}
			template.RawSubject = must[[]byte](t)(asn1.Marshal(test.name))
			client := ca.Issue(t, template)
			got, err := credential.Check(secret(client, ca), credential.CertKeyLayout(), now())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.Subject); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			output, ok := openssl(t, "x509", "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb", "-in",
				write(t, "client.pem", client.CertPEM))
			if !ok {
				t.Fatal(output)
			}
			if diff := cmp.Diff("subject="+test.want, strings.TrimSuffix(output, "\n")); diff != "" {
				t.Errorf("openssl writes it otherwise (-ours +openssl):\n%s", diff)
			}
		})
	}
}

// TestJudgeReadsWhatOpenSSLWrites covers key formats that Go can't write.
func TestJudgeReadsWhatOpenSSLWrites(t *testing.T) {
	ca := pki.NewCA(t, "Partner CA")
	client := ca.Issue(t, orders())
	plain := write(t, "key.pem", client.KeyPEM)
	tests := map[string]struct {
		args []string
		want []credential.Reason
	}{
		"SEC1 with parameters": {args: []string{"ec", "-in", plain}},
		"encrypted SEC1": {
			args: []string{"ec", "-in", plain, "-aes128", "-passout", "pass:secret"},
			want: []credential.Reason{credential.PrivateKeyUnreadable},
		},
		"encrypted PKCS#8": {
			args: []string{"pkcs8", "-topk8", "-in", plain, "-passout", "pass:secret"},
			want: []credential.Reason{credential.PrivateKeyUnreadable},
		},
		"PKCS#8, text around it": {args: []string{"pkey", "-in", plain, "-text"}},
		"only the text of a key": {
			args: []string{"pkey", "-in", plain, "-text", "-noout"},
			want: []credential.Reason{credential.PrivateKeyUnreadable},
		},
		"only the public half": {
			args: []string{"pkey", "-in", plain, "-pubout"},
			want: []credential.Reason{credential.PrivateKeyUnreadable},
		},
		"explicit curve, refused": {
			args: []string{"ec", "-in", plain, "-param_enc", "explicit"},
			want: []credential.Reason{credential.PrivateKeyUnreadable},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			key := filepath.Join(t.TempDir(), "out.pem")
			if output, ok := openssl(t, append(test.args, "-out", key)...); !ok {
				t.Fatal(output)
			}
			data := secret(client, ca)
			data["key"] = must[[]byte](t)(os.ReadFile(key))
			_, err := credential.Check(data, credential.CertKeyLayout(), now())
			var got []credential.Reason
			for _, problem := range problemsOf(t, err) {
				got = append(got, problem.Reason)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
		})
	}
}
