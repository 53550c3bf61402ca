package credential_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/pki"
)

// partner is the PKI of one partner, with two levels of CAs above the clients.
type partner struct {
	root, issuing *pki.CA
	client        pki.Pair
	rsa           pki.Pair
}

func newPartner(tb testing.TB) partner {
	tb.Helper()
	root := pki.NewCA(tb, "Partner Root")
	issuing := root.Intermediate(tb, "Partner Client CA")
	rsaTemplate := orders()
	rsaTemplate.Key = must[*rsa.PrivateKey](tb)(rsa.GenerateKey(rand.Reader, 2048))
	return partner{
		root:    root,
		issuing: issuing,
		client:  issuing.Issue(tb, orders()),
		rsa:     issuing.Issue(tb, rsaTemplate),
	}
}

const password = "pass word ü"

// given returns the password for a table entry: the default for "", none for -.
func given(word string) string {
	switch word {
	case "":
		return password
	case "-":
		return ""
	}
	return word
}

func truncated(size, declared int) string {
	return fmt.Sprintf(
		"the file is truncated: it has %d of the %d bytes that its header declares; download it again in binary mode",
		size, declared)
}

func unreadable(where, why string) string {
	return "the file is PKCS#12, but " + where + " can't be read (" + why + "; rewrite it (openssl pkcs12 -in FILE " +
		"-nodes | openssl pkcs12 -export -out new.p12), and if OpenSSL can't read it either, request it from its sender " +
		"in another form"
}

func stopped(size int) string {
	return fmt.Sprintf("the file is truncated: its %d bytes end inside a value; download it again in binary mode", size)
}

func withoutCA(layout egress.Layout) egress.Layout {
	layout.ServerCA = ""
	return layout
}

// export writes a PKCS#12 file with openssl and returns it.
func export(t *testing.T, key []byte, certificates [][]byte, args ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.p12")
	arguments := []string{
		"pkcs12",
		"-export",
		"-in",
		write(t, "certificates.pem", slices.Concat(certificates...)),
		"-out",
		out,
	}
	if key == nil {
		arguments = append(arguments, "-nokeys")
	} else {
		arguments = append(arguments, "-inkey", write(t, "key.pem", key))
	}
	if !slices.Contains(args, "-passout") {
		arguments = append(arguments, "-passout", "pass:"+password)
	}
	if output, ok := openssl(t, append(arguments, args...)...); !ok {
		t.Skipf("this openssl can't: %s", output)
	}
	return must[[]byte](t)(os.ReadFile(out))
}

// keytool runs Java's keytool, or skips the test if it is not installed.
func keytool(t *testing.T, args ...string) {
	t.Helper()
	program, err := exec.LookPath("keytool")
	if err != nil {
		t.Skip("needs Java's keytool to make key stores")
	}
	if output, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}

// importJava copies a key store of openssl into a key store of keytool.
func importJava(t *testing.T, source []byte, kind string, options ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "java.p12")
	keytool(t, append([]string{
		"-importkeystore",
		"-noprompt",
		"-srckeystore",
		write(t, "source.p12", source),
		"-srcstoretype",
		"PKCS12",
		"-srcstorepass",
		"changeit",
		"-destkeystore",
		out,
		"-deststoretype",
		kind,
		"-deststorepass",
		"changeit",
	}, options...)...)
	return must[[]byte](t)(os.ReadFile(out))
}

