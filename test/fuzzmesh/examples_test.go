package fuzzmesh

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	gocmp "github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/mesh"
)

const (
	exampleRules = "../../internal/check/testdata/rules"
	// measuredFile holds what the examples do. The documentation of the rules is generated from it.
	measuredFile = "../../internal/check/testdata/measured.golden.json"
	partnerHost  = "external.system.com"
)

// Measured is what the two examples of a rule do.
type Measured struct {
	// Source is where it was measured.
	Source string `json:"source"`
	// Bad and Good are the outcomes that differ, by what was tried.
	Bad  map[string]string `json:"bad"`
	Good map[string]string `json:"good"`
}

// elsewhere are the rules whose effect shows only in a real Pod, or in another version of Istio.
func elsewhere() map[string]Measured {
	const pods = "Pods of a cluster with Istio 1.31-dev, Envoy 1.40.0 and Kubernetes 1.36.3"
	const ready, missing = "the sidecar is ready", "app calls http://" + partnerHost
	noFiles := Measured{Source: pods, Bad: map[string]string{
		ready: "after 15.5 to 19 s", missing: `503 (UF, "Secret is not supplied by SDS")`,
	}, Good: map[string]string{ready: "after 1.5 s", missing: "TLS with the client certificate"}}
	return map[string]Measured{
		"MTE243": {
			Source: "Istio's source: releases before 1.22 don't read targetPort for the resolution NONE",
			Bad:    map[string]string{missing: "TLS to " + partnerHost + ":80, 503"},
			Good:   map[string]string{missing: "TLS to " + partnerHost + ":443"},
		},
		"MTE249": noFiles,
		"MTE250": noFiles,
		"MTE251": noFiles,
	}
}

// TestExamplesOfRules loads the examples of every rule for Istio into Istio's own generator, and
// compares what becomes of calls with the golden file. A bad example and its good twin differ.
func TestExamplesOfRules(t *testing.T) {
	folders, err := filepath.Glob(filepath.Join(exampleRules, "MTE2*"))
	if err != nil || len(folders) == 0 {
		t.Fatal("no examples", err)
	}
	all := map[string]Measured{}
	for _, folder := range folders {
		id := filepath.Base(folder)
		t.Run(id, func(t *testing.T) {
			bad, good := outcomes(t, filepath.Join(folder, "bad.yaml")), outcomes(t, filepath.Join(folder, "good.yaml"))
			keepDifferences(bad, good)
			known, found := elsewhere()[id]
			switch {
			case !found && len(bad)+len(good) == 0:
				t.Error("the bad example does what the good one does")
			case !found:
				known = Measured{Source: sourceOf(bad), Bad: bad, Good: good}
			}
			all[id] = known
		})
	}
	compareMeasured(t, all)
}

// sourceOf names what the outcomes are from.
func sourceOf(outcomes map[string]string) string {
	if _, found := outcomes[theSidecar]; found {
		return "Istio's injector, in process"
	}
	return "Istio's generator and simulator"
}

// theSidecar is the name of the outcome of the injection.
const theSidecar = "the Pods"

// keepDifferences deletes outcomes that are alike, and those of other apps that change as the app's
// own.
func keepDifferences(bad, good map[string]string) {
	const own = "app calls http://" + partnerHost
	for name, outcome := range maps.Clone(bad) {
		likeOwn := strings.HasPrefix(name, "an") && outcome == bad[own] && good[name] == good[own]
		other, registryOnly := strings.CutSuffix(name, inRegistryOnly)
		if good[name] == outcome || likeOwn || registryOnly && (bad[other] != good[other] || strings.HasPrefix(other, "an")) {
			delete(bad, name)
			delete(good, name)
		}
	}
}

func compareMeasured(t *testing.T, all map[string]Measured) {
	t.Helper()
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(all); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(measuredFile, encoded.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(measuredFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), encoded.String()); diff != "" {
		t.Errorf("what the examples do (-want +got):\n%s", diff)
	}
}

// example is the content of an example: a world, and the labels of its Pods.
type example struct {
	World

	labels map[string]string
	// deployment is the manifest of its Pods; nil if it has none.
	deployment []byte
	env        []corev1.EnvVar
}

