package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/scene"
)

const (
	host = "external.system.com"
	// appNamespace is where the app runs, targetNamespace where somebody wrote an EgressTarget and no
	// Pod asks for it.
	appNamespace, targetNamespace = "shop", "prepared"
	secretName                    = "external-system-mtls-data"
)

// previousVariable names the folder of a release, as `make release` writes it: the first chart and
// image are then those of the release. Without it, both are of the sources here.
const previousVariable = "MTLS_EGRESS_PREVIOUS"

// nextVersion is that of the second image and chart.
const nextVersion = "next"

// What an uninstallation keeps, unless it is told otherwise. The API server makes the second for
// the first.
const (
	crd     = "apiextensions.k8s.io CustomResourceDefinition  egresstargets.mtls.egress"
	service = "apiregistration.k8s.io APIService  v1alpha1.mtls.egress"
)

// release is the chart as an admin has it, and what runs meanwhile.
type release struct {
	*scene.Scene
	// before names the objects of the cluster before the first installation.
	before []string
}

func TestLifecycle(t *testing.T) {
	s := play(t)
	r := &release{Scene: s}
	must(t, s.LoadVersion(t.Context(), nextVersion))
	for name, labels := range map[string]map[string]string{
		scene.Namespace: {"pod-security.kubernetes.io/enforce": "restricted"},
		appNamespace:    {"istio-injection": "enabled"}, targetNamespace: nil,
	} {
		_, err := s.Client.CoreV1().
			Namespaces().
			Create(t.Context(), &corev1.Namespace{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			}, metav1.CreateOptions{})
		must(t, err)
	}
	made, err := s.Credential("lifecycle")
	must(t, err, s.WriteSecret(t.Context(), appNamespace, secretName, made.Data(scene.LayoutCert)))
	r.before = settledObjects(t, s)

	var app *load
	chart, version := r.previous(t)
	if !t.Run("install into a namespace of restricted Pods, and the first Pod calls", func(t *testing.T) {
		r.helm(t, "install", chart, r.values("2")...)
		r.runs(t, version, 2)
		app = r.startApp(t, "app")
	}) {
		return
	}
	first := app.pod
	t.Run("upgrade to a chart with another image and other values", func(t *testing.T) {
		r.unnoticed(t, app, "upgrade", func() {
			values := r.values("3", "log.level=debug", "webhook.deployment.shutdownDelay=5s",
				"webhook.deployment.resources.requests.cpu=20m", "controller.deployment.resources.limits.memory=300Mi",
				"policy.checkIssuance=false", "webhook.timeoutSeconds=7", "controller.expiryWarnings={48h,12h}",
				// The port that private GKE clusters leave open. Helm fails unless a Pod is injected.
				"webhook.port=10250", "test.afterInstall=true")
			r.helm(t, "upgrade", r.pack(t, "0.0.2", nextVersion), values...)
			r.runs(t, nextVersion, 3)
			r.hasValues(t, "debug", false)
		})
	})
	t.Run("rollback", func(t *testing.T) {
		r.unnoticed(t, app, "rollback", func() {
			_, _, err := s.Helm(t.Context(), "rollback", scene.Release, "1", "--namespace", scene.Namespace,
				"--wait", "--timeout", "3m")
			must(t, err)
			r.runs(t, version, 2)
			r.hasValues(t, "info", true)
		})
	})
	t.Run(
		"uninstall, refused while the app asks, and leaves nothing but the definition of EgressTarget",
		func(t *testing.T) {
			stop := createPods(t, s, appNamespace)
			app.begin(t)
			if err := r.uninstall(t); err == nil || !strings.Contains(err.Error(), "the webhook is in use") {
				t.Errorf("helm uninstall, while Pods need the webhook: %v; want it refused", err)
			}
			printed(t, "refused uninstallation", stop(), app.unharmed(t))
			r.runs(t, version, 2)
			r.stopApp(t, first)
			must(t, r.uninstall(t))
			leftSince(t, s, r.before, crd, service)
		},
	)
	t.Run(
		"install again and uninstall, with an EgressTarget that nobody uses: it stays, and nothing of what was made for it",
		func(t *testing.T) {
			r.helm(t, "install", r.pack(t, "0.0.1", "test"), r.values("2")...)
			r.prepareTarget(t)
			must(t, r.uninstall(t))
			leftSince(t, s, r.before, crd, service, "mtls.egress EgressTarget "+targetNamespace+" "+host)
			_, _, err := s.Kubectl(t.Context(), "delete", "egresstarget", host, "--namespace", targetNamespace, "--timeout=20s")
			must(t, err)
		},
	)
	t.Run("install to keep nothing, and uninstall leaves nothing", func(t *testing.T) {
		r.helm(t, "install", r.pack(t, "0.0.1", "test"), r.values("2", "crds.keep=false")...)
		r.prepareTarget(t)
		pod := r.startApp(t, "again").pod
		r.stopApp(t, pod)
		must(t, r.uninstall(t))
		leftSince(t, s, r.before)
	})
}

