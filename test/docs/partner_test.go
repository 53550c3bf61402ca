package docs

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mtls.egress/webhook/test/pki"
)

// partner is the server external.system.com of the documents, at an address of this machine. It
// takes any client certificate.
type partner struct {
	address string
	// ca is the file with the CA of its certificate, and folder is for files that commands write.
	ca, folder string
}

func startPartner(t *testing.T) partner {
	t.Helper()
	authority := pki.NewCA(t, "Partner Server CA")
	server := authority.Issue(t, pki.Server("external.system.com"))
	config := &tls.Config{
		Certificates: []tls.Certificate{{PrivateKey: server.Key,
			Certificate: [][]byte{server.Certificate.Raw, authority.Certificate.Raw}}},
		ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12,
	}
	p := partner{pki.Listen(t, config), filepath.Join(t.TempDir(), "ca.pem"), t.TempDir()}
	if err := os.WriteFile(p.ca, authority.CertPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// withExamples returns a command with the files of the project in place of those that the reader
// has.
func withExamples(line string) string {
	return strings.NewReplacer(
		" partner.p12 ", " examples/credential/keystore.p12 ",
		"--password-file password.txt ", "--password-file examples/credential/password.txt ",
		"--server-ca server-ca.pem ", "--server-ca examples/credential/server-ca.pem ",
	).Replace(line)
}

// reached returns a command so that it calls this partner, and leaves no file in the project.
func (p partner) reached(line string) string {
	const exampleCA = "examples/credential/server-ca.pem"
	switch {
	case strings.Contains(line, " credential server-ca "):
		return strings.Replace(line, "--save ", "--save "+p.folder+"/", 1) + " --connect " + p.address
	case strings.Contains(line, " credential verify "):
		if !strings.Contains(line, exampleCA) {
			line += " --server-ca " + exampleCA
		}
		return strings.Replace(line, exampleCA, p.ca, 1) + " --connect " + p.address
	}
	return line
}
