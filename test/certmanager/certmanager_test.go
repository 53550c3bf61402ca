package certmanager

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/apiserver"
)

// Shared by the tests of this package, which use a namespace each.
var (
	server  *apiserver.Server
	running *CertManager
)

func TestMain(m *testing.M) {
	if err := run(context.Background(), m); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, m *testing.M) (err error) {
	if server, err = apiserver.Start(ctx, apiserver.Options{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	if running, err = Start(ctx, Beside(server)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Stop()) }()
	if m.Run() != 0 {
		return errors.New("tests failed")
	}
	return nil
}

func TestCertificateOfACAIssuerGetsItsSecret(t *testing.T) {
	namespace := newNamespace(t)
	create(t, &certmanagerv1.Issuer{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "root"},
		Spec: certmanagerv1.IssuerSpec{
			IssuerConfig: certmanagerv1.IssuerConfig{SelfSigned: &certmanagerv1.SelfSignedIssuer{}},
		},
	})
	create(t, certificate(namespace, "authority", "root",
		func(spec *certmanagerv1.CertificateSpec) { spec.IsCA, spec.CommonName = true, "authority" }))
	ready(t, namespace, "certificate/authority")
	create(t, &certmanagerv1.Issuer{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "partner"},
		Spec: certmanagerv1.IssuerSpec{
			IssuerConfig: certmanagerv1.IssuerConfig{CA: &certmanagerv1.CAIssuer{SecretName: "authority"}},
		},
	})
	ready(t, namespace, "issuer/partner")
	create(t, certificate(namespace, "orders", "partner", func(spec *certmanagerv1.CertificateSpec) {
		spec.CommonName, spec.Usages = "orders", []certmanagerv1.KeyUsage{certmanagerv1.UsageClientAuth}
	}))
	ready(t, namespace, "certificate/orders")

	authority, orders := secret(t, namespace, "authority"), secret(t, namespace, "orders")
	if diff := cmp.Diff(authority.Data["tls.crt"], orders.Data["ca.crt"]); diff != "" {
		t.Errorf("ca.crt isn't the authority's certificate:\n%s", diff)
	}
	pair, err := tls.X509KeyPair(orders.Data["tls.crt"], orders.Data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(orders.Data["ca.crt"])
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{
		Roots:     roots,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		t.Error(err)
	}

	wantAnnotations := map[string]string{
		"cert-manager.io/alt-names":        "orders",
		"cert-manager.io/certificate-name": "orders",
		"cert-manager.io/common-name":      "orders",
		"cert-manager.io/ip-sans":          "",
		"cert-manager.io/issuer-group":     "",
		"cert-manager.io/issuer-kind":      "Issuer",
		"cert-manager.io/issuer-name":      "partner",
		"cert-manager.io/uri-sans":         "",
	}
	if diff := cmp.Diff(wantAnnotations, orders.Annotations); diff != "" {
		t.Errorf("annotations of the Secret (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ca.crt", "tls.crt", "tls.key"}, slices.Sorted(maps.Keys(orders.Data))); diff != "" {
		t.Errorf("keys of the Secret (-want +got):\n%s", diff)
	}
}

func TestClusterIssuerFindsItsSecretInTheNamespaceOfCertManager(t *testing.T) {
	namespace := newNamespace(t)
	create(t, &certmanagerv1.ClusterIssuer{
		ObjectMeta: metav1.ObjectMeta{Name: namespace + "-root"},
		Spec: certmanagerv1.IssuerSpec{
			IssuerConfig: certmanagerv1.IssuerConfig{SelfSigned: &certmanagerv1.SelfSignedIssuer{}},
		},
	})
	byClusterIssuer := func(spec *certmanagerv1.CertificateSpec) { spec.IssuerRef.Kind = "ClusterIssuer" }
	create(
		t,
		certificate(Namespace, namespace, namespace+"-root", byClusterIssuer, func(spec *certmanagerv1.CertificateSpec) {
			spec.IsCA, spec.CommonName = true, "authority"
		}),
	)
	ready(t, Namespace, "certificate/"+namespace)
	create(t, &certmanagerv1.ClusterIssuer{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec: certmanagerv1.IssuerSpec{
			IssuerConfig: certmanagerv1.IssuerConfig{CA: &certmanagerv1.CAIssuer{SecretName: namespace}},
		},
	})
	create(t, certificate(namespace, "orders", namespace, byClusterIssuer))
	ready(t, namespace, "certificate/orders")
	if diff := cmp.Diff(
		secret(t, Namespace, namespace).Data["tls.crt"], secret(t, namespace, "orders").Data["ca.crt"],
	); diff != "" {
		t.Errorf("ca.crt isn't the authority's certificate:\n%s", diff)
	}
}

