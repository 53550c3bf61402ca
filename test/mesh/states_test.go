package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/scene"
)

// presence is which of the generated objects of a target there are.
type presence uint8

const (
	withAnchor presence = 1 << iota
	withListener
	withVirtualService
	withDestinationRule
	withServiceEntry

	withNothing    presence = 0
	withEverything          = withAnchor | withListener | withVirtualService | withDestinationRule | withServiceEntry
)

// has reports whether all of these are there.
func (p presence) has(these presence) bool { return p&these == these }

func (p presence) String() string {
	var there []string
	for _, object := range generatedObjects() {
		if p.has(object.bit) {
			there = append(there, object.word)
		}
	}
	if there == nil {
		return "nothing"
	}
	return strings.Join(there, "+")
}

// generatedObject is one of the five.
type generatedObject struct {
	bit            presence
	word           string
	resource, name string
	// edit is a merge patch of its spec that Istio admits and that breaks it.
	edit string
}

func generatedObjects() []generatedObject {
	return []generatedObject{
		{withAnchor, "anchor", "serviceentries", "mtls-egress", `{"spec": {"hosts": ["anchor.example.com"]}}`},
		{withListener, "listener", "serviceentries", egress.ListenerName(host), `{"spec": {"addresses": ["203.0.113.9"]}}`},
		{
			withVirtualService, "VirtualService", "virtualservices", "mtls-egress-" + host,
			`{"spec": {"hosts": ["elsewhere.example.com"]}}`,
		},
		{withDestinationRule, "DestinationRule", "destinationrules", "mtls-egress-" + host, `{"spec": {"subsets": null}}`},
		{
			withServiceEntry, "ServiceEntry", "serviceentries", "mtls-egress-" + host,
			`{"spec": {"hosts": ["elsewhere.example.com"]}}`,
		},
	}
}

func (o generatedObject) gvr() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: o.resource}
}

// tour walks from everything through all states, along every way of adding or removing one object
// exactly once, and back to everything. It is Hierholzer's algorithm on the cube of states, where
// as many ways lead to each corner as lead away from it.
func tour() []presence {
	left := map[presence][]presence{}
	for state := withNothing; state <= withEverything; state++ {
		for bit := withAnchor; bit <= withServiceEntry; bit <<= 1 {
			left[state] = append(left[state], state^bit)
		}
	}
	var walked []presence
	for stack := []presence{withEverything}; len(stack) > 0; {
		at := stack[len(stack)-1]
		if ways := left[at]; len(ways) > 0 {
			stack, left[at] = append(stack, ways[0]), ways[1:]
			continue
		}
		walked, stack = append(walked, at), stack[:len(stack)-1]
	}
	slices.Reverse(walked)
	return walked
}

// shortTour walks from everything through each other state once, by removing or adding one object
// at a time, and back to everything. It is the reflected Gray code.
func shortTour() []presence {
	var walked []presence
	for n := withNothing; n <= withEverything; n++ {
		walked = append(walked, withEverything^n^n>>1)
	}
	return append(walked, withEverything)
}

func TestTheShortTourIsInEveryStateOnce(t *testing.T) {
	walked := shortTour()
	been := map[presence]int{}
	for i, at := range walked[1:] {
		been[at]++
		if step := at ^ walked[i]; step&(step-1) != 0 || step == 0 {
			t.Errorf("from %s to %s: more than one object differs, or none", walked[i], at)
		}
	}
	for state := withNothing; state <= withEverything; state++ {
		if been[state] != 1 {
			t.Errorf("%s: %d times, want once", state, been[state])
		}
	}
	if walked[0] != withEverything || walked[len(walked)-1] != withEverything {
		t.Errorf("from %s to %s, want from everything to everything", walked[0], walked[len(walked)-1])
	}
}

