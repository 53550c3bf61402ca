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

// Issuance returns the Certificate with which cert-manager issues the credential of t into its
// Secret. It returns nil if t has no issuer. The certificate is only for TLS clients, and each
// renewal generates a new private key. For fields that t doesn't set, cert-manager's defaults
// apply.
func Issuance(t egress.Target) *certmanagerv1.Certificate {
	if t.Issuer == nil || t.Certificate == nil {
		return nil
	}
	wanted := t.Certificate
	return &certmanagerv1.Certificate{
		TypeMeta: metav1.TypeMeta{
			APIVersion: certmanagerv1.SchemeGroupVersion.String(),
			Kind:       certmanagerv1.CertificateKind,
		},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: t.Namespace,
			Name:      egress.ObjectName(t.Host),
			Labels:    map[string]string{egress.LabelManagedBy: egress.ValueManagedBy},
		},
		Spec: certmanagerv1.CertificateSpec{
			SecretName: t.SecretName,
			IssuerRef: cmmeta.IssuerReference{
				Name:  t.Issuer.Name,
				Kind:  cmp.Or(t.Issuer.Kind, certmanagerv1.IssuerKind),
				Group: cmp.Or(t.Issuer.Group, certmanagerv1.SchemeGroupVersion.Group),
			},
			LiteralSubject: wanted.Subject,
			CommonName:     wanted.CommonName,
			DNSNames:       wanted.DNSNames,
			URIs:           wanted.URIs,
			EmailAddresses: wanted.Emails,
			Duration:       wanted.Duration,
			RenewBefore:    wanted.RenewBefore,
			Usages: []certmanagerv1.KeyUsage{
				certmanagerv1.UsageDigitalSignature,
				certmanagerv1.UsageClientAuth,
			},
			PrivateKey: issuedKey(cmp.Or(wanted.KeyType, DefaultKeyType)),
		},
	}
}

// issuedKey returns the private key settings of a Certificate for one of [KeyTypes].
func issuedKey(keyType string) *certmanagerv1.CertificatePrivateKey {
	key := &certmanagerv1.CertificatePrivateKey{
		Algorithm:      certmanagerv1.ECDSAKeyAlgorithm,
		RotationPolicy: certmanagerv1.RotationPolicyAlways,
		Encoding:       certmanagerv1.PKCS8,
	}
	if strings.HasPrefix(keyType, "rsa-") {
		key.Algorithm = certmanagerv1.RSAKeyAlgorithm
	}
	key.Size = map[string]int{"ecdsa-p256": 256, "ecdsa-p384": 384, "rsa-2048": 2048, "rsa-3072": 3072,
		"rsa-4096": 4096}[keyType]
	return key
}

// IssuedFor returns the name of the Certificate for which cert-manager wrote a Secret with these
// annotations. issued is false if cert-manager didn't write the Secret.
func IssuedFor(annotations map[string]string) (certificate string, issued bool) {
	certificate, issued = annotations[certmanagerv1.CertificateNameKey]
	return certificate, issued
}

// SameIssuance reports whether two Certificates request the same. It ignores fields that
// cert-manager sets itself and fields that other managers set.
func SameIssuance(a, b *certmanagerv1.Certificate) bool {
	return equality.Semantic.DeepEqual(asked(a.Spec), asked(b.Spec))
}

// Reissuance returns a copy of present that requests the same as desired. It keeps the fields that
// cert-manager sets itself and the fields that other managers set.
func Reissuance(present, desired *certmanagerv1.Certificate) *certmanagerv1.Certificate {
	changed := present.DeepCopy()
	ask(&changed.Spec, desired.DeepCopy().Spec)
	return changed
}

// asked returns the fields of spec that a Certificate of [Issuance] owns.
func asked(spec certmanagerv1.CertificateSpec) (only certmanagerv1.CertificateSpec) {
	ask(&only, spec)
	return only
}

// ask sets the fields of spec that a Certificate of [Issuance] owns. They include fields that other
// managers must not set, such as additional names.
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
