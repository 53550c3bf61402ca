package mesh_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// generation holds the inputs and the generated objects of a target.
type generation struct {
	target          egress.Target
	layout          egress.Layout
	anchor          *networkingv1.ServiceEntry
	listener        *networkingv1.ServiceEntry
	virtualService  *networkingv1.VirtualService
	destinationRule *networkingv1.DestinationRule
	serviceEntry    *networkingv1.ServiceEntry
}

// TestEveryGeneratedSetKeepsTheRules generates objects from random targets, including zero values
// of every field. It checks the rules that prevent calls without TLS and effects on other
// workloads.
func TestEveryGeneratedSetKeepsTheRules(t *testing.T) {
	rules := map[string]func(g generation) error{
		"every object is for its own namespace only": func(g generation) error {
			for _, exportTo := range [][]string{
				g.anchor.Spec.ExportTo, g.virtualService.Spec.ExportTo,
				g.destinationRule.Spec.ExportTo, g.serviceEntry.Spec.ExportTo,
			} {
				if !slices.Equal(exportTo, []string{"."}) {
					return fmt.Errorf("exportTo is %q", exportTo)
				}
			}
			return nil
		},
		"only Pods of the target are selected": func(g generation) error {
			want := map[string]string{egress.HostLabel(g.target.Host): "true"}
			if diff := cmp.Diff(want, g.destinationRule.Spec.WorkloadSelector.GetMatchLabels()); diff != "" {
				return fmt.Errorf("workloadSelector: %s", diff)
			}
			for _, route := range g.virtualService.Spec.Http {
				if len(route.Match) == 0 {
					return fmt.Errorf("the route %s matches everything", route.Name)
				}
				for _, match := range route.Match {
					if diff := cmp.Diff(want, match.SourceLabels); diff != "" {
						return fmt.Errorf("sourceLabels: %s", diff)
					}
				}
			}
			return nil
		},
		"no object but the VirtualService has the partner's own host": func(g generation) error {
			name := egress.MeshHost(g.target.Host)
			if !slices.Equal(g.serviceEntry.Spec.Hosts, []string{name}) || g.destinationRule.Spec.Host != name {
				return fmt.Errorf(
					"the ServiceEntry is for %q, the DestinationRule for %s", g.serviceEntry.Spec.Hosts, g.destinationRule.Spec.Host,
				)
			}
			return nil
		},
		"the subset is mutual TLS with files, a server name and names to compare": func(g generation) error {
			return isMutual(g.target, subset(g.destinationRule).TrafficPolicy.Tls)
		},
		"only the subset has a policy, so the app's own https is not encrypted twice": func(g generation) error {
			if policy := g.destinationRule.Spec.TrafficPolicy; policy != nil {
				return fmt.Errorf("%v", policy)
			}
			return nil
		},
		"the app's own https goes to the partner's port by its server name, without the subset": func(g generation) error {
			want := []*networking.TLSRoute{{
				Match: []*networking.TLSMatchAttributes{{
					Port: uint32(g.target.Port), SniHosts: []string{g.target.Host},
					SourceLabels: map[string]string{egress.HostLabel(g.target.Host): "true"},
				}},
				Route: []*networking.RouteDestination{{Destination: &networking.Destination{
					Host: egress.MeshHost(g.target.Host), Port: &networking.PortSelector{Number: uint32(g.target.Port)},
				}}},
			}}
			if diff := cmp.Diff(want, g.virtualService.Spec.Tls, protocmp.Transform()); diff != "" {
				return errors.New(diff)
			}
			return nil
		},
		"the subset has no port settings, because its other ports would lack TLS": func(g generation) error {
			if settings := subset(g.destinationRule).TrafficPolicy.PortLevelSettings; settings != nil {
				return fmt.Errorf("%v", settings)
			}
			return nil
		},
		"the ServiceEntry opens only the partner's port, so it routes no plain HTTP": func(g generation) error {
			if ports := g.serviceEntry.Spec.Ports; len(ports) != 1 || !hasPort(g.serviceEntry, g.target.Port, "HTTPS") {
				return fmt.Errorf("%v", ports)
			}
			return nil
		},
		"the ServiceEntry has the sinkhole address and resolves the partner's with DNS": func(g generation) error {
			spec := &g.serviceEntry.Spec
			switch {
			case !slices.Equal(spec.Addresses, []string{egress.Sinkhole{}.Address(g.target.Host).String()}):
				return fmt.Errorf("addresses are %q", spec.Addresses)
			case len(spec.Endpoints) != 1 || spec.Endpoints[0].Address != g.target.Host+".":
				return fmt.Errorf("endpoints are %v", spec.Endpoints)
			case spec.Resolution != networking.ServiceEntry_DNS || spec.Location != networking.ServiceEntry_MESH_EXTERNAL:
				return fmt.Errorf("resolution %v, location %v", spec.Resolution, spec.Location)
			}
			return nil
		},
		"the listener has the sinkhole address and the app port, and its endpoint is not routed": func(g generation) error {
			spec := &g.listener.Spec
			switch {
			case !slices.Equal(spec.Addresses, []string{egress.Sinkhole{}.Address(g.target.Host).String()}):
				return fmt.Errorf("addresses are %q", spec.Addresses)
			case len(spec.Endpoints) != 1 || spec.Endpoints[0].Address != "192.0.2.1" ||
				spec.Resolution != networking.ServiceEntry_STATIC:
				return fmt.Errorf("endpoints are %v, resolution %v", spec.Endpoints, spec.Resolution)
			case len(spec.Ports) != 1 || !hasPort(g.listener, g.target.AppPort, ""):
				return fmt.Errorf("ports are %v", spec.Ports)
			}
			return nil
		},
		"a target with a shared address has no listener, nor its host in the VirtualService": func(g generation) error {
			name := egress.ListenerHost(g.target.Host, g.target.AppPort)
			objects := mesh.Objects(g.target, g.layout)
			if len(objects) != 4 || !slices.Contains(g.virtualService.Spec.Hosts, name) {
				return fmt.Errorf("%d objects, the VirtualService for %q", len(objects), g.virtualService.Spec.Hosts)
			}
			shared := g.target
			shared.AddressShared = true
			objects = mesh.Objects(shared, g.layout)
			if len(objects) != 3 || len(mesh.Closed(shared, g.layout)) > 2 ||
				slices.Contains(mesh.VirtualService(shared).Spec.Hosts, name) {
				return fmt.Errorf("shared: %d objects", len(objects))
			}
			return nil
		},
		"only failures before the request was sent are retried": func(g generation) error {
			retries := g.virtualService.Spec.Http[0].Retries
			if retries == nil {
				return errors.New("no retries means Istio's default, which repeats requests")
			}
			if retries.Attempts != max(g.target.Retries, 0) || (retries.Attempts == 0) != (retries.RetryOn == "") {
				return fmt.Errorf("%v for %d retries", retries, g.target.Retries)
			}
			for condition := range strings.SplitSeq(retries.RetryOn, ",") {
				if !slices.Contains([]string{"", "connect-failure", "refused-stream", "reset-before-request"}, condition) {
					return fmt.Errorf("%s repeats a request that may have been executed", condition)
				}
			}
			return nil
		},
		"the route leads to a subset that exists, on a port that exists": func(g generation) error {
			route := g.virtualService.Spec.Http[0].Route
			if len(route) != 1 || route[0].Destination.Host != g.destinationRule.Spec.Host ||
				route[0].Destination.Subset != subset(g.destinationRule).Name {
				return fmt.Errorf("route is %v", route)
			}
			if !slices.Equal(g.serviceEntry.Spec.Hosts, []string{route[0].Destination.Host}) ||
				len(subset(g.destinationRule).Labels) > 0 {
				return fmt.Errorf(
					"the route's host %s with no labels is not in %v", route[0].Destination.Host, g.serviceEntry.Spec.Hosts,
				)
			}
			if port := route[0].Destination.Port.Number; port != uint32(g.target.Port) ||
				!hasPort(g.serviceEntry, g.target.Port, "HTTPS") {
				return fmt.Errorf("port %d is not in %v", port, g.serviceEntry.Spec.Ports)
			}
			return nil
		},
		"routes differ only in the Host header, and the last one takes all others": func(g generation) error {
			for _, route := range g.virtualService.Spec.Http {
				if route.GetRewrite().GetUri() != "" || route.GetRewrite().GetUriRegexRewrite() != nil {
					return fmt.Errorf("the path is changed: %v", route.GetRewrite())
				}
				same := route.DeepCopy()
				same.Rewrite = lastRoute(g.virtualService).GetRewrite()
				same.Match[0].Authority = nil
				if diff := cmp.Diff(lastRoute(g.virtualService), same, protocmp.Transform()); diff != "" {
					return fmt.Errorf("a route and the last one: %s", diff)
				}
			}
			return nil
		},
		"sidecars listen on the app port, and the VirtualService is attached there": func(g generation) error {
			if !hasPort(g.anchor, g.target.AppPort, "HTTP") ||
				g.virtualService.Spec.Http[0].Match[0].Port != uint32(g.target.AppPort) {
				return fmt.Errorf("anchor %v, match %v", g.anchor.Spec.Ports, g.virtualService.Spec.Http[0].Match)
			}
			if g.target.AppPort != 80 && !slices.Contains(g.virtualService.Spec.Hosts, g.anchor.Spec.Hosts[0]) {
				return fmt.Errorf("hosts are %q", g.virtualService.Spec.Hosts)
			}
			return nil
		},
		"the route is for the host in both forms, and for the host of the ServiceEntry": func(g generation) error {
			for _, host := range []string{g.target.Host, g.target.Host + ".", egress.MeshHost(g.target.Host)} {
				if !slices.Contains(g.virtualService.Spec.Hosts, host) {
					return fmt.Errorf("%s is not in hosts %q", host, g.virtualService.Spec.Hosts)
				}
			}
			return nil
		},
		"durations are valid for Istio, or left out": func(g generation) error {
			for _, limit := range []struct {
				asked time.Duration
				got   interface{ AsDuration() time.Duration }
			}{
				{g.target.Timeout, g.virtualService.Spec.Http[0].Timeout},
				{g.target.MaxConnectionAge, subset(g.destinationRule).TrafficPolicy.ConnectionPool.Tcp.MaxConnectionDuration},
			} {
				if want := max(limit.asked.Truncate(time.Millisecond), 0); limit.got.AsDuration() != want {
					return fmt.Errorf("%v is written as %v", limit.asked, limit.got)
				}
			}
			return nil
		},
		"every object is labeled, named and typed as ours": func(g generation) error {
			names := map[mesh.Object]string{g.anchor: "mtls-egress"}
			for _, obj := range mesh.Objects(g.target, g.layout) {
				names[obj] = egress.ObjectName(g.target.Host)
				if entry, ok := obj.(*networkingv1.ServiceEntry); ok && entry.Spec.Resolution == networking.ServiceEntry_STATIC {
					names[obj] = egress.ListenerName(g.target.Host)
				}
			}
			for obj, name := range names {
				meta := metav1.ObjectMeta{
					Namespace: g.target.Namespace,
					Name:      name,
					Labels:    map[string]string{egress.LabelManagedBy: egress.ValueManagedBy},
				}
				got := metav1.ObjectMeta{Namespace: obj.GetNamespace(), Name: obj.GetName(), Labels: obj.GetLabels()}
				if !cmp.Equal(meta, got) {
					return fmt.Errorf("metadata: %s", cmp.Diff(meta, got))
				}
				if version := obj.GetObjectKind().GroupVersionKind().GroupVersion(); version != mesh.GroupVersion() {
					return fmt.Errorf("apiVersion is %v", version)
				}
			}
			return nil
		},
		"equal inputs give equal objects, and no two share memory": func(g generation) error {
			first, second := encode(g), encode(g)
			if first != second {
				return fmt.Errorf("%s", cmp.Diff(first, second))
			}
			scribbled := mesh.DestinationRule(g.target, g.layout)
			tls := subset(scribbled).TrafficPolicy.Tls
			tls.SubjectAltNames[0] = "scribbled.example.com"
			tls.Sni = "scribbled.example.com"
			scribbled.Spec.ExportTo[0] = "*"
			if third := encode(g); first != third {
				return fmt.Errorf("a change to one set is seen in the next: %s", cmp.Diff(first, third))
			}
			return nil
		},
		"the objects of a target conflict with it only until they are owned": func(g generation) error {
			others := mesh.Others{
				VirtualServices:  []*networkingv1.VirtualService{g.virtualService.DeepCopy()},
				DestinationRules: []*networkingv1.DestinationRule{g.destinationRule.DeepCopy()},
				ServiceEntries: []*networkingv1.ServiceEntry{
					g.serviceEntry.DeepCopy(), g.anchor.DeepCopy(), g.listener.DeepCopy(),
				},
			}
			if conflicts := mesh.Conflicts(g.target, others); len(conflicts) != 5 {
				return fmt.Errorf("%d conflicts without owner", len(conflicts))
			}
			for _, obj := range []metav1.Object{
				others.VirtualServices[0], others.DestinationRules[0],
				others.ServiceEntries[0], others.ServiceEntries[1], others.ServiceEntries[2],
			} {
				obj.SetOwnerReferences(ownedBy(g.target.Host))
			}
			if conflicts := mesh.Conflicts(g.target, others); len(conflicts) != 0 {
				return fmt.Errorf("conflicts with ourselves: %v", conflicts)
			}
			return nil
		},
	}
	for rule, holds := range rules {
		t.Run(rule, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			for range 500 {
				g := generate(random)
				if err := holds(g); err != nil {
					t.Fatalf("%v\nfor %+v\nwith layout %+v", err, g.target, g.layout)
				}
			}
		})
	}
}

