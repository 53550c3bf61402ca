// Package serving_test runs the webhook's own certificate against a real API server: with the
// rights that the chart gives it and no more, and with an API server that really calls the webhook
// while its CA is replaced.
package serving_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"mtls.egress/webhook/internal/certs/serving"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/pki"
)

const secretName = "webhook-ca"

func TestServing(t *testing.T) {
	server := apiserver.ForTest(t)
	admin, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}

	for name, test := range map[string]func(*testing.T, *cluster){
		"the leaf verifies for its name against the caBundle":                   leafVerifies,
		"a Secret made empty by the chart is filled":                            emptySecretIsFilled,
		"replicas share one CA, each with a leaf of its own":                    replicasShareOneCA,
		"an emptied caBundle is restored, and no other field is touched":        emptiedBundleIsRestored,
		"a CA of somebody else's stays beside ours":                             foreignCAStays,
		"a certificate from files is trusted by the caBundle, which keeps both": filesAreTrusted,
		"a broken Secret is made anew, and the old CA stays trusted":            brokenSecretIsMadeAnew,
		"a deleted Secret is made anew, and the old CA stays trusted":           deletedSecretIsMadeAnew,
		"CA and leaf are renewed before they expire":                            renewedInTime,
		"without the right to write the Secret, leaves are still renewed":       renewedWithoutSecret,
		"clearing the caBundle after a new CA ends the trust in the old one":    clearingEndsTrust,
		"a configuration that comes later is written":                           configurationComesLater,
		"without the right to patch it is not ready and says why":               notReadyWithoutRights,
		"the API server accepts every call while the CA is replaced":            rotationWithoutGap,
	} {
		t.Run(name, func(t *testing.T) { test(t, newCluster(t, server.Config, admin)) })
	}
}

// cluster is what one test has of the API server: a namespace, a user with the webhook's rights in
// it, and the name of a MutatingWebhookConfiguration.
type cluster struct {
	admin      kubernetes.Interface
	namespace  string
	configName string
	config     *rest.Config // of the webhook's user
}

func newCluster(t *testing.T, server *rest.Config, admin kubernetes.Interface) *cluster {
	t.Helper()
	namespace, err := admin.CoreV1().
		Namespaces().
		Create(t.Context(), &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "serving-"},
		}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		admin:      admin,
		namespace:  namespace.Name,
		configName: "0-" + namespace.Name,
		config:     rest.CopyConfig(server),
	}
	c.config.Impersonate = rest.ImpersonationConfig{UserName: "webhook-" + namespace.Name}
	inNamespace, inCluster := c.rights()
	c.allow(t, inNamespace, inCluster)
	return c
}

// rights are all that serving certificates need. Only create cannot be bound to a name.
func (c *cluster) rights() (inNamespace, inCluster []rbacv1.PolicyRule) {
	return []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
			{
				APIGroups:     []string{""},
				Resources:     []string{"secrets"},
				ResourceNames: []string{secretName},
				Verbs:         []string{"list", "watch", "update"},
			},
		}, []rbacv1.PolicyRule{
			{
				APIGroups:     []string{"admissionregistration.k8s.io"},
				Resources:     []string{"mutatingwebhookconfigurations"},
				ResourceNames: []string{c.configName},
				Verbs:         []string{"list", "watch", "patch"},
			},
		}
}

// allow replaces the rights of the webhook's user.
func (c *cluster) allow(t *testing.T, inNamespace, inCluster []rbacv1.PolicyRule) {
	t.Helper()
	ctx, rbac := t.Context(), c.admin.RbacV1()
	meta := metav1.ObjectMeta{Name: c.namespace}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: c.config.Impersonate.UserName}}
	_, roleErr := rbac.Roles(c.namespace).
		Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: inNamespace}, metav1.CreateOptions{})
	_, bindingErr := rbac.RoleBindings(c.namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta,
		Subjects:   subjects,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
	}, metav1.CreateOptions{})
	_, clusterRoleErr := rbac.ClusterRoles().
		Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: inCluster}, metav1.CreateOptions{})
	_, clusterBindingErr := rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		Subjects:   subjects,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
	}, metav1.CreateOptions{})
	if err := errors.Join(roleErr, bindingErr, clusterRoleErr, clusterBindingErr); err != nil {
		t.Fatal(err)
	}
}

