package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/scene"
)

const (
	// ownService is a Service of the namespace with plain HTTP on port 80. Nearly every mesh has one
	// somewhere, and with it sidecars read all calls to port 80 as HTTP.
	ownService = `
apiVersion: v1
kind: Service
metadata: {name: somebody, namespace: %s}
spec:
  selector: {app: somebody}
  ports: [{name: http, port: 80}]
`
	// capturesDNS makes the sidecar of a Pod answer its DNS queries.
	capturesDNS = `{"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}`
	// meshCapturesDNS makes that the default of the mesh, as a value of istiod's chart.
	meshCapturesDNS = "meshConfig.defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE=true"
)

// ownNamespaceOnly keeps from the sidecars of a namespace what is in others, so that a Service of
// another test isn't the first HTTP on port 80 that they know. It lacks the namespace.
func ownNamespaceOnly(mesh cluster.Mesh) string {
	return sidecarFor(modeIn(mesh, cluster.AllowAny), "./*")
}

// idOfASidecar stands for an x-request-id that no app has set.
const idOfASidecar = "an x-request-id of the sidecar's"

// neighbor is a Pod that asks for no target, beside one that may.
type neighbor struct {
	*corev1.Pod
	own scene.Credential
	// path begins the paths of its calls; rounds is how often behaves has called.
	path   string
	rounds int
}

// behavior is what a neighbor's calls come to, and what the partner sees of them.
type behavior struct {
	// Their outcomes; a connection that is reset counts as one that is closed, as which of them it is
	// hangs on a moment.
	HTTP, HTTPS map[caller.Outcome]int
	// Headers that the partner gets over http. Nil when it gets nothing.
	Headers map[string][]string
	// Plain is how many of the http calls reach the partner plainly. The others, and those over https,
	// reach it with a certificate, counted by its serial number.
	Plain                                 int
	HTTPByCertificate, HTTPSByCertificate map[string]int
}

// moveIn deploys a neighbor with a credential of its own and a loop of http calls.
func moveIn(t *testing.T, s *scene.Scene, namespace, path string, annotations map[string]string) *neighbor {
	t.Helper()
	own, err := s.Credential("neighbor itself")
	must(t, err)
	must(t, s.WriteSecret(t.Context(), namespace, ownSecret, own.Data(scene.LayoutCert)))
	must(t, s.Deploy(t.Context(), scene.App{
		Namespace: namespace, Name: "neighbor", Spec: withOwnSecret, PodAnnotations: annotations,
		// Patient, as a machine that is busy with starting Pods is not a fault.
		Loops: []string{"http://" + host + path + "/loop"}, Args: []string{"--timeout", "20s", "--pause", "50ms"},
	}))
	pod, err := s.ReadyPod(t.Context(), namespace, "neighbor")
	must(t, err)
	if s.Mesh().PlainSidecars {
		// Its calls were refused until its sidecar listened.
		must(t, s.Caller(pod).ResetLoop(t.Context(), ""))
	}
	must(t, scene.Until(t.Context(), "the neighbor to call", func(ctx context.Context) error {
		loops, err := s.Caller(pod).Loops(ctx)
		for url, loop := range loops {
			if loop.Calls == 0 {
				return fmt.Errorf("it has not called %s yet", url)
			}
		}
		return err
	}))
	return &neighbor{Pod: pod, own: own, path: path}
}

func (n *neighbor) loop(t *testing.T, s *scene.Scene) caller.State {
	t.Helper()
	loop, err := s.Caller(n.Pod).Loop(t.Context(), "http://"+host+n.path+"/loop")
	must(t, err)
	return loop
}

