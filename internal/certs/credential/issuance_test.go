package credential_test

import (
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

func issued(change func(*v1alpha1.IssuedCertificate)) egress.Target {
	t := egress.FromEgressTarget("project", "external.system.com", nil, egress.Sinkhole{})
	t.Issuer, t.Certificate = &v1alpha1.IssuerRef{Name: "partner-ca"}, &v1alpha1.IssuedCertificate{}
	change(t.Certificate)
	return t
}

func TestIssuance(t *testing.T) {
	want := func(change func(*certmanagerv1.CertificateSpec)) *certmanagerv1.Certificate {
		certificate := &certmanagerv1.Certificate{
			TypeMeta: metav1.TypeMeta{APIVersion: "cert-manager.io/v1", Kind: "Certificate"},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "project",
				Name:      "mtls-egress-external.system.com",
				Labels:    map[string]string{"app.kubernetes.io/managed-by": "mtls-egress-webhook"},
			},
			Spec: certmanagerv1.CertificateSpec{
				SecretName: "external-system-mtls-data",
				IssuerRef:  cmmeta.IssuerReference{Name: "partner-ca", Kind: "Issuer", Group: "cert-manager.io"},
				Usages:     []certmanagerv1.KeyUsage{"digital signature", "client auth"},
				PrivateKey: &certmanagerv1.CertificatePrivateKey{
					Algorithm:      "ECDSA",
					Size:           256,
					Encoding:       "PKCS8",
					RotationPolicy: "Always",
				},
			},
		}
		change(&certificate.Spec)
		return certificate
	}
	day := &metav1.Duration{Duration: 24 * time.Hour}
	hour := &metav1.Duration{Duration: time.Hour}
	byClusterIssuer := issued(func(c *v1alpha1.IssuedCertificate) { c.CommonName = "orders" })
	byClusterIssuer.Issuer = &v1alpha1.IssuerRef{Name: "vault", Kind: "VaultIssuer", Group: "example.com"}
	byClusterIssuer.SecretName = "orders-tls"
	tests := map[string]struct {
		target egress.Target
		want   *certmanagerv1.Certificate
	}{
		"nobody asks for an issuer": {
			target: egress.FromEgressTarget("project", "external.system.com", nil, egress.Sinkhole{}),
		},
		"a subject": {issued(func(c *v1alpha1.IssuedCertificate) { c.Subject = "CN=orders,O=Example" }),
			want(func(s *certmanagerv1.CertificateSpec) { s.LiteralSubject = "CN=orders,O=Example" })},
		"names of every kind, an RSA key and times": {issued(func(c *v1alpha1.IssuedCertificate) {
			c.DNSNames = []string{"orders.example.com"}
			c.URIs = []string{"spiffe://example.com/orders"}
			c.Emails = []string{"team@example.com"}
			c.KeyType, c.Duration, c.RenewBefore = "rsa-3072", day, hour
		}), want(func(s *certmanagerv1.CertificateSpec) {
			s.DNSNames = []string{"orders.example.com"}
			s.URIs = []string{"spiffe://example.com/orders"}
			s.EmailAddresses = []string{"team@example.com"}
			s.PrivateKey.Algorithm, s.PrivateKey.Size, s.Duration, s.RenewBefore = "RSA", 3072, day, hour
		})},
		"another kind of issuer and another Secret": {byClusterIssuer, want(func(s *certmanagerv1.CertificateSpec) {
			s.CommonName, s.SecretName, s.IssuerRef = "orders", "orders-tls", cmmeta.IssuerReference{
				Name:  "vault",
				Kind:  "VaultIssuer",
				Group: "example.com",
			}
		})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, credential.Issuance(test.target)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryKeyTypeCanBeIssued(t *testing.T) {
	for _, keyType := range credential.KeyTypes() {
		key := credential.Issuance(issued(func(c *v1alpha1.IssuedCertificate) { c.KeyType = keyType })).Spec.PrivateKey
		if key.Size == 0 {
			t.Errorf("%s: %+v", keyType, key)
		}
	}
}

func TestSameIssuance(t *testing.T) {
	tests := map[string]struct {
		change func(*certmanagerv1.CertificateSpec)
		want   bool
	}{
		"nothing": {func(*certmanagerv1.CertificateSpec) {}, true},
		"what cert-manager fills in": {
			func(s *certmanagerv1.CertificateSpec) { s.RevisionHistoryLimit = new(int32(1)) },
			true,
		},
		"another Secret": {func(s *certmanagerv1.CertificateSpec) { s.SecretName = "other" }, false},
		"a name that somebody added": {
			func(s *certmanagerv1.CertificateSpec) { s.DNSNames = []string{"a.b"} },
			false,
		},
		"an address that somebody added": {
			func(s *certmanagerv1.CertificateSpec) { s.IPAddresses = []string{"192.0.2.1"} },
			false,
		},
		"an authority that somebody made": {func(s *certmanagerv1.CertificateSpec) { s.IsCA = true }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wanted := credential.Issuance(issued(func(c *v1alpha1.IssuedCertificate) { c.Subject = "CN=orders" }))
			changed := wanted.DeepCopy()
			test.change(&changed.Spec)
			if got := credential.SameIssuance(wanted, changed); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestReissuance(t *testing.T) {
	wanted := credential.Issuance(issued(func(c *v1alpha1.IssuedCertificate) { c.Subject = "CN=orders" }))
	asOthersLeftIt := func(spec *certmanagerv1.CertificateSpec) {
		spec.RevisionHistoryLimit = new(int32(1))
		spec.SecretTemplate = &certmanagerv1.CertificateSecretTemplate{Labels: map[string]string{"team": "orders"}}
	}
	present, want := wanted.DeepCopy(), wanted.DeepCopy()
	present.UID, want.UID = "1", "1"
	asOthersLeftIt(&want.Spec)
	asOthersLeftIt(&present.Spec)
	present.Spec.LiteralSubject, present.Spec.CommonName = "", "elsewhere"
	present.Spec.IPAddresses, present.Spec.IsCA = []string{"192.0.2.1"}, true
	before := present.DeepCopy()
	if diff := cmp.Diff(want, credential.Reissuance(present, wanted)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, present); diff != "" {
		t.Errorf("the one that is present, before (-) and after (+):\n%s", diff)
	}
}
