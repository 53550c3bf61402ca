package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/scene"
)

// Targets whose EgressTargets differ from the defaults in one thing.
const (
	appPortHost    = "app-port.system.com"
	namedHost      = "named.system.com"
	forcedTo1Host  = "forced-1.system.com"
	forcedTo2Host  = "forced-2.system.com"
	protocolTarget = `
apiVersion: mtls.egress/v1alpha1
kind: EgressTarget
metadata: {name: %s, namespace: %s}
spec: %s
---
`
)

// unanswered is how long to wait for an answer that is not to come.
const unanswered = 2 * time.Second

func protocolTargets() map[string]string {
	return map[string]string{
		appPortHost:   `{appPort: 8080}`,
		namedHost:     `{http: {host: "gateway.system.com:8443"}}`,
		forcedTo1Host: `{sni: ` + partner.OnlyHTTP1Name + `, http: {version: "1.1"}}`,
		forcedTo2Host: `{sni: ` + partner.OnlyHTTP2Name + `, http: {version: "2"}}`,
	}
}

// protocols is an app that asks for all partners, and what it did so far.
type protocols struct {
	s             *scene.Scene
	pod           *corev1.Pod
	calls, failed int
}

// count counts a call.
func (p *protocols) count(answered bool) {
	p.calls++
	if !answered {
		p.failed++
	}
}

// protocolSight is what came of a call, and what the partner says of it.
type protocolSight struct {
	Outcome caller.Outcome
	// Version and Host are of the request; empty when none came.
	Version, Host string
}

// call makes a call, and returns its result and what the partner says of it. A body of another kind
// says nothing.
func (p *protocols) call(t *testing.T, call caller.Call) (result caller.Result, said partner.Answer) {
	t.Helper()
	results, err := p.s.Caller(p.pod).Call(t.Context(), call)
	must(t, err)
	_ = json.Unmarshal([]byte(results[0].Body), &said)
	p.count(results[0].Status < 500 && results[0].Status != 0)
	return results[0], said
}

// deployForProtocols deploys an app that asks for the hosts with one credential, and waits until
// all are programmed.
func deployForProtocols(t *testing.T, s *scene.Scene, ns, name string, hosts []string, config string) *protocols {
	t.Helper()
	var secrets []string
	for _, host := range hosts {
		secrets = append(secrets, host+"="+secretName)
	}
	app := scene.App{Namespace: ns, Name: name, Annotations: map[string]string{
		egress.AnnotationTarget: strings.Join(hosts, ","), egress.AnnotationSecret: strings.Join(secrets, ","),
	}}
	if config != "" {
		app.PodAnnotations = map[string]string{"proxy.istio.io/config": config}
	}
	must(t, s.Deploy(t.Context(), app))
	pod, err := s.ReadyPod(t.Context(), ns, name)
	must(t, err)
	p := &protocols{s: s, pod: pod}
	for _, host := range hosts {
		p.reached(t, host)
	}
	return p
}

// reached waits until a call to the host isn't lost in the sidecar for want of configuration.
func (p *protocols) reached(t *testing.T, host string) {
	t.Helper()
	call := caller.Call{URL: "http://" + host + "/ready", HTTP2: host == partner.OnlyHTTP2Name}
	if host == appPortHost {
		call.URL = "http://" + host + ":8080/ready"
	}
	must(t, scene.Until(t.Context(), "calls to "+host, func(ctx context.Context) error {
		results, err := p.s.Caller(p.pod).Call(ctx, call)
		if err == nil {
			p.count(results[0].Status != 0)
			if results[0].Outcome != "200" {
				err = fmt.Errorf("%s %s", results[0].Outcome, results[0].Error)
			}
		}
		return err
	}))
}