// behaves makes calls and says what came of them.
func (n *neighbor) behaves(t *testing.T, s *scene.Scene) behavior {
	t.Helper()
	n.rounds++
	b := behavior{HTTP: map[caller.Outcome]int{}, HTTPS: map[caller.Outcome]int{}}
	path := fmt.Sprintf("/%s/http-%d", n.Namespace, n.rounds)
	results, err := s.Caller(n.Pod).
		Call(t.Context(), caller.Call{URL: "http://" + host + path, Count: 3, Timeout: caller.Duration(10 * time.Second)})
	must(t, err)
	for _, result := range results {
		b.HTTP[closed(result.Outcome)]++
		if result.Outcome.Success() {
			b.Headers = headersOf(t, result, "")
		}
	}
	saw := seen(t, s, partner.Filter{Path: path})
	b.Plain, b.HTTPByCertificate = saw.PlainRequests, byCertificate(saw)

	path = fmt.Sprintf("/%s/https-%d", n.Namespace, n.rounds)
	load, err := s.Caller(n.Pod).Bench(t.Context(), ownHTTPS(path))
	must(t, err)
	for outcome, count := range load.ByOutcome {
		b.HTTPS[closed(outcome)] += count
	}
	b.HTTPSByCertificate = byCertificate(seen(t, s, partner.Filter{Path: path}))
	return b
}

// headersOf are the headers that the partner got, as it says in its answer, without Connection:
// that is about one hop, and a sidecar that reads the call as HTTP ends the app's. An x-request-id
// is made recognizable unless it is the one that the app sent.
func headersOf(t *testing.T, result caller.Result, sentID string) map[string][]string {
	t.Helper()
	var said partner.Answer
	must(t, json.Unmarshal([]byte(result.Body), &said))
	headers := maps.Clone(map[string][]string(said.Headers))
	delete(headers, "Connection")
	if id := headers["X-Request-Id"]; len(id) == 1 && id[0] != sentID && uuid.MatchString(id[0]) {
		headers["X-Request-Id"] = []string{idOfASidecar}
	}
	return headers
}

// byCertificate counts requests by the serial number of the client certificate.
func byCertificate(saw partner.Summary) map[string]int {
	requests := map[string]int{}
	for serial, with := range saw.ByClientSerial {
		requests[serial] = with.Requests
	}
	return requests
}

func closed(outcome caller.Outcome) caller.Outcome {
	if outcome == caller.OutcomeReset {
		return caller.OutcomeEOF
	}
	return outcome
}

// asAlways is how a neighbor's calls are to be: over http plain and over https with its own
// certificate, or refused by its sidecar, of which the partner sees nothing.
func (n *neighbor) asAlways(http, https caller.Outcome) behavior {
	b := behavior{
		HTTP: map[caller.Outcome]int{http: 3}, HTTPS: map[caller.Outcome]int{https: 3},
		HTTPByCertificate: map[string]int{}, HTTPSByCertificate: map[string]int{},
	}
	if http.Success() {
		b.Plain = 3
	}
	if https.Success() {
		b.HTTPSByCertificate[n.own.Serial()] = 3
	}
	return b
}

// asks deploys an app that asks for the target and waits until it has it.
func asks(
	t *testing.T,
	s *scene.Scene,
	namespace, path string,
	annotations map[string]string,
) (pod *corev1.Pod, made, own scene.Credential) {
	t.Helper()
	made = credential(t, s, namespace, "shop")
	own, err := s.Credential("shop itself")
	must(t, err)
	must(t, s.WriteSecret(t.Context(), namespace, "shop-own", own.Data(scene.LayoutCert)))
	must(t, s.Deploy(t.Context(), scene.App{
		Namespace: namespace, Name: "shop", Annotations: scene.Target(host), PodAnnotations: annotations,
		Loops: []string{"http://" + host + path + "/shop"}, Args: []string{"--timeout", "5s", "--pause", "50ms"},
		Spec: func(spec *corev1.PodSpec) {
			withOwnSecret(spec)
			spec.Volumes[0].Secret.SecretName = "shop-own"
		},
	}))
	return calling(t, s, namespace, "shop"), made, own
}

// neighborCase is a mesh in which a neighbor lives.
type neighborCase struct {
	manifests []string // each lacks the namespace
	// http and https are what calls come to, before is what those over http come to until somebody
	// asks.
	http, https, before caller.Outcome
	// read says that the sidecar reads calls to port 80 as HTTP before somebody asks. Afterwards it
	// does in any case.
	read bool
	// added are headers that the sidecar adds to calls to wherever, once it reads them.
	added map[string]string
	// timed says that further Pods are started before and after, and their times until they are ready
	// printed.
	timed bool
}