func generate(random *rand.Rand) generation {
	g := generation{target: randomTarget(random)}
	g.layout = egress.Layout{
		Certificate: pick(random, "", "cert", "tls.crt", "Partner_1.pem"),
		PrivateKey:  pick(random, "", "key", "tls.key"),
		ServerCA:    pick(random, "", "cacert", "ca.crt"),
	}
	g.anchor = mesh.Anchor(g.target.Namespace, []int32{8081, g.target.AppPort, 8081})
	g.listener = mesh.Listener(g.target)
	g.virtualService = mesh.VirtualService(g.target)
	g.destinationRule = mesh.DestinationRule(g.target, g.layout)
	g.serviceEntry = mesh.ServiceEntry(g.target)
	return g
}

func randomTarget(random *rand.Rand) egress.Target {
	t := egress.Target{
		Namespace:        pick(random, "", "project", "a"),
		Host:             randomHost(random),
		Port:             pick(random, int32(443), 443, 8443, 81),
		AppPort:          pick(random, int32(80), 80, 8080, 65535, 1),
		SNI:              pick(random, "", "sni.example.com"),
		SubjectAltNames:  pick(random, nil, []string{"a.example.com"}, []string{"b.example.com", "a.example.com"}),
		Retries:          pick(random, int32(-1), 0, 1, 2, 10),
		Timeout:          pick(random, 0, time.Nanosecond, 1500*time.Microsecond, time.Hour, -time.Second),
		HTTPVersion:      pick(random, "", v1alpha1.HTTPVersionAuto, v1alpha1.HTTPVersion1, v1alpha1.HTTPVersion2),
		HTTPHost:         pick(random, "", "other.example.com", "other.example.com:8443"),
		MaxConnectionAge: pick(random, 0, time.Second, 5*time.Minute),
	}
	switch random.IntN(4) {
	case 0:
		t.ServerCA.System = true
	case 1:
		t.ServerCA.ConfigMap = v1alpha1.ConfigMapKey{Name: "bundle", Key: "root.pem"}
	case 2:
		t.ServerCA.SecretKey = "partner-root.pem"
	}
	return t
}

