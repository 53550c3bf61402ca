package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/pki"
	"mtls.egress/webhook/test/scene"
)

// patient is how long a call of a loop may take that is expected to succeed, whatever else the
// machine has to do.
const patient = "10s"

// load is an app that calls one URL from the first moment.
type load struct {
	s    *scene.Scene
	pod  *corev1.Pod
	path string
	url  string
	// mark is what it had when what is counted began; the zero value: when it started.
	mark caller.State
}

// newLoad deploys an app that asks for the target and calls a path. It doesn't wait for it.
func newLoad(t *testing.T, s *scene.Scene, app scene.App, path string) *load {
	t.Helper()
	l := &load{s: s, path: path, url: "http://" + host + path}
	app.Loops, app.Args = []string{l.url}, append([]string{"--timeout", patient}, app.Args...)
	if app.Kind == "Pod" {
		app.PodAnnotations = withTarget(app.PodAnnotations)
	} else {
		app.Annotations = withTarget(app.Annotations)
	}
	must(t, s.Deploy(t.Context(), app))
	return l
}

func withTarget(annotations map[string]string) map[string]string {
	all := scene.Target(host)
	maps.Copy(all, annotations)
	return all
}

// underLoad deploys an app and returns when it is answered.
func underLoad(t *testing.T, s *scene.Scene, app scene.App, path string) *load {
	t.Helper()
	l := newLoad(t, s, app, path)
	l.runs(t, app)
	l.answered(t)
	return l
}

// recreated deletes the app's Pods and waits until a new one runs.
func (l *load) recreated(t *testing.T, app scene.App) {
	t.Helper()
	_, _, err := l.s.Kubectl(t.Context(), "--namespace", app.Namespace, "delete", "pods", "--selector", "app="+app.Name)
	must(t, err)
	l.mark = caller.State{}
	l.runs(t, app)
}

// runs waits until the app runs, ready or not.
func (l *load) runs(t *testing.T, app scene.App) {
	t.Helper()
	var err error
	l.pod, err = l.s.Pod(t.Context(), app.Namespace, app.Name)
	must(t, err)
}

// state is what the loop has had so far.
func (l *load) state(t *testing.T) caller.State {
	t.Helper()
	state, err := l.s.Caller(l.pod).Loop(t.Context(), l.url)
	must(t, err)
	return state
}

// answered waits until a call that began after now is answered by the partner.
func (l *load) answered(t *testing.T) {
	t.Helper()
	outcomesSince(t, l.s, l.pod, l.url, 1, func(got map[caller.Outcome]int) bool { return got["200"] > 0 })
}

// begin waits until the app is answered; what it calls from then on is counted.
func (l *load) begin(t *testing.T) {
	t.Helper()
	l.answered(t)
	l.mark = l.state(t)
}

// fails waits until a call that began after now is not answered by the partner.
func (l *load) fails(t *testing.T) {
	t.Helper()
	outcomesSince(t, l.s, l.pod, l.url, 1,
		func(got map[caller.Outcome]int) bool { return len(got) > 1 || got["200"] == 0 })
}

// reached waits until the loop has made so many calls since the mark.
func (l *load) reached(t *testing.T, calls int) {
	t.Helper()
	must(t, scene.Until(t.Context(), "calls of "+l.url, func(ctx context.Context) error {
		state, err := l.s.Caller(l.pod).Loop(ctx, l.url)
		if err == nil && state.Calls < l.mark.Calls+calls {
			err = fmt.Errorf("%d of %d", state.Calls-l.mark.Calls, calls)
		}
		return err
	}))
}

// unharmed fails the test if a call since the mark wasn't answered over mutual TLS, and returns how
// many there were.
func (l *load) unharmed(t *testing.T, while string) (calls int) {
	t.Helper()
	now := l.state(t)
	calls = now.Calls - l.mark.Calls
	if got := outcomesBetween(l.mark, now); calls == 0 || got["200"] != calls ||
		now.TLSAnswers-l.mark.TLSAnswers != calls {
		t.Errorf("while %s: of %d calls %d were answered over mutual TLS, by outcome: %v",
			while, calls, now.TLSAnswers-l.mark.TLSAnswers, got)
	}
	return calls
}

