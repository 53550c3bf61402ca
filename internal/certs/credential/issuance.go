package credential

import (
	"cmp"
	"strings"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/egress"
)

// Issuance returns the Certificate that has cert-manager issue the credential of t into its Secret;
// nil when t names no issuer. It is for TLS clients only, and each renewal makes a new private key.
// cert-manager's own defaults hold where t says nothing.
func Issuance(t egress.Target) *certmanagerv1.Certificate {
	if t.Issuer == nil || t.Certificate == nil {
		return nil
	}
	wanted := t.Certificate
	return &certmanagerv1.Certificate{
		TypeMeta:   metav1.TypeMeta{APIVersion: certmanagerv1.SchemeGroupVersion.String(), Kind: certmanagerv1.CertificateKind},
		ObjectMeta: metav1.ObjectMeta{Namespace: t.Namespace, Name: egress.ObjectName(t.Host), Labels: map[string]string{egress.LabelManagedBy: egress.ValueManagedBy}},
		Spec: certmanagerv1.CertificateSpec{
			SecretName:     t.SecretName,
			IssuerRef:      cmmeta.IssuerReference{Name: t.Issuer.Name, Kind: cmp.Or(t.Issuer.Kind, certmanagerv1.IssuerKind), Group: cmp.Or(t.Issuer.Group, certmanagerv1.SchemeGroupVersion.Group)},
			LiteralSubject: wanted.Subject,
			CommonName:     wanted.CommonName,
			DNSNames:       wanted.DNSNames,
			URIs:           wanted.URIs,
			EmailAddresses: wanted.Emails,
			Duration:       wanted.Duration,
			RenewBefore:    wanted.RenewBefore,
			Usages:         []certmanagerv1.KeyUsage{certmanagerv1.UsageDigitalSignature, certmanagerv1.UsageClientAuth},
			PrivateKey:     issuedKey(cmp.Or(wanted.KeyType, DefaultKeyType)),
		},
	}
}

// issuedKey is a private key of one of [KeyTypes] as cert-manager has it.
func issuedKey(keyType string) *certmanagerv1.CertificatePrivateKey {
	key := &certmanagerv1.CertificatePrivateKey{Algorithm: certmanagerv1.ECDSAKeyAlgorithm, RotationPolicy: certmanagerv1.RotationPolicyAlways, Encoding: certmanagerv1.PKCS8}
	if strings.HasPrefix(keyType, "rsa-") {
		key.Algorithm = certmanagerv1.RSAKeyAlgorithm
	}
	key.Size = map[string]int{"ecdsa-p256": 256, "ecdsa-p384": 384, "rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}[keyType]
	return key
}

// IssuedFor is the name of the Certificate for which cert-manager wrote a Secret with these
// annotations; false when somebody else did.
func IssuedFor(annotations map[string]string) (certificate string, issued bool) {
	certificate, issued = annotations[certmanagerv1.CertificateNameKey]
	return certificate, issued
}

// SameIssuance reports whether two Certificates ask for the same. What cert-manager fills in by
// itself, and what somebody else set beside it, doesn't count.
func SameIssuance(a, b *certmanagerv1.Certificate) bool {
	return equality.Semantic.DeepEqual(asked(a.Spec), asked(b.Spec))
}

// Reissuance is present asking for what desired asks, with what cert-manager filled in by itself,
// and what somebody else set beside it, as it was.
func Reissuance(present, desired *certmanagerv1.Certificate) *certmanagerv1.Certificate {
	changed := present.DeepCopy()
	ask(&changed.Spec, desired.DeepCopy().Spec)
	return changed
}

// asked is a spec without what a Certificate of [Issuance] leaves to cert-manager and to others.
func asked(spec certmanagerv1.CertificateSpec) (only certmanagerv1.CertificateSpec) {
	ask(&only, spec)
	return only
}

// ask sets in spec what a Certificate of [Issuance] doesn't leave to cert-manager and to others.
// What nobody may add, such as further names, is in it.
func ask(spec *certmanagerv1.CertificateSpec, wanted certmanagerv1.CertificateSpec) {
	spec.SecretName = wanted.SecretName
	spec.IssuerRef = wanted.IssuerRef
	spec.LiteralSubject = wanted.LiteralSubject
	spec.Subject = wanted.Subject
	spec.CommonName = wanted.CommonName
	spec.DNSNames = wanted.DNSNames
	spec.URIs = wanted.URIs
	spec.EmailAddresses = wanted.EmailAddresses
	spec.IPAddresses = wanted.IPAddresses
	spec.OtherNames = wanted.OtherNames
	spec.Duration = wanted.Duration
	spec.RenewBefore = wanted.RenewBefore
	spec.Usages = wanted.Usages
	spec.IsCA = wanted.IsCA
	spec.PrivateKey = wanted.PrivateKey
}
