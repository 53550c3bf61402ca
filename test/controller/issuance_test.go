package controller

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	certmanagerapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/certmanager"
	"mtls.egress/webhook/test/pki"
)

// The Issuer of a namespace, and the Secret with its authority.
const (
	issuer    = "partner-clients"
	authority = "partner-clients-ca"
)

// TestIssuance is the life of one controller on a server of its own: it runs before cert-manager
// comes, has the real one issue the credentials of EgressTargets, and runs on after cert-manager is
// gone.
func TestIssuance(t *testing.T) {
	server := apiserver.ForTest(t)
	if err := install(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	w := newWorldOn(t, server)
	running := w.start(controller.Options{})
	w.asks()
	w.pod("app", host)
	w.settled(v1alpha1.ConditionCertificateIssued, metav1.ConditionFalse, "CertManagerMissing")

	certManager, err := certmanager.Start(t.Context(), certmanager.Beside(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := certManager.Stop(); err != nil {
			t.Error(err)
		}
	})
	w.authority()
	w.issued() // without a touch
	w.ready()

	t.Run("with cert-manager", func(t *testing.T) {
		for name, test := range issuances() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(newWorldOn(t, server), running)
			})
		}
	})

	if err := certManager.Stop(); err != nil {
		t.Fatal(err)
	}
	w.programsWithoutTheWebhook()
	if _, _, err := server.Kubectl(t.Context(), "delete", "crd", "certificates.cert-manager.io"); err != nil {
		t.Fatal(err)
	}
	w.settled(v1alpha1.ConditionCertificateIssued, metav1.ConditionFalse, "CertManagerMissing")
	w.ready()
	if beyond := running.forbidden.beyondRights(); len(beyond) > 0 {
		t.Errorf("the chart's rights are enough, but there was %q", beyond)
	}
}

// issuances are the tests that need cert-manager, each in a namespace of its own.
func issuances() map[string]func(*world, *running) {
	return map[string]func(*world, *running){
		"what is asked for is issued":                           issuesWhatIsAskedFor,
		"a certificate is renewed with a new key":               renews,
		"what cert-manager's webhook refuses is told":           tellsARefusal,
		"an issuer that isn't there is waited for":              waitsForAnIssuer,
		"an issuer without its authority is waited for":         waitsForAnAuthority,
		"a request that its issuer refuses has failed":          tellsAFailure,
		"somebody's Secret is left alone":                       leavesASecretAlone,
		"a Secret of another Certificate is left alone":         leavesASecretOfAnotherCertificateAlone,
		"somebody's Certificate is left alone":                  leavesACertificateAlone,
		"what nobody asks for any more is withdrawn":            withdraws,
		"edits of the Certificate are put back":                 putsEditsBack,
		"the Certificate goes with its owner and not before it": leavesTheEndToTheOwner,
		"another Secret is issued for, and the old one stays":   movesToAnotherSecret,
	}
}

// asks creates an EgressTarget that asks for a certificate of the Issuer.
func (w *world) asks(changes ...func(*v1alpha1.EgressTargetSpec)) *v1alpha1.EgressTarget {
	w.Helper()
	asking := &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: host}, Spec: v1alpha1.EgressTargetSpec{
		Credential: v1alpha1.Credential{
			IssuerRef:   &v1alpha1.IssuerRef{Name: issuer},
			Certificate: &v1alpha1.IssuedCertificate{CommonName: "orders"},
		},
		ServerCA: &v1alpha1.ServerCA{SecretKey: "ca.crt"},
	}}
	for _, change := range changes {
		change(&asking.Spec)
	}
	w.create(asking)
	return asking
}

// change merges into the spec of the EgressTarget.
func (w *world) change(spec map[string]any) {
	w.Helper()
	w.patch(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: host}},
		map[string]any{"spec": spec})
}

// authority creates an authority, and the Issuer that signs with it.
func (w *world) authority() *pki.CA {
	w.Helper()
	ca := pki.NewCA(w, "partner's clients")
	w.create(
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: authority},
			Type:       corev1.SecretTypeTLS,
			Data:       map[string][]byte{"tls.crt": ca.CertPEM, "tls.key": ca.KeyPEM},
		},
	)
	w.create(caIssuer())
	return ca
}