// row writes the row of the table for the calls of these apps since their marks.
func row(t *testing.T, s *scene.Scene, fault, path string, loads ...*load) {
	t.Helper()
	made := figures{Promise: "Never plaintext", Fault: fault}
	for _, l := range loads {
		l.count(t, &made)
	}
	neverPlain(t, seen(t, s, partner.Filter{Path: path}), made)
}

// count adds the calls since the mark to a row.
func (l *load) count(t *testing.T, row *figures) {
	t.Helper()
	now := l.state(t)
	if now.PlainAnswers != 0 {
		t.Errorf("while %s: %d answers came without TLS", row.Fault, now.PlainAnswers)
	}
	calls := now.Calls - l.mark.Calls
	row.Requests += calls
	row.Failed += calls - outcomesBetween(l.mark, now)["200"]
	nothingPlainFrom(t, l.s, l.pod)
}

// connectionsOf are those that came from a Pod; another may have had its address before.
func connectionsOf(ctx context.Context, s *scene.Scene, pod *corev1.Pod) ([]partner.Connection, error) {
	connections, err := s.Partner().Connections(ctx, partner.Filter{Remote: pod.Status.PodIP})
	return slices.DeleteFunc(connections,
		func(c partner.Connection) bool { return c.Began.Before(pod.CreationTimestamp.Time) }), err
}

// nothingPlainFrom fails the test if the partner got anything without TLS from a Pod, whatever it
// was.
func nothingPlainFrom(t *testing.T, s *scene.Scene, pod *corev1.Pod) {
	t.Helper()
	connections, err := connectionsOf(t.Context(), s, pod)
	must(t, err)
	for _, c := range connections {
		if c.Kind == partner.KindPlain {
			t.Errorf("from %s %d bytes without TLS came to port %d: %q", pod.Name, c.PlaintextBytes, c.Port, c.Plaintext)
		}
	}
}

// stopDeployment scales a Deployment to nothing and returns when none of its Pods is left. start
// brings it back; the end of the test does, if nobody else has.
func stopDeployment(t *testing.T, s *scene.Scene, namespace, name string) (start func()) {
	t.Helper()
	deployment, err := s.Client.AppsV1().Deployments(namespace).Get(t.Context(), name, metav1.GetOptions{})
	must(t, err)
	scale := func(ctx context.Context, replicas int32) error {
		_, _, err := s.Kubectl(ctx, "--namespace", namespace, "scale", "deployment", name,
			"--replicas", strconv.Itoa(int(replicas)))
		return err
	}
	start = sync.OnceFunc(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(
			scale(ctx, *deployment.Spec.Replicas), s.Rollout(ctx, namespace, "deployment/"+name),
		); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(start)
	must(t, scale(t.Context(), 0))
	must(t, scene.Until(t.Context(), "the end of "+name, func(ctx context.Context) error {
		pods, err := s.Client.CoreV1().
			Pods(namespace).
			List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(deployment.Spec.Selector)})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("%d Pods are left", len(pods.Items))
		}
		return err
	}))
	return start
}

// TestWhoDidNotAskIsSeenInPlainText is the control of all others here: the same calls of a Pod that
// didn't ask are seen, on either port.
func TestWhoDidNotAskIsSeenInPlainText(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns := namespace(t, s)
	if s.Mesh().Mode() == cluster.RegistryOnly {
		// There nobody is seen.
		applyIn(t, s, ns, outboundPolicy(s.Mesh(), cluster.AllowAny))
	}
	const path = "/control"
	must(t, s.Deploy(
		t.Context(),
		scene.App{Namespace: ns, Name: "neighbor", Args: []string{"--timeout", patient}, Loops: []string{
			"http://" + host + path, "http://" + host + ":443" + path,
		}},
	))
	pod, err := s.ReadyPod(t.Context(), ns, "neighbor")
	must(t, err)
	for _, port := range []int{80, 443} {
		must(t, scene.Until(t.Context(), fmt.Sprintf("plain text at port %d", port), func(ctx context.Context) error {
			saw, err := s.Partner().Summary(ctx, partner.Filter{Path: path, Remote: pod.Status.PodIP, Port: port})
			if err == nil && (saw.PlainConnections == 0 || saw.PlaintextBytes == 0) {
				err = fmt.Errorf("the partner saw %+v", saw)
			}
			return err
		}))
	}
	connections, err := connectionsOf(t.Context(), s, pod)
	must(t, err)
	if !slices.ContainsFunc(connections, func(c partner.Connection) bool { return c.Kind == partner.KindPlain }) {
		t.Error("none of the plain connections is found by the Pod's address")
	}
}