func TestTheTourTakesEveryWayOnce(t *testing.T) {
	walked := tour()
	taken := map[[2]presence]int{}
	for i := range len(walked) - 1 {
		taken[[2]presence{walked[i], walked[i+1]}]++
	}
	for from := withNothing; from <= withEverything; from++ {
		for bit := withAnchor; bit <= withServiceEntry; bit <<= 1 {
			if n := taken[[2]presence{from, from ^ bit}]; n != 1 {
				t.Errorf("from %s to %s: taken %d times, want once", from, from^bit, n)
			}
		}
	}
	if ways := 32 * 5; len(taken) != ways || walked[0] != withEverything || walked[ways] != withEverything {
		t.Errorf("the tour takes %d ways from %s to %s, want %d from everything to everything",
			len(taken), walked[0], walked[len(walked)-1], ways)
	}
}

// walk is a namespace in which the objects of a target are removed and added by hand, while apps
// call all the time.
type walk struct {
	s         *scene.Scene
	namespace string
	// mode is that of the outbound traffic policy. sidecar is what a Sidecar of the namespace needs to
	// have it; empty: the mesh has it.
	mode, sidecar string
	// path of all URLs.
	path    string
	made    scene.Credential
	objects map[presence]*unstructured.Unstructured
	// pod calls from beginning to end. The late ones start while the walk is under way, in the state
	// that they are the key of.
	pod  *corev1.Pod
	late map[presence]string
	// lateCalls and lateFailed count the calls of the late Pods.
	lateCalls, lateFailed int
	// pushes counts the calls of push.
	pushes int
	// spellings are other ways to write the host, with which the app calls in each state; empty: none.
	// spelledCalls and spelledFailed count these calls.
	spellings                   []string
	spelledCalls, spelledFailed int
	// before is the state in which it called so last.
	before presence
	// way is the states in the order of the walk, and order says how they follow each other.
	way   []presence
	order string
}

// walkTimeout ends each call of the walk: short, as one that ends at the sinkhole takes all of it.
// So on a busy machine a call can time out in any state.
const walkTimeout = 300 * time.Millisecond

func (w *walk) url() string { return "http://" + host + w.path }

// outcomes are what a call can come to in a state, besides a timeout. One of them must be seen,
// unless a timeout is among them.
func (w *walk) outcomes(p presence) []caller.Outcome {
	registryOnly := w.mode == cluster.RegistryOnly
	switch {
	case p|withAnchor == withEverything || p|withListener == withEverything:
		return []caller.Outcome{"200"} // One of anchor and listener is enough.
	case p.has(withAnchor|withVirtualService) && !p.has(withListener), p.has(withListener | withVirtualService):
		return []caller.Outcome{"503"} // The route leads to a cluster that isn't there.
	case p.has(withListener|withAnchor) && registryOnly:
		return []caller.Outcome{
			caller.OutcomeTimeout, "503", "502",
		} // A kept connection stays with the listener that the anchor made.
	case p.has(withListener):
		return []caller.Outcome{caller.OutcomeTimeout, "503"} // It leads to the listener's own endpoint, which is nowhere.
	case p.has(withAnchor) && registryOnly:
		return []caller.Outcome{"502"} // The sidecar listens, and the host isn't in its registry.
	case registryOnly:
		return []caller.Outcome{
			caller.OutcomeEOF,
			caller.OutcomeReset,
		} // It doesn't even listen for HTTP: the connection leads to Istio's black hole.
	case p.has(withAnchor):
		return []caller.Outcome{caller.OutcomeTimeout, "503"} // It connects to the sinkhole, and times out.
	case w.mode == cluster.AllowAnyDynamicDNS:
		// It looks the name up where the app does, and finds the sinkhole.
		return []caller.Outcome{caller.OutcomeTimeout, caller.OutcomeReset, caller.OutcomeEOF, "503"}
	default:
		return []caller.Outcome{caller.OutcomeTimeout, caller.OutcomeReset, caller.OutcomeEOF}
	}
}