func randomHost(random *rand.Rand) string {
	labels := make([]string, 2+random.IntN(3))
	for i := range labels {
		labels[i] = strings.Repeat(string(rune('a'+random.IntN(26))), 1+random.IntN(60))
	}
	return strings.Join(labels, ".")
}

func pick[T any](random *rand.Rand, values ...T) T {
	return values[random.IntN(len(values))]
}

func subset(destinationRule *networkingv1.DestinationRule) *networking.Subset {
	if len(destinationRule.Spec.Subsets) != 1 {
		return &networking.Subset{TrafficPolicy: &networking.TrafficPolicy{}}
	}
	return destinationRule.Spec.Subsets[0]
}

func isMutual(t egress.Target, tls *networking.ClientTLSSettings) error {
	directory := egress.MountPath(t.Host) + "/"
	switch {
	case tls.GetMode() != networking.ClientTLSSettings_MUTUAL:
		return fmt.Errorf("mode is %v", tls.GetMode())
	case tls.Sni == "" || len(tls.SubjectAltNames) == 0:
		return fmt.Errorf("sni %q, subjectAltNames %q", tls.Sni, tls.SubjectAltNames)
	case len(tls.ClientCertificate) <= len(directory) || !strings.HasPrefix(tls.ClientCertificate, directory):
		return fmt.Errorf("clientCertificate is %q", tls.ClientCertificate)
	case len(tls.PrivateKey) <= len(directory) || !strings.HasPrefix(tls.PrivateKey, directory):
		return fmt.Errorf("privateKey is %q", tls.PrivateKey)
	case tls.CredentialName != "" || tls.InsecureSkipVerify != nil:
		return fmt.Errorf("credentialName or insecureSkipVerify is set: %v", tls)
	}
	want := directory
	switch {
	case t.ServerCA.System:
		want = "system"
	case t.ServerCA.ConfigMap.Name != "":
		want = egress.CAMountPath(t.Host) + "/" + t.ServerCA.ConfigMap.Key
	case t.ServerCA.SecretKey != "":
		want += t.ServerCA.SecretKey
	}
	if !strings.HasPrefix(tls.CaCertificates, want) || tls.CaCertificates == directory {
		return fmt.Errorf("caCertificates is %q, not %q", tls.CaCertificates, want)
	}
	return nil
}