func caIssuer() *certmanagerv1.Issuer {
	return &certmanagerv1.Issuer{
		ObjectMeta: metav1.ObjectMeta{Name: issuer},
		Spec: certmanagerv1.IssuerSpec{
			IssuerConfig: certmanagerv1.IssuerConfig{CA: &certmanagerv1.CAIssuer{SecretName: authority}},
		},
	}
}

func (w *world) issued() *v1alpha1.EgressTarget {
	w.Helper()
	return w.settled(v1alpha1.ConditionCertificateIssued, metav1.ConditionTrue, "Issued")
}

// notIssued waits until the condition has the reason and the message.
func (w *world) notIssued(reason, message string) *v1alpha1.EgressTarget {
	w.Helper()
	var egressTarget *v1alpha1.EgressTarget
	await.Eventually(w, "", func() error {
		egressTarget = w.settled(v1alpha1.ConditionCertificateIssued, metav1.ConditionFalse, reason)
		if diff := cmp.Diff(
			message, meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionCertificateIssued).Message,
		); diff != "" {
			return fmt.Errorf("the message (+) isn't as wanted (-):\n%s", diff)
		}
		return nil
	})
	return egressTarget
}

// certificate is the one of the test's host; nil when there is none.
func (w *world) certificate() *certmanagerv1.Certificate {
	w.Helper()
	found := &certmanagerv1.Certificate{}
	err := w.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: egress.ObjectName(host)}, found)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return found
}

func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	found := &corev1.Secret{}
	if err := w.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, found); err != nil {
		w.Fatal(err)
	}
	return found
}

// leaf is the certificate in a Secret, with the key that is in it.
func (w *world) leaf(secret *corev1.Secret) *x509.Certificate {
	w.Helper()
	pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		w.Fatal(err)
	}
	return pair.Leaf
}

// rfc4514 is a name as RFC 4514 writes it.
func (w *world) rfc4514(der []byte) string {
	w.Helper()
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(der, &name); err != nil {
		w.Fatal(err)
	}
	return name.String()
}

// credentialOf is what the status has to say of the one credential.
func (w *world) credentialOf(secret *corev1.Secret, pods int32) []v1alpha1.CredentialStatus {
	w.Helper()
	leaf := w.leaf(secret)
	fingerprint := sha256.Sum256(leaf.Raw)
	block, _ := pem.Decode(secret.Data["ca.crt"])
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		w.Fatal(err)
	}
	return []v1alpha1.CredentialStatus{{
		SecretName:   secret.Name,
		Pods:         pods,
		NotAfter:     &metav1.Time{Time: leaf.NotAfter},
		Subject:      w.rfc4514(leaf.RawSubject),
		Issuer:       w.rfc4514(leaf.RawIssuer),
		SerialNumber: hex.EncodeToString(leaf.SerialNumber.Bytes()),
		SHA256:       hex.EncodeToString(fingerprint[:]),
		ServerCA: &v1alpha1.ServerCAStatus{
			Subject:      w.rfc4514(ca.RawSubject),
			SerialNumber: hex.EncodeToString(ca.SerialNumber.Bytes()),
			NotAfter:     &metav1.Time{Time: ca.NotAfter},
		},
	}}
}

// presented waits until the status reports what is in the Secret.
func (w *world) presented(secret *corev1.Secret, pods int32) {
	w.Helper()
	await.Eventually(w, "", func() error {
		egressTarget, err := w.egressTarget()
		if err != nil {
			return err
		}
		if diff := cmp.Diff(w.credentialOf(secret, pods), egressTarget.Status.Credentials); diff != "" {
			return fmt.Errorf("the credentials in the status (+) aren't as wanted (-):\n%s", diff)
		}
		return nil
	})
}