// TestEveryProtocolOfAnApp makes each kind of call that apps make, and compares what the partner
// saw of it.
func TestEveryProtocolOfAnApp(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns := namespace(t, s)
	credential(t, s, ns, "protocols")
	hosts := []string{host, partner.OnlyHTTP1Name, partner.OnlyHTTP2Name, partner.NoALPNName, partner.VerbatimName}
	var manifests strings.Builder
	for host, spec := range protocolTargets() {
		fmt.Fprintf(&manifests, protocolTarget, host, ns, spec)
		hosts = append(hosts, host)
	}
	must(t, s.Apply(t.Context(), manifests.String()))
	p := deployForProtocols(t, s, ns, "shop", hosts, "")

	for name, test := range p.tests() {
		t.Run(name, func(t *testing.T) { test(t) })
	}
	t.Run("header names in the case of the app, where its sidecar is told to", func(t *testing.T) {
		tuned := deployForProtocols(t, s, ns, "tuned", []string{partner.VerbatimName},
			`{"proxyHeaders": {"preserveHttp1HeaderCase": true}}`)
		tuned.verbatim(t, "Host: verbatim.system.com\r\nX-My-CASE: 1\r\n", "x-camel-case: yes\r\n")
		tuned.neverPlain(t)
	})
	t.Run("the example of gRPC", func(t *testing.T) { grpcExample(t, s, ns) })
	p.neverPlain(t)
}

func (p *protocols) neverPlain(t *testing.T) {
	t.Helper()
	neverPlain(t, seen(t, p.s, partner.Filter{Remote: p.pod.Status.PodIP}), figures{
		Promise:  "Never plaintext",
		Fault:    "HTTP/1.0, 1.1 and 2, gRPC, WebSocket, events, large bodies and headers, all methods and forms of the host",
		Requests: p.calls,
		Failed:   p.failed,
	})
}

// tests are the kinds of calls.
func (p *protocols) tests() map[string]func(*testing.T) {
	tests := map[string]func(*testing.T){}
	add := func(others map[string]func(*testing.T)) { maps.Copy(tests, others) }
	add(p.versions())
	add(p.hostForms())
	add(p.requests())
	add(p.streams())
	add(p.limits())
	return tests
}

// expect makes a call, and compares what came of it.
func (p *protocols) expect(call caller.Call, want protocolSight) func(*testing.T) {
	return func(t *testing.T) {
		result, said := p.call(t, call)
		got := protocolSight{Outcome: result.Outcome, Version: said.HTTPVersion, Host: said.Host}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s%s", call.URL, diff, result.Body)
		}
	}
}

// versions: the sidecar speaks the app's version, whatever the partner offers.
func (p *protocols) versions() map[string]func(*testing.T) {
	const only1, only2, none = partner.OnlyHTTP1Name, partner.OnlyHTTP2Name, partner.NoALPNName
	h1 := func(host string) caller.Call { return caller.Call{URL: "http://" + host} }
	h2 := func(host string) caller.Call { return caller.Call{URL: "http://" + host, HTTP2: true} }
	upgrade := h1(host)
	upgrade.Headers = map[string]string{
		"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__",
	}
	lost := func(status caller.Outcome) protocolSight { return protocolSight{Outcome: status} }
	return map[string]func(*testing.T){
		"HTTP 1.1":           p.expect(h1(host), protocolSight{"200", "HTTP/1.1", host}),
		"HTTP 2 without TLS": p.expect(h2(host), protocolSight{"200", "HTTP/2.0", host}),
		"HTTP 1.1 that asks for HTTP 2, as Java does": p.expect(upgrade, protocolSight{"200", "HTTP/1.1", host}),

		"HTTP 1.1 to a partner that offers it alone": p.expect(h1(only1), protocolSight{"200", "HTTP/1.1", only1}),
		"HTTP 1.1 to a partner without ALPN":         p.expect(h1(none), protocolSight{"200", "HTTP/1.1", none}),
		"HTTP 2 to a partner that offers it alone":   p.expect(h2(only2), protocolSight{"200", "HTTP/2.0", only2}),

		"HTTP 2 to a partner that offers only 1.1": p.expect(h2(only1), lost("503")),
		"HTTP 2 to a partner without ALPN":         p.expect(h2(none), lost("502")),
		"HTTP 1.1 to a partner that offers only 2": p.expect(h1(only2), lost("503")),
		"HTTP 2 to a partner that offers only 1.1, and version 1.1": p.expect(h2(forcedTo1Host),
			protocolSight{"200", "HTTP/1.1", forcedTo1Host}),
		"HTTP 1.1 to a partner that offers only 2, and version 2": p.expect(h1(forcedTo2Host),
			protocolSight{"200", "HTTP/2.0", forcedTo2Host}),
	}
}