// TestImportsWhatToolsWrite checks that for files of all tools, the Secret contains the leaf and
// its intermediates in order, no root, and only PEM.
func TestImportsWhatToolsWrite(t *testing.T) {
	p := newPartner(t)
	whole := [][]byte{p.client.CertPEM, p.issuing.CertPEM, p.root.CertPEM}
	plain := []string{"-passout", "pass:changeit"}
	tests := map[string]struct {
		file     func(t *testing.T) []byte
		password string
		rsa      bool
		want     [][]byte
	}{
		"OpenSSL 3, AES and SHA-256": {file: func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole) }},
		"OpenSSL 3, an RSA key": {
			rsa: true,
			file: func(t *testing.T) []byte {
				return export(t, p.rsa.KeyPEM,
					[][]byte{p.rsa.CertPEM, p.issuing.CertPEM})
			},
		},
		"OpenSSL 1, RC2 and 3DES": {
			file: func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole, "-legacy") },
		},
		"RC2 of 40 bits for the certificates": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, whole, "-legacy", "-certpbe", "PBE-SHA1-RC2-40")
		}},
		"RC2 of 128 bits for both": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, whole, "-legacy", "-certpbe", "PBE-SHA1-RC2-128", "-keypbe",
				"PBE-SHA1-RC2-128")
		}},
		"3DES for both, as -descert writes it": {
			file: func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole, "-descert", "-legacy") },
		},
		"3DES with a MAC of SHA-1, 10000 rounds": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, whole, "-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES", "-macalg",
				"SHA1", "-iter", "10000")
		}},
		"3DES with a MAC of SHA-1, as Windows": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, whole, "-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES", "-macalg",
				"SHA1", "-iter", "2000", "-LMK", "-name", "te-orders-Bücher", "-CSP",
				"Microsoft Enhanced RSA and AES Cryptographic Provider")
		}},
		"AES with SHA-256, as Windows from 10 on": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, whole, "-certpbe", "AES-256-CBC", "-keypbe", "AES-256-CBC", "-macalg",
				"SHA256", "-iter", "2000", "-LMK", "-name", "te-orders-Bücher", "-CSP",
				"Microsoft Software Key Storage Provider")
		}},
		"AES of 128 bits": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, whole, "-certpbe", "AES-128-CBC", "-keypbe", "AES-128-CBC")
		}},
		"AES of 192 bits": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, whole, "-certpbe", "AES-192-CBC", "-keypbe", "AES-192-CBC")
		}},
		"a MAC of SHA-512": {
			file: func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole, "-macalg", "SHA512") },
		},
		"certificates that aren't encrypted": {
			file: func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole, "-certpbe", "NONE") },
		},
		"a key that isn't encrypted": {
			file: func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole, "-keypbe", "NONE") },
		},
		"an empty password": {
			password: "-",
			file:     func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole, "-passout", "pass:") },
		},
		"no MAC and nothing encrypted": {password: "-", file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, whole, "-passout", "pass:", "-nomac", "-keypbe", "NONE", "-certpbe",
				"NONE")
		}},
		"one round of derivation": {
			file: func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole, "-noiter", "-nomaciter") },
		},
		"friendly names and other attributes": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, whole, "-name", "orders", "-caname", "issuing", "-caname", "root")
		}},
		"the root before the intermediate": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, [][]byte{p.client.CertPEM, p.root.CertPEM, p.issuing.CertPEM})
		}},
		"the leaf last": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, [][]byte{p.root.CertPEM, p.issuing.CertPEM, p.client.CertPEM})
		}},
		"no root": {file: func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole[:2]) }},
		"the leaf alone": {
			want: whole[:1],
			file: func(t *testing.T) []byte { return export(t, p.client.KeyPEM, whole[:1]) },
		},
		"a certificate of somebody else's": {file: func(t *testing.T) []byte {
			return export(t, p.client.KeyPEM, append(slices.Clone(whole), pki.NewCA(t, "Stranger").CertPEM))
		}},
		"Java 17's own": {
			password: "changeit",
			file: func(t *testing.T) []byte {
				return importJava(t, export(t, p.client.KeyPEM, whole, plain...),
					"PKCS12")
			},
		},
		"Java's of old": {password: "changeit", file: func(t *testing.T) []byte {
			return importJava(t, export(t, p.client.KeyPEM, whole, plain...), "PKCS12", "-J-Dkeystore.pkcs12.legacy")
		}},
		"Go's own of 2026, with PBMAC1": {password: "changeit", file: func(t *testing.T) []byte {
			return must[[]byte](t)(
				pkcs12.Modern2026.Encode(p.client.Key, p.client.Certificate,
					[]*x509.Certificate{p.root.Certificate, p.issuing.Certificate}, "changeit"),
			)
		}},
	}
	server := pki.NewCA(t, "Server CA")
	authorities := must[credential.Authorities](t)(credential.ReadServerCA("server-ca.crt", server.CertPEM))
	read := 0
	defer func() { t.Logf("%d files read of %d, the others need tools that are not here", read, len(tests)) }()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			secret := given(test.password)
			bundle, err := credential.ReadPKCS12(test.file(t), secret)
			if err != nil {
				t.Fatal(err)
			}
			read++
			assembled, err := credential.Assemble(bundle, authorities,
				credential.CertKeyLayout(), now())
			if err != nil {
				t.Fatal(err)
			}
			want := map[string][]byte{
				"cert":   slices.Concat(whole[:2]...),
				"key":    p.client.KeyPEM,
				"cacert": server.CertPEM,
			}
			if test.rsa {
				want["cert"], want["key"] = slices.Concat(p.rsa.CertPEM, p.issuing.CertPEM), p.rsa.KeyPEM
			}
			if test.want != nil {
				want["cert"] = slices.Concat(test.want...)
			}
			if diff := cmp.Diff(want, assembled.Data); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusesPKCS12ThatIsNotOne(t *testing.T) {
	p := newPartner(t)
	good := must[[]byte](t)(
		pkcs12.Modern2023.Encode(p.client.Key, p.client.Certificate, []*x509.Certificate{p.issuing.Certificate},
			password),
	)
	damaged := func(at int) []byte {
		file := slices.Clone(good)
		file[at] ^= 0xff
		return file
	}
	tests := map[string]struct {
		file     func(t *testing.T) []byte
		password string
		want     string
	}{
		"nothing": {file: func(*testing.T) []byte { return nil }, want: "the file is empty"},
		"a wrong password": {
			file:     func(*testing.T) []byte { return good },
			password: "other",
			want:     "the password is wrong",
		},
		"no password": {
			file:     func(*testing.T) []byte { return good },
			password: "-",
			want:     "the file has a password, and none was given",
		},
		"a password of UCS-4": {
			file:     func(*testing.T) []byte { return good },
			password: "🔑",
			want:     "the password is wrong",
		},
		"a wrong password of an old file": {
			password: "other",
			want:     "the password is wrong",
			file: func(t *testing.T) []byte {
				return export(t, p.client.KeyPEM, [][]byte{p.client.CertPEM}, "-legacy")
			},
		},
		"several keys": {
			password: "changeit",
			want: `the file holds 2 different private keys: alias "one", ecdsa-p256, subject "CN=one"; alias "two", ` +
				`ecdsa-p256, subject "CN=two"; export the right one into a separate file (keytool -importkeystore ` +
				"-srckeystore FILE -srcstoretype PKCS12 -srcalias ALIAS -destkeystore new.p12 -deststoretype PKCS12)",
			file: func(t *testing.T) []byte {
				store := filepath.Join(t.TempDir(), "two.p12")
				for _, alias := range []string{"one", "two"} {
					keytool(t, "-genkeypair", "-keystore", store, "-storetype", "PKCS12", "-storepass", "changeit",
						"-alias", alias, "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN="+alias)
				}
				return must[[]byte](t)(os.ReadFile(store))
			},
		},
		"a Java trust store": {
			password: "changeit",
			want: "the file holds certificates but no private key: it is a trust store, or was exported without " +
				"the key; export it with the key",
			file: func(t *testing.T) []byte {
				store := filepath.Join(t.TempDir(), "trust.p12")
				keytool(t, "-importcert", "-noprompt", "-keystore", store, "-storetype", "PKCS12", "-storepass",
					"changeit", "-alias", "ca", "-file", write(t, "ca.pem", p.root.CertPEM))
				return must[[]byte](t)(os.ReadFile(store))
			},
		},
		"exported without the key": {
			want: "the file holds certificates but no private key: it is a trust store, or was exported without the " +
				"key; export it with the key",
			file: func(t *testing.T) []byte {
				return export(t, nil, [][]byte{p.client.CertPEM})
			},
		},
		"exported without the certificate": {
			want: "the file holds a private key but no certificate: ask for a file with both, or join key and " +
				"certificate with credential complete",
			file: func(t *testing.T) []byte {
				out := filepath.Join(t.TempDir(), "key.p12")
				if output, ok := openssl(t, "pkcs12", "-export", "-nocerts", "-inkey",
					write(t, "key.pem", p.client.KeyPEM), "-out", out, "-passout", "pass:"+password); !ok {
					t.Fatal(output)
				}
				return must[[]byte](t)(os.ReadFile(out))
			},
		},
		"a cipher that nobody reads": {
			want: "the file is PKCS#12, but uses the cipher CAMELLIA-256-CBC (1.2.392.200011.61.1.1.1.4), which is not " +
				"supported: rewrite it with AES-256-CBC and SHA-256 (openssl pkcs12 -in FILE -nodes | openssl pkcs12 -export " +
				"-out new.p12)",
			file: func(t *testing.T) []byte {
				return export(t, p.client.KeyPEM, [][]byte{p.client.CertPEM}, "-certpbe", "CAMELLIA-256-CBC")
			},
		},
		"a key for agreement only": {
			want: "its private key cannot sign, it is for key agreement only: a TLS client needs an RSA or ECDSA key",
			file: func(t *testing.T) []byte {
				agreement := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
				return must[[]byte](t)(pkcs12.Modern2023.Encode(agreement, p.client.Certificate, nil, password))
			},
		},
		"a truncated file": {
			file: func(*testing.T) []byte { return good[:len(good)-1] },
			want: truncated(len(good)-1, len(good)),
		},
		"the first bytes": {
			file: func(*testing.T) []byte { return good[:10] },
			want: truncated(10, len(good)),
		},
		"a newline behind it": {
			file: func(*testing.T) []byte { return append(slices.Clone(good), '\n') },
			want: "the file has 1 extra byte at its end: it was changed in transit; download it again in binary mode",
		},
		"a damaged header": {
			file: func(*testing.T) []byte { return damaged(8) },
			want: unreadable("the outer structure", "PFX)"),
		},
		"damage to what is sealed": {
			file: func(*testing.T) []byte { return damaged(len(good) / 2) },
			want: "the password is wrong",
		},
		"in text mode": {file: func(*testing.T) []byte {
			return bytes.ReplaceAll(append(slices.Clone(good), '\n'), []byte("\n"), []byte("\r\n"))
		}, want: "-"},
		"in BER, without an end": {
			file: func(*testing.T) []byte { return append([]byte{0x30, 0x80}, good[4:]...) },
			want: stopped(len(good) - 2),
		},
		"in BER, a newline behind it": {
			want: "the file has 1 extra byte at its end: it was changed in transit; download it again in binary mode",
			file: func(*testing.T) []byte {
				return slices.Concat([]byte{0x30, 0x80}, good[4:], []byte{0, 0, '\n'})
			},
		},
		"in BER, nested without end": {
			want: unreadable("the outer structure", "PFX)"),
			file: func(*testing.T) []byte {
				return append([]byte{0x30, 0x80, 0x02, 0x01, 0x03}, bytes.Repeat([]byte{0x30, 0x80}, 100_000)...)
			},
		},
		"in BER, something behind the content": {
			want: unreadable("the list of contents",
				"AuthenticatedSafe), although its MAC matches: its tool wrote it this way"),
			file: func(t *testing.T) []byte {
				file, _ := ber{indefinite: true, behind: "\x05\x00"}.convert(t, good, password)
				return file
			},
		},
		"in BER, rounds without end": {
			want: "the file requires 8388607 iterations of key derivation, which would take " +
				"minutes: the limit is 5000000",
			file: func(t *testing.T) []byte {
				file := must[[]byte](t)(
					pkcs12.Modern2023.WithIterations(70000).Encode(p.client.Key, p.client.Certificate, nil, password),
				)
				return styles()["as NSS"].encode(t, append(file[:len(file)-3], 0x7f, 0xff, 0xff))
			},
		},
		"in base64": {
			file: func(*testing.T) []byte { return []byte(base64.StdEncoding.EncodeToString(good)) },
			want: "the file is not PKCS#12: it looks like PKCS#12 in base64; decode it (base64 -d)",
		},
		"PEM": {
			file: func(*testing.T) []byte { return p.client.CertPEM },
			want: "the file is not PKCS#12: it looks like PEM; join the key and the signed " +
				"certificate with credential complete",
		},
		"a certificate": {
			file: func(*testing.T) []byte { return p.client.Certificate.Raw },
			want: "the file is not PKCS#12: it looks like DER of another kind, for example a " +
				"certificate without its key",
		},
		"a destination": {
			file: func(*testing.T) []byte { return []byte(` {"URL":""}`) },
			want: "the file is not PKCS#12: it looks like JSON; an exported destination of SAP BTP is " +
				"read with --btp-destination",
		},
		"text": {
			file: func(*testing.T) []byte { return []byte("hello") },
			want: "the file is not PKCS#12: a .p12 or .pfx file is binary and begins with a " +
				"SEQUENCE that holds the version 3",
		},
		"a Java key store of old": {
			want: "the file is not PKCS#12: it is a Java key store (JKS); convert it (keytool -importkeystore " +
				"-srckeystore FILE -srcstoretype JKS -destkeystore new.p12 -deststoretype PKCS12)",
			file: func(t *testing.T) []byte {
				return importJava(t,
					export(t, p.client.KeyPEM, [][]byte{p.client.CertPEM}, "-passout", "pass:changeit"), "JKS")
			},
		},
		"rounds without end": {
			want: "the file requires 8388607 iterations of key derivation, which would take " +
				"minutes: the limit is 5000000",
			file: func(t *testing.T) []byte {
				// The iteration count is at the end of the file, with three bytes from 32768 on.
				file := must[[]byte](t)(
					pkcs12.Modern2023.WithIterations(70000).Encode(p.client.Key, p.client.Certificate, nil, password),
				)
				return append(file[:len(file)-3], 0x7f, 0xff, 0xff)
			},
		},
		"rounds without end in PBMAC1": {
			want: "the file requires 8388607 iterations of key derivation, which would take " +
				"minutes: the limit is 5000000",
			file: func(t *testing.T) []byte {
				// The last 70000 in the file is the iteration count of the MAC.
				file := must[[]byte](t)(
					pkcs12.Modern2026.WithIterations(70000).Encode(p.client.Key, p.client.Certificate, nil, password),
				)
				at := bytes.LastIndex(file, []byte{0x02, 0x03, 0x01, 0x11, 0x70})
				copy(file[at+2:], []byte{0x7f, 0xff, 0xff})
				return file
			},
		},
		"rounds without end for the certificates": {
			want: "the file requires 8458607 iterations of key derivation, which would take " +
				"minutes: the limit is 5000000",
			file: func(t *testing.T) []byte {
				return withRounds(t,
					must[[]byte](t)(
						pkcs12.Modern2023.WithIterations(
							70000).Encode(p.client.Key, p.client.Certificate, nil, password),
					),
					1,
				)
			},
		},
		"rounds without end for the key": {
			want: "the file requires 8528607 iterations of key derivation, which would take " +
				"minutes: the limit is 5000000",
			file: func(t *testing.T) []byte {
				return withRounds(t,
					must[[]byte](t)(
						pkcs12.Modern2023.WithIterations(
							70000).Encode(p.client.Key, p.client.Certificate, nil, password),
					),
					2,
				)
			},
		},
		"rounds without end for the certificates, RC2": {
			want: "the file requires 8458607 iterations of key derivation, which would take " +
				"minutes: the limit is 5000000",
			file: func(t *testing.T) []byte {
				return withRounds(t,
					must[[]byte](t)(
						pkcs12.LegacyRC2.WithIterations(
							70000).Encode(p.client.Key, p.client.Certificate, nil, password),
					),
					1,
				)
			},
		},
		"rounds without end for the key, 3DES": {
			want: "the file requires 8528607 iterations of key derivation, which would take " +
				"minutes: the limit is 5000000",
			file: func(t *testing.T) []byte {
				return withRounds(t,
					must[[]byte](t)(
						pkcs12.LegacyRC2.WithIterations(
							70000).Encode(p.client.Key, p.client.Certificate, nil, password),
					),
					2,
				)
			},
		},
		"too large": {
			file: func(*testing.T) []byte { return make([]byte, credential.MaxPartSize+1) },
			want: "the file has 1048577 bytes: the limit is 1048576",
		},
	}
	refused := 0
	defer func() { t.Logf("%d files refused of %d, the others need tools that are not here", refused, len(tests)) }()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			secret := given(test.password)
			bundle, err := credential.ReadPKCS12(test.file(t), secret)
			if err == nil {
				t.Fatalf("read %d certificates", len(bundle.Certificates))
			}
			refused++
			if test.want != "-" && err.Error() != test.want {
				t.Errorf("got  %q\nwant %q", err, test.want)
			}
			if strings.Contains(err.Error(), secret) && secret != "" {
				t.Errorf("the password is in the message: %v", err)
			}
		})
	}
}

