package serving_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/certmanager"
	"mtls.egress/webhook/test/installation"
)

// What the chart calls its Certificates, and the Secrets of them.
const (
	leafName = "mtls-egress-webhook-serving"
	caName   = "mtls-egress-webhook-serving-ca"
)

// kubeletLags are how long after cert-manager the replicas see a changed Secret. One sees it, has
// the CA in the caBundle and serves the new leaf, long before the other.
var kubeletLags = []time.Duration{0, 15 * time.Second}

// TestCertManagerRotatesWithoutGap has the real cert-manager renew leaf and CA of two replicas,
// while the API server creates annotated Pods, each of which has to be injected, and while somebody
// shakes hands with both replicas and trusts what is in the caBundle just then, as the API server
// does for each new connection.
func TestCertManagerRotatesWithoutGap(t *testing.T) {
	var manager *certmanager.CertManager
	ctx, stopKubelets := context.WithCancel(t.Context())
	var kubelets sync.WaitGroup
	installed, err := installation.Start(t.Context(), installation.Options{
		Replicas: len(kubeletLags),
		Values: []string{
			"servingCertificate.provider=cert-manager",
			"webhook.deployment.extraArgs={--certificate-adoption-delay=3s}",
		},
		BeforeInstall: func(ctx2 context.Context, i *installation.Installation) (err error) {
			if manager, err = certmanager.Start(ctx2, certmanager.Beside(i.Server)); err != nil {
				return err
			}
			for n, replica := range i.Replicas {
				kubelets.Go(func() { mountSecret(ctx, t, manager.Client, replica.CertificateDir, kubeletLags[n]) })
			}
			return nil
		},
	})
	t.Cleanup(func() {
		stopKubelets()
		kubelets.Wait()
		var problems []error
		if manager != nil {
			problems = append(problems, manager.Stop())
		}
		if installed != nil {
			problems = append(problems, installed.Stop())
		}
		if err := errors.Join(problems...); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rotation{Installation: installed, manager: manager}
	stop := r.watch(t)

	first := r.secret(t)
	r.renew(t, leafName)
	renewed := r.served(t, first)
	if !bytes.Equal(renewed["ca.crt"], first["ca.crt"]) {
		t.Error("the CA changed with the leaf")
	}
	before := r.secretNamed(t, caName)["tls.crt"]
	r.renew(t, caName)
	await.Eventually(t, "", func() error {
		if bytes.Equal(r.secretNamed(t, caName)["tls.crt"], before) {
			return errors.New("the CA is the old one")
		}
		return nil
	})
	r.renew(t, leafName)
	last := r.served(t, renewed)
	if bytes.Equal(last["ca.crt"], first["ca.crt"]) {
		t.Error("the new leaf is one of the old CA")
	}
	bundle := r.bundle(t)
	if !bytes.Contains(bundle, first["ca.crt"]) || !bytes.Contains(bundle, last["ca.crt"]) {
		t.Error("the caBundle doesn't hold both CAs")
	}
	stop()

	t.Logf(
		"%d Pods created, %d refused, %d not injected; %d handshakes by the caBundle, %d failed; by the newest CA alone, "+
			"which a CA injector publishes, %d would have failed",
		r.created.Load(), r.refused.Load(), r.missed.Load(), r.handshakes.Load(), r.distrusted.Load(), r.alone.Load(),
	)
	if r.refused.Load()+r.missed.Load()+r.distrusted.Load() > 0 {
		t.Error("there was a gap")
	}
	if r.alone.Load() == 0 {
		t.Error("the newest CA alone would have done: the replicas never were apart, so nothing was shown")
	}
}

// mountSecret does for a replica what the kubelet does for a Pod: it writes the Secret into a new
// directory and lets the link ..data lead there, some time after the Secret has changed.
func mountSecret(ctx context.Context, t *testing.T, reader client.Client, directory string, lag time.Duration) {
	var mounted map[string][]byte
	for {
		var secret corev1.Secret
		err := reader.Get(ctx, client.ObjectKey{Namespace: installation.Namespace, Name: leafName}, &secret)
		if err == nil && len(secret.Data["ca.crt"]) > 0 && !maps.EqualFunc(secret.Data, mounted, bytes.Equal) {
			wait := lag
			if mounted == nil {
				wait = 0 // a Pod starts when its Secret is there
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if err := writeSecret(directory, secret.Data); err != nil {
				t.Error(err)
				return
			}
			mounted = secret.Data
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func writeSecret(directory string, data map[string][]byte) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	state, err := os.MkdirTemp(directory, "..state")
	if err != nil {
		return err
	}
	for name, content := range data {
		if err := os.WriteFile(filepath.Join(state, name), content, 0o600); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(directory, name)); err != nil &&
			!errors.Is(err, os.ErrExist) {
			return err
		}
	}
	link := filepath.Join(directory, "..link")
	if err := os.Symlink(filepath.Base(state), link); err != nil {
		return err
	}
	return os.Rename(link, filepath.Join(directory, "..data"))
}

// rotation counts what happens while certificates change.
type rotation struct {
	*installation.Installation
	manager *certmanager.CertManager

	created, refused, missed      atomic.Int64
	handshakes, distrusted, alone atomic.Int64
}

// watch creates Pods and shakes hands until stop is called.
func (r *rotation) watch(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	repeat := func(do func()) {
		loops.Go(func() {
			for ctx.Err() == nil {
				do()
				select {
				case <-ctx.Done():
				case <-time.After(30 * time.Millisecond):
				}
			}
		})
	}
	for range 2 {
		repeat(func() { r.createPod(ctx, t) })
	}
	for _, replica := range r.Replicas {
		repeat(func() { r.shakeHands(ctx, t, replica) })
	}
	return func() {
		cancel()
		loops.Wait()
	}
}

func (r *rotation) createPod(ctx context.Context, t *testing.T) {
	pod, err := r.Admin.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "pod-",
			Annotations:  map[string]string{"mtls.egress/target": "external.system.com"},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if ctx.Err() != nil {
		return
	}
	r.created.Add(1)
	switch {
	case err != nil:
		r.refused.Add(1)
		t.Error(err)
	case pod.Labels["mtls.egress/injected"] != "true":
		r.missed.Add(1)
	}
}

// shakeHands connects as the API server does, with the caBundle of just before.
func (r *rotation) shakeHands(ctx context.Context, t *testing.T, replica *installation.Replica) {
	configuration, err := r.Admin.AdmissionregistrationV1().
		MutatingWebhookConfigurations().
		Get(ctx, installation.WebhookConfiguration, metav1.GetOptions{})
	if err != nil {
		if ctx.Err() == nil {
			t.Error(err)
		}
		return
	}
	var secret corev1.Secret
	if err := r.manager.Client.Get(ctx, client.ObjectKey{
		Namespace: installation.Namespace,
		Name:      leafName,
	}, &secret); err != nil {
		if ctx.Err() == nil {
			t.Error(err)
		}
		return
	}
	leaf, err := servedLeaf(ctx, replica)
	if ctx.Err() != nil {
		return
	}
	r.handshakes.Add(1)
	if err == nil {
		err = verify(leaf, configuration.Webhooks[0].ClientConfig.CABundle, "127.0.0.1")
	}
	if err != nil {
		r.distrusted.Add(1)
		t.Error(err)
		return
	}
	if verify(leaf, secret.Data["ca.crt"], "127.0.0.1") != nil {
		r.alone.Add(1)
	}
}

// servedLeaf is the certificate that a replica shows.
func servedLeaf(ctx context.Context, replica *installation.Replica) (*x509.Certificate, error) {
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	connection, err := dialer.DialContext(ctx, "tcp", replica.Address())
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// renew does what `cmctl renew` does: https://cert-manager.io/docs/reference/cmctl/#renew
func (r *rotation) renew(t *testing.T, name string) {
	t.Helper()
	await.Eventually(t, "", func() error {
		var certificate certmanagerv1.Certificate
		if err := r.manager.Client.Get(t.Context(), client.ObjectKey{
			Namespace: installation.Namespace,
			Name:      name,
		}, &certificate); err != nil {
			return err
		}
		now := metav1.Now()
		certificate.Status.Conditions = append(certificate.Status.Conditions, certmanagerv1.CertificateCondition{
			Type: certmanagerv1.CertificateConditionIssuing, Status: cmmeta.ConditionTrue, Reason: "ManuallyTriggered",
			Message: "by a test", LastTransitionTime: &now, ObservedGeneration: certificate.Generation,
		})
		return r.manager.Client.Status().Update(t.Context(), &certificate)
	})
}

func (r *rotation) secretNamed(t *testing.T, name string) map[string][]byte {
	t.Helper()
	var secret corev1.Secret
	if err := r.manager.Client.Get(t.Context(), client.ObjectKey{
		Namespace: installation.Namespace,
		Name:      name,
	}, &secret); err != nil {
		t.Fatal(err)
	}
	return secret.Data
}

func (r *rotation) secret(t *testing.T) map[string][]byte {
	t.Helper()
	return r.secretNamed(t, leafName)
}

func (r *rotation) bundle(t *testing.T) []byte {
	t.Helper()
	configuration, err := r.Admin.AdmissionregistrationV1().
		MutatingWebhookConfigurations().
		Get(t.Context(), installation.WebhookConfiguration, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return configuration.Webhooks[0].ClientConfig.CABundle
}

// served waits until all replicas serve the leaf of a Secret that is not old, and returns its
// content.
func (r *rotation) served(t *testing.T, old map[string][]byte) map[string][]byte {
	t.Helper()
	var found map[string][]byte
	const what = "all replicas serve the new leaf"
	if err := await.Until(t.Context(), 2*await.Patience, what, func(ctx context.Context) error {
		found = r.secret(t) //nolint:contextcheck // it takes the test's own, which this one ends with
		if bytes.Equal(found["tls.crt"], old["tls.crt"]) {
			return errors.New("it isn't issued")
		}
		pair, err := tls.X509KeyPair(found["tls.crt"], found["tls.key"])
		if err != nil {
			return err
		}
		for n, replica := range r.Replicas {
			leaf, err := servedLeaf(ctx, replica)
			if err != nil {
				return err
			}
			if !leaf.Equal(pair.Leaf) {
				return fmt.Errorf("replica %d serves another", n)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}