func neighborCases(mesh cluster.Mesh) map[string]neighborCase {
	cases := map[string]neighborCase{
		"ALLOW_ANY": {
			manifests: []string{ownService, outboundPolicy(mesh, cluster.AllowAny)},
			http:      "200",
			https:     "200",
			before:    "200",
			read:      true,
			timed:     true,
		},
		"REGISTRY_ONLY": {
			manifests: []string{ownService, outboundPolicy(mesh, cluster.RegistryOnly)},
			http:      "502",
			https:     caller.OutcomeEOF,
			before:    "502",
			read:      true,
		},
		// Our anchor is then the first HTTP on port 80 that the sidecars of the namespace know, with the
		// effect that any Service of this kind has.
		"ALLOW_ANY, no HTTP in the mesh": {
			manifests: []string{ownNamespaceOnly(mesh)},
			http:      "200",
			https:     "200",
			before:    "200",
			added: map[string]string{
				"X-Envoy-Attempt-Count": "1",
				"X-Forwarded-Proto":     "http",
				"X-Request-Id":          idOfASidecar,
			},
		},
		"REGISTRY_ONLY, no HTTP in the mesh": {
			manifests: []string{sidecarFor(modeIn(mesh, cluster.RegistryOnly), "./*", "istio-system/*")},
			http:      "502",
			https:     caller.OutcomeEOF,
			before:    caller.OutcomeEOF,
		},
	}
	if mode := mesh.Mode(); mode == cluster.AllowAnyDynamicDNS {
		// Its sidecars find any partner by its name.
		cases[mode] = neighborCase{manifests: []string{ownService}, http: "200", https: "200", before: "200", read: true}
	}
	return cases
}

func TestANeighborKeepsItsBehavior(t *testing.T) {
	t.Parallel()
	s := play(t)
	for name, test := range neighborCases(s.Mesh()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t, s)
			applyIn(t, s, ns, test.manifests...)
			n := moveIn(t, s, ns, "/neighbor/"+ns, nil)
			n.settles(t, s, "its calls before anybody asks", test.before, test.read)
			before := n.behaves(t, s)
			want := n.asAlways(test.before, test.https)
			want.Headers = before.Headers // whatever they are: they have to stay so
			if diff := gocmp.Diff(want, before); diff != "" {
				t.Errorf("before anybody asked (-want +got):\n%s", diff)
			}
			var readyBefore, readyAfter []time.Duration
			if test.timed {
				readyBefore = timesToReady(t, s, ns, "early")
			}

			shop, made, _ := asks(t, s, ns, n.path, nil)
			n.settles(t, s, "its calls while somebody asks", test.http, true)
			after := n.behaves(t, s)
			want = n.asAlways(test.http, test.https)
			want.Headers = maps.Clone(before.Headers)
			for header, value := range test.added {
				want.Headers[header] = []string{value}
			}
			if diff := gocmp.Diff(want, after); diff != "" {
				t.Errorf("while somebody asks (-want +got):\n%s", diff)
			}
			if test.timed {
				readyAfter = timesToReady(t, s, ns, "late")
				t.Logf("time to ready, medians of %d: %v before, %v after",
					len(readyBefore), median(readyBefore), median(readyAfter))
			}
			noComplaints(t, s, ns)

			asked, err := s.Caller(shop).Loop(t.Context(), "http://"+host+n.path+"/shop")
			must(t, err)
			onlyMutualTLS(t, "the one who asked", asked, made.Serial())
			neverPlain(
				t, summaryOf(fromPod(t, s, shop)),
				figures{Promise: "Only those who asked", Fault: "beside a neighbor that calls plainly, " + name,
					Requests: asked.Calls, Failed: asked.Calls - asked.ByOutcome["200"]},
			)

			leave(t, s, ns)
			unchanged(t, n.loop(t, s), test.http, test.before)
		})
	}
}

