// Package crowd fills an API server as a large cluster does: with namespaces, credentials, and Pods
// that ask for targets.
package crowd

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"mtls.egress/webhook/test/pki"
)

// parallel is how many objects are created at a time.
const parallel = 50

// Crowd is what an API server is filled with.
type Crowd struct {
	// Namespaces share the targets, each of which has a host of its own.
	Namespaces, Targets int

	client kubernetes.Interface
	// ca signs the credentials.
	ca *pki.CA
}

// New returns a crowd that isn't there yet. The client has no rate limit.
func New(config *rest.Config, namespaces, targets int) (*Crowd, error) {
	own := rest.CopyConfig(config)
	own.QPS = -1
	own.ContentType, own.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(own)
	return &Crowd{Namespaces: namespaces, Targets: targets, client: client}, err
}

// Namespace is that of a target, by its number.
func (c *Crowd) Namespace(target int) string { return fmt.Sprintf("team-%d", target%c.Namespaces) }

// Host is that of a target, by its number.
func (*Crowd) Host(target int) string { return fmt.Sprintf("partner-%d.example.com", target) }

// Prepare creates the namespaces, and for each target the Secret with its credential, valid for 90
// days.
func (c *Crowd) Prepare(ctx context.Context) error {
	err := each(ctx, c.Namespaces, func(ctx context.Context, n int) error {
		_, err := c.client.CoreV1().
			Namespaces().
			Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.Namespace(n)}}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	if c.ca, err = pki.Authority("Partner CA"); err != nil {
		return err
	}
	data, err := c.credential()
	if err != nil {
		return err
	}
	return each(ctx, c.Targets, func(ctx context.Context, n int) error {
		return c.createSecret(ctx, n, data)
	})
}

// CreateSecret creates the Secret with the credential of a target, by its number, which may be one
// that isn't among Targets.
func (c *Crowd) CreateSecret(ctx context.Context, target int) error {
	data, err := c.credential()
	if err == nil {
		err = c.createSecret(ctx, target, data)
	}
	return err
}

func (c *Crowd) createSecret(ctx context.Context, target int, data map[string][]byte) error {
	_, err := c.client.CoreV1().Secrets(c.Namespace(target)).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("partner-%d-example-mtls-data", target)}, Data: data,
	}, metav1.CreateOptions{})
	return err
}

func (c *Crowd) credential() (map[string][]byte, error) {
	template := pki.Client("shop")
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 90)
	client, err := c.ca.Sign(template)
	return map[string][]byte{"cert": client.CertPEM, "key": client.KeyPEM, "cacert": c.ca.CertPEM}, err
}

// CreatePods creates Pods that ask for the targets, one target each, in turn. A call that the
// webhook doesn't answer in time, as happens on a busy machine, is repeated.
func (c *Crowd) CreatePods(ctx context.Context, count int) error {
	return each(ctx, count, func(ctx context.Context, n int) error {
		return retry.OnError(retry.DefaultBackoff, apierrors.IsInternalError, func() error {
			_, err := c.CreatePod(ctx, n%c.Targets)
			return err
		})
	})
}

// CreatePod creates a Pod that asks for a target, by its number, which may be one that isn't among
// Targets, and returns what the API server made of it.
func (c *Crowd) CreatePod(ctx context.Context, target int) (*corev1.Pod, error) {
	return c.client.CoreV1().Pods(c.Namespace(target)).Create(ctx, Pod(c.Host(target)), metav1.CreateOptions{})
}

func each(ctx context.Context, count int, do func(ctx context.Context, n int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for n := range count {
		group.Go(func() error { return do(ctx, n) })
	}
	return group.Wait()
}

// Pod is one of a Deployment's, of the size that such Pods have, with an injected sidecar, as there
// is no Istio to inject one.
func Pod(host string) *corev1.Pod {
	probe := func(path string, port int32) *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(port)}},
			PeriodSeconds: 10,
		}
	}
	resources := func(cpu, memory string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{
			Requests: corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse(cpu),
				corev1.ResourceMemory: resource.MustParse(memory),
			},
		}
	}
	env := func(count int) []corev1.EnvVar {
		var variables []corev1.EnvVar
		for n := range count {
			variables = append(variables,
				corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", n), Value: "the value of a setting, as long as many are"})
		}
		return variables
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "shop-6d4cf56db6-",
			Labels:       map[string]string{"app": "shop", "version": "v1", "pod-template-hash": "6d4cf56db6"},
			Annotations: map[string]string{
				"mtls.egress/target":   host,
				"prometheus.io/scrape": "true",
				"prometheus.io/port":   "8080",
			},
		},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{
				Name:           "istio-proxy",
				Image:          "registry.example/proxy:1.31.1",
				RestartPolicy:  ptr.To(corev1.ContainerRestartPolicyAlways),
				Env:            env(30),
				StartupProbe:   probe("/healthz/ready", 15021),
				ReadinessProbe: probe("/healthz/ready", 15021),
				Resources:      resources("100m", "128Mi"),
			}},
			Containers: []corev1.Container{{
				Name:           "app",
				Image:          "registry.example/shop:1.0",
				Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				Env:            env(20),
				LivenessProbe:  probe("/live", 8080),
				ReadinessProbe: probe("/ready", 8080),
				Resources:      resources("250m", "512Mi"),
			}},
		},
	}
}