// withRounds replaces the nth occurrence of the iteration count 70000 in a file, and its MAC. The
// first ones are those of the certificates and the key.
func withRounds(t *testing.T, file []byte, n int) []byte {
	changed := bytes.Clone(file)
	at := -1
	for range n {
		at += 1 + bytes.Index(changed[at+1:], []byte{0x02, 0x03, 0x01, 0x11, 0x70})
	}
	copy(changed[at+2:], []byte{0x7f, 0xff, 0xff})
	var before, after pdu
	must[[]byte](t)(asn1.Unmarshal(file, &before))
	must[[]byte](t)(asn1.Unmarshal(changed, &after))
	return bytes.Replace(changed, before.MAC.Digest.Value, remac(t, before, after.AuthSafe.Content, password), 1)
}

// TestPKCS12OfOthers reads files of other tools. testdata/pkcs12/README.md lists their sources.
func TestPKCS12OfOthers(t *testing.T) {
	type bundle struct {
		KeyType  string
		Subjects []string
	}
	nss := bundle{
		"ecdsa-p256",
		[]string{
			"CN=orders,OU=Shop,O=Example,C=DE",
			"CN=Partner Client CA,O=Partner,C=DE",
			"CN=Partner Root,O=Partner,C=DE",
		},
	}
	tests := map[string]struct {
		password string
		want     bundle
		err      string
	}{
		"windows-certmgr-aes": {
			password: "password",
			want:     bundle{"rsa-2048", []string{"CN=*.ad.standalone.com"}},
		},
		"windows-azure-rc2":        {want: bundle{"rsa-2048", []string{"CN=Windows Azure Tools"}}},
		"go-pkcs12-empty-password": {want: bundle{"rsa-2048", []string{"CN=testing@example.com"}}},
		"go-pkcs12-aes128": {
			password: "rHyQTJsubhfxcpH5JttyilHE6BBsNoZp",
			want:     bundle{"rsa-2048", []string{"CN=example-com"}},
		},
		"go-pkcs12-aes192": {
			password: "password",
			want:     bundle{"rsa-4096", []string{"CN=example-com,O=Internet Widgits Pty Ltd,ST=Some-State,C=AU"}},
		},
		"rfc9579-a1": {
			password: "1234",
			want:     bundle{"rsa-2048", []string{"CN=tt,OU=rr,O=ee,L=ww,ST=qq,C=XX"}},
		},
		"rfc9579-a2": {
			password: "1234",
			want:     bundle{"rsa-2048", []string{"CN=tt,OU=rr,O=ee,L=ww,ST=qq,C=XX"}},
		},
		"rfc9579-a3": {
			password: "1234",
			want:     bundle{"rsa-2048", []string{"CN=tt,OU=rr,O=ee,L=ww,ST=qq,C=XX"}},
		},
		"rfc9579-a4": {password: "1234", err: "the password is wrong"},
		"rfc9579-a5": {password: "1234", err: "the password is wrong"},
		"rfc9579-a6": {
			password: "1234",
			err:      unreadable("the MAC", "PBMAC1 without the length of its key, which RFC 9579 requires)"),
		},
		"pbmac1-short-key": {
			password: "realpassword",
			err:      unreadable("the MAC", "PBMAC1 with a key of length 1, which must be 20 to 128)"),
		},
		"nss-sha384": {password: "changeit", want: nss},
		"nss-aes":    {password: "changeit", want: nss},
		"nss-rc2":    {password: "changeit", want: nss},
	}
	read, refused := 0, 0
	defer func() { t.Logf("%d files of others read, %d refused", read, refused) }()
	files := must[[]string](t)(filepath.Glob("testdata/pkcs12/*.p12"))
	if len(files) != len(tests) {
		t.Errorf("%d files, %d of them in the table", len(files), len(tests))
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inspection, err := looked(
				credential.MaterialOfPKCS12(must[[]byte](t)(os.ReadFile(filepath.Join("testdata/pkcs12", name+".p12"))),
					test.password),
			)
			var got bundle
			message := ""
			if err != nil {
				message = err.Error()
				refused++
			} else {
				read++
				got.KeyType = inspection.KeyType
				for _, certificate := range inspection.Chain {
					got.Subjects = append(got.Subjects, certificate.Subject)
				}
				if slices.ContainsFunc(inspection.Findings,
					func(f credential.Finding) bool { return f.Reason == credential.PrivateKeyMismatch }) {
					t.Errorf("not the key of the certificate: %+v", inspection.Findings)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.err, message); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPKCS12OfEveryKeyType(t *testing.T) {
	p := newPartner(t)
	for name, key := range map[string]*ecdsa.PrivateKey{
		"ecdsa-p256": must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"ecdsa-p384": must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
	} {
		t.Run(name, func(t *testing.T) {
			template := orders()
			template.Key = key
			client := p.issuing.Issue(t, template)
			bundle, err := credential.ReadPKCS12(export(t, client.KeyPEM, [][]byte{client.CertPEM, p.issuing.CertPEM}),
				password)
			if err != nil {
				t.Fatal(err)
			}
			assembled, err := credential.Assemble(bundle, credential.Authorities{}, withoutCA(credential.TLSLayout()), now())
			if err != nil {
				t.Fatal(err)
			}
			if assembled.Credential.KeyType != name {
				t.Errorf("key type %s", assembled.Credential.KeyType)
			}
		})
	}
}

// FuzzReadPKCS12 checks that no input causes a panic, or a message that is too long or has more
// than one line.
func FuzzReadPKCS12(f *testing.F) {
	client := pki.NewCA(f, "Partner CA").Issue(f, orders())
	for _, encoder := range []*pkcs12.Encoder{pkcs12.LegacyRC2.WithIterations(1), pkcs12.Modern2023.WithIterations(1),
		pkcs12.Passwordless} {
		secret := "x"
		if encoder == pkcs12.Passwordless {
			secret = ""
		}
		f.Add(must[[]byte](f)(encoder.Encode(client.Key, client.Certificate, nil, secret)), secret)
	}
	for _, path := range must[[]string](f)(filepath.Glob("testdata/pkcs12/*.p12")) {
		f.Add(must[[]byte](f)(os.ReadFile(path)), "1234")
	}
	f.Add([]byte{0x30, 0x82, 0, 4, 2, 1, 3, 0}, "")
	f.Add([]byte{0x30, 0x80, 2, 1, 3}, "x")
	der := must[[]byte](f)(pkcs12.LegacyRC2.WithIterations(1).Encode(client.Key, client.Certificate, nil, "x"))
	for _, style := range styles() {
		file, _ := style.convert(f, der, "x")
		f.Add(file, "x")
	}
	f.Fuzz(func(t *testing.T, content []byte, password string) {
		if _, err := credential.ReadPKCS12(content, password); err != nil {
			checkMessage(t, err.Error())
		}
	})
}