// TestTheFirstPodOfATarget is there before anything is programmed for it.
func TestTheFirstPodOfATarget(t *testing.T) {
	t.Parallel()
	s := play(t)
	native := map[string]string{}
	if s.Mesh().PlainSidecars {
		native["sidecar.istio.io/nativeSidecar"] = "true"
	}
	for sidecar, annotations := range map[string]map[string]string{
		"native sidecar":         native,
		"sidecar beside the app": {"sidecar.istio.io/nativeSidecar": "false"}, // The app calls before its sidecar works.
	} {
		t.Run(sidecar, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t, s)
			made := credential(t, s, ns, "first")
			path := "/first-" + strings.Fields(sidecar)[0]
			l := underLoad(t, s, scene.App{Namespace: ns, Name: "first", PodAnnotations: annotations}, path)
			if state := l.state(t); state.ByClientSerial[made.Serial()] != state.ByOutcome["200"] {
				t.Errorf("%d of %d answers came with the certificate %s: %v",
					state.ByClientSerial[made.Serial()], state.ByOutcome["200"], made.Serial(), state.ByClientSerial)
			}
			row(t, s, "the Pod is the first of its target; "+sidecar, path, l)
		})
	}
}

// TestTheEgressTargetIsDeletedUnderLoad: it and its objects stay for as long as a Pod needs them,
// also one that comes later.
func TestTheEgressTargetIsDeletedUnderLoad(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns := namespace(t, s)
	credential(t, s, ns, "deleted")
	const path = "/target-deleted"
	l := underLoad(t, s, scene.App{Namespace: ns, Name: "deleted"}, path)
	l.begin(t)
	_, _, err := s.Kubectl(t.Context(), "--namespace", ns, "delete", "egresstarget", host, "--wait=false")
	must(t, err)
	must(t, hasCondition(t.Context(), s, ns, host, v1alpha1.ConditionReady, metav1.ConditionFalse, "DeletionPending"))
	late := underLoad(t, s, scene.App{Namespace: ns, Name: "late"}, path+"/late")
	l.reached(t, 100)
	l.unharmed(t, "the EgressTarget is being deleted")
	row(t, s, "the EgressTarget is deleted", path, l, late)

	_, _, err = s.Kubectl(t.Context(), "--namespace", ns, "delete", "deployment", "deleted", "late",
		"--cascade=foreground", "--wait")
	must(t, err)
	_, _, err = s.Kubectl(t.Context(), "--namespace", ns, "wait", "--for=delete", "egresstarget/"+host, "--timeout=120s")
	must(t, err)
	left, _, err := s.Kubectl(t.Context(), "--namespace", ns, "get",
		"serviceentries,virtualservices,destinationrules", "--output", "name")
	must(t, err)
	if left != "" {
		t.Errorf("when no Pod is left these are:\n%s", left)
	}
}

// secretFault is something that happens to a Secret.
type secretFault struct {
	// do makes it happen.
	do func(t *testing.T, s *scene.Scene, namespace string)
	// mounted is what the sidecar then finds as its certificate; empty: no file. Nil: what it had.
	mounted func(t *testing.T, found []byte, readable bool) error
	// running says that Pods that run keep their calls.
	running bool
}

const secretName = "external-system-mtls-data"