// hostForms: the partner sees its own host.
func (p *protocols) hostForms() map[string]func(*testing.T) {
	form := func(url, want string) func(*testing.T) {
		return p.expect(caller.Call{URL: url}, protocolSight{"200", "HTTP/1.1", want})
	}
	tenant := caller.Call{URL: "http://" + host, Headers: map[string]string{"Host": "tenant.system.com"}}
	return map[string]func(*testing.T){
		"a port":                form("http://"+host+":80", host),
		"a trailing dot":        form("http://"+host+".", host),
		"a dot and a port":      form("http://"+host+".:80", host),
		"upper case":            form("http://External.System.Com", "External.System.Com"),
		"upper case and a port": form("http://External.System.Com:80", host),
		"another Host header":   p.expect(tenant, protocolSight{"200", "HTTP/1.1", "tenant.system.com"}),
		"another app port":      form("http://"+appPortHost+":8080", appPortHost),
		"the Host header of the EgressTarget": form("http://"+namedHost,
			"gateway.system.com:8443"),
		"headers beside the Host header": func(t *testing.T) {
			for url, want := range map[string][]string{
				"http://" + host + "/added":        {"Accept-Encoding", "User-Agent", "X-Request-Id"},
				"http://" + host + ":80/added-too": {"Accept-Encoding", "User-Agent", "X-Envoy-Original-Host", "X-Request-Id"},
			} {
				_, said := p.call(t, caller.Call{URL: url})
				if diff := gocmp.Diff(want, slices.Sorted(maps.Keys(said.Headers))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", url, diff)
				}
			}
		},
	}
}

// requests: what an app sends arrives.
func (p *protocols) requests() map[string]func(*testing.T) {
	const large = 20 << 20
	tests := map[string]func(*testing.T){
		"an encoded path": func(t *testing.T) {
			const path = "/a%2Fb%20c%25?x=%26&y=%C3%A4"
			if result, said := p.call(t, caller.Call{URL: "http://" + host + path}); said.Path != path {
				t.Errorf("%s %s: the partner saw %q", result.Outcome, path, said.Path)
			}
		},
		"a body that waits for 100 (Continue)": p.expect(caller.Call{
			Method: "POST", URL: "http://" + host, Body: "x", Headers: map[string]string{"Expect": "100-continue"},
		}, protocolSight{"200", "HTTP/1.1", host}),
		"a large answer": func(t *testing.T) {
			result, _ := p.call(t, caller.Call{
				URL: fmt.Sprintf("http://%s/down?bytes=%d", host, large), Timeout: caller.Duration(time.Minute),
			})
			if result.BodyLength != large || result.Error != "" {
				t.Errorf("%d bytes arrived, %s", result.BodyLength, result.Error)
			}
		},
	}
	for name, http2 := range map[string]bool{"a large body": false, "a large body, HTTP 2": true} {
		tests[name] = func(t *testing.T) {
			result, said := p.call(t, caller.Call{
				Method: "POST", URL: fmt.Sprintf("http://%s/up-%t", host, http2), BodyBytes: large, HTTP2: http2,
				Timeout: caller.Duration(time.Minute),
			})
			if said.BodyLength != large || result.Outcome != "200" {
				t.Errorf("%d bytes arrived, %s %s", said.BodyLength, result.Outcome, result.Error)
			}
		}
	}
	for _, method := range []string{"HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"} {
		tests["method "+method] = func(t *testing.T) {
			result, said := p.call(t, caller.Call{Method: method, URL: "http://" + host})
			if result.Outcome != "200" || said.Method != method && method != "HEAD" {
				t.Errorf("%s: the partner saw %q", result.Outcome, said.Method)
			}
		}
	}
	return tests
}

