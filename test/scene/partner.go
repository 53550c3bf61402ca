package scene

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"strings"

	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/pki"
)

//go:embed manifests/partner.yaml
var partnerManifests string

// PartnerNamespace is where the partner runs. Its Services are hidden from the mesh, so that the
// partner is as far away as one beyond the internet.
const PartnerNamespace = "partner"

// OtherName is a name that leads to the partner and that its certificate doesn't carry.
const OtherName = "other-name.example.org"

// startPartner makes the partner's certificates and applies its manifests.
func (s *Scene) startPartner(ctx context.Context) (err error) {
	if s.ClientCA, err = pki.Authority("Partner Client CA"); err != nil {
		return err
	}
	if s.ServerCA, err = pki.Authority("Partner Server CA"); err != nil {
		return err
	}
	names := []string{"external.system.com", "*.system.com", "api.example.org", "*.api.example.org"}
	server, err := s.ServerCA.Sign(pki.Server(names...))
	if err != nil {
		return err
	}
	encode := base64.StdEncoding.EncodeToString
	return s.Apply(ctx, strings.NewReplacer(
		"${NAMESPACE}", PartnerNamespace, "${IMAGE}", s.Image("actor"), "${ADDRESS}", s.PartnerAddress,
		"${CERTIFICATE}", encode(server.CertPEM), "${KEY}", encode(server.KeyPEM), "${CLIENT_CA}", encode(s.ClientCA.CertPEM),
	).Replace(partnerManifests))
}

func (s *Scene) partnerReady(ctx context.Context) error {
	return s.Rollout(ctx, PartnerNamespace, "deployment/partner")
}

// Partner asks the partner what it has seen.
func (s *Scene) Partner() *partner.Client {
	return &partner.Client{Get: func(ctx context.Context, path string) ([]byte, error) {
		// Through the API server, as that works wherever the tests run.
		return s.Client.CoreV1().
			RESTClient().
			Get().
			RequestURI("/api/v1/namespaces/" + PartnerNamespace + "/services/control:9000/proxy" + path).
			DoRaw(ctx)
	}}
}

// Credential is a client certificate, its key, and the CA of the server.
type Credential struct {
	pki.Pair
	ServerCA []byte // PEM
}

// Credential signs a client certificate that the partner accepts.
func (s *Scene) Credential(commonName string) (Credential, error) {
	pair, err := s.ClientCA.Sign(pki.Client(commonName))
	return Credential{Pair: pair, ServerCA: s.ServerCA.CertPEM}, err
}

// Serial is the serial number as the partner records it.
func (c Credential) Serial() string { return c.Certificate.SerialNumber.Text(16) }

// Layouts of a Secret.
const (
	LayoutCert = "cert"
	LayoutTLS  = "tls"
)

// Data is the credential in one of the layouts.
func (c Credential) Data(layout string) map[string][]byte {
	if layout == LayoutTLS {
		return map[string][]byte{
			"tls.crt": bytes.Clone(c.CertPEM),
			"tls.key": bytes.Clone(c.KeyPEM),
			"ca.crt":  bytes.Clone(c.ServerCA),
		}
	}
	return map[string][]byte{
		"cert":   bytes.Clone(c.CertPEM),
		"key":    bytes.Clone(c.KeyPEM),
		"cacert": bytes.Clone(c.ServerCA),
	}
}