func secretFaults() map[string]secretFault {
	write := func(
		change func(t *testing.T, s *scene.Scene, made scene.Credential) map[string][]byte,
	) func(*testing.T, *scene.Scene, string) {
		return func(t *testing.T, s *scene.Scene, namespace string) {
			t.Helper()
			made, err := s.Credential("other")
			must(t, err)
			must(t, s.WriteSecret(t.Context(), namespace, secretName, change(t, s, made)))
		}
	}
	foreignPair := func(t *testing.T) pki.Pair {
		t.Helper()
		ca, err := pki.Authority("Somebody Else's CA")
		must(t, err)
		pair, err := ca.Sign(pki.Client("other"))
		must(t, err)
		return pair
	}
	changed := func(_ *testing.T, found []byte, readable bool) error {
		if !readable || len(found) == 0 {
			return errors.New("there is none yet")
		}
		return nil
	}
	gone := func(_ *testing.T, _ []byte, readable bool) error {
		if readable {
			return errors.New("it is still there")
		}
		return nil
	}
	return map[string]secretFault{
		"the Secret is deleted": {running: true, do: func(t *testing.T, s *scene.Scene, namespace string) {
			t.Helper()
			must(t, s.Client.CoreV1().Secrets(namespace).Delete(t.Context(), secretName, metav1.DeleteOptions{}))
		}},
		"the Secret is emptied": {
			running: true,
			mounted: gone,
			do:      write(func(*testing.T, *scene.Scene, scene.Credential) map[string][]byte { return nil }),
		},
		"the Secret is replaced by garbage": {
			running: true,
			mounted: changed,
			do: write(func(_ *testing.T, _ *scene.Scene, made scene.Credential) map[string][]byte {
				data := made.Data(scene.LayoutCert)
				data["cert"], data["key"] = []byte("garbage"), []byte("garbage")
				return data
			}),
		},
		"the Secret's key is another's": {
			running: true,
			mounted: changed,
			do: write(func(t *testing.T, _ *scene.Scene, made scene.Credential) map[string][]byte {
				t.Helper()
				data := made.Data(scene.LayoutCert)
				data["key"] = foreignPair(t).KeyPEM
				return data
			}),
		},
		"the certificate is replaced by one of a CA that the partner doesn't know": {mounted: changed, do: write(
			func(t *testing.T, s *scene.Scene, _ scene.Credential) map[string][]byte {
				t.Helper()
				return scene.Credential{Pair: foreignPair(t), ServerCA: s.ServerCA.CertPEM}.Data(scene.LayoutCert)
			})},
		"the server's CA is replaced by another": {
			mounted: changed,
			do: write(func(t *testing.T, _ *scene.Scene, made scene.Credential) map[string][]byte {
				t.Helper()
				ca, err := pki.Authority("Somebody Else's CA")
				must(t, err)
				made.ServerCA = ca.CertPEM
				return made.Data(scene.LayoutCert)
			}),
		},
	}
}

// TestTheSecretIsBroken has connections live for a second only, so that it is seen what new ones
// do.
func TestTheSecretIsBroken(t *testing.T) {
	t.Parallel()
	number := 0
	for name, fault := range secretFaults() {
		number++
		path := "/secret-" + strconv.Itoa(number)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := play(t)
			ns := namespace(t, s)
			made := credential(t, s, ns, "secret")
			must(t, s.Apply(
				t.Context(),
				"apiVersion: mtls.egress/v1alpha1\nkind: EgressTarget\nmetadata: {name: "+host+", namespace: "+
					ns+"}\nspec: {connection: {maxAge: 1s}}\n",
			))
			l := underLoad(t, s, scene.App{Namespace: ns, Name: "running"}, path)
			before, err := readMounted(t.Context(), s, l.pod)
			must(t, err)
			l.begin(t)

			fault.do(t, s, ns)
			if fault.mounted != nil {
				must(t, scene.Until(t.Context(), "the sidecar's certificate", func(ctx context.Context) error {
					found, err := readMounted(ctx, s, l.pod)
					if err == nil && found == before {
						return errors.New("it is still the one of before")
					}
					return fault.mounted(t, []byte(found), err == nil)
				}))
			}
			// Beside its sidecar, so that it calls whatever state that is in.
			lateApp := scene.App{
				Namespace:      ns,
				Name:           "late",
				PodAnnotations: map[string]string{"sidecar.istio.io/nativeSidecar": "false"},
			}
			late := newLoad(t, s, lateApp, path+"/late")
			if fault.running {
				had, err := connectionsOf(t.Context(), s, l.pod)
				must(t, err)
				must(t, scene.Until(t.Context(), "new connections", func(ctx context.Context) error {
					now, err := connectionsOf(ctx, s, l.pod)
					if err == nil && len(now) < len(had)+3 {
						err = fmt.Errorf("%d of 3", len(now)-len(had))
					}
					return err
				}))
				l.unharmed(t, name)
			} else {
				l.fails(t)
			}
			started := fault.mounted != nil
			if started {
				late.runs(t, lateApp)
				late.reached(t, 10)
				if state := late.state(t); state.ByOutcome["200"] != 0 {
					t.Errorf("a Pod that started while %s: %v", name, state.ByOutcome)
				}
			} else {
				must(t, scene.Until(t.Context(), "a Pod that waits for the Secret", func(ctx context.Context) error {
					events, err := s.Client.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedMount"})
					if err == nil && len(events.Items) == 0 {
						err = errors.New("no Pod does")
					}
					return err
				}))
			}

			must(t, s.WriteSecret(t.Context(), ns, secretName, made.Data(scene.LayoutCert)))
			late.runs(t, lateApp)
			late.answered(t)
			l.answered(t)
			row(t, s, name, path, l, late)
		})
	}
}