// unchanged asserts that every call of a loop had one of the outcomes that it has without us, and
// that plain calls stayed plain.
func unchanged(t *testing.T, loop caller.State, outcomes ...caller.Outcome) {
	t.Helper()
	t.Logf("the neighbor's loop: %v", loop.ByOutcome)
	for outcome, count := range loop.ByOutcome {
		if !slices.Contains(outcomes, closed(outcome)) {
			t.Errorf("%d calls of the neighbor's loop came to %s, want only %v: %+v", count, outcome, outcomes, loop.Transitions)
		}
	}
	if loop.Calls == 0 || loop.PlainAnswers != loop.ByOutcome["200"] || loop.TLSAnswers != 0 {
		t.Errorf("%d calls of the neighbor's loop: %d plain answers and %d over TLS, want %d plain",
			loop.Calls, loop.PlainAnswers, loop.TLSAnswers, loop.ByOutcome["200"])
	}
}

// leave deletes the app that asks and waits until its target is gone, with all that was generated.
func leave(t *testing.T, s *scene.Scene, namespace string) {
	t.Helper()
	asked := []string{"deployment/shop"}
	if s.Mesh().Mode() == cluster.AllowAnyDynamicDNS {
		asked = append(asked, "egresstarget/"+host) // which was there before
	}
	_, _, err := s.Kubectl(t.Context(), append([]string{"--namespace", namespace, "delete", "--timeout=1m"}, asked...)...)
	must(t, err)
	must(t, scene.Until(t.Context(), "the target to go with the last Pod that asked", func(ctx context.Context) error {
		for _, name := range []string{egress.AnchorName, egress.ObjectName(host), egress.ListenerName(host)} {
			_, err := s.Dynamic.Resource(serviceEntries()).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return errors.Join(errors.New("the ServiceEntry "+name+" is there"), err)
			}
		}
		return nil
	}))
}

func serviceEntries() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "serviceentries"}
}

// timesToReady are how long it took three Pods without the annotation, one after the other, to be
// ready.
func timesToReady(t *testing.T, s *scene.Scene, namespace, app string) []time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range 3 {
		name := fmt.Sprintf("%s-%d", app, i)
		begin := time.Now()
		must(t, s.Deploy(t.Context(),
			scene.App{Namespace: namespace, Name: name, Kind: "Pod", PodLabels: map[string]string{"batch": app}}))
		_, err := s.ReadyPod(t.Context(), namespace, name)
		must(t, err)
		took = append(took, time.Since(begin))
	}
	return took
}

func median(durations []time.Duration) time.Duration {
	ordered := slices.Sorted(slices.Values(durations))
	return ordered[len(ordered)/2].Round(10 * time.Millisecond)
}

// noComplaints asserts that the proxies of the Pods that didn't ask don't log what was mounted
// for those that did.
func noComplaints(t *testing.T, s *scene.Scene, namespace string) {
	t.Helper()
	pods, err := s.Client.CoreV1().
		Pods(namespace).
		List(t.Context(), metav1.ListOptions{LabelSelector: "!" + egress.LabelInjected})
	must(t, err)
	for i := range pods.Items {
		logs, _, err := s.Kubectl(t.Context(), "--namespace", namespace, "logs", pods.Items[i].Name,
			"--container", "istio-proxy")
		must(t, err)
		if !strings.Contains(logs, "Envoy proxy is ready") {
			t.Errorf("%s: its proxy's log doesn't tell of its start", pods.Items[i].Name)
		}
		for line := range strings.Lines(logs) {
			level := strings.ToLower(line)
			if strings.Contains(line, "mtls-egress") && (strings.Contains(level, "error") || strings.Contains(level, "warn")) {
				t.Errorf("%s: %s", pods.Items[i].Name, line)
			}
		}
	}
}