func hasPort(serviceEntry *networkingv1.ServiceEntry, number int32, protocol string) bool {
	return slices.ContainsFunc(serviceEntry.Spec.Ports, func(port *networking.ServicePort) bool {
		return port.Number == uint32(number) && port.Protocol == protocol
	})
}

// encode generates the objects of g again and returns them as JSON.
func encode(g generation) string {
	var text strings.Builder
	for _, obj := range mesh.Objects(g.target, g.layout) {
		content, err := mesh.Unstructured(obj)
		if err != nil {
			return err.Error()
		}
		data, err := content.MarshalJSON()
		if err != nil {
			return err.Error()
		}
		text.Write(data)
	}
	return text.String()
}

func TestObjectsComeInTheOrderOfWriting(t *testing.T) {
	kinds := []string{}
	for _, obj := range mesh.Objects(exampleTarget(), egress.Layout{}) {
		kinds = append(kinds, obj.GetObjectKind().GroupVersionKind().Kind)
	}
	if diff := cmp.Diff([]string{"VirtualService", "DestinationRule", "ServiceEntry", "ServiceEntry"}, kinds); diff != "" {
		t.Errorf("order differs (-want +got):\n%s", diff)
	}
}

func TestAnchorHasTheUnionOfTheAppPorts(t *testing.T) {
	tests := map[string]struct {
		appPorts []int32
		want     []string
	}{
		"one port":                           {appPorts: []int32{80}, want: []string{"80 http HTTP"}},
		"several targets with the same port": {appPorts: []int32{80, 80, 80}, want: []string{"80 http HTTP"}},
		"several ports in any order": {
			appPorts: []int32{9000, 80, 8080, 80},
			want:     []string{"80 http HTTP", "8080 http-8080 HTTP", "9000 http-9000 HTTP"},
		},
		"a port keeps its name without 80": {appPorts: []int32{8080}, want: []string{"8080 http-8080 HTTP"}},
		"no target at all":                 {want: []string{"80 http HTTP"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			given := slices.Clone(test.appPorts)
			got := []string{}
			for _, port := range mesh.Anchor("project", test.appPorts).Spec.Ports {
				got = append(got, fmt.Sprintf("%d %s %s", port.Number, port.Name, port.Protocol))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("ports differ (-want +got):\n%s", diff)
			}
			if !slices.Equal(given, test.appPorts) {
				t.Errorf("the caller's ports were changed to %v", test.appPorts)
			}
		})
	}
}