// issuedSpecs are the specs for what cert-manager writes.
func (w *world) issuedSpecs() map[object]any {
	w.Helper()
	egressTarget, err := w.egressTarget()
	if err != nil {
		w.Fatal(err)
	}
	return w.wantSpecs(egress.FromEgressTarget(w.namespace, host, egressTarget, egress.Sinkhole{}),
		egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"})
}

func issuesWhatIsAskedFor(w *world, _ *running) {
	ca := w.authority()
	const subject = "CN=orders,OU=Shop,OU=EU,O=Example\\, Inc.,C=DE"
	asking := w.asks(func(spec *v1alpha1.EgressTargetSpec) {
		spec.Credential.Certificate = &v1alpha1.IssuedCertificate{
			Subject:  subject,
			DNSNames: []string{"orders.example.com", "shop.example.com"},
			URIs:     []string{"spiffe://example.com/orders"},
			Emails:   []string{"orders@example.com"},
			KeyType:  "rsa-2048",
		}
	})
	w.pod("app", host)
	w.ready()
	w.issued()
	w.programmed(w.issuedSpecs())

	certificate := w.certificate()
	type made struct {
		labels map[string]string
		owners []metav1.OwnerReference
		spec   certmanagerv1.CertificateSpec
	}
	want := made{
		labels: map[string]string{"app.kubernetes.io/managed-by": "mtls-egress-webhook"},
		owners: []metav1.OwnerReference{
			{APIVersion: "mtls.egress/v1alpha1", Kind: "EgressTarget", Name: host, UID: asking.UID, Controller: new(true)},
		},
		spec: certmanagerv1.CertificateSpec{
			SecretName:     secret,
			IssuerRef:      cmmeta.IssuerReference{Name: issuer, Kind: "Issuer", Group: "cert-manager.io"},
			LiteralSubject: subject,
			DNSNames: []string{
				"orders.example.com",
				"shop.example.com",
			},
			URIs:           []string{"spiffe://example.com/orders"},
			EmailAddresses: []string{"orders@example.com"},
			Usages:         []certmanagerv1.KeyUsage{certmanagerv1.UsageDigitalSignature, certmanagerv1.UsageClientAuth},
			PrivateKey: &certmanagerv1.CertificatePrivateKey{
				RotationPolicy: certmanagerv1.RotationPolicyAlways,
				Encoding:       certmanagerv1.PKCS8,
				Algorithm:      certmanagerv1.RSAKeyAlgorithm,
				Size:           2048,
			},
		},
	}
	if diff := cmp.Diff(
		want, made{certificate.Labels, certificate.OwnerReferences, certificate.Spec}, cmp.AllowUnexported(made{}),
	); diff != "" {
		w.Errorf("the Certificate (+) isn't as wanted (-):\n%s", diff)
	}

	type leaf struct {
		subject                string
		dnsNames, emails, uris []string
		addresses              int
		usage                  x509.KeyUsage
		extended               []x509.ExtKeyUsage
		bits                   int
		authority              bool
		signed                 error
	}
	written := w.secret(secret)
	got := w.leaf(written)
	key, ok := got.PublicKey.(*rsa.PublicKey)
	if !ok {
		w.Fatalf("the key is a %T, want an RSA key", got.PublicKey)
	}
	found := leaf{
		subject:   w.rfc4514(got.RawSubject),
		dnsNames:  got.DNSNames,
		emails:    got.EmailAddresses,
		addresses: len(got.IPAddresses),
		usage:     got.KeyUsage,
		extended:  got.ExtKeyUsage,
		bits:      key.N.BitLen(),
		authority: got.IsCA,
		signed:    got.CheckSignatureFrom(ca.Certificate),
	}
	for _, uri := range got.URIs {
		found.uris = append(found.uris, uri.String())
	}
	wantLeaf := leaf{
		subject:  subject,
		dnsNames: []string{"orders.example.com", "shop.example.com"},
		emails:   []string{"orders@example.com"},
		uris:     []string{"spiffe://example.com/orders"},
		usage:    x509.KeyUsageDigitalSignature,
		extended: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		bits:     2048,
	}
	if diff := cmp.Diff(wantLeaf, found, cmp.AllowUnexported(leaf{})); diff != "" {
		w.Errorf("the certificate (+) isn't as wanted (-):\n%s", diff)
	}
	if diff := cmp.Diff(ca.CertPEM, written.Data["ca.crt"]); diff != "" {
		w.Errorf("ca.crt (+) isn't the authority's (-):\n%s", diff)
	}

	w.presented(written, 1)
	wantConditions := []metav1.Condition{
		{Type: "Ready", Status: "True", ObservedGeneration: 1, Reason: "Ready", Message: "calls to the host use mutual TLS"},
		{
			Type:               "CredentialValid",
			Status:             "True",
			ObservedGeneration: 1,
			Reason:             "Valid",
			Message: "the client certificate is valid: external-system-mtls-data until " + got.NotAfter.UTC().
				Format(time.RFC3339),
		},
		{
			Type:               "CertificateIssued",
			Status:             "True",
			ObservedGeneration: 1,
			Reason:             "Issued",
			Message: "cert-manager has issued the certificate into the Secret " +
				"external-system-mtls-data and renews it",
		},
	}
	egressTarget := w.issued()
	conditions := slices.DeleteFunc(withoutTimes(egressTarget.Status.Conditions), func(condition metav1.Condition) bool {
		return !slices.ContainsFunc(wantConditions,
			func(wanted metav1.Condition) bool { return wanted.Type == condition.Type })
	})
	if diff := cmp.Diff(wantConditions, conditions); diff != "" {
		w.Errorf("the conditions (+) aren't as wanted (-):\n%s", diff)
	}
}

func renews(w *world, running *running) {
	w.authority()
	w.asks(func(spec *v1alpha1.EgressTargetSpec) {
		// Certificates live for an hour at least; such a one is renewed every ten seconds.
		spec.Credential.Certificate.Duration = &metav1.Duration{Duration: time.Hour}
		spec.Credential.Certificate.RenewBefore = &metav1.Duration{Duration: 59*time.Minute + 50*time.Second}
	})
	w.pod("app", host)
	w.issued()
	egressTarget := w.ready()
	w.programmed(w.issuedSpecs())
	told := w.events(egressTarget)
	statusAside := func() []string {
		return slices.DeleteFunc(w.writes(running), func(line string) bool { return strings.Contains(line, "/status?") })
	}
	written := statusAside()

	before := w.secret(secret)
	for range 2 {
		var after *corev1.Secret
		await.Eventually(w, "", func() error {
			if after = w.secret(secret); bytes.Equal(before.Data["tls.crt"], after.Data["tls.crt"]) {
				return errors.New("the certificate is not renewed yet")
			}
			return nil
		})
		if w.leaf(before).SerialNumber.Cmp(w.leaf(after).SerialNumber) == 0 ||
			bytes.Equal(before.Data["tls.key"], after.Data["tls.key"]) {
			w.Error("the renewed certificate has the serial number or the key of the one before")
		}
		w.presented(after, 1)
		before = after
	}
	w.ready()
	if diff := cmp.Diff(written, statusAside()); diff != "" {
		w.Errorf("a renewal needs no write but of the status, there were before (-) and after (+):\n%s", diff)
	}
	if diff := cmp.Diff(told, w.events(egressTarget)); diff != "" {
		w.Errorf("a renewal is no event, there were before (-) and after (+):\n%s", diff)
	}
}

func tellsARefusal(w *world, _ *running) {
	w.authority()
	w.asks()
	w.pod("app", host)
	w.issued()
	w.ready()
	w.change(map[string]any{
		"appPort":    8080,
		"credential": map[string]any{"certificate": map[string]any{"commonName": nil, "subject": "orders"}},
	})
	w.notIssued(
		"CertificateRefused",
		`the Certificate was rejected: admission webhook "webhook.cert-manager.io" denied the request: `+
			`[spec.literalSubject: Invalid value: "orders": DN ended with incomplete type, value pair, spec: Invalid value: `+
			`"": at least one of commonName (from the commonName field or from a literalSubject), dnsNames, emailSANs, `+
			`ipAddresses, otherNames, or uriSANs must be set]`,
	)
	w.ready()
	w.programmed(w.issuedSpecs())
	w.change(map[string]any{"credential": map[string]any{"certificate": map[string]any{"subject": "CN=orders,O=Example"}}})
	w.issued()
	written := w.secret(secret)
	if diff := cmp.Diff("CN=orders,O=Example", w.rfc4514(w.leaf(written).RawSubject)); diff != "" {
		w.Errorf("the subject (+) isn't as wanted (-):\n%s", diff)
	}
	w.presented(written, 1)
}

func waitsForAnIssuer(w *world, _ *running) {
	asking := w.asks()
	w.notIssued("Issuing",
		"cert-manager reports for the Certificate "+egress.ObjectName(host)+": Issuing certificate as Secret does not exist")
	w.authority()
	if egressTarget := w.issued(); egressTarget.Generation != asking.Generation {
		w.Errorf("the generation is %d, want %d", egressTarget.Generation, asking.Generation)
	}
}

func waitsForAnAuthority(w *world, _ *running) {
	broken := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: authority},
		Data:       map[string][]byte{"tls.crt": []byte("none"), "tls.key": []byte("none")},
	}
	w.create(broken)
	w.create(caIssuer())
	w.asks()
	w.notIssued("Issuing",
		"cert-manager reports for the Certificate "+egress.ObjectName(host)+": Issuing certificate as Secret does not exist")
	ca := pki.NewCA(w, "partner's clients")
	broken.Data = map[string][]byte{"tls.crt": ca.CertPEM, "tls.key": ca.KeyPEM}
	if err := w.Update(w.Context(), broken); err != nil {
		w.Fatal(err)
	}
	w.issued()
}