// The mesh configuration is everybody's, so this one runs by itself.
func TestANeighborKeepsItsBehaviorWithDNSCapture(t *testing.T) {
	s := play(t)
	if !s.Own {
		skip(t, "changes the mesh configuration, which it doesn't do in the cluster of KUBECONFIG")
	}
	t.Cleanup(func() { must(t, s.ConfigureIstio(context.Background())) })
	must(t, s.ConfigureIstio(t.Context(), meshCapturesDNS))
	annotations := map[string]string{"proxy.istio.io/config": capturesDNS}
	for _, test := range []struct {
		policy    string
		manifests []string
		// What the neighbor's calls come to, whether or not someone asks.
		http, https caller.Outcome
	}{
		{
			policy:    "REGISTRY_ONLY",
			manifests: []string{ownService, outboundPolicy(s.Mesh(), cluster.RegistryOnly)},
			http:      "502",
			https:     caller.OutcomeEOF,
		},
		{policy: "ALLOW_ANY", manifests: []string{ownService}, http: "200", https: "200"},
	} {
		ns := namespace(t, s)
		applyIn(t, s, ns, test.manifests...)
		n := moveIn(t, s, ns, "/capture/"+ns, annotations)
		before := n.behaves(t, s)
		want := n.asAlways(test.http, test.https)
		want.Headers = before.Headers
		if diff := gocmp.Diff(want, before); diff != "" {
			t.Errorf("%s, before anybody asked (-want +got):\n%s", test.policy, diff)
		}
		pod, made, own := asks(t, s, ns, n.path, annotations)
		if diff := gocmp.Diff(want, n.behaves(t, s)); diff != "" {
			t.Errorf("%s, while somebody asks (-want +got):\n%s", test.policy, diff)
		}
		unchanged(t, n.loop(t, s), test.http)
		noComplaints(t, s, ns)
		captured(t, s, test.policy, n.path, pod, made, own)
	}
}

// captured asserts that a Pod that asked has mutual TLS over http, and its own TLS over https.
func captured(t *testing.T, s *scene.Scene, policy, path string, pod *corev1.Pod, made, own scene.Credential) {
	t.Helper()
	answered(t, s, pod, caller.Call{URL: "http://" + host + path + "/shop", Count: 3})
	load, err := s.Caller(pod).Bench(t.Context(), ownHTTPS(path+"/own"))
	must(t, err)
	if diff := gocmp.Diff(map[caller.Outcome]int{"200": 3}, load.ByOutcome); diff != "" {
		t.Errorf("%s, own https of the one who asked (-want +got):\n%s", policy, diff)
	}
	connections := fromPod(t, s, pod)
	want := sorted([]sight{mutualTLS(host, made, 443, path+"/shop"), {
		Kind:        partner.KindTLS,
		Port:        443,
		TLSVersion:  "TLS 1.3",
		SNI:         host,
		Serial:      own.Serial(),
		Method:      "GET",
		Host:        host,
		Path:        path + "/own",
		HTTPVersion: "HTTP/1.1",
	}})
	if diff := gocmp.Diff(want, sights(connections)); diff != "" {
		t.Errorf("%s, what the partner saw of the one who asked (-want +got):\n%s", policy, diff)
	}
	loop, err := s.Caller(pod).Loop(t.Context(), "http://"+host+path+"/shop")
	must(t, err)
	onlyMutualTLS(t, policy+", the one who asked", loop, made.Serial())
	neverPlain(t, summaryOf(connections), figures{Promise: "Only those who asked", Fault: "DNS capture, " + policy,
		Requests: loop.Calls + 6, Failed: loop.Calls - loop.ByOutcome["200"]})
}

// settles waits until a call of the neighbor comes to an outcome, and the sidecar reads it as HTTP
// or doesn't. A sidecar learns a moment after the others, or after its start, what is on port 80.
func (n *neighbor) settles(t *testing.T, s *scene.Scene, what string, wanted caller.Outcome, read bool) {
	t.Helper()
	must(t, scene.Until(t.Context(), what, func(ctx context.Context) error {
		results, err := s.Caller(n.Pod).
			Call(ctx, caller.Call{URL: "http://" + host + n.path + "/settles", Timeout: caller.Duration(10 * time.Second)})
		if err != nil {
			return err
		}
		result := results[0]
		if closed(result.Outcome) != wanted {
			return fmt.Errorf("it comes to %s %s, want %s", result.Outcome, result.Error, wanted)
		}
		if result.Outcome.Success() {
			if _, reads := headersOf(t, result, "")["X-Request-Id"]; reads != read {
				return fmt.Errorf("the sidecar reads it: %t, want %t", reads, read)
			}
		}
		return nil
	}))
}