// readMounted is the certificate that the sidecar of a Pod finds; an error is that there is none.
func readMounted(ctx context.Context, s *scene.Scene, pod *corev1.Pod) (string, error) {
	stdout, _, err := s.Kubectl(ctx, "--namespace", pod.Namespace, "exec", pod.Name, "--container", "istio-proxy", "--",
		"sh", "-c", "cat /etc/mtls-egress/"+host+"/cert /etc/mtls-egress/"+host+"/key /etc/mtls-egress/"+host+"/cacert")
	return stdout, err
}

// TestHandEditsAreRefused: with the protection on nobody but the controller deletes or changes what
// is generated, and traffic doesn't notice the attempt.
func TestHandEditsAreRefused(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns := namespace(t, s)
	credential(t, s, ns, "edited")
	const path = "/hand-edits"
	l := underLoad(t, s, scene.App{Namespace: ns, Name: "edited"}, path)
	l.begin(t)
	for _, object := range generatedObjects() {
		kind := object.resource + ".networking.istio.io"
		for what, args := range map[string][]string{
			"delete":     {"delete", kind, object.name},
			"delete all": {"delete", kind, "--all"},
			"edit":       {"patch", kind, object.name, "--type", "merge", "--patch", object.edit},
			"relabel":    {"label", kind, object.name, "app.kubernetes.io/managed-by=me", "--overwrite"},
			"disown":     {"patch", kind, object.name, "--type", "merge", "--patch", `{"metadata": {"ownerReferences": null}}`},
		} {
			_, _, err := s.Kubectl(t.Context(), append(args, "--namespace", ns)...)
			const refusal = "is generated from an EgressTarget and provides mutual TLS for Pods"
			if err == nil || !strings.Contains(err.Error(), refusal) {
				t.Errorf("%s of %s %s: %v; want it refused because it is generated", what, object.word, object.name, err)
			}
		}
	}
	l.reached(t, 100)
	l.unharmed(t, "objects are edited by hand")
	row(t, s, "deletion and edits by hand, refused", path, l)
}