// tellsAFailure has a request fail as an issuer of another project fails it, with a reason of its
// own.
func tellsAFailure(w *world, _ *running) {
	w.authority()
	w.asks(func(spec *v1alpha1.EgressTargetSpec) {
		spec.Credential.IssuerRef.Group, spec.Credential.IssuerRef.Kind = "issuers.example.com", "Partner"
	})
	var requests certmanagerv1.CertificateRequestList
	await.Eventually(w, "", func() error {
		if err := w.List(w.Context(), &requests, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		if len(requests.Items) != 1 {
			return fmt.Errorf("there are %d requests, want one", len(requests.Items))
		}
		return nil
	})
	failed := &requests.Items[0]
	failed.Status.Conditions = append(failed.Status.Conditions, certmanagerv1.CertificateRequestCondition{
		Type:    certmanagerv1.CertificateRequestConditionInvalidRequest,
		Status:  cmmeta.ConditionTrue,
		Reason:  "policy.example.com",
		Message: "no policy allows CN=orders",
	})
	if err := w.Status().Update(w.Context(), failed); err != nil {
		w.Fatal(err)
	}
	w.notIssued(
		"IssuanceFailed",
		"cert-manager reports for the Certificate "+egress.ObjectName(host)+": The certificate request has failed to "+
			"complete and will be retried: no policy allows CN=orders; failed attempts: 1",
	)
	w.change(map[string]any{
		"credential": map[string]any{
			"issuerRef": map[string]any{"group": certmanagerapi.GroupName, "kind": certmanagerv1.IssuerKind},
		},
	})
	w.issued()
}

func leavesASecretAlone(w *world, running *running) {
	w.authority()
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: map[string][]byte{"note": []byte("mine")}})
	w.leavesTheSecretAlone(running)
	w.remove(w.secret(secret))
	w.issued()
	w.ready()
}