func TestWebhookRefusesWhatTheAPIServerWouldTake(t *testing.T) {
	namespace := newNamespace(t)
	tests := map[string]struct {
		change func(*certmanagerv1.CertificateSpec)
		want   string // empty: it is taken
	}{
		"a Certificate with names": {func(*certmanagerv1.CertificateSpec) {}, ""},
		"one that is renewed before it is issued": {
			func(spec *certmanagerv1.CertificateSpec) {
				spec.Duration, spec.RenewBefore = &metav1.Duration{Duration: time.Hour}, &metav1.Duration{Duration: 2 * time.Hour}
			},
			`admission webhook "webhook.cert-manager.io" denied the request: spec.renewBefore: Invalid value: 7200000000000: ` +
				`certificate duration 1h0m0s must be greater than renewBefore 2h0m0s`,
		},
		"one without names": {
			func(spec *certmanagerv1.CertificateSpec) { spec.DNSNames = nil },
			`admission webhook "webhook.cert-manager.io" denied the request: spec: Invalid value: "": at least ` +
				`one of commonName (from the commonName field or from a literalSubject), dnsNames, emailSANs, ` +
				`ipAddresses, otherNames, or uriSANs must be set`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := running.Client.Create(t.Context(), certificate(namespace, "orders", "partner", test.change), client.DryRunAll)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if refused := Refused(err); refused != (test.want != "") {
				t.Errorf("refused by the webhook: %t", refused)
			}
		})
	}
}

func TestStartThatFailsSaysWhyAndStopEndsThePrograms(t *testing.T) {
	server := apiserver.ForTest(t) // of its own, as each start makes the API server ask another webhook
	servers := apiserver.Processes(t, server.Dir)

	t.Run("a program that ends at once", func(t *testing.T) {
		t.Setenv("MTLS_EGRESS_CERTMANAGER", broken(t, running.programs))
		c, err := Start(t.Context(), Beside(server))
		if err == nil {
			t.Fatalf("started, error on stop: %v", c.Stop())
		}
		if want := "the webhook is broken"; !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not contain %q", err, want)
		}
		if diff := cmp.Diff(servers, apiserver.Processes(t, server.Dir)); diff != "" {
			t.Errorf("processes before (-) and after (+):\n%s", diff)
		}
	})

	c, err := Start(t.Context(),
		Options{Kubeconfig: server.Kubeconfig, Dir: t.TempDir()}) // as in a cluster of test/cluster
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{
		"cert-manager-cainjector": true,
		"cert-manager-controller": true,
		"cert-manager-webhook":    true,
	}, programsRunning(c)); diff != "" {
		t.Errorf("programs that run after the start (-want +got):\n%s", diff)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]bool{
		"cert-manager-cainjector": false,
		"cert-manager-controller": false,
		"cert-manager-webhook":    false,
	}, programsRunning(c)); diff != "" {
		t.Errorf("programs that run after the stop (-want +got):\n%s", diff)
	}
	err = c.Client.Create(t.Context(), certificate(Namespace, "orders", "partner"), client.DryRunAll)
	if err == nil || Refused(err) {
		t.Errorf("without a webhook a Certificate is answered with %v, want that the API server can't reach it", err)
	}
}

// programsRunning says of each program whether it runs.
func programsRunning(c *CertManager) map[string]bool {
	found := map[string]bool{}
	for name, process := range c.processes {
		found[name] = process.Running()
	}
	return found
}

// broken is a copy of the programs with a webhook that only complains.
func broken(t *testing.T, programs string) string {
	t.Helper()
	directory := t.TempDir()
	if err := os.Mkdir(filepath.Join(directory, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chart", "bin/cert-manager-controller", "bin/cert-manager-cainjector"} {
		if err := os.Symlink(filepath.Join(programs, name), filepath.Join(directory, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(directory, "bin", "cert-manager-webhook"), []byte("#!/bin/sh\necho the webhook "+
		"is broken >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return directory
}

func newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-"}}
	create(t, namespace)
	return namespace.Name
}

// certificate has a Secret and a DNS name of its own name, and an Issuer.
func certificate(
	namespace, name, issuer string,
	changes ...func(*certmanagerv1.CertificateSpec),
) *certmanagerv1.Certificate {
	made := &certmanagerv1.Certificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: certmanagerv1.CertificateSpec{
			SecretName: name,
			DNSNames:   []string{name},
			IssuerRef:  cmmeta.IssuerReference{Kind: "Issuer", Name: issuer},
		},
	}
	for _, change := range changes {
		change(&made.Spec)
	}
	return made
}

func create(t *testing.T, object client.Object) {
	t.Helper()
	if err := running.Client.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func ready(t *testing.T, namespace, object string) {
	t.Helper()
	if err := running.AwaitReady(t.Context(), namespace, object); err != nil {
		t.Fatal(err)
	}
}

func secret(t *testing.T, namespace, name string) *corev1.Secret {
	t.Helper()
	found := &corev1.Secret{}
	if err := running.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, found); err != nil {
		t.Fatal(err)
	}
	return found
}