// TestPartsAreStoppedUnderLoad stops what isn't in the data path, one after the other, with apps
// that call all the time and Pods that start meanwhile.
func TestPartsAreStoppedUnderLoad(t *testing.T) {
	s := play(t)
	ns := namespace(t, s)
	credential(t, s, ns, "stopped")
	const path = "/stopped"
	l := underLoad(t, s, scene.App{Namespace: ns, Name: "running"}, path+"/running")
	// late makes a Pod that starts when it is told to, as many of these parts are needed to create
	// one.
	late := func(t *testing.T, name string, annotations map[string]string) (started func() *load) {
		t.Helper()
		must(t, s.AwaitAdmission(t.Context(), ns))
		app := scene.App{Namespace: ns, Name: "late-" + name, Kind: "Pod", Spec: gated, PodAnnotations: annotations}
		made := newLoad(t, s, app, path+"/late-"+name)
		return func() *load {
			t.Helper()
			made.pod = startGated(t, s, ns, app.Name)
			return made
		}
	}
	create := func(t *testing.T, name string, annotations map[string]string) error {
		t.Helper()
		return s.Deploy(t.Context(),
			scene.App{Namespace: ns, Name: name, Kind: "Pod", Spec: gated, PodAnnotations: annotations})
	}

	t.Run("controller and webhook", func(t *testing.T) {
		starts := late(t, "webhook", nil)
		l.begin(t)
		startWebhook := stopDeployment(t, s, scene.Namespace, scene.Webhook)
		startController := stopDeployment(t, s, scene.Namespace, scene.Controller)
		if err := create(t, "refused", scene.Target(host)); err == nil ||
			!strings.Contains(err.Error(), "failed calling webhook") {
			t.Errorf("an annotated Pod, without the webhook: %v; want it refused", err)
		}
		must(t, create(t, "unannotated", nil))
		meanwhile := starts()
		meanwhile.answered(t)
		l.reached(t, 100)
		l.unharmed(t, "controller and webhook are stopped")
		startWebhook()
		startController()
		must(t, scene.Until(t.Context(), "an annotated Pod",
			func(context.Context) error { return create(t, "admitted", scene.Target(host)) }))
		l.unharmed(t, "controller and webhook are stopped and started")
		row(t, s, "controller and webhook are stopped and started", path, l, meanwhile)
	})

	t.Run("istiod", func(t *testing.T) {
		// Beside its sidecar, so that it calls although that never gets ready.
		if !s.Own {
			skip(t, "istiod of the cluster in KUBECONFIG isn't ours to stop")
		}
		starts := late(t, "istiod", map[string]string{"sidecar.istio.io/nativeSidecar": "false"})
		l.begin(t)
		start := stopDeployment(t, s, "istio-system", "istiod")
		meanwhile := starts()
		meanwhile.reached(t, 5)
		if state := meanwhile.state(t); state.ByOutcome["200"] != 0 {
			t.Errorf("a Pod that started without istiod: %v", state.ByOutcome)
		}
		l.reached(t, 100)
		l.unharmed(t, "istiod is stopped")
		start()
		meanwhile.answered(t)
		l.unharmed(t, "istiod is stopped and started")
		row(t, s, "istiod is stopped and started", path, l, meanwhile)
	})

	t.Run("API server", func(t *testing.T) {
		if !s.Own {
			skip(t, "the API server of the cluster in KUBECONFIG can't be stopped")
		}
		before := restarts(t, s)
		l.begin(t)
		must(t, s.StopComponent(t.Context(), "kube-apiserver"))
		t.Cleanup(func() { must(t, s.AwaitAPIServer(context.WithoutCancel(t.Context()))) })
		// Longer than a leader may go without its Lease, so that the controller ends and is started
		// again.
		heldUntil := time.Now().Add(leaseLost)
		direct := &caller.Client{Do: func(ctx context.Context, method, path string, _ []byte) ([]byte, error) {
			return fetch(ctx, method, "http://"+net.JoinHostPort(l.pod.Status.PodIP, "9100")+path)
		}}
		must(t, scene.Until(t.Context(), "calls without the API server", func(ctx context.Context) error {
			state, err := direct.Loop(ctx, l.url)
			if err == nil && (state.Calls < l.mark.Calls+100 || time.Now().Before(heldUntil)) {
				err = fmt.Errorf("%d calls", state.Calls-l.mark.Calls)
			}
			return err
		}))
		must(t, s.StartComponent("kube-apiserver"))
		must(t, s.AwaitAPIServer(t.Context()))
		ledSince(t, s, time.Now())
		meanwhile := late(t, "apiserver", nil)()
		meanwhile.answered(t)
		// The API server asks for admission the moment it is back. Only controllers end with their Lease.
		if diff := cmp.Diff(before, restarts(t, s)); diff != "" {
			t.Errorf("restarts of the webhook's containers (-before +after):\n%s", diff)
		}
		l.unharmed(t, "the API server is stopped and started")
		row(t, s, "the API server is stopped and started", path, l, meanwhile)
	})

	t.Run("chart upgrade", func(t *testing.T) {
		t.Cleanup(func() { must(t, s.Install(context.WithoutCancel(t.Context()))) })
		l.begin(t)
		must(t, s.AwaitAdmission(t.Context(), ns))
		created := makePodsUntil(t, s, ns, func() error { return s.Install(t.Context(), "log.level=debug") })
		if created == 0 {
			t.Error("no Pod was created meanwhile")
		}
		meanwhile := late(t, "upgrade", nil)()
		meanwhile.answered(t)
		l.unharmed(t, "the chart is upgraded")
		row(t, s, "the chart is upgraded, and Pods are created all the time", path, l, meanwhile)
	})

	t.Run("helm uninstall", func(t *testing.T) {
		l.begin(t)
		_, _, err := s.Helm(t.Context(), "uninstall", scene.Release, "--namespace", scene.Namespace,
			"--wait", "--timeout", "60s")
		if err == nil || !strings.Contains(err.Error(), "the webhook is in use") {
			t.Errorf("helm uninstall, while Pods need the webhook: %v; want it refused", err)
		}
		must(t, s.AwaitAdmission(t.Context(), ns))
		must(t, create(t, "after-uninstall", scene.Target(host)))
		l.reached(t, 100)
		l.unharmed(t, "helm uninstall is refused")
		row(t, s, "helm uninstall, refused", path, l)
	})

	t.Run("helm uninstall --no-hooks", func(t *testing.T) {
		starts := late(t, "uninstall", nil)
		l.begin(t)
		t.Cleanup(func() { must(t, s.Install(context.WithoutCancel(t.Context()))) })
		_, _, err := s.Helm(t.Context(), "uninstall", scene.Release, "--namespace", scene.Namespace, "--no-hooks", "--wait")
		must(t, err)
		meanwhile := starts()
		meanwhile.answered(t)
		l.reached(t, 100)
		l.unharmed(t, "the chart is uninstalled")
		must(t, s.Install(t.Context()))
		_, _, err = s.Kubectl(t.Context(), "--namespace", ns, "wait", "--for=condition=Ready",
			"egresstarget/"+host, "--timeout=60s")
		must(t, err)
		must(t, s.AwaitAdmission(t.Context(), ns))
		must(t, create(t, "reinstalled", scene.Target(host)))
		l.unharmed(t, "the chart is uninstalled and installed again")
		row(t, s, "helm uninstall --no-hooks, and install again", path, l, meanwhile)
	})
}

