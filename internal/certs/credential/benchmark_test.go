package credential_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
	"testing"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

func BenchmarkJudge(b *testing.B) {
	ca := pki.NewCA(b, "Partner CA")
	issuing := ca.Intermediate(b, "Partner Issuing")
	rsaTemplate := pki.Client("orders")
	rsaTemplate.Key = must[*rsa.PrivateKey](b)(rsa.GenerateKey(rand.Reader, 3072))
	for name, client := range map[string]pki.Pair{
		"ecdsa-p256": issuing.Issue(b, pki.Client("orders")),
		"rsa-3072":   issuing.Issue(b, rsaTemplate),
	} {
		b.Run(name, func(b *testing.B) {
			data := secret(client, ca)
			data["cert"] = slices.Concat(client.CertPEM, issuing.CertPEM)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := credential.Check(data, credential.CertKeyLayout(), now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkJudgeThousand checks 1,000 different Secrets. Their keys alternate between three types,
// and their chains have two certificates. Half of the time is spent on RSA keys, because
// crypto/x509 validates their numbers when it parses them.
func BenchmarkJudgeThousand(b *testing.B) {
	const credentials = 1000
	keys := []crypto.Signer{
		must[*ecdsa.PrivateKey](b)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		must[*rsa.PrivateKey](b)(rsa.GenerateKey(rand.Reader, 2048)),
		must[*rsa.PrivateKey](b)(rsa.GenerateKey(rand.Reader, 3072)),
	}
	issuing, server := pki.NewCA(b, "Partner Root").Intermediate(b, "Partner Issuing"), pki.NewCA(b, "Server CA")
	secrets := make([]map[string][]byte, 0, credentials)
	for i := range credentials {
		template := pki.Client(fmt.Sprintf("orders-%d", i))
		template.Key = keys[i%len(keys)]
		client := issuing.Issue(b, template)
		data := secret(client, server)
		data["cert"] = slices.Concat(client.CertPEM, issuing.CertPEM)
		secrets = append(secrets, data)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, data := range secrets {
			if _, err := credential.Check(data, credential.CertKeyLayout(), now()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*credentials), "ns/credential")
}