func TestOwnedAsksForAnOwnerReferenceToAnEgressTarget(t *testing.T) {
	tests := map[string]struct {
		meta metav1.ObjectMeta
		want bool
	}{
		"no owner": {},
		"only our label": {
			meta: metav1.ObjectMeta{Labels: map[string]string{egress.LabelManagedBy: egress.ValueManagedBy}},
		},
		"an EgressTarget's": {meta: metav1.ObjectMeta{OwnerReferences: ownedBy(host)}, want: true},
		"one of several owners": {
			meta: metav1.ObjectMeta{
				OwnerReferences: append([]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment"}}, ownedBy(host)...),
			},
			want: true,
		},
		"a later API version": {
			meta: metav1.ObjectMeta{
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "mtls.egress/v1", Kind: "EgressTarget"}},
			},
			want: true,
		},
		"another kind of ours": {
			meta: metav1.ObjectMeta{
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "mtls.egress/v1alpha1", Kind: "EgressPolicy"}},
			},
		},
		"another group's kind": {
			meta: metav1.ObjectMeta{
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "EgressTarget"}},
			},
		},
		"a core kind": {
			meta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "EgressTarget"}}},
		},
		"an unreadable group": {
			meta: metav1.ObjectMeta{
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "mtls.egress/v1/x", Kind: "EgressTarget"}},
			},
		},
		"an empty API version": {meta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "EgressTarget"}}}},
		"a group with our group as a prefix": {
			meta: metav1.ObjectMeta{
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "mtls.egress.example.com/v1", Kind: "EgressTarget"}},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := mesh.Owned(&test.meta); got != test.want {
				t.Errorf("owned is %t, want %t", got, test.want)
			}
		})
	}
}