// restarts is how often the containers of the webhook have started again, by Pod.
func restarts(t *testing.T, s *scene.Scene) map[string]int32 {
	t.Helper()
	pods, err := s.Client.CoreV1().
		Pods(scene.Namespace).
		List(t.Context(), metav1.ListOptions{LabelSelector: scene.WebhookLabel})
	must(t, err)
	counts := map[string]int32{}
	for _, pod := range pods.Items {
		for _, status := range pod.Status.ContainerStatuses {
			counts[pod.Name] += status.RestartCount
		}
	}
	return counts
}

// ledSince waits until a controller holds the Lease that was renewed after a time.
func ledSince(t *testing.T, s *scene.Scene, since time.Time) {
	t.Helper()
	must(t, scene.Until(t.Context(), "a controller that leads again", func(ctx context.Context) error {
		lease, err := s.Client.CoordinationV1().Leases(scene.Namespace).Get(ctx, scene.Controller, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if renewed := lease.Spec.RenewTime; renewed == nil || renewed.Time.Before(since) {
			return fmt.Errorf("the Lease was renewed at %v", renewed)
		}
		return nil
	}))
}

// leaseLost is longer than the leader of the controllers tries to renew its Lease, 10 s.
const leaseLost = 12 * time.Second

// makePodsUntil creates annotated Pods, none of which starts, for as long as something else takes,
// fails the test for each that isn't admitted and injected, and counts them.
func makePodsUntil(t *testing.T, s *scene.Scene, namespace string, work func() error) (created int) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- work() }()
	pods := s.Client.CoreV1().Pods(namespace)
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case err := <-done:
			must(t, err)
			return created
		case <-pace.C:
		}
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "meanwhile-", Annotations: scene.Target(host)},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: s.Image("actor")}}},
		}
		gated(&pod.Spec)
		made, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
		if err != nil {
			t.Errorf("Pod %d: %v", created+1, err)
			continue
		}
		created++
		if made.Labels["to.mtls.egress/"+host] != "true" || len(made.Spec.HostAliases) != 1 {
			t.Errorf("Pod %d was admitted without being injected: labels %v, aliases %v",
				created, made.Labels, made.Spec.HostAliases)
		}
		must(t, pods.Delete(t.Context(), made.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	}
}

// fetch reads the body of an answer 200.
func fetch(ctx context.Context, method, url string) (body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	return io.ReadAll(response.Body)
}
