package credential_test

import (
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

// hidden contains characters that reorder text, are invisible, or control a terminal.
func hidden() map[string]string {
	return map[string]string{
		"escape":                 "\x1b[2J",
		"carriage return":        "\r",
		"delete":                 "\x7f",
		"a C1 control sequence":  "\u009b2J",
		"next line":              "\u0085",
		"right-to-left override": "\u202e",
		"right-to-left isolate":  "\u2067",
		"pop isolate":            "\u2069",
		"zero-width space":       "\u200b",
		"zero-width joiner":      "\u200d",
		"byte order mark":        "\ufeff",
		"soft hyphen":            "\u00ad",
		"line separator":         "\u2028",
		"paragraph separator":    "\u2029",
		"a tag":                  "\U000e0041",
		"private use":            "\ue000",
	}
}

// checkPrintable fails the test for every string in value, encoded as JSON, that contains
// characters other than printable ones. PEM can contain line breaks.
func checkPrintable(t *testing.T, what string, value any) {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var decoded any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for key, element := range value {
				if key != "pem" {
					walk(path+"."+key, element)
				}
			}
		case []any:
			for i, element := range value {
				walk(fmt.Sprintf("%s[%d]", path, i), element)
			}
		case string:
			if strings.ContainsFunc(value,
				func(r rune) bool { return !unicode.IsPrint(r) && r != unicode.ReplacementChar }) {
				t.Errorf("%s is %q", path, value)
			}
		}
	}
	walk(what, decoded)
}

// TestTextOfCertificatesIsPrintable checks that names of certificates are sanitized. They are
// untrusted, and are shown in the status, in messages and on terminals.
func TestTextOfCertificatesIsPrintable(t *testing.T) {
	for name, text := range hidden() {
		t.Run(name, func(t *testing.T) {
			ca := pki.NewCA(t, "Partner"+text+"CA")
			template := pki.Client("")
			template.Subject = pkix.Name{
				CommonName:   "a" + text + "b",
				Organization: []string{text + "Example"},
				Locality:     []string{"Town" + text},
			}
			if text[0] < 0x80 {
				template.DNSNames = []string{"a" + text + ".example"}
				template.EmailAddresses = []string{"a" + text + "@example.com"}
			}
			client := ca.Issue(t, template)
			other := pki.NewCA(t, "other"+text)

			data := secret(client, ca)
			judged, err := credential.Check(data, credential.CertKeyLayout(), now())
			if err != nil {
				t.Fatal(err)
			}
			checkPrintable(t, "the credential", judged)

			refused := map[string][]byte{"cert": client.CertPEM, "key": other.KeyPEM, "cacert": other.CertPEM}
			_, err = credential.Check(refused, credential.CertKeyLayout(), now().AddDate(200, 0, 0))
			checkPrintable(t, "the refusal", problemsOf(t, err))

			file := slices.Concat(client.CertPEM, ca.CertPEM, other.CertPEM)
			material := must[*credential.Material](t)(credential.MaterialOfCertificates("f.pem", file))
			checkPrintable(t, "the inspection", material.Inspect(now()))
			if text[0] >= 0x80 {
				checkPrintable(t, "the description", must[*credential.Description](t)(material.Describe(nil, now())))
			}
		})
	}
}