func TestUnstructuredDropsWhatNobodyWrote(t *testing.T) {
	obj := &networkingv1.ServiceEntry{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "ServiceEntry"},
	}
	obj.Name = "theirs"
	obj.Spec.Hosts = []string{host}
	obj.Spec.Location = networking.ServiceEntry_MESH_INTERNAL
	before := obj.DeepCopy()
	got, err := mesh.Unstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	want := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1",
		"kind":       "ServiceEntry",
		"metadata":   map[string]any{"name": "theirs"},
		"spec":       map[string]any{"hosts": []any{host}, "location": "MESH_INTERNAL"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("content differs (-want +got):\n%s", diff)
	}
	if encodeObject(t, before) != encodeObject(t, obj) {
		t.Error("the object was changed")
	}
}

func TestUnstructuredTakesOtherTypesOfTheProject(t *testing.T) {
	retries := int32(0)
	obj := &v1alpha1.EgressTarget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "mtls.egress/v1alpha1", Kind: "EgressTarget"},
		ObjectMeta: metav1.ObjectMeta{Name: host},
		Spec:       v1alpha1.EgressTargetSpec{Port: 443, HTTP: &v1alpha1.HTTP{Retries: &retries}},
	}
	got, err := mesh.Unstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "mtls.egress/v1alpha1",
		"kind":       "EgressTarget",
		"metadata":   map[string]any{"name": host},
		"spec": map[string]any{
			"port": int64(443), "credential": map[string]any{}, "http": map[string]any{"retries": int64(0)},
		},
	}
	if diff := cmp.Diff(want, got.Object); diff != "" {
		t.Errorf("content differs (-want +got):\n%s", diff)
	}
}

func TestUnstructuredRefusesAnObjectWithoutKind(t *testing.T) {
	_, err := mesh.Unstructured(&networkingv1.VirtualService{})
	want := "*v1.VirtualService has no apiVersion and kind; set its TypeMeta"
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

func encodeObject(t *testing.T, obj runtime.Object) string {
	t.Helper()
	content, err := mesh.Unstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	data, err := content.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
