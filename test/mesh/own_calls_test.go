package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/scene"
)

const (
	// ownSecret holds a credential that an app uses itself; it is mounted at ownDirectory.
	ownSecret    = "own"
	ownDirectory = "/etc/own"
)

// sidecarFor is a manifest, which lacks the namespace, of a Sidecar for all Pods of a namespace.
// They see the hosts and do with others what mode says; empty: what the mesh does.
func sidecarFor(mode string, hosts ...string) string {
	policy := ""
	if mode != "" {
		policy = "outboundTrafficPolicy: {mode: " + mode + "}, "
	}
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: %%s}
spec: {%segress: [{hosts: ["%s"]}]}
`, policy, strings.Join(hosts, `", "`))
}

// modeIn returns what a Sidecar needs to have the mode: nothing, if the mesh has it.
func modeIn(mesh cluster.Mesh, mode string) string {
	if mesh.Mode() == mode {
		return ""
	}
	return mode
}

// outboundPolicy is a manifest, which lacks the namespace, by which the sidecars of a namespace
// have the mode. It is empty if the mesh has it.
func outboundPolicy(mesh cluster.Mesh, mode string) string {
	if mesh.Mode() == mode {
		return ""
	}
	return sidecarFor(mode, "./*", "istio-system/*")
}

// outboundPolicies are what a mesh does with calls to hosts that it doesn't know, with what
// outboundPolicy returns for each.
func outboundPolicies(mesh cluster.Mesh) map[string]string {
	policies := map[string]string{}
	for _, mode := range []string{cluster.AllowAny, cluster.RegistryOnly, mesh.Mode()} {
		policies[mode] = outboundPolicy(mesh, mode)
	}
	return policies
}

// withOwnSecret mounts the Secret of the app's own credential into the app.
func withOwnSecret(spec *corev1.PodSpec) {
	spec.Volumes = append(spec.Volumes, corev1.Volume{
		Name:         ownSecret,
		VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: ownSecret}},
	})
	spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts,
		corev1.VolumeMount{Name: ownSecret, MountPath: ownDirectory, ReadOnly: true})
}

// ownHTTPS is load of calls in which the app does mutual TLS itself.
func ownHTTPS(path string) caller.Bench {
	return caller.Bench{
		URL: "https://" + host + path, Requests: 3, Connections: 1,
		ClientCertificate: ownDirectory + "/cert", ClientKey: ownDirectory + "/key", CA: ownDirectory + "/cacert",
	}
}

// callsItself deploys an app that asks for the target and has a credential of its own besides, and
// returns both credentials.
func callsItself(
	t *testing.T,
	s *scene.Scene,
	manifest, loop string,
) (pod *corev1.Pod, sidecars, own scene.Credential) {
	t.Helper()
	ns := namespace(t, s)
	applyIn(t, s, ns, manifest)
	sidecars = credential(t, s, ns, "shop")
	own, err := s.Credential("shop itself")
	must(t, err)
	must(t, s.WriteSecret(t.Context(), ns, ownSecret, own.Data(scene.LayoutCert)))
	must(t, s.Deploy(t.Context(), scene.App{
		Namespace:   ns,
		Name:        "shop",
		Annotations: scene.Target(host),
		Spec:        withOwnSecret,
		Loops:       []string{"http://" + host + loop},
		Args:        []string{"--timeout", "5s"},
		// Istio leaves out the counter that retries reads.
		PodAnnotations: map[string]string{
			"proxy.istio.io/config": `{"proxyStatsMatcher": {"inclusionSuffixes": ["upstream_rq_retry"]}}`,
		},
	}))
	return calling(t, s, ns, "shop"), sidecars, own
}

func TestOwnHTTPSIsUntouched(t *testing.T) {
	t.Parallel()
	s := play(t)
	for policy, manifest := range outboundPolicies(s.Mesh()) {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			path := "/own-https/" + policy
			pod, sidecars, own := callsItself(t, s, manifest, path+"/loop")

			result, err := s.Caller(pod).Bench(t.Context(), ownHTTPS(path+"/own-certificate"))
			must(t, err)
			if diff := gocmp.Diff(map[caller.Outcome]int{"200": 3}, result.ByOutcome); diff != "" {
				t.Errorf("with the app's own certificate (-want +got):\n%s", diff)
			}
			// The partner demands a certificate. That it gets none shows that the sidecar adds none of its
			// own.
			results, err := s.Caller(pod).
				Call(t.Context(), caller.Call{URL: "https://" + host + path + "/no-certificate", CAPEM: string(own.ServerCA)})
			must(t, err)
			if results[0].Outcome != caller.OutcomeTLS {
				t.Errorf("without a certificate: %+v, want the partner's refusal", results[0])
			}
			// The app's own check of the partner's certificate is the app's.
			results, err = s.Caller(pod).Call(t.Context(), caller.Call{URL: "https://" + host + path + "/no-ca"})
			must(t, err)
			if results[0].Outcome != caller.OutcomeTLS {
				t.Errorf("without the CA: %+v, want the app's refusal", results[0])
			}

			ownTLS := sight{Kind: partner.KindTLS, Port: 443, SNI: host}
			withCertificate, noCertificate, noCA := ownTLS, ownTLS, ownTLS
			withCertificate.TLSVersion, withCertificate.Serial = "TLS 1.3", own.Serial()
			withCertificate.Method, withCertificate.HTTPVersion = "GET", "HTTP/1.1"
			withCertificate.Host, withCertificate.Path = host, path+"/own-certificate"
			noCertificate.HandshakeError = "tls: client didn't provide a certificate"
			noCA.HandshakeError = "remote error: tls: bad certificate"
			connections := fromPod(t, s, pod)
			want := sorted([]sight{withCertificate, noCertificate, noCA, mutualTLS(host, sidecars, 443, path+"/loop")})
			if diff := gocmp.Diff(want, sights(connections)); diff != "" {
				t.Errorf("what the partner saw (-want +got):\n%s", diff)
			}
			loop, err := s.Caller(pod).Loop(t.Context(), "http://"+host+path+"/loop")
			must(t, err)
			onlyMutualTLS(t, "http meanwhile", loop, sidecars.Serial())
			neverPlain(
				t, summaryOf(connections),
				figures{Promise: "Your own https and POST", Fault: "own https beside http, " + policy,
					Requests: loop.Calls + 5, Failed: loop.Calls - loop.ByOutcome["200"]},
			)
		})
	}
}

func TestARequestIsSentOnce(t *testing.T) {
	t.Parallel()
	s := play(t)
	for policy, manifest := range outboundPolicies(s.Mesh()) {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			prefix := "/once-" + strings.ToLower(policy)
			pod, sidecars, _ := callsItself(t, s, manifest, prefix+"/loop")
			requests := 0
			for name, test := range map[string]struct {
				fault string
				want  caller.Outcome
			}{
				"answered":                       {fault: "", want: "200"},
				"answered 503":                   {fault: "?status=503", want: "503"},
				"answered 429":                   {fault: "?status=429", want: "429"},
				"answered 409":                   {fault: "?status=409", want: "409"},
				"closed without an answer":       {fault: "?close=before", want: "503"},
				"reset without an answer":        {fault: "?reset=1", want: "503"},
				"given up by the app":            {fault: "?delay=30s", want: caller.OutcomeTimeout},
				"closed after it was worked on":  {fault: "?delay=500ms&close=before", want: "503"},
				"reset after it was worked on":   {fault: "?delay=500ms&reset=1", want: "503"},
				"answered 503 after a long time": {fault: "?delay=500ms&status=503", want: "503"},
			} {
				timeout := caller.Duration(20 * time.Second)
				if test.want == caller.OutcomeTimeout {
					timeout = caller.Duration(2 * time.Second)
				}
				for _, method := range []string{"POST", "PUT", "DELETE", "GET"} {
					path := prefix + "/" + method + "-" + strings.ReplaceAll(name, " ", "-") + "." // no path begins another
					body := ""
					if method != "GET" {
						body = "order"
					}
					results, err := s.Caller(pod).
						Call(t.Context(), caller.Call{
							Method:  method,
							URL:     "http://" + host + path + test.fault,
							Body:    body,
							Timeout: timeout,
						})
					must(t, err)
					requests++
					if results[0].Outcome != test.want {
						t.Errorf("%s, %s: %s, want %s", method, name, results[0].Outcome, test.want)
					}
					saw := seen(t, s, partner.Filter{Path: path})
					if saw.Requests != 1 {
						t.Errorf("%s, %s: the partner got it %d times, want once", method, name, saw.Requests)
					}
				}
			}
			loop, err := s.Caller(pod).Loop(t.Context(), "http://"+host+prefix+"/loop")
			must(t, err)
			onlyMutualTLS(t, "calls meanwhile", loop, sidecars.Serial())
			neverPlain(
				t, summaryOf(fromPod(t, s, pod)),
				figures{Promise: "Your own https and POST", Fault: "the partner answers 503, closes, resets, hangs, " + policy,
					Requests: loop.Calls + requests, Failed: loop.Calls - loop.ByOutcome["200"]},
			)
		})
	}
}

// The partner goes away and comes back, which all tests share, so this one runs by itself.
func TestAPOSTIsSentOnceWhenThePartnerGoesAway(t *testing.T) {
	s := play(t)
	pod, _, _ := callsItself(t, s, "", "/away/loop")
	// The sidecar may try three connections of ten seconds each.
	post := caller.Call{
		Method:    http.MethodPost,
		URL:       "http://" + host + "/away/post",
		Body:      "order",
		Count:     3,
		KeepAlive: true,
		Timeout:   caller.Duration(time.Minute),
	}
	answered(t, s, pod, post)
	if saw := seen(t, s, partner.Filter{Path: "/away/post"}); saw.Posts != 3 {
		t.Errorf("the partner got %d POSTs, want 3", saw.Posts)
	}
	scale := func(replicas string) {
		t.Helper()
		_, _, err := s.Kubectl(context.Background(), "--namespace", scene.PartnerNamespace, "scale",
			"deployment/partner", "--replicas", replicas)
		must(t, err)
	}
	t.Cleanup(func() {
		scale("1")
		must(t, s.Rollout(context.Background(), scene.PartnerNamespace, "deployment/partner"))
	})
	scale("0")
	_, _, err := s.Kubectl(t.Context(), "--namespace", scene.PartnerNamespace, "wait", "--for=delete", "pod",
		"--selector=app=partner", "--timeout=1m")
	must(t, err)
	// Until kube-proxy knows it, connections to the partner's address are not refused but end nowhere.
	must(t, scene.Until(t.Context(), "connections are refused", func(ctx context.Context) error {
		probe, err := s.Caller(pod).Call(ctx, caller.Call{URL: "http://" + host + "/away/probe"})
		if err == nil && probe[0].Outcome != "503" {
			err = fmt.Errorf("the outcome is %s", probe[0].Outcome)
		}
		return err
	}))
	// That is tried again, but nothing that could be sent twice is sent.
	before := retries(t, s, pod)
	refused, err := s.Caller(pod).Call(t.Context(), post)
	must(t, err)
	for _, result := range refused {
		if result.Outcome != "503" {
			t.Errorf("while nobody listens: %s %s, want 503", result.Outcome, result.Error)
		}
	}
	if tried := retries(t, s, pod) - before; tried < 6 {
		t.Errorf("the sidecar tried %d times more, want at least 2 times for each of 3 calls", tried)
	}
	scale("1")
	must(t, s.Rollout(t.Context(), scene.PartnerNamespace, "deployment/partner"))
	calling(t, s, pod.Namespace, "shop")
	answered(t, s, pod, post)
	saw := seen(t, s, partner.Filter{Path: "/away/post"})
	if saw.Posts != 3 {
		t.Errorf("the partner that came back got %d POSTs, want the 3 that were made then", saw.Posts)
	}
	neverPlain(t, summaryOf(fromPod(t, s, pod)),
		figures{Promise: "Your own https and POST", Fault: "the partner is away", Requests: 9, Failed: 3})
}

// retries is how often the sidecar of a Pod has tried a call to the target again.
func retries(t *testing.T, s *scene.Scene, pod *corev1.Pod) int {
	t.Helper()
	stats, _, err := s.Kubectl(t.Context(), "--namespace", pod.Namespace, "exec", pod.Name, "--container", "istio-proxy",
		"--", "pilot-agent", "request", "GET", "stats?filter=upstream_rq_retry$&format=json")
	must(t, err)
	var answer struct {
		Stats []struct {
			Name  string
			Value int
		}
	}
	must(t, json.Unmarshal([]byte(stats), &answer))
	for _, stat := range answer.Stats {
		if strings.Contains(stat.Name, "|mtls-egress|"+host) {
			return stat.Value
		}
	}
	t.Fatalf("the sidecar has no counter of retries for %s in %s", host, stats)
	return 0
}

// uuid is an x-request-id as Envoy makes it.
var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func TestHeadersThatReachThePartner(t *testing.T) {
	t.Parallel()
	s := play(t)
	pod, sidecars, _ := callsItself(t, s, "", "/headers/loop")
	for name, test := range map[string]struct {
		call caller.Call
		want http.Header
	}{
		"of a GET with nothing": {
			want: http.Header{"Accept-Encoding": {"gzip"}, "User-Agent": {"Go-http-client/1.1"}, "X-Request-Id": {idOfASidecar}},
		},
		"of a POST": {
			call: caller.Call{Method: http.MethodPost, Body: "order"},
			want: http.Header{
				"Accept-Encoding": {"gzip"},
				"User-Agent":      {"Go-http-client/1.1"},
				"Content-Length":  {"5"},
				"X-Request-Id":    {idOfASidecar},
			},
		},
		"of an app that sets its own": {
			call: caller.Call{Headers: map[string]string{
				"User-Agent": "shop/1", "Accept-Encoding": "identity", "Authorization": "Bearer token", "Cookie": "a=b",
				"Traceparent":  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
				"X-B3-Traceid": "463ac35c9f6413ad48485a3953bb6124", "X-Shop": "kept", "Via": "1.1 shop",
				// Envoy writes into the digit after the second hyphen whether the call is traced, which follows
				// from the first eight; this one isn't.
				"X-Request-Id": "11111111-1111-4111-8111-111111111111",
			}},
			want: http.Header{
				"User-Agent":      {"shop/1"},
				"Accept-Encoding": {"identity"},
				"Authorization":   {"Bearer token"},
				"Cookie":          {"a=b"},
				"Traceparent":     {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
				"X-B3-Traceid":    {"463ac35c9f6413ad48485a3953bb6124"},
				"X-Shop":          {"kept"},
				"Via":             {"1.1 shop"},
				"X-Request-Id":    {"11111111-1111-4111-8111-111111111111"},
			},
		},
		"of an app that claims to be a proxy": {
			call: caller.Call{Headers: map[string]string{
				"X-Forwarded-Client-Cert":        "By=spiffe://cluster.local/ns/a/sa/b;Subject=\"CN=forged\"",
				"X-Forwarded-For":                "192.0.2.7",
				"X-Forwarded-Proto":              "https",
				"X-Forwarded-Host":               "shop.example",
				"X-Envoy-Attempt-Count":          "7",
				"X-Envoy-Decorator-Operation":    "forged",
				"X-Envoy-Peer-Metadata":          "forged",
				"X-Envoy-Peer-Metadata-Id":       "forged",
				"X-Envoy-External-Address":       "192.0.2.7",
				"X-Envoy-Max-Retries":            "9",
				"X-Envoy-Retry-On":               "5xx",
				"X-Envoy-Upstream-Rq-Timeout-Ms": "1",
				"X-Envoy-Expected-Rq-Timeout-Ms": "1",
			}},
			// X-Forwarded-For and such are the app's to say: the sidecar adds nothing to them.
			want: http.Header{
				"Accept-Encoding": {"gzip"}, "User-Agent": {"Go-http-client/1.1"}, "X-Envoy-External-Address": {"192.0.2.7"},
				"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Host": {"shop.example"}, "X-Request-Id": {idOfASidecar},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			call := test.call
			call.URL = "http://" + host + "/headers/calls"
			results := answered(t, s, pod, call)
			if diff := gocmp.Diff(
				map[string][]string(test.want), headersOf(t, results[0], call.Headers["X-Request-Id"]),
			); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var said partner.Answer
			must(t, json.Unmarshal([]byte(results[0].Body), &said))
			if said.Plain || said.Client == nil || said.Client.SerialNumber != sidecars.Serial() {
				t.Errorf("the partner saw %+v over TLS %v, want the sidecar's certificate", said.Client, !said.Plain)
			}
		})
	}
}

func TestKeepAliveAndLargeBodies(t *testing.T) {
	t.Parallel()
	s := play(t)
	pod, sidecars, _ := callsItself(t, s, "", "/keep-alive/loop")
	const mebibyte = 1 << 20
	results := answered(t, s, pod,
		caller.Call{URL: fmt.Sprintf("http://%s/keep-alive/download?bytes=%d", host, mebibyte), Count: 20, KeepAlive: true})
	for i, result := range results {
		if result.BodyLength != mebibyte {
			t.Errorf("download %d has %d bytes, want %d", i, result.BodyLength, mebibyte)
		}
	}
	answered(t, s, pod, caller.Call{
		Method:    http.MethodPost,
		URL:       "http://" + host + "/keep-alive/upload",
		Body:      strings.Repeat("x", mebibyte),
		Count:     5,
		KeepAlive: true,
	})
	uploads, err := s.Partner().Connections(t.Context(), partner.Filter{Path: "/keep-alive/upload"})
	must(t, err)
	for _, connection := range uploads {
		for _, request := range connection.FirstRequests {
			if request.Method == http.MethodPost && request.BodyLength != mebibyte {
				t.Errorf("an upload has %d bytes, want %d", request.BodyLength, mebibyte)
			}
		}
	}
	// Connections to the partner are kept, whatever the app does: 40 calls with a connection each need
	// no handshake each.
	answered(t, s, pod, caller.Call{URL: "http://" + host + "/keep-alive/calls", Count: 40})
	saw := seen(t, s, partner.Filter{Path: "/keep-alive"})
	t.Logf("%d connections for %d requests", saw.Connections, saw.Requests)
	if only := saw.ByClientSerial[sidecars.Serial()]; saw.Connections > 4 || only.Requests != saw.Requests ||
		only.Requests < 65 {
		t.Errorf(
			"%d connections for %d requests, %d of these with the sidecar's certificate; want few connections, all with it",
			saw.Connections,
			saw.Requests,
			only.Requests,
		)
	}
	neverPlain(t, saw,
		figures{Promise: "Your own https and POST", Fault: "keep-alive, bodies of 1 MiB", Requests: saw.Requests})
}
