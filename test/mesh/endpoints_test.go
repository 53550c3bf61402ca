package mesh

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/scene"
)

const (
	endpointsHost = "endpoints.system.com"
	endpointsPath = "/endpoints"
	// callsToShow is how many calls show that an endpoint isn't used, or that none fails.
	callsToShow = 300
)

// via is an endpoint, and how the partner sees connections by it.
type via struct {
	// spec is an entry of spec.endpoints, as YAML.
	spec string
	// from is the caller's address at the partner, and port the partner's port.
	from string
	port int
}

// routed is a Pod that calls a target all the time, and the ways from it to the partner.
type routed struct {
	*rotating

	gateway string
	relays  [2]scene.Relay
	// direct is the way without endpoints, main that by the gateway, and private that by an address.
	direct, main, private via
}

func newRouted(t *testing.T, s *scene.Scene) *routed {
	t.Helper()
	made, err := s.Credential("endpoints")
	must(t, err)
	r := &routed{rotating: newRotating(t, s, endpointsHost, endpointsPath, made)}
	r.startGateway(t)
	for n, name := range []string{"relay-a", "relay-b"} {
		r.relays[n] = scene.Relay{Namespace: r.namespace, Name: name, Host: endpointsHost}
		must(t, s.StartRelay(t.Context(), r.relays[n]))
	}
	r.direct = via{spec: "{address: " + endpointsHost + "}", from: r.pod.Status.PodIP, port: 443}
	r.private = via{
		spec: fmt.Sprintf("{address: %s, port: 8443}", s.PartnerAddress), from: r.pod.Status.PodIP, port: 8443,
	}
	r.main = via{
		spec: fmt.Sprintf("{address: egress.%s.svc.cluster.local}", r.gateway),
		from: r.podIP(t, r.gateway, "egress"), port: 443,
	}
	return r
}

// startGateway installs an egress gateway, and applies what the command gateway prints for the
// target.
func (r *routed) startGateway(t *testing.T) {
	t.Helper()
	r.gateway = r.namespace + "-gateway"
	createNamespace(t, r.Scene, r.gateway)
	must(t, r.InstallGateway(t.Context(), "egress", r.gateway, "service.type=ClusterIP", "autoscaling.enabled=false",
		"resources.requests.cpu=10m", "terminationGracePeriodSeconds=1", "imagePullPolicy=IfNotPresent"))
	must(t, r.Apply(t.Context(), r.gatewayObjects(t)))
}

func (r *routed) gatewayObjects(t *testing.T) string {
	t.Helper()
	var objects []map[string]any
	for _, object := range mesh.EgressGateway(egress.FromEgressTarget("", r.host, nil, r.Sinkhole()), r.gateway,
		map[string]string{"istio": "egress"}) {
		rendered, err := mesh.Unstructured(object)
		must(t, err)
		objects = append(objects, rendered.Object)
	}
	text, err := manifests.YAML(objects)
	must(t, err)
	return string(text)
}

// podIP is the address of the only Pod of an app that isn't ending.
func (r *routed) podIP(t *testing.T, namespace, app string) string {
	t.Helper()
	pods, err := r.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	must(t, err)
	running := slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil })
	if len(running) != 1 {
		t.Fatalf("%d Pods of %s run, want one", len(running), app)
	}
	return running[0].Status.PodIP
}

// relay is the way by a running relay.
func (r *routed) relay(t *testing.T, n int) via {
	t.Helper()
	return via{
		spec: fmt.Sprintf("{address: %s, port: %d}", r.relays[n].Address(), scene.RelayPort),
		from: r.podIP(t, r.namespace, r.relays[n].Name), port: 443,
	}
}

// goes sets the endpoints, and waits until calls take these ways and no others.
func (r *routed) goes(t *testing.T, ways ...via) {
	t.Helper()
	var specs []string
	for _, way := range ways {
		if way.spec != "" {
			specs = append(specs, way.spec)
		}
	}
	after := r.lastConnection(t)
	r.route(t, specs...)
	r.takes(t, after, ways...)
}