// readExample reads a file. Objects that Istio doesn't know are left out.
func readExample(t *testing.T, path string) example {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read := example{World: World{Mesh: Mesh{Mode: "ALLOW_ANY"}}, labels: map[string]string{"app": "shop"}}
	for document := range bytes.SplitSeq(content, []byte("---\n")) {
		var kind metav1.TypeMeta
		decode(t, document, &kind)
		var object mesh.Object
		switch kind.Kind {
		case mesh.KindServiceEntry:
			object = &networkingv1.ServiceEntry{}
		case mesh.KindVirtualService:
			object = &networkingv1.VirtualService{}
		case mesh.KindDestinationRule:
			object = &networkingv1.DestinationRule{}
		case mesh.KindSidecar:
			object = &networkingv1.Sidecar{}
		case kindBackendTLSPolicy:
			object = &gatewayv1.BackendTLSPolicy{}
		case mesh.KindService:
			service := &corev1.Service{}
			decode(t, document, service)
			read.Services = append(read.Services, service)
			continue
		case "Deployment":
			var deployment appsv1.Deployment
			decode(t, document, &deployment)
			read.labels, read.deployment = deployment.Spec.Template.Labels, document
			read.env = deployment.Spec.Template.Spec.Containers[0].Env
			continue
		default:
			continue
		}
		decode(t, document, object)
		if object.GetNamespace() == "" {
			object.SetNamespace(metav1.NamespaceDefault)
		}
		read.Theirs = append(read.Theirs, object)
	}
	return read
}

func decode(t *testing.T, document []byte, value any) {
	t.Helper()
	if err := yaml.Unmarshal(document, value); err != nil {
		t.Fatal(err)
	}
}

// outcomes returns what becomes of calls, by what is called and who calls.
func outcomes(t *testing.T, path string) map[string]string {
	t.Helper()
	read := readExample(t, path)
	found := map[string]string{}
	taken := read.World
	taken.Theirs = slices.DeleteFunc(slices.Clone(read.Theirs), func(object mesh.Object) bool { return !valid(object) })
	if len(taken.Theirs) < len(read.Theirs) {
		unchecked := start(t, read.World).sidecar(read.pod())
		found["app calls http://"+partnerHost+", Istio's validation is off"] = unchecked.outcome(httpCall(partnerHost))
	}
	for _, object := range read.Theirs {
		if !valid(object) {
			found["kubectl apply"] = "Istio refuses " + kind(object) + " " + object.GetName()
		}
	}
	if read.deployment != nil {
		found[theSidecar] = injected(t, read.deployment)
	}
	for _, variable := range read.env {
		call := httpCall(partnerHost)
		if strings.HasPrefix(variable.Value, "https:") {
			call = httpsCall(partnerHost)
		}
		found["app calls the URL in "+variable.Name] = start(t, taken).sidecar(read.pod()).outcome(call)
	}
	callsIn(t, taken, read.pod(), "", found)
	taken.Mesh.Mode = "REGISTRY_ONLY"
	callsIn(t, taken, read.pod(), inRegistryOnly, found)
	return found
}

// inRegistryOnly follows the name of a call in a mesh that refuses unknown hosts.
const inRegistryOnly = ", in a mesh with REGISTRY_ONLY"

// callsIn adds what becomes of calls in a world. Their names end with mode.
func callsIn(t *testing.T, w World, pod Pod, mode string, found map[string]string) {
	t.Helper()
	control := start(t, w)
	caller := control.sidecar(pod)
	found["app calls http://"+partnerHost+mode] = caller.outcome(httpCall(partnerHost))
	found["app calls https://"+partnerHost+mode] = caller.outcome(httpsCall(partnerHost))
	found["app calls http://www.system.com"+mode] = caller.outcome(httpCall("www.system.com"))
	for _, service := range w.Services {
		host := service.Name + "." + service.Namespace + ".svc.cluster.local"
		call := Call{Scheme: "http", Address: service.Spec.ClusterIP, Port: 80, Host: host}
		found["app calls http://"+service.Name+mode] = caller.outcome(call)
	}
	found["app connects to port 5432"+mode] = caller.outcome(Call{Scheme: "tcp", Address: "203.0.113.5", Port: 5432})
	other := map[string]string{"app": "other"}
	neighbor := control.sidecar(Pod{Name: "neighbor", Namespace: ownNamespace, Labels: other})
	found["another app of the namespace calls http://"+partnerHost+mode] = neighbor.outcome(httpCall(partnerHost))
	outsider := control.sidecar(Pod{Name: "outsider", Namespace: otherNamespace, Labels: other})
	found["an app of another namespace calls http://"+partnerHost+mode] = outsider.outcome(httpCall(partnerHost))
}

func (e example) pod() Pod { return Pod{Name: "caller", Namespace: ownNamespace, Labels: e.labels} }