// replica starts a Source with the rights of the webhook's user, and stops it at the end of the
// test.
func (c *cluster) replica(t *testing.T, change ...func(*serving.Options)) *serving.Source {
	t.Helper()
	options := serving.Options{
		Namespace: c.namespace, SecretName: secretName, WebhookConfigurationName: c.configName,
		DNSNames:      []string{"webhook." + c.namespace + ".svc", "localhost"},
		AdoptionDelay: time.Nanosecond,
		Logger:        funcr.New(func(prefix, args string) { t.Log(prefix, args) }, funcr.Options{Verbosity: 1}),
	}
	for _, change := range change {
		change(&options)
	}
	source, err := serving.New(c.config, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- source.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
	return source
}

func ready(t *testing.T, sources ...*serving.Source) {
	t.Helper()
	for _, source := range sources {
		await.Eventually(t, "", func() error { return source.Check(nil) })
	}
}

// leaf is the certificate in use.
func leaf(t *testing.T, source *serving.Source) *x509.Certificate {
	t.Helper()
	certificate, err := source.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return certificate.Leaf
}

func verify(leaf *x509.Certificate, bundle []byte, name string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
	return err
}

// configure creates the MutatingWebhookConfiguration: two webhooks, without caBundle, as the chart
// does.
func (c *cluster) configure(t *testing.T) *admissionregistrationv1.MutatingWebhookConfiguration {
	t.Helper()
	config := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: c.configName, Labels: map[string]string{"kept": "true"}},
	}
	path, sideEffects, timeout := "/mutate", admissionregistrationv1.SideEffectClassNone, int32(5)
	for _, kind := range []string{"pods", "workloads"} {
		config.Webhooks = append(config.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name: kind + ".mtls.egress",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				Service: &admissionregistrationv1.ServiceReference{Namespace: c.namespace, Name: "webhook", Path: &path},
			},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"no": "namespace"}},
			SideEffects:             &sideEffects,
			TimeoutSeconds:          &timeout,
			AdmissionReviewVersions: []string{"v1"},
		})
	}
	created, err := c.admin.AdmissionregistrationV1().
		MutatingWebhookConfigurations().
		Create(t.Context(), config, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.removeAtEnd(t)
	return created
}

func (c *cluster) removeAtEnd(t *testing.T) {
	t.Cleanup(func() {
		if err := c.admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(
			context.WithoutCancel(t.Context()), c.configName, metav1.DeleteOptions{},
		); err != nil {
			t.Error(err)
		}
	})
}

