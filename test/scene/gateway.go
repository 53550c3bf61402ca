package scene

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/pki"
)

//go:embed manifests/gateway.yaml
var gatewayManifests string

// GatewayNamespace is where the partners behind an Istio gateway run, hidden from the mesh as the
// other partner is.
const GatewayNamespace = "gateway-partner"

// The partners behind the gateway.
const (
	// IdentityHost admits one subject alone, and tells its backend in headers who calls. The server's
	// certificate covers *.mtls.example.net.
	IdentityHost = "shop.mtls.example.net"
	// UncoveredHost leads to the same partner, and its name has one label more than the server's
	// certificate covers.
	UncoveredHost = "eu.shop.mtls.example.net"
	// NamesHost admits certificates with the subject alternative name NamesClient.
	NamesHost   = "names.example.net"
	NamesClient = "client.example.com"
	// SignedHost admits every certificate of ClientCA, and redirects plain calls.
	SignedHost = "signed.example.net"
)

// Gateway is an Istio ingress gateway with three partners behind it. One backend serves all of
// them.
type Gateway struct {
	// Issuer signs the clients of IdentityHost. ClientCA has signed it.
	Issuer *pki.CA

	scene *Scene
}

// Admitted says whom IdentityHost admits: a subject as Envoy prints it, and a URI among the subject
// alternative names.
type Admitted struct{ Subject, URI string }

// StartGateway installs the gateway with Istio's chart, and what is behind it, and returns when it
// serves.
func (s *Scene) StartGateway(ctx context.Context, admitted Admitted) (*Gateway, error) {
	g := &Gateway{scene: s}
	if err := g.start(ctx, admitted); err != nil {
		return nil, fmt.Errorf("start the partners behind a gateway: %w", err)
	}
	return g, nil
}

func (g *Gateway) start(ctx context.Context, admitted Admitted) error {
	s := g.scene
	_, err := s.Client.CoreV1().
		Namespaces().
		Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: GatewayNamespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := g.apply(ctx, admitted); err != nil {
		return err
	}
	values := []string{
		"service.type=ClusterIP", `service.annotations.networking\.istio\.io/exportTo=~`, "autoscaling.enabled=false",
		"resources.requests.cpu=10m", "terminationGracePeriodSeconds=1", "imagePullPolicy=IfNotPresent",
		"service.clusterIP=" + s.GatewayAddress,
		// By this label Istio finds the policies that refer to the gateway.
		`labels.gateway\.networking\.k8s\.io/gateway-name=partner`,
		`podAnnotations.sidecar\.istio\.io/statsInclusionPrefixes=listener\.0`,
	}
	if err := s.InstallGateway(ctx, "gateway", GatewayNamespace, values...); err != nil {
		return err
	}
	return s.Rollout(ctx, GatewayNamespace, "deployment/backend")
}

// apply makes the certificates and applies the manifests.
func (g *Gateway) apply(ctx context.Context, admitted Admitted) error {
	s := g.scene
	issuer, err := s.ClientCA.Sign(pki.Template{
		Subject: pkix.Name{
			CommonName:   "Partner Client Issuer",
			Organization: []string{"Example SE"},
			Country:      []string{"DE"},
		}, KeyUsage: x509.KeyUsageCertSign, IsCA: true,
	})
	if err != nil {
		return err
	}
	g.Issuer = &pki.CA{Pair: issuer}
	encode := base64.StdEncoding.EncodeToString
	values := []string{
		"${NAMESPACE}", GatewayNamespace, "${IMAGE}", s.Image("actor"),
		"${SUBJECT}", admitted.Subject, "${URI}", admitted.URI,
		"${CLIENT_CA}", encode(s.ClientCA.CertPEM),
		"${IDENTITY_CLIENT_CAS}", encode(slices.Concat(issuer.CertPEM, s.ClientCA.CertPEM)),
	}
	for name, host := range map[string]string{"IDENTITY": "*.mtls.example.net", "NAMES": NamesHost, "SIGNED": SignedHost} {
		server, err := s.ServerCA.Sign(pki.Server(host))
		if err != nil {
			return err
		}
		values = append(values, "${"+name+"_CERTIFICATE}", encode(server.CertPEM), "${"+name+"_KEY}", encode(server.KeyPEM))
	}
	return s.Apply(ctx, strings.NewReplacer(values...).Replace(gatewayManifests))
}

// Backend asks the backend what it has seen. Everything reaches it as plain HTTP, from the gateway.
func (g *Gateway) Backend() *partner.Client {
	return &partner.Client{Get: func(ctx context.Context, path string) ([]byte, error) {
		return g.scene.Client.CoreV1().
			RESTClient().
			Get().
			RequestURI("/api/v1/namespaces/" + GatewayNamespace + "/services/backend:9000/proxy" + path).
			DoRaw(ctx)
	}}
}

// PlainConnections is how many connections without TLS have reached the gateway on any of its ports
// since it runs.
func (g *Gateway) PlainConnections(ctx context.Context) (int, error) {
	pods, err := g.scene.Client.CoreV1().
		Pods(GatewayNamespace).
		List(ctx, metav1.ListOptions{LabelSelector: "istio=gateway"})
	if err != nil {
		return 0, err
	}
	if len(pods.Items) != 1 {
		return 0, fmt.Errorf("%d Pods of the gateway: there must be one, as each counts for itself", len(pods.Items))
	}
	const envoy = ":15090/proxy/stats/prometheus"
	metrics, err := g.scene.Client.CoreV1().
		RESTClient().
		Get().
		RequestURI("/api/v1/namespaces/" + GatewayNamespace + "/pods/" + pods.Items[0].Name + envoy).
		DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	// On its TLS port Envoy has no filter chain for a call without a server name, and so none
	// for a call without TLS.
	var plain int
	for _, counter := range []string{
		`envoy_listener_downstream_cx_total{listener_address="0.0.0.0_80"}`,
		`envoy_listener_no_filter_chain_match{listener_address="0.0.0.0_443"}`,
	} {
		found := regexp.MustCompile("(?m)^" + regexp.QuoteMeta(counter) + ` (\d+)$`).FindSubmatch(bytes.TrimSpace(metrics))
		if found == nil {
			return 0, fmt.Errorf("the gateway has no counter %s", counter)
		}
		count, err := strconv.Atoi(string(found[1]))
		if err != nil {
			return 0, err
		}
		plain += count
	}
	return plain, nil
}
