package credential_test

import (
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

// canary stands for key material: random, so that no window of it is in a message by chance.
const canary = "Zx81QvTg0mPw7KdRy5uJb3HsXc9NeFaL"

// FuzzJudge: no input makes Judge panic, refuse without a reason, write more than one line, or repeat key material.
// The key's value is what is fuzzed, with the canary in the middle of it.
func FuzzJudge(f *testing.F) {
	ca := pki.NewCA(f, "Partner CA")
	client := ca.Issue(f, orders())
	der, _ := pem.Decode(client.KeyPEM)
	half := len(client.KeyPEM) / 2
	for _, certificate := range [][]byte{client.CertPEM, slices.Concat(client.CertPEM, ca.CertPEM), client.Certificate.Raw, client.KeyPEM, nil} {
		f.Add(certificate, client.KeyPEM[:half], client.KeyPEM[half:], ca.CertPEM)
	}
	f.Add(client.CertPEM, der.Bytes[:20], der.Bytes[20:], []byte("x"))
	f.Add(client.CertPEM, []byte("-----BEGIN "), []byte("-----\nAA==\n-----END PRIVATE KEY-----\n"), ca.Certificate.Raw)
	f.Add(client.CertPEM, []byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: "), []byte("\n\nAA==\n-----END RSA PRIVATE KEY-----\n"), []byte{})

	f.Fuzz(func(t *testing.T, certificate, head, tail, serverCA []byte) {
		for _, key := range [][]byte{slices.Concat(head, tail), slices.Concat(head, []byte(canary), tail)} {
			data := map[string][]byte{"cert": certificate, "key": key, "cacert": serverCA}
			got, err := credential.Judge(data, credential.CertKeyLayout(), now())
			if err == nil {
				if got == nil || got.ChainLength < 1 || got.SHA256 == "" {
					t.Fatalf("accepted without saying what: %+v", got)
				}
				continue
			}
			problems := problemsOf(t, err)
			for _, problem := range problems {
				if problem.Reason == "" || problem.Key == "" || problem.Message == "" || strings.ContainsAny(problem.Message, "\n\r\x00") {
					t.Errorf("not a whole problem on one line: %+v", problem)
				}
			}
			for window := range slices.Chunk([]byte(canary), 8) {
				for _, form := range []string{string(window), hex.EncodeToString(window)} {
					if strings.Contains(err.Error(), form) {
						t.Errorf("key material in a message: %v", err)
					}
				}
			}
		}
	})
}

// FuzzJudgeCertificate has the canary in a value that is no certificate but a key in the certificate's place.
func FuzzJudgeCertificate(f *testing.F) {
	f.Add("PRIVATE KEY", []byte{})
	f.Add("CERTIFICATE", []byte{0x30, 0x82})
	f.Add(canary, []byte("text"))
	f.Fuzz(func(t *testing.T, kind string, prefix []byte) {
		value := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: append(prefix, canary...)})
		_, err := credential.Judge(map[string][]byte{"cert": append(prefix, canary...), "key": value, "cacert": value}, credential.CertKeyLayout(), now())
		if err == nil || strings.Contains(err.Error(), canary[:8]) {
			t.Errorf("accepted, or key material in a message: %v", err)
		}
	})
}