func leavesASecretOfAnotherCertificateAlone(w *world, running *running) {
	w.authority()
	own := &certmanagerv1.Certificate{ObjectMeta: metav1.ObjectMeta{Name: "orders"}, Spec: certmanagerv1.CertificateSpec{
		SecretName: secret,
		CommonName: "orders",
		IssuerRef:  cmmeta.IssuerReference{Name: issuer},
		Usages:     []certmanagerv1.KeyUsage{certmanagerv1.UsageClientAuth},
	}}
	w.create(own)
	await.Eventually(w, "", func() error {
		return w.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: secret}, &corev1.Secret{})
	})
	w.leavesTheSecretAlone(running)
	w.ready() // with what is in it
	w.programmed(w.issuedSpecs())
}

// leavesTheSecretAlone has a target ask for a certificate in a Secret that is there already.
func (w *world) leavesTheSecretAlone(running *running) {
	w.Helper()
	theirs := w.secret(secret)
	w.asks()
	w.pod("app", host)
	w.notIssued(
		"SecretTaken",
		"the Secret external-system-mtls-data exists but was not issued for the Certificate "+egress.ObjectName(host)+
			", so cert-manager would overwrite its content; delete the Secret, or set another name in credential.secretName",
	)
	if diff := cmp.Diff(theirs, w.secret(secret)); diff != "" {
		w.Errorf("the Secret before (-) and after (+):\n%s", diff)
	}
	if made := w.writesOfCertificates(running); len(made) > 0 {
		w.Errorf("there was %q, want no Certificate", made)
	}
}

// writesOfCertificates are the requests of the controller that changed Certificates of the
// namespace.
func (w *world) writesOfCertificates(running *running) []string {
	return slices.DeleteFunc(w.writes(running), func(line string) bool { return !strings.Contains(line, "/certificates") })
}