// previous returns the chart that the first upgrade starts from, and the version of its image,
// which the node has from then on.
func (r *release) previous(t *testing.T) (chart, version string) {
	t.Helper()
	folder := os.Getenv(previousVariable)
	if folder == "" {
		return r.pack(t, "0.0.1", "test"), "test"
	}
	const prefix, suffix = scene.Release + "_", "_image.tar"
	chart = only(t, filepath.Join(folder, scene.Release+"-*.tgz"))
	image := only(t, filepath.Join(folder, prefix+"*"+suffix))
	version = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(image), prefix), suffix)
	must(t, r.LoadImageAs(t.Context(), image, r.repository()+":"+version))
	t.Logf("upgrades start from version %s", version)
	return chart, version
}

// only returns the one file of a pattern.
func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("%d files %s, want one: set %s to the folder of one release", len(found), pattern, previousVariable)
	}
	return found[0]
}

// pack makes a chart of a version whose default image is another.
func (r *release) pack(t *testing.T, chartVersion, appVersion string) string {
	t.Helper()
	_, _, err := r.Helm(t.Context(), "package", r.Chart(), "--destination", r.Dir, "--version", chartVersion,
		"--app-version", appVersion)
	must(t, err)
	return filepath.Join(r.Dir, scene.Release+"-"+chartVersion+".tgz")
}

// repository is that of the webhook's images on the node.
func (r *release) repository() string {
	repository, _, _ := strings.Cut(r.Image(scene.Release), ":")
	return repository
}

// values are those of a number of webhooks, and further ones, as arguments of Helm. EgressTargets
// stay longer than this test takes, as they do in life.
func (r *release) values(replicas string, further ...string) []string {
	var args []string
	own := []string{
		"image.repository=" + r.repository(), "webhook.deployment.replicas=" + replicas,
		"webhook.deployment.shutdownDelay=3s",
	}
	for _, value := range slices.Concat(own, further) {
		args = append(args, "--set", value)
	}
	return args
}

func (r *release) helm(t *testing.T, command, chart string, values ...string) {
	t.Helper()
	args := []string{command, scene.Release, chart, "--namespace", scene.Namespace, "--wait", "--timeout", "3m"}
	_, _, err := r.Helm(t.Context(), append(args, values...)...)
	must(t, err)
}

func (r *release) uninstall(t *testing.T) error {
	t.Helper()
	_, _, err := r.Helm(t.Context(), "uninstall", scene.Release, "--namespace", scene.Namespace,
		"--wait", "--timeout", "2m")
	return err
}

// controllers is how many controllers the chart has by default.
const controllers = 2