// streams: gRPC, WebSockets and events.
func (p *protocols) streams() map[string]func(*testing.T) {
	tests := map[string]func(*testing.T){
		"WebSocket": func(t *testing.T) {
			got, err := p.s.Caller(p.pod).WebSocket(t.Context(),
				caller.WebSocket{URL: "ws://" + host + "/socket", Messages: []string{"one", "two"}})
			must(t, err)
			p.count(got.Error == "")
			if diff := gocmp.Diff(caller.Messages{Streamed: []string{"one", "two"}}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		},
	}
	for name, http2 := range map[string]bool{"events": false, "events, HTTP 2": true} {
		tests[name] = func(t *testing.T) {
			// The stream has no end: its first events arrive only when nothing waits for the others.
			result, _ := p.call(t, caller.Call{
				URL: fmt.Sprintf("http://%s/events-%t?events=1", host, http2), HTTP2: http2, Lines: 3,
			})
			if result.Body != "data: 1\n\ndata: 2\n" {
				t.Errorf("%q arrived, %s", result.Body, result.Error)
			}
		}
	}
	for target, want := range map[string]string{
		host + ":80": host, appPortHost + ":8080": appPortHost, namedHost + ":80": "gateway.system.com:8443",
	} {
		tests["gRPC to "+target] = func(t *testing.T) { p.grpc(t, "dns:///"+target, want) }
	}
	return tests
}

// grpc makes gRPC calls, one by one and in a stream. want is the authority that the partner sees.
func (p *protocols) grpc(t *testing.T, target, want string) {
	t.Helper()
	messages := []string{"one", "two"}
	got, err := p.s.Caller(p.pod).GRPC(t.Context(), caller.GRPC{Target: target, Messages: messages})
	must(t, err)
	for range len(messages) + 1 {
		p.count(got.Error == "")
	}
	if diff := gocmp.Diff(caller.Messages{Unary: messages, Streamed: messages}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	serverName, _, _ := strings.Cut(strings.TrimPrefix(target, "dns:///"), ":")
	if authorities := p.authorities(t, serverName); !slices.Equal(authorities, []string{want}) {
		t.Errorf("the partner saw the authorities %q, want %q", authorities, want)
	}
}

// authorities are those of streams on connections with a server name. Few calls of the app use
// HTTP/2, so the partner keeps them all.
func (p *protocols) authorities(t *testing.T, serverName string) []string {
	t.Helper()
	connections, err := p.s.Partner().Connections(t.Context(), partner.Filter{Remote: p.pod.Status.PodIP})
	must(t, err)
	var authorities []string
	for _, connection := range connections {
		for _, request := range connection.FirstRequests {
			if connection.SNI == serverName && connection.ALPN == "h2" && request.Path == partner.StreamMethod {
				authorities = append(authorities, request.Host)
			}
		}
	}
	return authorities
}

// limits: what the sidecar refuses, or doesn't understand.
func (p *protocols) limits() map[string]func(*testing.T) {
	many := func(count int) string {
		var headers strings.Builder
		for n := range count {
			fmt.Fprintf(&headers, "X-%d: 1\r\n", n)
		}
		return headers.String()
	}
	answer := func(version, headers, want string) func(*testing.T) {
		within := time.Minute
		if want == "" {
			within = unanswered
		}
		return func(t *testing.T) {
			got := p.raw(t.Context(), t, host,
				"GET /limits HTTP/"+version+"\r\nHost: "+host+"\r\n"+headers+"Connection: close\r\n\r\n", within)
			if head, _, _ := strings.Cut(got, "\r\n"); head != want {
				t.Errorf("the answer starts with %q, want %q", head, want)
			}
		}
	}
	const tooLarge = "HTTP/1.1 431 Request Header Fields Too Large"
	return map[string]func(*testing.T){
		"80 headers":          answer("1.1", many(80), "HTTP/1.1 200 OK"),
		"120 headers":         answer("1.1", many(120), tooLarge),
		"a header of 50 KiB":  answer("1.1", "X-Long: "+strings.Repeat("x", 50<<10)+"\r\n", "HTTP/1.1 200 OK"),
		"a header of 100 KiB": answer("1.1", "X-Long: "+strings.Repeat("x", 100<<10)+"\r\n", tooLarge),
		"HTTP 1.0":            answer("1.0", "", ""),
		"header names in lower case": func(t *testing.T) {
			p.verbatim(t, "host: verbatim.system.com\r\nx-my-case: 1\r\n", "x-camel-case: yes\r\n")
		},
	}
}

// raw sends bytes to the host, and returns what came back within the time.
func (p *protocols) raw(ctx context.Context, t *testing.T, host, send string, within time.Duration) string {
	t.Helper()
	result, err := p.s.Caller(p.pod).Raw(ctx,
		caller.Raw{Address: host + ":80", Send: send, Timeout: caller.Duration(within)})
	must(t, err)
	p.count(strings.Contains(result.Received, " 200 OK\r\n"))
	return result.Received
}

// verbatim compares the names of headers on their way, in both directions.
func (p *protocols) verbatim(t *testing.T, request, response string) {
	t.Helper()
	got := p.raw(t.Context(), t, partner.VerbatimName,
		"GET / HTTP/1.1\r\nHost: "+partner.VerbatimName+"\r\nX-My-CASE: 1\r\nConnection: close\r\n\r\n", time.Minute)
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	if !strings.Contains(body, request) {
		t.Errorf("the partner saw %q, want %q in it", body, request)
	}
	if !strings.Contains(head, response) {
		t.Errorf("the app saw %q, want %q in it", head, response)
	}
}

// grpcExample runs the manifest of the example with a program that calls what it names.
func grpcExample(t *testing.T, s *scene.Scene, ns string) {
	content, err := os.ReadFile(filepath.Join(s.Root, "examples", "grpc", "deployment.yaml"))
	must(t, err)
	var deployment appsv1.Deployment
	must(t, yaml.UnmarshalStrict(content, &deployment))
	app := deployment.Spec.Template.Spec.Containers[0]
	must(t, s.Deploy(t.Context(), scene.App{
		Namespace: ns, Name: deployment.Name, Annotations: deployment.Annotations,
		Spec: func(spec *corev1.PodSpec) { spec.Containers[0].Env = app.Env },
	}))
	pod, err := s.ReadyPod(t.Context(), ns, deployment.Name)
	must(t, err)
	p := &protocols{s: s, pod: pod}
	p.reached(t, host)
	p.grpc(t, app.Env[0].Value, host)
	p.neverPlain(t)
}

// TestHTTP10WhereIstiodAllowsIt changes istiod for all, so it doesn't run in parallel.
func TestHTTP10WhereIstiodAllowsIt(t *testing.T) {
	s := play(t)
	if !s.Own {
		skip(t, "istiod of the cluster in KUBECONFIG isn't ours to configure")
	}
	ns := namespace(t, s)
	credential(t, s, ns, "http10")
	p := deployForProtocols(t, s, ns, "shop", []string{host}, "")
	t.Cleanup(func() { must(t, s.ConfigureIstio(context.Background())) })
	must(t, s.ConfigureIstio(t.Context(), "env.PILOT_HTTP10=true"))
	must(t, scene.Until(t.Context(), "an answer in HTTP/1.0", func(ctx context.Context) error {
		got := p.raw(ctx, t, host, "GET /http10 HTTP/1.0\r\nHost: "+host+"\r\n\r\n", unanswered)
		if !strings.HasPrefix(got, "HTTP/1.0 200 OK\r\n") {
			return fmt.Errorf("got %q", got)
		}
		return nil
	}))
	neverPlain(t, seen(t, s, partner.Filter{Remote: p.pod.Status.PodIP}), figures{
		Promise:  "Never plaintext",
		Fault:    "HTTP/1.0, with PILOT_HTTP10",
		Requests: p.calls,
		Failed:   p.failed,
	})
}
