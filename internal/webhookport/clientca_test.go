package webhookport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"mtls.egress/webhook/test/pki"
)

// The test uses real TLS.
func TestOnlyClientsOfTheCAReachTheHandlers(t *testing.T) {
	ca, other := pki.NewCA(t, "API servers"), pki.NewCA(t, "Others")
	server, err := tls.X509KeyPair(func() ([]byte, []byte) {
		pair := other.Issue(t, pki.Server("localhost"))
		return pair.CertPEM, pair.KeyPEM
	}())
	if err != nil {
		t.Fatal(err)
	}
	expired, forServers := pki.Client("kube-apiserver"), pki.Server("kube-apiserver")
	expired.NotAfter = pki.Epoch().AddDate(1, 0, 0)
	const refused = "401"
	for name, test := range map[string]struct {
		open   bool
		client *pki.Pair
		// status is the response status, or "" if the handshake fails. judged reports whether the
		// handler saw the request.
		status string
		judged bool
	}{
		"without the option, no certificate": {open: true, status: "200", judged: true},
		"without the option, any certificate": {open: true, client: new(other.Issue(t, pki.Client("anybody"))),
			status: "200", judged: true},
		"no certificate": {status: refused},
		"a certificate of the CA": {client: new(ca.Issue(t, pki.Client("kube-apiserver"))),
			status: "200", judged: true},
		"a certificate of an intermediate's":       {client: new(chained(t, ca)), status: "200", judged: true},
		"a certificate of another CA":              {client: new(other.Issue(t, pki.Client("kube-apiserver")))},
		"a certificate that signed itself":         {client: &pki.SelfSigned(t, pki.Client("kube-apiserver")).Pair},
		"a certificate of the CA that has expired": {client: new(ca.Issue(t, expired))},
		"a certificate of the CA for servers":      {client: new(ca.Issue(t, forServers))},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ca.crt")
			if err := os.WriteFile(file, ca.CertPEM, 0o600); err != nil {
				t.Fatal(err)
			}
			var clientCA *ClientCA
			if !test.open {
				if clientCA, err = ReadClientCA(file, logr.Discard()); err != nil {
					t.Fatal(err)
				}
			}
			judged := false
			admissions, err := NewAdmission(
				&admission.Webhook{
					Handler: admission.HandlerFunc(func(context.Context, admission.Request) admission.Response {
						judged = true
						return admission.Allowed("")
					}),
				},
				clientCA,
				prometheus.NewRegistry(),
			)
			if err != nil {
				t.Fatal(err)
			}
			s := NewServer("127.0.0.1", 0, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &server, nil },
				clientCA, logr.Discard())
			s.Register("/mutate", admissions)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.serve(ctx, listener, maxConnections) }()
			t.Cleanup(func() {
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})

			config := &tls.Config{InsecureSkipVerify: true}
			if test.client != nil {
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					pair, err := tls.X509KeyPair(test.client.CertPEM, test.client.KeyPEM)
					return &pair, err
				}
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
			answer, err := client.Post("https://"+listener.Addr().String()+"/mutate", "application/json",
				strings.NewReader(review(goodRequest)))
			status := ""
			if err == nil {
				status = answer.Status[:3]
				_ = answer.Body.Close()
			}
			if diff := cmp.Diff([]any{test.status, test.judged}, []any{status, judged}); diff != "" {
				t.Errorf("error %v, answer (-want +got):\n%s", err, diff)
			}
			counted := 0.0
			if test.status == refused {
				counted = 1
			}
			if got := testutil.ToFloat64(admissions.refused.WithLabelValues(reasonClientCertificate)); got != counted {
				t.Errorf("%g refused requests counted, want %g", got, counted)
			}
		})
	}
}

// chained returns a certificate from an intermediate CA, followed by the intermediate certificate.
func chained(t *testing.T, ca *pki.CA) pki.Pair {
	t.Helper()
	intermediate := ca.Intermediate(t, "Intermediate")
	pair := intermediate.Issue(t, pki.Client("kube-apiserver"))
	pair.CertPEM = append(pair.CertPEM, intermediate.CertPEM...)
	return pair
}

func TestClientCAIsReadAgain(t *testing.T) {
	before, after := pki.NewCA(t, "Before"), pki.NewCA(t, "After")
	file := filepath.Join(t.TempDir(), "ca.crt")
	write := func(content []byte) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadClientCA(file, logr.Discard()); err == nil {
		t.Error("reading a missing file succeeded")
	}
	write([]byte("no PEM"))
	if _, err := ReadClientCA(file, logr.Discard()); err == nil ||
		!strings.HasSuffix(err.Error(),
			"contains no valid certificate: it must contain the CA of the API server's client certificate in PEM") {
		t.Errorf("a file without a certificate: %v", err)
	}
	write(before.CertPEM)
	c, err := ReadClientCA(file, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	want := func(when string, ca *pki.CA) {
		t.Helper()
		c.read = c.read.Add(-rereadAfter)
		pool := x509.NewCertPool()
		pool.AddCert(ca.Certificate)
		if !c.current().Equal(pool) {
			t.Errorf("%s, the pool has other certificates", when)
		}
	}
	want("at first", before)
	write(after.CertPEM)
	want("after a change", after)
	write([]byte("half a fi"))
	want("while it can't be read", after)
}