// runs waits until the release has just these Pods of webhooks, and those of its controllers, all
// of which are ready, and asks each for its version.
func (r *release) runs(t *testing.T, version string, webhooks int) {
	t.Helper()
	for label, want := range map[string]int{scene.WebhookLabel: webhooks, scene.ControllerLabel: controllers} {
		what := fmt.Sprintf("%d ready Pods of the version %s with the label %s", want, version, label)
		must(t, scene.Until(t.Context(), what, func(ctx context.Context) error {
			pods, err := r.Client.CoreV1().Pods(scene.Namespace).List(ctx, metav1.ListOptions{LabelSelector: label})
			if err == nil && len(pods.Items) != want {
				err = fmt.Errorf("%d Pods", len(pods.Items))
			}
			if err != nil {
				return err
			}
			for _, pod := range pods.Items {
				if err := r.podRuns(ctx, &pod, version); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

func (r *release) podRuns(ctx context.Context, pod *corev1.Pod, version string) error {
	if !slices.ContainsFunc(
		pod.Status.ContainerStatuses, func(status corev1.ContainerStatus) bool { return status.Ready },
	) {
		return fmt.Errorf("%s is not ready", pod.Name)
	}
	said, _, err := r.Kubectl(ctx, "--namespace", scene.Namespace, "exec", pod.Name, "--", "/"+scene.Release, "version")
	if err == nil && !strings.HasPrefix(said, scene.Release+" "+version+" (") {
		err = fmt.Errorf("%s says of its version: %s", pod.Name, said)
	}
	return err
}

// hasValues fails the test unless the release has this level of its log, and the policy that
// policy.checkIssuance asks for.
func (r *release) hasValues(t *testing.T, level string, checksIssuance bool) {
	t.Helper()
	for _, name := range []string{scene.Webhook, scene.Controller} {
		deployment, err := r.Client.AppsV1().Deployments(scene.Namespace).Get(t.Context(), name, metav1.GetOptions{})
		must(t, err)
		if args := deployment.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--log-level="+level) {
			t.Errorf("%s has the arguments %q, want the log level %s among them", name, args, level)
		}
	}
	_, err := r.Client.AdmissionregistrationV1().
		ValidatingAdmissionPolicies().
		Get(t.Context(), scene.Release+"-issuance", metav1.GetOptions{})
	if found := err == nil; found != checksIssuance {
		t.Errorf("the policy of issuance is there: %v (%v), want %v", found, err, checksIssuance)
	}
}

// unnoticed does something to the release, while Pods are created without a pause, one that is to
// run among them, and fails the test if anybody noticed.
func (r *release) unnoticed(t *testing.T, app *load, what string, do func()) {
	t.Helper()
	objects, lived := generated(t, r.Scene, appNamespace), lifeOf(t, r.Scene, app.pod)
	app.begin(t)
	stop := createPods(t, r.Scene, appNamespace)
	defer stop()
	name := "during-" + what
	must(t, r.Deploy(t.Context(), r.app(name, "Pod")))
	do()
	r.load(t, name).begin(t)
	count := stop()
	printed(t, what, count, app.unharmed(t))
	if len(lived.Containers) < 2 {
		t.Errorf("containers %v of the running Pod: want the app and its sidecar", lived.Containers)
	}
	if diff := cmp.Diff(lived, lifeOf(t, r.Scene, app.pod)); diff != "" {
		t.Errorf("the running Pod (-before +after the %s):\n%s", what, diff)
	}
	if diff := cmp.Diff(objects, generated(t, r.Scene, appNamespace)); diff != "" {
		t.Errorf("generated objects (-before +after the %s):\n%s", what, diff)
	}
}

// printed tells the counts, and fails the test when one of them isn't as it should be.
func printed(t *testing.T, what string, count creates, calls int) {
	t.Helper()
	t.Logf("%s: %d annotated Pods were created, %d of them stored; %d failed, %d missed; the app made %d calls",
		what, count.Created, count.Stored, count.Failed, count.Missed, calls)
	if count.Created < 30 || count.Stored == 0 || calls < 100 {
		t.Errorf("%s: too little happened to tell anything", what)
	}
	if count.Failed > 0 || count.Missed > 0 || len(count.Problems) > 0 {
		t.Errorf("%s: %s", what, strings.Join(count.Problems, "\n"))
	}
}

// load is an app that calls one URL from its first moment.
type load struct {
	s    *scene.Scene
	pod  *corev1.Pod
	url  string
	mark caller.State
}

func url(name string) string { return "http://" + host + "/" + name }

// app calls a path of its name.
func (r *release) app(name, kind string) scene.App {
	return scene.App{
		Namespace:      appNamespace,
		Name:           name,
		Kind:           kind,
		PodAnnotations: scene.Target(host),
		Loops:          []string{url(name)},
		Args:           []string{"--timeout", "10s"},
	}
}

// startApp deploys an app and returns when it is answered.
func (r *release) startApp(t *testing.T, name string) *load {
	t.Helper()
	must(t, r.Deploy(t.Context(), r.app(name, "Pod")))
	l := r.load(t, name)
	l.begin(t)
	return l
}

func (r *release) load(t *testing.T, name string) *load {
	t.Helper()
	pod, err := r.Pod(t.Context(), appNamespace, name)
	must(t, err)
	return &load{s: r.Scene, pod: pod, url: url(name)}
}

// begin waits until the app is answered; what it calls from then on is counted.
func (l *load) begin(t *testing.T) {
	t.Helper()
	must(t, scene.Until(t.Context(), "an answer to "+l.url, func(ctx context.Context) (err error) {
		had := l.mark.ByOutcome["200"]
		if l.mark, err = l.s.Caller(l.pod).Loop(ctx, l.url); err == nil && l.mark.ByOutcome["200"] <= had {
			err = fmt.Errorf("%v", l.mark.ByOutcome)
		}
		return err
	}))
}

// unharmed fails the test if a call since the mark wasn't answered over mutual TLS, or if anything
// of the Pod was ever seen in plain text, and returns how many calls there were.
func (l *load) unharmed(t *testing.T) (calls int) {
	t.Helper()
	now, err := l.s.Caller(l.pod).Loop(t.Context(), l.url)
	must(t, err)
	calls = now.Calls - l.mark.Calls
	answered, overTLS := now.ByOutcome["200"]-l.mark.ByOutcome["200"], now.TLSAnswers-l.mark.TLSAnswers
	if answered != calls || overTLS != calls {
		t.Errorf("of %d calls %d were answered, %d over mutual TLS: %v before, %v after",
			calls, answered, overTLS, l.mark.ByOutcome, now.ByOutcome)
	}
	for _, filter := range []partner.Filter{
		{Remote: l.pod.Status.PodIP}, {Path: strings.TrimPrefix(l.url, "http://"+host)},
	} {
		saw, err := l.s.Partner().Summary(t.Context(), filter)
		must(t, err)
		if saw.PlainConnections != 0 || saw.PlaintextBytes != 0 || now.PlainAnswers != 0 || saw.TLSConnections == 0 {
			t.Errorf("%d plain connections with %d bytes in clear reached the partner, and %d over TLS",
				saw.PlainConnections, saw.PlaintextBytes, saw.TLSConnections)
		}
	}
	return calls
}

// stopApp deletes the Pods of the app's namespace and waits until they are gone. The EgressTarget
// that was made for them stays for its retention.
func (r *release) stopApp(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	_, _, err := r.Kubectl(t.Context(), "delete", "pods", "--all", "--namespace", pod.Namespace, "--timeout=60s")
	must(t, err)
}

// prepareTarget writes an EgressTarget that no Pod asks for, and waits until it is programmed.
func (r *release) prepareTarget(t *testing.T) {
	t.Helper()
	must(t, r.Apply(t.Context(),
		"apiVersion: mtls.egress/v1alpha1\nkind: EgressTarget\nmetadata: {name: "+host+", namespace: "+targetNamespace+"}\n"))
	must(t, scene.Until(t.Context(), "the EgressTarget's objects", func(ctx context.Context) error {
		names, err := allObjects(ctx, r.Scene)
		if err == nil && !slices.ContainsFunc(names, func(name string) bool {
			return strings.HasPrefix(name, "networking.istio.io ServiceEntry "+targetNamespace+" ")
		}) {
			err = errors.New("no ServiceEntry")
		}
		return err
	}))
}