// lateStates are those in which a Pod starts: what a first Pod finds, and those that come closest
// to mutual TLS.
func lateStates() []presence {
	return []presence{
		withNothing, withAnchor | withServiceEntry, withAnchor | withServiceEntry | withDestinationRule,
		withAnchor | withVirtualService | withServiceEntry, withListener | withServiceEntry | withDestinationRule,
		withListener | withVirtualService | withServiceEntry,
	}
}

// gated keeps a Pod from being scheduled until startGated. So a Pod can start while nobody could
// create one, as a webhook is down.
func gated(spec *corev1.PodSpec) {
	spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "mtls.egress/test"}}
}

// startGated lets a gated Pod start and returns it when its containers run, ready or not.
func startGated(t *testing.T, s *scene.Scene, namespace, name string) *corev1.Pod {
	t.Helper()
	_, err := s.Client.CoreV1().
		Pods(namespace).
		Patch(t.Context(), name, types.JSONPatchType,
			[]byte(`[{"op": "remove", "path": "/spec/schedulingGates"}]`), metav1.PatchOptions{})
	must(t, err)
	pod, err := s.Pod(t.Context(), namespace, name)
	must(t, err)
	return pod
}

// prepare creates the Pods.
func (w *walk) prepare(t *testing.T) {
	t.Helper()
	if w.sidecar != "" {
		w.applySidecar(t, "./*")
	}
	w.made = credential(t, w.s, w.namespace, "walk")
	if w.mode == cluster.AllowAnyDynamicDNS {
		must(t, w.s.ProgramTargets(t.Context(), w.namespace, host)) // Pods wait for that.
	}
	app := scene.App{
		Namespace:   w.namespace,
		Name:        "steady",
		Annotations: scene.Target(host),
		// Else each step that removes a listener would wait 45 s for the last of its connections.
		PodAnnotations: map[string]string{"proxy.istio.io/config": `{"drainDuration": "1s"}`},
		Loops:          []string{w.url() + "/go"},
		Args:           []string{"--timeout", walkTimeout.String()},
	}
	must(t, w.s.Deploy(t.Context(), withForeignClients(t, w.s, app, w.url())))
	w.late = map[presence]string{}
	for _, p := range lateStates() {
		w.late[p] = "late-" + strconv.Itoa(int(p))
		must(t, w.s.Deploy(t.Context(), scene.App{
			Namespace:      w.namespace,
			Name:           w.late[p],
			Kind:           "Pod",
			PodAnnotations: scene.Target(host),
			Loops:          []string{w.url() + "/late"},
			Args:           []string{"--timeout", walkTimeout.String()},
			Spec:           gated,
		}))
	}
}

// applySidecar shows the Pods of the namespace these hosts, as a Sidecar does.
func (w *walk) applySidecar(t *testing.T, hosts ...string) {
	t.Helper()
	applyIn(t, w.s, w.namespace, sidecarFor(w.sidecar, append(hosts, "istio-system/*")...))
}

// begin takes the generated objects over when all is programmed and each client has been answered
// over mutual TLS.
func (w *walk) begin(t *testing.T) {
	t.Helper()
	var err error
	w.pod, err = w.s.ReadyPod(t.Context(), w.namespace, "steady")
	must(t, err)
	for name := range foreignClients() {
		w.overTLS(t, name)
	}
	w.overTLS(t, "go")
	if w.mode == cluster.AllowAnyDynamicDNS {
		w.resolves(t)
	}
	w.objects = map[presence]*unstructured.Unstructured{}
	for _, object := range generatedObjects() {
		found, err := w.s.Dynamic.Resource(object.gvr()).
			Namespace(w.namespace).
			Get(t.Context(), object.name, metav1.GetOptions{})
		must(t, err)
		// With its owner: the controller doesn't own objects without one when it is back.
		kept := &unstructured.Unstructured{
			Object: map[string]any{"apiVersion": found.GetAPIVersion(), "kind": found.GetKind(), "spec": found.Object["spec"]},
		}
		kept.SetName(found.GetName())
		kept.SetLabels(found.GetLabels())
		kept.SetOwnerReferences(found.GetOwnerReferences())
		w.objects[object.bit] = kept
	}
}