func leavesACertificateAlone(w *world, running *running) {
	w.authority()
	theirs := &certmanagerv1.Certificate{
		// The label proves nothing: anyone can copy it.
		ObjectMeta: metav1.ObjectMeta{
			Name:   egress.ObjectName(host),
			Labels: map[string]string{egress.LabelManagedBy: egress.ValueManagedBy},
		},
		Spec: certmanagerv1.CertificateSpec{
			SecretName: "theirs",
			DNSNames:   []string{"theirs.example.com"},
			IssuerRef:  cmmeta.IssuerReference{Name: issuer},
		},
	}
	w.create(theirs)
	w.asks()
	w.pod("app", host)
	w.notIssued("CertificateNameTaken",
		"the Certificate "+egress.ObjectName(host)+" exists and does not belong to this EgressTarget; rename it")
	var after *certmanagerv1.Certificate
	// Wholly, with the condition Issuing gone again: as long as cert-manager issues it recreates
	// requests that are removed.
	await.Eventually(w, "", func() error {
		after = w.certificate()
		if conditions := after.Status.Conditions; len(conditions) != 1 || conditions[0].Status != cmmeta.ConditionTrue {
			return fmt.Errorf("their Certificate isn't issued: %+v", conditions)
		}
		return w.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: "theirs"}, &corev1.Secret{})
	})
	if diff := cmp.Diff(theirs.Spec, after.Spec); diff != "" || len(after.OwnerReferences) > 0 {
		w.Errorf("the Certificate has the owners %v and its spec (+) isn't as before (-):\n%s", after.OwnerReferences, diff)
	}
	if made := w.writesOfCertificates(running); len(made) > 0 {
		w.Errorf("there was %q, want no Certificate", made)
	}
	// As the garbage collector does; else the request of their Certificate would have the name that
	// cert-manager gives to that of ours. Before ours can be there, as its request is not to be
	// removed.
	if err := w.DeleteAllOf(
		w.Context(), &certmanagerv1.CertificateRequest{}, client.InNamespace(w.namespace),
	); err != nil {
		w.Fatal(err)
	}
	w.remove(after)
	w.issued()
}

func withdraws(w *world, _ *running) {
	w.authority()
	w.asks()
	w.pod("app", host)
	w.issued()
	w.ready()
	w.programmed(w.issuedSpecs())
	written := w.secret(secret)
	w.change(map[string]any{"credential": map[string]any{"issuerRef": nil, "certificate": nil}})
	await.Eventually(w, "", func() error {
		egressTarget, err := w.egressTarget()
		condition := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionCertificateIssued)
		if err != nil || condition != nil {
			return fmt.Errorf("the condition is %+v, want none (error %w)", condition, err)
		}
		return nil
	})
	if left := w.certificate(); left != nil {
		w.Errorf("the Certificate is still there: %+v", left)
	}
	w.ready()
	w.change(map[string]any{"serverCA": nil})
	w.settled(v1alpha1.ConditionCredentialValid, metav1.ConditionFalse, "ServerCANotChosen")
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionTrue, "LastGoodKept")
	if diff := cmp.Diff(written.Data, w.secret(secret).Data); diff != "" {
		w.Errorf("the Secret before (-) and after (+):\n%s", diff)
	}
	// Asked for again, the Secret isn't somebody's: it was written for this Certificate.
	w.change(map[string]any{
		"credential": map[string]any{
			"issuerRef":   map[string]any{"name": issuer},
			"certificate": map[string]any{"commonName": "orders"},
		},
		"serverCA": map[string]any{"secretKey": "ca.crt"},
	})
	w.issued()
	w.ready()
}