func (c *cluster) configuration(t *testing.T) *admissionregistrationv1.MutatingWebhookConfiguration {
	t.Helper()
	config, err := c.admin.AdmissionregistrationV1().
		MutatingWebhookConfigurations().
		Get(t.Context(), c.configName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// bundle waits until all webhooks have a caBundle that ok accepts, and returns the last one.
func (c *cluster) bundle(t *testing.T, ok func(bundle []byte) error) []byte {
	t.Helper()
	var bundle []byte
	await.Eventually(t, "", func() error {
		for _, webhook := range c.configuration(t).Webhooks {
			bundle = webhook.ClientConfig.CABundle
			if err := ok(bundle); err != nil {
				return fmt.Errorf("webhook %s: %w", webhook.Name, err)
			}
		}
		return nil
	})
	return bundle
}

func exactly(want []byte) func([]byte) error {
	return func(got []byte) error {
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			return fmt.Errorf("(-want +got):\n%s", diff)
		}
		return nil
	}
}

func (c *cluster) secret(t *testing.T) *corev1.Secret {
	t.Helper()
	secret, err := c.admin.CoreV1().Secrets(c.namespace).Get(t.Context(), secretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// newCA waits until the Secret holds another CA than old, and returns it.
func (c *cluster) newCA(t *testing.T, old []byte) []byte {
	t.Helper()
	var ca []byte
	await.Eventually(t, "", func() error {
		secret, err := c.admin.CoreV1().Secrets(c.namespace).Get(t.Context(), secretName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ca = secret.Data["ca.crt"]
		if bytes.Equal(ca, old) {
			return errors.New("the old CA is still in the Secret")
		}
		_, err = tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
		return err
	})
	return ca
}

func leafVerifies(t *testing.T, c *cluster) {
	c.configure(t)
	source := c.replica(t)
	ready(t, source)

	secret := c.secret(t)
	if got := slices.Sorted(maps.Keys(secret.Data)); !slices.Equal(got, []string{"ca.crt", "tls.crt", "tls.key"}) {
		t.Errorf("keys of the Secret: %v", got)
	}
	bundle := c.bundle(t, exactly(secret.Data["ca.crt"]))
	for _, name := range []string{"webhook." + c.namespace + ".svc", "localhost"} {
		if err := verify(leaf(t, source), bundle, name); err != nil {
			t.Error(err)
		}
	}
	if err := verify(leaf(t, source), bundle, "other."+c.namespace+".svc"); err == nil {
		t.Error("the leaf is valid for another Service, too")
	}
	if lifetime := leaf(t, source).NotAfter.Sub(leaf(t, source).NotBefore); lifetime != serving.DefaultLeafDuration {
		t.Errorf("the leaf is valid for %s", lifetime)
	}
	if key, ok := leaf(t, source).PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("the leaf has a key of %s, want one of P-256", leaf(t, source).PublicKeyAlgorithm)
	}
	if !source.NotAfter().Equal(leaf(t, source).NotAfter) {
		t.Errorf("NotAfter is %s", source.NotAfter())
	}
	block, _ := pem.Decode(bundle)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if lifetime := ca.NotAfter.Sub(ca.NotBefore); lifetime != serving.DefaultCADuration ||
		ca.Subject.CommonName != serving.CACommonName {
		t.Errorf("CA %s is valid for %s", ca.Subject, lifetime)
	}
	if key, ok := ca.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("the CA has a key of %s, want one of P-256", ca.PublicKeyAlgorithm)
	}
}

func emptySecretIsFilled(t *testing.T, c *cluster) {
	c.configure(t)
	labels := map[string]string{"app.kubernetes.io/managed-by": "Helm"}
	empty := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName, Labels: labels}}
	if _, err := c.admin.CoreV1().Secrets(c.namespace).Create(t.Context(), empty, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	source := c.replica(t)
	ready(t, source)
	if diff := cmp.Diff(labels, c.secret(t).Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if err := verify(leaf(t, source), c.secret(t).Data["ca.crt"], "localhost"); err != nil {
		t.Error(err)
	}
}

func replicasShareOneCA(t *testing.T, c *cluster) {
	c.configure(t)
	sources := []*serving.Source{c.replica(t), c.replica(t), c.replica(t)}
	ready(t, sources...)

	bundle := c.bundle(t, exactly(c.secret(t).Data["ca.crt"]))
	keys := map[string]bool{}
	for _, source := range sources {
		if err := verify(leaf(t, source), bundle, "localhost"); err != nil {
			t.Error(err)
		}
		keys[string(leaf(t, source).RawSubjectPublicKeyInfo)] = true
	}
	if len(keys) != len(sources) {
		t.Errorf("%d keys for %d replicas", len(keys), len(sources))
	}
}

func emptiedBundleIsRestored(t *testing.T, c *cluster) {
	c.configure(t)
	first, second := c.replica(t), c.replica(t)
	ready(t, first, second)
	ca := c.secret(t).Data["ca.crt"]
	c.bundle(t, exactly(ca))
	before := c.configuration(t)

	// As helm upgrade does: the whole object is replaced, without a caBundle and with a change of
	// its own.
	update := before.DeepCopy()
	timeout := int32(3)
	for i := range update.Webhooks {
		update.Webhooks[i].ClientConfig.CABundle = nil
		update.Webhooks[i].TimeoutSeconds = &timeout
	}
	emptied, err := c.admin.AdmissionregistrationV1().
		MutatingWebhookConfigurations().
		Update(t.Context(), update, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	c.bundle(t, exactly(ca))
	t.Logf("restored after %s", time.Since(start).Round(time.Millisecond))
	ready(t, first, second)

	want, got := emptied.DeepCopy(), c.configuration(t)
	for i := range want.Webhooks {
		want.Webhooks[i].ClientConfig.CABundle = ca
	}
	for _, config := range []*admissionregistrationv1.MutatingWebhookConfiguration{want, got} {
		config.ManagedFields, config.ResourceVersion, config.Generation = nil, "", 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func foreignCAStays(t *testing.T, c *cluster) {
	config := c.configure(t)
	foreign := pki.NewCA(t, "Somebody else's CA").CertPEM
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.CABundle = foreign
	}
	if _, err := c.admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(
		t.Context(), config, metav1.UpdateOptions{},
	); err != nil {
		t.Fatal(err)
	}
	ready(t, c.replica(t))
	c.bundle(t, exactly(append(c.secret(t).Data["ca.crt"], foreign...)))
}

// filesAreTrusted is what happens when the provider is changed, there and back: replicas of both
// kinds run beside each other.
func filesAreTrusted(t *testing.T, c *cluster) {
	c.configure(t)
	embedded := c.replica(t)
	ready(t, embedded)
	authority := pki.NewCA(t, "Corporate CA")
	pair := authority.Issue(t, pki.Server("localhost"))
	directory := t.TempDir()
	if err := writeSecret(directory, map[string][]byte{
		"tls.crt": pair.CertPEM,
		"tls.key": pair.KeyPEM,
		"ca.crt":  authority.CertPEM,
	}); err != nil {
		t.Fatal(err)
	}
	fromFiles := c.replica(t, func(options *serving.Options) { options.Directory = directory })
	ready(t, fromFiles, embedded)
	bundle := c.bundle(t, exactly(append(c.secret(t).Data["ca.crt"], authority.CertPEM...)))
	for _, source := range []*serving.Source{fromFiles, embedded} {
		if err := verify(leaf(t, source), bundle, "localhost"); err != nil {
			t.Error(err)
		}
	}
}

func brokenSecretIsMadeAnew(t *testing.T, c *cluster) {
	other := pki.NewCA(t, "other")
	for name, damage := range map[string]func(map[string][]byte){
		"no data": func(data map[string][]byte) { clear(data) },
		"text for the CA": func(data map[string][]byte) {
			data["ca.crt"], data["tls.crt"] = []byte("text"), []byte("text")
		},
		"the key of another CA":       func(data map[string][]byte) { data["tls.key"] = other.KeyPEM },
		"another ca.crt than tls.crt": func(data map[string][]byte) { data["ca.crt"] = other.CertPEM },
		"a certificate that is not a CA": func(data map[string][]byte) {
			pair := other.Issue(t, pki.Server("localhost"))
			data["ca.crt"], data["tls.crt"], data["tls.key"] = pair.CertPEM, pair.CertPEM, pair.KeyPEM
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, c.withoutImpersonation(), c.admin)
			c.configure(t)
			source := c.replica(t)
			ready(t, source)
			secret := c.secret(t)
			old := secret.Data["ca.crt"]
			c.bundle(t, exactly(old))

			damage(secret.Data)
			if _, err := c.admin.CoreV1().Secrets(c.namespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			c.assertRotated(t, source, old, secret.Data["ca.crt"])
		})
	}
}

func deletedSecretIsMadeAnew(t *testing.T, c *cluster) {
	c.configure(t)
	first, second := c.replica(t), c.replica(t)
	ready(t, first, second)
	old := c.secret(t).Data["ca.crt"]
	c.bundle(t, exactly(old))
	c.deleteSecret(t)
	c.assertRotated(t, first, old, nil)
	c.assertRotated(t, second, old, nil)
}

func (c *cluster) deleteSecret(t *testing.T) {
	t.Helper()
	if err := c.admin.CoreV1().Secrets(c.namespace).Delete(t.Context(), secretName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) withoutImpersonation() *rest.Config {
	config := rest.CopyConfig(c.config)
	config.Impersonate = rest.ImpersonationConfig{}
	return config
}

// assertRotated waits until the caBundle holds a new CA beside old and source serves a leaf of it.
// damaged is what the Secret held in between.
func (c *cluster) assertRotated(t *testing.T, source *serving.Source, old, damaged []byte) {
	t.Helper()
	var ca []byte
	await.Eventually(t, "", func() error {
		if ca = c.newCA(t, old); bytes.Equal(ca, damaged) {
			return errors.New("the damaged CA is still in the Secret")
		}
		return nil
	})
	bundle := c.bundle(t, func(bundle []byte) error {
		if !bytes.Contains(bundle, old) || !bytes.Contains(bundle, ca) {
			return errors.New("the caBundle does not hold both CAs")
		}
		return nil
	})
	if count := strings.Count(string(bundle), "BEGIN CERTIFICATE"); count != 2 {
		t.Errorf("%d CAs in the caBundle, want the old and the new one", count)
	}
	await.Eventually(t, "", func() error { return verify(leaf(t, source), ca, "localhost") })
}

// renewedInTime has lifetimes of seconds in place of a week and a year.
func renewedInTime(t *testing.T, c *cluster) {
	c.configure(t)
	short := func(options *serving.Options) {
		options.CADuration, options.LeafDuration = 24*time.Second, 4*time.Second
	}
	sources := []*serving.Source{c.replica(t, short), c.replica(t, short)}
	ready(t, sources...)
	ca := c.secret(t).Data["ca.crt"]
	for _, source := range sources {
		first := leaf(t, source)
		await.Eventually(t, "", func() error {
			if leaf(t, source).Equal(first) {
				return errors.New("the first leaf is still served")
			}
			return nil
		})
		if err := verify(leaf(t, source), ca, "localhost"); err != nil {
			t.Errorf("the leaf is not renewed before its CA is: %v", err)
		}
	}
	next := c.newCA(t, ca)
	for _, source := range sources {
		await.Eventually(t, "", func() error { return verify(leaf(t, source), next, "localhost") })
		ready(t, source)
	}
}

// renewedWithoutSecret deletes the Secret when the webhook may not create it again. The CA in its
// memory is still valid and in the caBundle.
func renewedWithoutSecret(t *testing.T, c *cluster) {
	c.configure(t)
	source := c.replica(t, func(options *serving.Options) { options.LeafDuration = 4 * time.Second })
	ready(t, source)
	ca := c.secret(t).Data["ca.crt"]
	role, err := c.admin.RbacV1().Roles(c.namespace).Get(t.Context(), c.namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules = role.Rules[1:]
	role.Rules[0].Verbs = []string{"list", "watch"}
	if _, err := c.admin.RbacV1().Roles(c.namespace).Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	webhook, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	await.Eventually(t, "", func() error { // the API server's own watch of roles
		_, err := webhook.CoreV1().Secrets(c.namespace).Create(t.Context(),
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other"}},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsForbidden(err) {
			return fmt.Errorf("got error %w, want that it is forbidden", err)
		}
		return nil
	})
	c.deleteSecret(t)
	for range 2 { // the first one may have been signed before
		last := leaf(t, source)
		await.Eventually(t, "", func() error {
			if leaf(t, source).Equal(last) {
				return errors.New("the leaf is not renewed")
			}
			return verify(leaf(t, source), ca, "localhost")
		})
	}
	ready(t, source)
}

func clearingEndsTrust(t *testing.T, c *cluster) {
	c.configure(t)
	source := c.replica(t)
	ready(t, source)
	old := c.secret(t).Data["ca.crt"]
	c.bundle(t, exactly(old))
	c.deleteSecret(t)
	c.assertRotated(t, source, old, nil)

	// The way to end it that the documents give.
	patch := []byte(
		`[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}, ` +
			`{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]`,
	)
	if _, err := c.admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(
		t.Context(), c.configName, types.JSONPatchType, patch, metav1.PatchOptions{},
	); err != nil {
		t.Fatal(err)
	}
	c.bundle(t, exactly(c.secret(t).Data["ca.crt"]))
}

func configurationComesLater(t *testing.T, c *cluster) {
	source := c.replica(t)
	ready(t, source)
	c.configure(t)
	bundle := c.bundle(t, exactly(c.secret(t).Data["ca.crt"]))
	if err := verify(leaf(t, source), bundle, "localhost"); err != nil {
		t.Error(err)
	}
}

func notReadyWithoutRights(t *testing.T, c *cluster) {
	c.configure(t)
	weak := &cluster{
		admin:      c.admin,
		namespace:  c.namespace + "-weak",
		configName: c.configName,
		config:     c.withoutImpersonation(),
	}
	weak.config.Impersonate = rest.ImpersonationConfig{UserName: "weak-" + c.namespace}
	if _, err := c.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: weak.namespace},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	inNamespace, inCluster := weak.rights()
	inCluster[0].Verbs = []string{"list", "watch"}
	weak.allow(t, inNamespace, inCluster)
	source := weak.replica(t)

	want := "serving certificate: the caBundle of webhook pods.mtls.egress in MutatingWebhookConfiguration " +
		c.configName + " does not hold the CA yet: the service account must be allowed to patch it"
	await.Eventually(t, "", func() error {
		if err := source.Check(nil); err == nil || err.Error() != want {
			return fmt.Errorf("got %w, want %q", err, want)
		}
		return nil
	})
	if certificate, err := source.GetCertificate(nil); err == nil {
		t.Errorf("serves a certificate that the API server does not trust: %v", certificate.Leaf.Subject)
	}

	// The right comes: it recovers by itself.
	role, err := c.admin.RbacV1().ClusterRoles().Get(t.Context(), weak.namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules[0].Verbs = append(role.Rules[0].Verbs, "patch")
	if _, err := c.admin.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	ready(t, source)
}

// rotationWithoutGap has the API server call two replicas, failurePolicy Fail, with a TLS handshake
// for every call, while the CA's Secret is deleted and recreated.
func rotationWithoutGap(t *testing.T, c *cluster) {
	// In place of the five minutes: long for an API server on the same machine, whose watch lags by
	// milliseconds, or seconds when the machine is busy.
	const delay = 15 * time.Second
	var handshakes atomic.Int64
	config := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: c.configName}}
	fail, scope := admissionregistrationv1.Fail, admissionregistrationv1.NamespacedScope
	sideEffects := admissionregistrationv1.SideEffectClassNone
	sources := make([]*serving.Source, 0, 2)
	for i := range cap(sources) {
		source := c.replica(t, func(options *serving.Options) { options.AdoptionDelay = delay })
		sources = append(sources, source)
		url := webhook(t, source, &handshakes)
		config.Webhooks = append(config.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name:         fmt.Sprintf("replica-%d.mtls.egress", i),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule: admissionregistrationv1.Rule{
					APIGroups:   []string{""},
					APIVersions: []string{"v1"},
					Resources:   []string{"configmaps"},
					Scope:       &scope,
				},
			}},
			NamespaceSelector: &metav1.LabelSelector{
				MatchLabels: map[string]string{corev1.LabelMetadataName: c.namespace},
			},
			FailurePolicy:           &fail,
			SideEffects:             &sideEffects,
			AdmissionReviewVersions: []string{"v1"},
		})
	}
	if _, err := c.admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(
		t.Context(), config, metav1.CreateOptions{},
	); err != nil {
		t.Fatal(err)
	}
	c.removeAtEnd(t)
	ready(t, sources...)
	old := c.secret(t).Data["ca.crt"]
	c.bundle(t, exactly(old))

	create := func() error {
		_, err := c.admin.CoreV1().
			ConfigMaps(c.namespace).
			Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "call-"}},
				metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	await.Eventually(t, "", create) // the API server's own watch of the configuration
	before := handshakes.Load()
	calls, refused := 0, 0
	call := func() {
		calls++
		if err := create(); err != nil {
			refused++
			t.Errorf("call %d refused: %v", calls, err)
		}
	}
	for range 20 {
		call()
	}
	c.deleteSecret(t)
	var ca []byte
	await.Eventually(t, "", func() error {
		call()
		for _, source := range sources {
			if verify(leaf(t, source), old, "localhost") == nil {
				return errors.New("a replica serves a leaf of the old CA")
			}
		}
		ca = c.secret(t).Data["ca.crt"]
		return nil
	})
	for range 20 {
		call()
	}
	for _, source := range sources {
		if err := verify(leaf(t, source), ca, "localhost"); err != nil {
			t.Error(err)
		}
	}
	made := handshakes.Load() - before
	if made < int64(calls*len(sources)) {
		t.Errorf("%d handshakes for %d calls to %d replicas: connections were reused, so nothing was proved",
			made, calls, len(sources))
	}
	t.Logf("%d calls, %d handshakes, %d refused", calls, made, refused)
}

// webhook serves admission with the certificate of source, allows everything, and returns its URL.
func webhook(t *testing.T, source *serving.Source, handshakes *atomic.Int64) (url string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: await.Patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var review admissionv1.AdmissionReview
			if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(review); err != nil {
				t.Error(err)
			}
		}),
		TLSConfig: &tls.Config{
			MinVersion:             tls.VersionTLS13,
			SessionTicketsDisabled: true,
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				handshakes.Add(1)
				return source.GetCertificate(hello)
			},
		},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // no HTTP/2, whose connections stay
	}
	server.SetKeepAlivesEnabled(false)
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		err := server.Close()
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		if err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("https://localhost:%d/mutate", listener.Addr().(*net.TCPAddr).Port)
}