func httpCall(host string) Call {
	return Call{Scheme: "http", Address: outside(host), Port: 80, Host: host}
}

func httpsCall(host string) Call {
	return Call{Scheme: "https", Address: outside(host), Port: 443, Host: host}
}

// outcome returns what becomes of a call, in words.
func (s *sidecar) outcome(call Call) string {
	var ends []string
	for _, end := range s.ends(call) {
		ends = append(ends, s.words(call, end))
	}
	return strings.Join(ends, "; or ")
}

func (s *sidecar) words(call Call, end End) string {
	switch {
	case strings.Contains(end.Answer, "301"), strings.Contains(end.Answer, "Redirect"):
		return "redirect to https"
	case strings.Contains(end.Answer, "404"):
		return "404"
	case end.Answer != "" && strings.HasPrefix(end.Settings, "no cluster"):
		return "503 (cluster_not_found)"
	case end.Answer != "":
		return "the sidecar ends the call (" + end.Answer + ")"
	case len(end.To) == 0:
		return "503 (no endpoint)"
	}
	text := "plain text"
	switch {
	case call.Scheme == "https" && end.TLS == nil:
		text = "the app's own TLS"
	case call.Scheme == "https":
		text = "TLS in TLS"
	case end.TLS != nil:
		text = s.tlsWords(call, end)
	}
	text += " to " + strings.Join(s.destinations(call, end), ", ")
	return strings.Join(append([]string{text}, settingsWords(end)...), ", ")
}

// tlsWords describes the TLS of a call.
func (s *sidecar) tlsWords(call Call, end End) string {
	tls := end.TLS
	// Envoy takes both from the Host header, which only HTTP has.
	fromHost := func(setting string) bool { return call.Scheme == "http" && strings.Contains(end.Settings, setting) }
	serverName := cmp.Or(tls.SNI, "none")
	if tls.SNI == "" && fromHost("auto_sni:true") {
		serverName = "of the Host header"
	}
	certificate := "without a client certificate"
	switch {
	case tls.Certificate == "default":
		certificate = "with the certificate of the mesh"
	case tls.Certificate != "":
		name, _, _ := strings.Cut(strings.TrimPrefix(tls.Certificate, "file-cert:"), "~")
		certificate = "with the client certificate " + name
	}
	names := strings.Join(tls.Names, " or ")
	switch {
	case names == "" && fromHost("auto_san_validation:true"):
		names = "the Host header"
	case names == "":
		names = "any name"
	}
	ca := strings.TrimPrefix(tls.CA, "file-root:")
	if ca == "" {
		return fmt.Sprintf("TLS %s, SNI %s, every server certificate is accepted", certificate, serverName)
	}
	return fmt.Sprintf("TLS %s, SNI %s, server certificate for %s from CA %s", certificate, serverName, names, ca)
}

// destinations returns the addresses that a call goes to, with ports.
func (s *sidecar) destinations(call Call, end End) []string {
	c := s.clusters[end.Cluster]
	if c.GetType() != cluster.Cluster_ORIGINAL_DST {
		return end.To
	}
	port := uint32(call.Port)
	if other := c.GetOriginalDstLbConfig().GetUpstreamPortOverride().GetValue(); other != 0 {
		port = other
	}
	return []string{fmt.Sprintf("%s:%d", partnerName(call.Address), port)}
}

// partnerName returns the host that has the address.
func partnerName(address string) string {
	for _, host := range []string{partnerHost, "www.system.com"} {
		if outside(host) == address {
			return host
		}
	}
	return address
}

// defaultRetries are the conditions that Istio retries on by default.
const defaultRetries = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"

// The settings of routes and clusters that rules are about, in the text of their messages.
var (
	retryText    = regexp.MustCompile(`retry_policy:\{.*?retry_on:"([^"]*)"`)
	durationText = regexp.MustCompile(`max_connection_duration:\{seconds:(\d+)`)
)

func settingsWords(end End) []string {
	text := strings.Join(strings.Fields(end.Settings), " ")
	var words []string
	if found := retryText.FindStringSubmatch(text); found != nil && found[1] != defaultRetries {
		words = append(words, "retried on "+found[1])
	}
	if found := durationText.FindStringSubmatch(text); found != nil {
		words = append(words, "connections close after "+found[1]+" s")
	}
	if strings.Contains(text, "explicit_http_config:{http2_protocol_options") {
		words = append(words, "HTTP/2")
	}
	return words
}
