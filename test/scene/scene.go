// Package scene is where the tests of the data path, their demo and their benchmark play: a cluster
// with Istio, the chart installed by Helm as an admin would, with two webhooks and two controllers,
// and a partner outside of the mesh that demands client certificates and records every byte that it
// sees. Apps are Pods with a program that calls.
package scene

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/pki"
)

// What the release is called, and where it is installed.
const (
	Release   = "mtls-egress-webhook"
	Namespace = "mtls-egress"
)

// The Deployments of the release. The Lease of the controllers has the name of their Deployment.
const (
	Webhook    = Release
	Controller = Release + "-controller"
)

// Labels that select the Pods of one Deployment of the release.
const (
	WebhookLabel    = component + "webhook"
	ControllerLabel = component + "controller"

	component = "app.kubernetes.io/name=" + Release + ",app.kubernetes.io/component="
)

// imagesVariable is where the nodes of the cluster in KUBECONFIG have the images of the tests from,
// as in registry.example/team: mtls-egress-webhook, actor and clients, with the tag test.
const imagesVariable = "MTLS_EGRESS_IMAGES"

// Options of Start. The zero value is fine.
type Options struct {
	// Say is told each step before it is taken, as a sentence without a full stop. Default: nobody is
	// told.
	Say func(step string)
	// Values are values of the chart, each as Helm's --set takes it, besides the images and a
	// retention of two seconds for unused EgressTargets.
	Values []string
	// Bare leaves the chart out: the caller installs it.
	Bare bool
}

// Scene is a running cluster with everything in it.
type Scene struct {
	*cluster.Cluster
	// Dynamic is a client for Istio's objects and EgressTargets.
	Dynamic dynamic.Interface
	// Dir holds files of the tests. It ends with the cluster.
	Dir string
	// ClientCA signs the client certificates that the partner accepts.
	ClientCA *pki.CA
	// ServerCA has signed the partner's server certificates.
	ServerCA *pki.CA

	values []string
	// namespaces counts those that were created.
	namespaces atomic.Int64
}

// Start brings everything up. The process must run under cluster.Isolate, whose end is the end of
// it all, but for a cluster of KUBECONFIG, which the caller frees with Remove.
func Start(ctx context.Context, options Options) (*Scene, error) {
	if options.Say == nil {
		options.Say = func(string) {}
	}
	s := &Scene{values: options.Values}
	var err error
	if s.Dir, err = os.MkdirTemp(cluster.Scratch(), "mtls-egress-scene-"); err != nil {
		return nil, err
	}
	// The compiler works while the cluster mostly waits.
	var built sync.WaitGroup
	var buildErr error
	built.Go(func() { buildErr = s.buildImages(ctx) })
	s.Cluster, err = cluster.Start(ctx, cluster.Options{Say: options.Say})
	built.Wait()
	if err := errors.Join(err, buildErr); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.Dir))
	}
	// Lists of everything would be full of warnings about old kinds.
	quiet := rest.CopyConfig(s.Config)
	quiet.WarningHandler = rest.NoWarnings{}
	if s.Dynamic, err = dynamic.NewForConfig(quiet); err != nil {
		return nil, err
	}
	if s.Own {
		for _, name := range images() {
			if err := s.LoadImage(ctx, s.tarball(name, testTag)); err != nil {
				return nil, err
			}
		}
	}
	options.Say("starting the partner")
	if err := s.startPartner(ctx); err != nil {
		return nil, err
	}
	if !options.Bare {
		options.Say("installing the chart with Helm")
		if err := s.Install(ctx); err != nil {
			return nil, err
		}
	}
	return s, s.partnerReady(ctx)
}

// Remove frees what the kernel doesn't: files, and what was installed into a cluster of KUBECONFIG.
func (s *Scene) Remove(ctx context.Context) error {
	err := os.RemoveAll(s.Dir)
	if s.Own {
		return err
	}
	_, _, uninstall := s.Helm(ctx, "uninstall", Release, "--namespace", Namespace, "--no-hooks", "--wait")
	_, _, remove := s.Kubectl(ctx, "delete", "namespace", PartnerNamespace, Namespace, "--wait=false",
		"--ignore-not-found")
	return errors.Join(err, uninstall, remove)
}

// testTag is the tag of all images, but for further versions of the webhook.
const testTag = "test"

// Image is the reference of one of the tests' images, such as actor.
func (s *Scene) Image(name string) string { return s.repository(name) + ":" + testTag }

func (s *Scene) repository(name string) string {
	if s.Own {
		return registry + name
	}
	return strings.TrimSuffix(os.Getenv(imagesVariable), "/") + "/" + name
}

// registry is where the images of a cluster of our own say that they come from. No such host
// exists.
const registry = "registry.local/"

// images are built from the project's own programs.
func images() []string { return []string{Release, "actor"} }