func putsEditsBack(w *world, _ *running) {
	w.authority()
	w.asks(func(spec *v1alpha1.EgressTargetSpec) {
		spec.Credential.Certificate.DNSNames = []string{"orders.example.com"}
	})
	w.issued()
	// What isn't asked for stays as somebody wants it.
	w.patch(w.certificate(),
		map[string]any{"spec": map[string]any{"secretTemplate": map[string]any{"labels": map[string]any{"team": "orders"}}}})
	for name, edit := range map[string]map[string]any{
		"a DNS name added": {
			"spec": map[string]any{"dnsNames": []string{"orders.example.com", "elsewhere.example.com"}},
		},
		"an address added":              {"spec": map[string]any{"ipAddresses": []string{"192.0.2.1"}}},
		"made an authority":             {"spec": map[string]any{"isCA": true}},
		"another issuer":                {"spec": map[string]any{"issuerRef": map[string]any{"name": "elsewhere"}}},
		"another Secret":                {"spec": map[string]any{"secretName": "elsewhere"}},
		"the subject written otherwise": {"spec": map[string]any{"commonName": nil, "literalSubject": "CN=orders"}},
		"a key that stays":              {"spec": map[string]any{"privateKey": map[string]any{"rotationPolicy": "Never"}}},
		"the label removed":             {"metadata": map[string]any{"labels": nil}},
		"several of them at a time": {
			"metadata": map[string]any{"labels": nil},
			"spec":     map[string]any{"dnsNames": nil, "uris": []string{"spiffe://example.com/elsewhere"}, "usages": nil},
		},
	} {
		before := w.certificate()
		edited := before.DeepCopy()
		w.patch(edited, edit)
		if cmp.Equal(before.Spec, edited.Spec) && cmp.Equal(before.Labels, edited.Labels) {
			w.Fatalf("%s: the edit changed nothing", name)
		}
		await.Eventually(w, "", func() error {
			after := w.certificate()
			if diff := cmp.Diff(before.Spec, after.Spec) + cmp.Diff(before.Labels, after.Labels); diff != "" {
				return fmt.Errorf("%s: the Certificate before (-) and after (+):\n%s", name, diff)
			}
			return nil
		})
	}
	before := w.certificate()
	before.Spec.SecretTemplate = nil
	w.remove(before.DeepCopy())
	await.Eventually(w, "", func() error {
		after := w.certificate()
		if after == nil {
			return errors.New("the Certificate was deleted and isn't there again")
		}
		if diff := cmp.Diff(before.Spec, after.Spec); diff != "" || after.UID == before.UID {
			return fmt.Errorf("the Certificate before (-) and after (+):\n%s", diff)
		}
		return nil
	})
	w.issued()
}

// leavesTheEndToTheOwner has no garbage collector: what it would go by is the owner of the
// Certificate.
func leavesTheEndToTheOwner(w *world, running *running) {
	w.authority()
	asking := w.asks()
	w.issued()
	w.remove(asking)
	w.gone()
	want := []metav1.OwnerReference{
		{APIVersion: "mtls.egress/v1alpha1", Kind: "EgressTarget", Name: host, UID: asking.UID, Controller: new(true)},
	}
	if diff := cmp.Diff(want, w.certificate().OwnerReferences); diff != "" {
		w.Errorf("the owners (+) aren't as wanted (-):\n%s", diff)
	}
	w.secret(secret)

	// An EgressTarget of the same name takes over what its namesake has left.
	asking = w.asks()
	w.issued()
	want[0].UID = asking.UID
	if diff := cmp.Diff(want, w.certificate().OwnerReferences); diff != "" {
		w.Errorf("the owners (+) aren't as wanted (-):\n%s", diff)
	}
	if wrong := slices.DeleteFunc(
		w.writesOfCertificates(running), func(line string) bool { return !strings.HasPrefix(line, "DELETE ") },
	); len(wrong) > 0 {
		w.Errorf("the garbage collector removes Certificates, but there was %q", wrong)
	}
}

func movesToAnotherSecret(w *world, _ *running) {
	w.authority()
	w.asks()
	w.issued()
	old := w.secret(secret)
	w.change(map[string]any{"credential": map[string]any{"secretName": "renamed"}})
	w.issued()
	w.presented(w.secret("renamed"), 0)
	if diff := cmp.Diff(old, w.secret(secret)); diff != "" {
		w.Errorf("the Secret before (-) and after (+):\n%s", diff)
	}
}

// programsWithoutTheWebhook shows that a target is programmed also while cert-manager can't be
// asked for anything.
func (w *world) programsWithoutTheWebhook() {
	w.Helper()
	w.remove(w.certificate())
	egressTarget := w.settled(v1alpha1.ConditionCertificateIssued, metav1.ConditionFalse, "IssuanceFailed")
	// The end names a port and how the system says that nobody listens there.
	want := "write the Certificate " + egress.ObjectName(host) + `: Internal error occurred: failed ` +
		`calling webhook "webhook.cert-manager.io": `
	if message := meta.FindStatusCondition(egressTarget.Status.Conditions,
		v1alpha1.ConditionCertificateIssued).Message; !strings.HasPrefix(message, want) {
		w.Errorf("the message is %q, want that it begins with %q", message, want)
	}
	w.change(map[string]any{"appPort": 8080})
	w.ready()
	w.programmed(w.issuedSpecs())
}