// route sets the endpoints.
func (r *routed) route(t *testing.T, specs ...string) {
	t.Helper()
	fields := fmt.Sprintf("credential: {secretName: %s}", r.secret)
	if len(specs) > 0 {
		fields += ", endpoints: [" + strings.Join(specs, ", ") + "]"
	}
	r.specify(t, fields)
}

// takes waits until each way was taken by a connection after the one with the ID, and all open
// connections take one of them.
func (r *routed) takes(t *testing.T, after int64, ways ...via) {
	t.Helper()
	must(t, scene.Until(t.Context(), "the ways", func(ctx context.Context) error {
		connections, err := r.routes(ctx, after)
		if err != nil {
			return err
		}
		taken := map[via]int{}
		for _, connection := range connections {
			at := slices.IndexFunc(ways, func(way via) bool { return way.of(connection) })
			switch {
			case at >= 0:
				taken[ways[at]]++
			case connection.Ended.IsZero():
				return fmt.Errorf("an open connection comes from %s to port %d", connection.RemoteIP, connection.Port)
			}
		}
		for _, way := range ways {
			if taken[way] == 0 {
				return fmt.Errorf("none of %d connections came from %s to port %d", len(connections), way.from, way.port)
			}
		}
		return nil
	}))
}

func (v via) of(connection partner.Connection) bool {
	return connection.RemoteIP == v.from && connection.Port == v.port
}

// routes are the connections with calls of the target.
func (r *routed) routes(ctx context.Context, after int64) ([]partner.Connection, error) {
	return r.Partner().Connections(ctx, partner.Filter{Path: endpointsPath, After: after})
}

func (r *routed) lastConnection(t *testing.T) (last int64) {
	t.Helper()
	connections, err := r.routes(t.Context(), 0)
	must(t, err)
	for _, connection := range connections {
		last = max(last, connection.ID)
	}
	return last
}

// calls waits for more calls.
func (r *routed) calls(t *testing.T) {
	t.Helper()
	begin := r.counted(t.Context(), t)
	must(t, scene.Until(t.Context(), "more calls", func(ctx context.Context) error {
		if made := r.counted(ctx, t) - begin; made < callsToShow {
			return fmt.Errorf("%d of %d", made, callsToShow)
		}
		return nil
	}))
}

func (r *routed) counted(ctx context.Context, t *testing.T) (calls int) {
	t.Helper()
	states, err := r.Caller(r.pod).Loops(ctx)
	must(t, err)
	for _, state := range states {
		calls += state.Calls
	}
	return calls
}

// unused makes calls until no connection of a round takes the way: an endpoint that has just
// started can be left out for some seconds.
func (r *routed) unused(t *testing.T, way via) {
	t.Helper()
	const rounds = 30
	for range rounds {
		after := r.lastConnection(t)
		r.calls(t)
		connections, err := r.routes(t.Context(), after)
		must(t, err)
		if !slices.ContainsFunc(connections, way.of) {
			return
		}
	}
	t.Fatalf("in each of %d rounds of %d calls, a connection came from %s", rounds, callsToShow, way.from)
}

// held ends a part of the test: it keeps its figures, of which at most some calls may have failed,
// and begins the next one.
func (r *routed) held(t *testing.T, fault string, failed int) {
	t.Helper()
	row := figures{Promise: "Other ways to the partner", Fault: fault}
	for url, state := range r.states(t) {
		row.Requests += state.Calls
		row.Failed += state.Calls - state.ByOutcome["200"]
		if state.ByOutcome["200"] != state.TLSAnswers {
			t.Errorf("%s: %d answers, and the partner saw TLS in %d", url, state.ByOutcome["200"], state.TLSAnswers)
		}
		t.Logf("%s: %v, longest failure %+v", url, state.ByOutcome, state.LongestFailure)
	}
	if row.Failed > failed {
		t.Errorf("%s: %d of %d calls failed, want at most %d", fault, row.Failed, row.Requests, failed)
	}
	r.keep(t, row)
	must(t, r.Caller(r.pod).ResetLoop(t.Context(), ""))
}