// overTLS waits until the partner has answered a client over mutual TLS.
func (w *walk) overTLS(t *testing.T, client string) {
	t.Helper()
	must(t, scene.Until(t.Context(), client+" over mutual TLS", func(ctx context.Context) error {
		saw, err := w.s.Partner().Summary(ctx, partner.Filter{Path: w.path + "/" + client})
		if err == nil && saw.ByClientSerial[w.made.Serial()].Requests == 0 {
			err = fmt.Errorf("the partner saw %+v", saw)
		}
		return err
	}))
}

// step adds or removes the objects in which two states differ.
func (w *walk) step(ctx context.Context, from, to presence) error {
	for _, object := range generatedObjects() {
		client := w.s.Dynamic.Resource(object.gvr()).Namespace(w.namespace)
		switch {
		case from.has(object.bit) && !to.has(object.bit):
			if err := client.Delete(ctx, object.name, metav1.DeleteOptions{}); err != nil {
				return err
			}
		case !from.has(object.bit) && to.has(object.bit):
			if _, err := client.Create(ctx, w.objects[object.bit].DeepCopy(), metav1.CreateOptions{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// push has istiod send the sidecars of the namespace everything, as it does for each new
// EnvoyFilter beside them.
func (w *walk) push(ctx context.Context) error {
	w.pushes++
	return w.s.Apply(ctx, fmt.Sprintf(`apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: push-%d, namespace: %s}
spec: {workloadSelector: {labels: {app: nobody}}}
`, w.pushes, w.namespace))
}

// looksBeforePush are so many that they take longer than istiod and the sidecar usually do.
const looksBeforePush = 100

// followed waits until the sidecar has all of a state that it can have: it knows of a
// DestinationRule only for a host that it knows, and of a VirtualService only for a port that it
// listens on.
//
// If that takes long, it has istiod push again, as istiod can forget a removal. It reads the
// objects when it begins a push, and tells a sidecar only if that depended on a changed object
// before or after the push. An object that is deleted after the changes of a push for another
// namespace were collected, and before the objects are read, is missing from both looks of the
// push that should report it: [proxyDependentOnConfig], with computeProxyState before it.
//
// [proxyDependentOnConfig]: https://github.com/istio/istio/blob/eed52ebb66ad/pilot/pkg/xds/proxy_dependencies.go
func (w *walk) followed(t *testing.T, p presence) {
	t.Helper()
	looks := 0
	var last error
	must(t, scene.Until(t.Context(), "a sidecar with "+p.String(), func(ctx context.Context) error {
		if looks++; looks%looksBeforePush == 0 {
			t.Logf("%s: pushed again after %d looks at the sidecar: %v", p, looks, last)
			if err := w.push(ctx); err != nil {
				return err
			}
		}
		listeners, err1 := w.admin(ctx, "/listeners")
		clusters, err2 := w.admin(ctx, "/config_dump?resource=dynamic_active_clusters&name_regex=.*"+egress.MeshHost(host))
		routes, err3 := w.admin(ctx, "/config_dump?resource=dynamic_route_configs&name_regex=80")
		ownRoutes, err4 := w.admin(
			ctx, "/config_dump?resource=dynamic_route_configs&name_regex="+egress.ListenerHost(host, 80)+":80",
		)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			return err
		}
		listens := listensAnywhere(listeners, 80)
		var problems []error
		for what, is := range map[string][2]bool{
			"listener for all addresses": {listens, p.has(withAnchor)},
			"listener": {
				strings.Contains(listeners, w.s.Sinkhole().Address(host).String()+"_80::"), p.has(withListener),
			},
			"route of the listener": {
				strings.Contains(ownRoutes, `"outbound|443|mtls-egress|`), p.has(withListener | withVirtualService),
			},
			"cluster": {
				strings.Contains(clusters, `"outbound|443||`+egress.MeshHost(host)+`"`), p.has(withServiceEntry),
			},
			"subset": {
				strings.Contains(clusters, `"outbound|443|mtls-egress|`+egress.MeshHost(host)+`"`),
				p.has(withServiceEntry | withDestinationRule),
			},
			"route": {
				listens && strings.Contains(routes, `"`+host+`:80"`), p.has(withAnchor | withVirtualService),
			},
		} {
			if is[0] != is[1] {
				problems = append(problems, fmt.Errorf("%s: %t, want %t", what, is[0], is[1]))
			}
		}
		last = errors.Join(problems...)
		return last
	}))
}

// admin asks the admin interface of the sidecar.
func (w *walk) admin(ctx context.Context, path string) (string, error) {
	results, err := w.s.Caller(w.pod).Call(ctx, caller.Call{URL: "http://localhost:15000" + path})
	switch {
	case err != nil:
		return "", err
	case results[0].Outcome != "200":
		return "", fmt.Errorf("Envoy's %s: %s %s", path, results[0].Outcome, results[0].Body)
	}
	return results[0].Body, nil
}

// resolves waits until the sidecar resolves hosts itself.
func (w *walk) resolves(t *testing.T) {
	t.Helper()
	const cluster = "AllowAnyDynamicDNSCluster" // as Istio names it
	must(t, scene.Until(t.Context(), "a sidecar that resolves hosts", func(ctx context.Context) error {
		dump, err := w.admin(ctx, "/config_dump?resource=dynamic_active_clusters&name_regex="+cluster)
		if err == nil && !strings.Contains(dump, cluster) {
			err = errors.New("it has no cluster for that")
		}
		return err
	}))
}

// listensAnywhere reports whether Envoy's list of listeners has one for a port of all addresses.
func listensAnywhere(listeners string, port int) bool {
	return strings.Contains("\n"+listeners, fmt.Sprintf("\n%s_%d::", ofFamily("0.0.0.0", "::"), port))
}

// outcomesSince waits until a loop has made some calls that began after it was asked, and enough
// says yes, and counts what came of them.
func outcomesSince(
	t *testing.T,
	s *scene.Scene,
	pod *corev1.Pod,
	url string,
	calls int,
	enough func(map[caller.Outcome]int) bool,
) map[caller.Outcome]int {
	t.Helper()
	var before *caller.State
	underWay := 0
	var outcomes map[caller.Outcome]int
	must(t, scene.Until(t.Context(), "calls of "+url, func(ctx context.Context) error {
		now, err := s.Caller(pod).Loop(ctx, url)
		switch {
		case err != nil:
			return err
		case before == nil:
			before, underWay = &now, now.Calls+1
			return errors.New("none yet")
		case before.Calls < underWay:
			// Of the call that was under way nobody knows in which state it began.
			before = &now
			return errors.New("none yet")
		}
		outcomes = outcomesBetween(*before, now)
		if now.Calls-before.Calls < calls || !enough(outcomes) {
			return fmt.Errorf("%d: %v", now.Calls-before.Calls, outcomes)
		}
		return nil
	}))
	return outcomes
}

// outcomesBetween counts what came of the calls between two looks at a loop.
func outcomesBetween(before, after caller.State) map[caller.Outcome]int {
	outcomes := maps.Clone(after.ByOutcome)
	for outcome, n := range before.ByOutcome {
		if outcomes[outcome] -= n; outcomes[outcome] == 0 {
			delete(outcomes, outcome)
		}
	}
	return outcomes
}

// check fails the test when calls came to something else than they can in a state.
func (w *walk) check(t *testing.T, who string, p presence, got map[caller.Outcome]int) {
	t.Helper()
	for outcome := range got {
		if outcome != caller.OutcomeTimeout && !slices.Contains(w.outcomes(p), outcome) {
			t.Errorf("%s with %s: calls came to %v, want only %v or time-outs", who, p, got, w.outcomes(p))
		}
	}
}

// stay holds a state until the app has had what it has to have there.
func (w *walk) stay(t *testing.T, p presence) {
	t.Helper()
	w.followed(t, p)
	some := func(map[caller.Outcome]int) bool { return true }
	if wanted := w.outcomes(p); !slices.Contains(wanted, caller.OutcomeTimeout) {
		// Envoy's threads take a configuration over one after the other, and what the state before gave
		// may come once more.
		outcomesSince(t, w.s, w.pod, w.url()+"/go", 1, func(got map[caller.Outcome]int) bool {
			return slices.ContainsFunc(wanted, func(outcome caller.Outcome) bool { return got[outcome] > 0 })
		})
	}
	got := outcomesSince(t, w.s, w.pod, w.url()+"/go", 2, some)
	w.check(t, "the running Pod", p, got)
	w.spell(t, p)
}

// spell calls the host as an app may write it as well. Envoy's threads take a configuration over
// one after the other, so a call may come to what it came to in the state before. Where one with a
// trailing dot would have left in plain text then, it isn't made.
func (w *walk) spell(t *testing.T, p presence) {
	t.Helper()
	for _, spelled := range w.spellings {
		if strings.HasSuffix(spelled, ".") && (!keepsDotted(p) || !keepsDotted(w.before)) {
			continue
		}
		must(t, scene.Until(t.Context(), "the host as "+spelled, func(ctx context.Context) error {
			results, err := w.s.Caller(w.pod).Call(ctx, caller.Call{
				URL: "http://" + spelled + w.path + "/spelled", Timeout: caller.Duration(walkTimeout),
			})
			if err != nil {
				return err
			}
			w.spelledCalls++
			outcome := results[0].Outcome
			if outcome != "200" {
				w.spelledFailed++
			}
			if wanted := w.outcomes(p); outcome != caller.OutcomeTimeout && !slices.Contains(wanted, outcome) {
				return fmt.Errorf("with %s a call comes to %s, want only %v or a time-out", p, outcome, wanted)
			}
			return nil
		}))
	}
	w.before = p
}

// keepsDotted reports whether a call to the host with a trailing dot stays in the Pod, or has
// mutual TLS. In the other states, a sidecar that resolves hosts itself finds the partner with it,
// and the call leaves in plain text. docs/reference/annotations.md says so; admission rejects Pods
// until the target is programmed.
func keepsDotted(p presence) bool {
	return p.has(withListener) || p.has(withAnchor|withVirtualService)
}

// startLate lets the late Pod of a state start, checks what it has, and ends it.
func (w *walk) startLate(t *testing.T, p presence) {
	t.Helper()
	pod := startGated(t, w.s, w.namespace, w.late[p])
	var state caller.State
	var outcomes map[caller.Outcome]int
	must(t, scene.Until(t.Context(), "calls of "+pod.Name, func(ctx context.Context) (err error) {
		state, err = w.s.Caller(pod).Loop(ctx, w.url()+"/late")
		calls := state.Calls
		if outcomes = maps.Clone(state.ByOutcome); w.s.Mesh().PlainSidecars {
			calls -= outcomes[caller.OutcomeRefused]
			delete(outcomes, caller.OutcomeRefused) // Its sidecar didn't listen yet.
		}
		if err == nil && calls < 4 {
			err = fmt.Errorf("%d of 4", calls)
		}
		return err
	}))
	w.check(t, "a new Pod", p, outcomes)
	w.lateCalls += state.Calls
	w.lateFailed += state.Calls - state.ByOutcome["200"]
	must(t, w.s.Client.CoreV1().
		Pods(w.namespace).
		Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
}

func (w *walk) takeTour(t *testing.T) {
	t.Helper()
	started := map[presence]bool{}
	at := withEverything
	for _, next := range w.way {
		must(t, w.step(t.Context(), at, next))
		at = next
		w.stay(t, at)
		if w.late[at] != "" && !started[at] {
			started[at] = true
			w.startLate(t, at)
		}
	}
}

// hide has a Sidecar keep all of the objects from the Pods, and takes it away again.
func (w *walk) hide(t *testing.T) {
	t.Helper()
	w.applySidecar(t, "nowhere/*")
	w.stay(t, withNothing)
	if w.sidecar != "" {
		w.applySidecar(t, "./*")
	} else {
		_, _, err := w.s.Kubectl(t.Context(), "--namespace", w.namespace, "delete", "sidecars.networking.istio.io", "default")
		must(t, err)
	}
	w.stay(t, withEverything)
}

// TestEveryStateOfTheObjects removes and adds the generated objects by hand, by every single step
// from every state, with the controller stopped and the protection off, while clients of all kinds
// call and new Pods start. What the app gets in each state is that of its own sidecar or nothing at
// all; the partner gets calls over mutual TLS and no other.
func TestEveryStateOfTheObjects(t *testing.T) {
	s := play(t)
	walks := map[string]*walk{}
	for mode := range outboundPolicies(s.Mesh()) {
		walks[mode] = newWalk(s, mode)
		walks[mode].sidecar = modeIn(s.Mesh(), mode)
		if s.Mesh().SameConfiguration {
			walks[mode].shorten() // The ways are those of the default mesh.
		}
	}
	takeWalks(t, s, walks)
	if s.Mesh().Name != "" || !s.Own || cluster.IPv6() {
		return
	}
	// No Sidecar can have this mode, so the mesh has it meanwhile, and the walk is a short one.
	const dynamic = cluster.AllowAnyDynamicDNS
	t.Cleanup(func() { must(t, s.ConfigureIstio(context.Background())) })
	must(t, s.ConfigureIstio(t.Context(), "meshConfig.outboundTrafficPolicy.mode="+dynamic))
	short := newWalk(s, dynamic)
	short.shorten()
	takeWalks(t, s, map[string]*walk{dynamic: short})
}

// newWalk is a walk through the states on every way between them.
func newWalk(s *scene.Scene, mode string) *walk {
	w := &walk{s: s, mode: mode, path: "/states-" + strings.ToLower(mode), way: tour(), order: "in every order"}
	if upper := strings.ToUpper(host); mode == cluster.AllowAnyDynamicDNS {
		w.spellings = []string{upper, host + ".", upper + "."}
	}
	return w
}

// shorten has the walk go through the states on one way.
func (w *walk) shorten() { w.way, w.order = shortTour(), "in every state" }

// takeWalks takes walks at the same time.
func takeWalks(t *testing.T, s *scene.Scene, walks map[string]*walk) {
	t.Helper()
	for _, w := range walks {
		w.namespace = unprotectedNamespace(t, s)
		w.prepare(t)
	}
	for _, w := range walks {
		w.begin(t)
	}
	start := stopDeployment(t, s, scene.Namespace, scene.Controller)
	t.Run("by hand", func(t *testing.T) {
		for mode, w := range walks {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				begin := time.Now()
				w.takeTour(t)
				w.hide(t)
				must(t, w.step(t.Context(), withEverything, withNothing))
				w.stay(t, withNothing)
				t.Logf("the walk took %.0f s", time.Since(begin).Seconds())
			})
		}
	})
	start()
	for mode, w := range walks {
		// The controller writes again what is gone, and the anchor before the rest.
		w.stay(t, withEverything)
		state, err := s.Caller(w.pod).Loop(t.Context(), w.url()+"/go")
		must(t, err)
		calls, failed := foreignCounts(t, s, w.pod)
		neverPlain(t, seen(t, s, partner.Filter{Path: w.path}), figures{
			Promise: "Never plaintext", Fault: "objects removed and added by hand, " + w.order + "; " + mode,
			Requests: calls + state.Calls + w.lateCalls + w.spelledCalls,
			Failed:   failed + state.Calls - state.ByOutcome["200"] + w.lateFailed + w.spelledFailed,
		})
		nothingPlainFrom(t, s, w.pod)
	}
}
