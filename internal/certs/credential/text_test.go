package credential_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/encodings"
	"mtls.egress/webhook/test/pki"
)

// TestEveryReaderOfFilesReadsEveryEncoding checks the readers of this package. Those of passwords
// and manifests have tests of their own.
func TestEveryReaderOfFilesReadsEveryEncoding(t *testing.T) {
	ca := pki.NewCA(t, "Partner CA")
	client := ca.Issue(t, orders())
	both := string(slices.Concat(client.CertPEM, ca.CertPEM))
	count := func(n int, err error) error {
		if err == nil && n != 2 {
			err = fmt.Errorf("%d certificates, want 2", n)
		}
		return err
	}
	destination := must[[]byte](t)(json.MarshalIndent(map[string]any{
		"Name": "orders", "URL": "https://external.system.com", "Authentication": "ClientCertificateAuthentication",
		"KeyStoreLocation": "keystore.p12", "KeyStorePassword": "grün",
		"certificates": []any{map[string]any{
			"Name": "keystore.p12", "Content": base64.StdEncoding.EncodeToString([]byte("content")),
		}},
	}, "", "  "))
	readers := map[string]struct {
		files map[string][]byte
		read  func([]byte) error
	}{
		"ReadCertificates": {encodings.OfPEM(both), func(content []byte) error {
			certificates, err := credential.ReadCertificates("a.pem", content)
			return count(len(certificates), err)
		}},
		"ReadChain": {encodings.OfPEM(both), func(content []byte) error {
			certificates, _, err := credential.ReadChain("a.pem", content)
			return count(len(certificates), err)
		}},
		"ReadServerCA": {encodings.OfPEM(both), func(content []byte) error {
			authorities, err := credential.ReadServerCA("a.pem", content)
			return count(len(authorities.Certificates), err)
		}},
		"ReadPrivateKey": {encodings.OfPEM(string(client.KeyPEM)), func(content []byte) error {
			_, err := credential.ReadPrivateKey("a.pem", content)
			return err
		}},
		"ReadDestination": {encodings.Of(string(destination)), func(content []byte) error {
			read, err := credential.ReadDestination(content)
			if err == nil && read.Password != "grün" {
				err = fmt.Errorf("the password is %q", read.Password)
			}
			return err
		}},
		"MaterialOfCertificates": {encodings.OfPEM(both + string(client.KeyPEM)), func(content []byte) error {
			material, err := credential.MaterialOfCertificates("a.pem", content)
			if err == nil && material.Inspect(now()).Refused() {
				err = fmt.Errorf("refused: %+v", material.Inspect(now()).Findings)
			}
			return err
		}},
	}
	for reader, test := range readers {
		for encoding, content := range test.files {
			t.Run(reader+"/"+encoding, func(t *testing.T) {
				if err := test.read(content); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestInspectWarnsOfAnEncoding checks the warning about a file that the sidecar couldn't read.
func TestInspectWarnsOfAnEncoding(t *testing.T) {
	file := encodings.Of(string(pki.NewCA(t, "Partner CA").Issue(t, orders()).CertPEM))
	for encoding, want := range map[string]string{
		"UTF-8": "",
		"UTF-16 LE with a mark": `"a.pem" (client certificate) is UTF-16, as PowerShell writes it: the commands here ` +
			"read it, but the sidecar can't; save it as plain ASCII with line breaks before you put it into a Secret",
	} {
		material, err := credential.MaterialOfCertificates("a.pem", file[encoding])
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, finding := range material.Inspect(now()).Findings {
			if finding.Reason == credential.EncodingConverted {
				got = finding.Message
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", encoding, got, want)
		}
	}
}