func (r *routed) states(t *testing.T) map[string]caller.State {
	t.Helper()
	states, err := r.Caller(r.pod).Loops(t.Context())
	must(t, err)
	return states
}

// keep checks that nothing reached the partner without TLS, by any way, and keeps the figures.
func (r *routed) keep(t *testing.T, row figures) {
	t.Helper()
	saw := seen(t, r.Scene, partner.Filter{Path: endpointsPath})
	from := map[string]bool{r.main.from: true, r.pod.Status.PodIP: true}
	pods, err := r.Client.CoreV1().Pods(r.namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	for _, pod := range pods.Items {
		from[pod.Status.PodIP] = pod.Status.PodIP != ""
	}
	// A plain connection without the path in its first bytes counts too.
	for _, remote := range slices.Sorted(maps.Keys(from)) {
		if from[remote] {
			one := seen(t, r.Scene, partner.Filter{Remote: remote})
			saw.PlainConnections += one.PlainConnections
			saw.PlaintextBytes += one.PlaintextBytes
			saw.PlainRequests += one.PlainRequests
		}
	}
	neverPlain(t, saw, row)
}

// refused waits until calls get 503, and makes some more of them.
func (r *routed) refused(t *testing.T, fault string) {
	t.Helper()
	const calls = 5
	must(t, scene.Until(t.Context(), "503", func(ctx context.Context) error {
		_, err := expect(ctx, r.Caller(r.pod), caller.Call{URL: r.loops[0], Count: calls}, "503")
		return err
	}))
	r.keep(t, figures{Promise: "Other ways to the partner", Fault: fault, Requests: calls, Failed: calls})
}

// TestEndpoints leads the calls of a running Pod to the partner by other ways than its addresses in
// DNS: an egress gateway, a private address, and relays.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	s := play(t)
	r := newRouted(t, s)
	must(t, r.Caller(r.pod).ResetLoop(t.Context(), ""))

	// Without a spec, the way is the default.
	byDefault := r.direct
	byDefault.spec = ""
	for _, way := range []via{r.main, r.private, byDefault} {
		r.goes(t, way)
		r.ownCall(t, way)
		r.calls(t)
	}
	r.held(t, "the way changes under load: direct, egress gateway, private address, direct", 0)
	r.goes(t, r.main, r.direct)
	r.calls(t)
	r.held(t, "an egress gateway and the direct way together", 0)

	r.spread(t)
	r.backup(t)
	r.silent(t)
	r.missing(t)
}

// spread uses two relays, one of which goes away: first it ends what is under way, and then it is
// killed.
func (r *routed) spread(t *testing.T) {
	t.Helper()
	a, b := r.relay(t, 0), r.relay(t, 1)
	r.goes(t, a, b)
	r.calls(t)
	r.held(t, "two relays", 0)
	must(t, r.ScaleRelay(t.Context(), r.relays[0], "0"))
	r.takes(t, r.lastConnection(t), b)
	r.calls(t)
	r.held(t, "one of two relays ends", 0)

	must(t, r.ScaleRelay(t.Context(), r.relays[0], "1"))
	a = r.relay(t, 0)
	r.takes(t, r.lastConnection(t), a, b)
	must(t, r.Caller(r.pod).ResetLoop(t.Context(), ""))
	_, _, err := r.Kubectl(t.Context(), "--namespace", r.namespace, "delete", "pods", "--selector", "app=relay-a",
		"--grace-period=0", "--force")
	must(t, err)
	r.calls(t)
	// What was under way may have been executed, so it isn't tried again.
	r.held(t, "one of two relays is killed", len(r.loops))
}

