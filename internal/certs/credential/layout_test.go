package credential_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

func TestDetectLayout(t *testing.T) {
	unknown := []credential.Problem{
		{
			Reason: credential.LayoutUnknown,
			Message: `the Secret has neither the keys "cert" and "key" (with the CA in "cacert") ` +
				`nor "tls.crt" and "tls.key" (with the CA in "ca.crt"): rename its keys, or name the keys to use in ` +
				`spec.credential.keys of the EgressTarget`,
		},
	}
	tests := map[string]struct {
		keys     []string
		want     egress.Layout
		problems []credential.Problem
		// held is the additional text for the owner.
		held string
	}{
		"cert and key with a CA are Istio's layout": {
			keys: []string{"cert", "key", "cacert"},
			want: egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"},
		},
		"the CA may come from elsewhere": {
			keys: []string{"cert", "key"},
			want: egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"},
		},
		"a TLS Secret has the layout of its type": {
			keys: []string{"tls.crt", "tls.key", "ca.crt"},
			want: egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"},
		},
		"half of the other pair does not disturb": {
			keys: []string{"tls.crt", "tls.key", "cert", "cacert"},
			want: egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"},
		},
		"other keys do not disturb": {
			keys: []string{"cert", "key", "keystore.p12", "password"},
			want: egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"},
		},
		"two pairs are ambiguous": {
			keys: []string{"cert", "key", "tls.crt", "tls.key"},
			problems: []credential.Problem{
				{
					Reason: credential.LayoutAmbiguous,
					Message: `the Secret has two client certificates, one in "cert" with its key in "key" and one in ` +
						`"tls.crt" with its key in "tls.key": ` +
						`remove one pair, or name the keys to use in spec.credential.keys of the EgressTarget`,
				},
			},
		},
		"a certificate without its key lacks the key": {
			keys: []string{"cert", "cacert"},
			problems: []credential.Problem{
				{Reason: credential.SecretKeyMissing, Key: "key", Message: `"key" (private key) is missing`},
			},
			held: `the Secret has the keys "cacert", "cert"`,
		},
		"a key without its certificate lacks the certificate": {
			keys: []string{"tls.key"},
			problems: []credential.Problem{
				{
					Reason:  credential.SecretKeyMissing,
					Key:     "tls.crt",
					Message: `"tls.crt" (client certificate) is missing`,
				},
			},
			held: `the Secret has only the key "tls.key"`,
		},
		"halves of both pairs are no layout": {
			keys:     []string{"tls.crt", "key"},
			problems: unknown,
			held:     `the Secret has the keys "key", "tls.crt"`,
		},
		"upper case is another key": {
			keys:     []string{"Cert", "Key"},
			problems: unknown,
			held:     `the Secret has the keys "Cert", "Key"`,
		},
		"an empty Secret has no layout": {
			problems: unknown,
			held:     `the Secret has no keys`,
		},
		"of many keys a few are named": {
			keys:     []string{"a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1"},
			problems: unknown,
			held:     `the Secret has the keys "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9" and 2 more`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := map[string][]byte{}
			for _, key := range test.keys {
				data[key] = []byte("content")
			}
			got, err := credential.DetectLayout(data)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("layout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.problems, problemsOf(t, err)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			told := slices.Clone(test.problems)
			if test.held != "" {
				told[0].Message += "; " + test.held
			}
			if diff := cmp.Diff(told, problemsOf(t, credential.ForOwner(err))); diff != "" {
				t.Errorf("problems for the owner (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLayoutIsWrittenAsDocumentsWriteIt(t *testing.T) {
	withoutCA := credential.TLSLayout()
	withoutCA.ServerCA = ""
	got := []string{credential.CertKeyLayout().String(), credential.TLSLayout().String(), withoutCA.String()}
	if diff := cmp.Diff([]string{"cert,key,cacert", "tls.crt,tls.key,ca.crt", "tls.crt,tls.key"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