func (s *Scene) tarball(name, tag string) string { return filepath.Join(s.Dir, name+"-"+tag+".tar") }

// buildImages builds the webhook and the actors and makes an image of each, without Docker.
func (s *Scene) buildImages(ctx context.Context) error {
	for _, name := range images() {
		if err := s.buildImage(ctx, name, testTag); err != nil {
			return err
		}
	}
	return nil
}

// LoadVersion makes another version of the webhook known to the node. The version is the image's
// tag as well.
func (s *Scene) LoadVersion(ctx context.Context, version string) error {
	if err := s.buildImage(ctx, Release, version); err != nil {
		return err
	}
	return s.LoadImage(ctx, s.tarball(Release, version))
}

// buildImage builds a program of a version, which is the image's tag too.
func (s *Scene) buildImage(ctx context.Context, name, version string) error {
	root, err := apiserver.Root(ctx)
	if err != nil {
		return err
	}
	folder := filepath.Join(s.Dir, version)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	binary := filepath.Join(folder, name)
	// The webhook exactly as it is released; with the same flags both share what is compiled.
	build := exec.CommandContext(ctx, "make", "build", "VERSION="+version, "BINARY="+binary)
	content := []string{"-binary", binary, "-license", filepath.Join(root, "LICENSE")}
	if name != Release {
		build = exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", binary, "./test/actor")
		content = []string{"-file", binary + ":/" + name, "-entrypoint", "/" + name}
	}
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if _, _, err := apiserver.Output(build); err != nil {
		return err
	}
	pack := exec.CommandContext(
		ctx,
		"go",
		append([]string{"run", "./pack", "-tag", registry + name + ":" + version, "-output", s.tarball(name, version)},
			content...)...)
	pack.Dir = filepath.Join(root, "release")
	_, _, err = apiserver.Output(pack)
	return err
}

// ChartValues are the values of the chart that every installation has here, and further ones, which
// win, as arguments of Helm.
func (s *Scene) ChartValues(values ...string) []string {
	own := []string{
		"image.repository=" + s.repository(Release), "image.tag=" + testTag, "image.pullPolicy=IfNotPresent",
		"controller.targetRetention=2s", "webhook.deployment.shutdownDelay=3s",
	}
	if len(s.Mesh().Revisions) > 0 {
		own = append(own,
			"istio.meshConfigMap="+s.Mesh().MeshConfigMap(), "istio.injectorConfigMap="+s.Mesh().InjectorConfigMap())
	}
	if cluster.IPv6() {
		own = append(own, "sinkholeRanges={"+s.Sinkhole().String()+"}")
	}
	var args []string
	for _, value := range slices.Concat(own, s.values, values) {
		args = append(args, "--set", value)
	}
	return args
}

// Sinkhole is the range of the sinkhole addresses that every installation has here.
func (*Scene) Sinkhole() egress.Sinkhole {
	if !cluster.IPv6() {
		return egress.Sinkhole{}
	}
	sinkhole, _ := egress.ParseSinkhole([]string{"100::/64"}) // as docs/how-to/install.md has it
	return sinkhole
}

// Chart is the directory of the chart.
func (s *Scene) Chart() string { return filepath.Join(s.Root, "charts", "mtls-egress-webhook") }

// Install installs the chart, or upgrades it to further values, and returns when all replicas of
// both Deployments run and the webhook is reached.
func (s *Scene) Install(ctx context.Context, values ...string) error {
	args := []string{
		"upgrade",
		"--install",
		Release,
		s.Chart(),
		"--namespace",
		Namespace,
		"--create-namespace",
		"--wait",
		"--timeout",
		await.Patience.String(),
	}
	if _, _, err := s.Helm(ctx, append(args, s.ChartValues(values...)...)...); err != nil {
		return err
	}
	return s.AwaitAdmission(ctx, metav1.NamespaceDefault)
}

// AwaitAdmission waits until all webhooks are ready and the API server reaches the webhooks that
// are asked about a Pod of the namespace. A Pod that is ready is not in the node's rules for its
// Service at once, and a Service without a Pod in them refuses connections.
func (s *Scene) AwaitAdmission(ctx context.Context, namespace string) error {
	if err := s.Rollout(ctx, Namespace, "deployment/"+Webhook); err != nil {
		return err
	}
	return Until(ctx, "the API server to reach the webhook", func(ctx context.Context) error {
		_, err := s.Client.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				GenerateName: "probe-", Annotations: Target("external.system.com"),
				Labels: map[string]string{label.SidecarInject.Name: "true"}, // else a warning is logged
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: s.Image("actor")}}},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && !strings.Contains(err.Error(), "failed calling webhook") {
			return nil // refused by one that answers
		}
		return err
	})
}

// Until calls reached until it returns nil, but not longer than await.Patience.
func Until(ctx context.Context, what string, reached func(context.Context) error) error {
	return await.Until(ctx, await.Patience, what, reached)
}