// backup uses the second relay only while there is no first one.
func (r *routed) backup(t *testing.T) {
	t.Helper()
	a, b := r.relay(t, 0), r.relay(t, 1)
	b.spec = strings.TrimSuffix(b.spec, "}") + ", priority: 1}"
	after := r.lastConnection(t)
	r.route(t, a.spec, b.spec)
	r.takes(t, after, a)
	r.unused(t, b)
	r.held(t, "the backup isn't used while the preferred relay is there", 0)
	r.fails(t)
	must(t, r.ScaleRelay(t.Context(), r.relays[0], "0"))
	r.takes(t, r.lastConnection(t), b)
	r.calls(t)
	must(t, r.ScaleRelay(t.Context(), r.relays[0], "1"))
	a = r.relay(t, 0)
	r.takes(t, r.lastConnection(t), a)
	r.unused(t, b)
	// When the dead relay is tried again, a call can have no attempt left before it is ejected.
	r.held(t, "the preferred relay ends, and comes back", len(r.loops))
}

// fails has the partner answer with errors and end connections. The app gets each of these answers.
func (r *routed) fails(t *testing.T) {
	t.Helper()
	const calls = 10
	for _, fault := range []string{"status=503", "close=before", "reset=1"} {
		_, err := expect(t.Context(), r.Caller(r.pod),
			caller.Call{URL: "http://" + r.host + endpointsPath + "/fault?" + fault, Count: calls}, "503")
		must(t, err)
	}
	r.keep(t, figures{
		Promise: "Other ways to the partner", Requests: 3 * calls, Failed: 3 * calls,
		Fault: "the partner answers 503 or ends the connection",
	})
	must(t, r.Caller(r.pod).ResetLoop(t.Context(), ""))
}

// silent prefers an endpoint that takes connections and doesn't answer.
func (r *routed) silent(t *testing.T) {
	t.Helper()
	direct := r.direct
	direct.spec = strings.TrimSuffix(direct.spec, "}") + ", priority: 1}"
	after := r.lastConnection(t)
	r.route(t, fmt.Sprintf("{address: %s, port: %d}", r.relays[0].Address(), scene.RelaySilentPort), direct.spec)
	r.takes(t, after, direct)
	r.calls(t)
	r.held(t, "the preferred endpoint takes connections and doesn't answer", 0)
}

// ownCall makes a call in which the app does TLS itself, and checks that it took the way.
func (r *routed) ownCall(t *testing.T, way via) {
	t.Helper()
	made, err := r.Credential("endpoints, itself")
	must(t, err)
	_, err = expect(t.Context(), r.Caller(r.pod), caller.Call{
		URL: "https://" + r.host + endpointsPath + "/itself", CAPEM: string(r.ServerCA.CertPEM),
		ClientCertPEM: string(made.CertPEM), ClientKeyPEM: string(made.KeyPEM),
	}, "200")
	must(t, err)
	connections, err := r.Partner().Connections(t.Context(), partner.Filter{Path: endpointsPath + "/itself"})
	must(t, err)
	for _, connection := range connections {
		if connection.Client != nil && connection.Client.SerialNumber == made.Serial() && way.of(connection) {
			return
		}
	}
	t.Errorf("none of the app's own TLS connections came from %s to port %d", way.from, way.port)
}

// missing removes each object of the gateway, and leads calls to a port of the partner without TLS.
func (r *routed) missing(t *testing.T) {
	t.Helper()
	r.goes(t, r.main)
	for _, kind := range []string{"gateway", "virtualservice", "serviceentry"} {
		_, _, err := r.Kubectl(t.Context(), "--namespace", r.gateway, "delete", kind+".networking.istio.io",
			egress.GatewayName(r.host))
		must(t, err)
		r.refused(t, "the egress gateway has no "+kind)
		must(t, r.Apply(t.Context(), r.gatewayObjects(t)))
		r.goes(t, r.main)
	}
	r.route(t, fmt.Sprintf("{address: %s, port: %d}", r.relays[1].Address(), scene.RelayPlainPort))
	r.refused(t, "a relay leads to the partner's plain port")
}
