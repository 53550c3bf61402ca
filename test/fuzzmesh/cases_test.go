package fuzzmesh

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// namedCase is a world that a run has found, or that has broken a law of the objects before.
type namedCase struct {
	mesh    Mesh
	appPort int32
	// written are the objects of ours that stand; nil for all of an open target.
	written func(Target) []mesh.Object
	// theirs are objects of others as YAML. They are older than ours.
	theirs string
	// second adds another target of the domain.
	second bool
	// services are Services of the cluster as YAML; "" for none.
	services string
	// want are the sentences of the laws that are broken, or of the limits that explain it.
	want []string
}

func nothingWritten(Target) []mesh.Object { return nil }

func closedTarget(t Target) []mesh.Object { return append(t.closed(), anchor([]Target{t})) }

func namedCases() map[string]namedCase {
	dynamic := Mesh{Mode: "ALLOW_ANY_DYNAMIC_DNS"}
	return map[string]namedCase{
		"an open target alone":                      {},
		"a closed target alone":                     {written: closedTarget},
		"nothing written":                           {written: nothingWritten},
		"an open target and REGISTRY_ONLY":          {mesh: Mesh{Mode: "REGISTRY_ONLY"}},
		"an open target with DNS capture":           {mesh: Mesh{Mode: "ALLOW_ANY", DNSCapture: true}},
		"an open target and ALLOW_ANY_DYNAMIC_DNS":  {mesh: dynamic},
		"a closed target and ALLOW_ANY_DYNAMIC_DNS": {mesh: dynamic, written: closedTarget},
		"nothing written and ALLOW_ANY_DYNAMIC_DNS": {mesh: dynamic, written: nothingWritten,
			want: []string{limitDynamicDNS}},
		"a hiding Sidecar": {theirs: hidingSidecar},
		"a hiding Sidecar and ALLOW_ANY_DYNAMIC_DNS": {mesh: dynamic, theirs: hidingSidecar,
			want: []string{limitDynamicDNS}},
		"private hand-written configuration":         {theirs: handWritten},
		"public hand-written configuration":          {theirs: strings.ReplaceAll(handWritten, `"."`, `"*"`)},
		"private hand-written configuration, closed": {theirs: handWritten, written: closedTarget},
		"a DestinationRule for the host that selects the target's Pods and has our subset without TLS": {theirs: `
kind: DestinationRule
metadata: {name: a, namespace: project}
spec:
  host: external.system.com
  workloadSelector: {matchLabels: {to.mtls.egress/external.system.com: "true"}}
  subsets: [{name: mtls-egress, trafficPolicy: {tls: {mode: DISABLE}}}]`},
		"the same for the host of ours": {theirs: `
kind: DestinationRule
metadata: {name: a, namespace: project}
spec:
  host: external.system.com.mtls-egress.internal
  workloadSelector: {matchLabels: {to.mtls.egress/external.system.com: "true"}}
  subsets: [{name: mtls-egress, trafficPolicy: {tls: {mode: DISABLE}}}]`},
		"a wildcard DestinationRule with a subset of our name": {theirs: wildcardSubset},
		"a wildcard DestinationRule with a subset of our name, and ours deleted": {theirs: wildcardSubset,
			written: func(t Target) []mesh.Object {
				return append(slices.DeleteFunc(t.open(), func(object mesh.Object) bool {
					return kind(object) == mesh.KindDestinationRule
				}), anchor([]Target{t}))
			}},
		"a Sidecar with a listener on the partner's port": {theirs: `
kind: Sidecar
metadata: {name: a, namespace: project}
spec:
  egress:
  - {hosts: [./*], bind: 0.0.0.0, port: {number: 443, name: tls}}
  - {hosts: ["*/*"]}`, want: []string{saidListener}},
		"an older private VirtualService": {theirs: `
kind: VirtualService
metadata: {name: a, namespace: project}
spec:
  hosts: [external.system.com]
  exportTo: ["."]
  http: [{route: [{destination: {host: relay.example.org}}]}]`, want: []string{limitAnchor}},
		"an older VirtualService that the mesh's default makes private": {
			mesh: Mesh{VirtualServiceExportTo: []string{"."}}, theirs: `
kind: VirtualService
metadata: {name: a, namespace: project}
spec:
  hosts: [external.system.com]
  http: [{route: [{destination: {host: relay.example.org}}]}]` + relayEntry},
		"an older private VirtualService of another revision": {theirs: `
kind: VirtualService
metadata: {name: a, namespace: project, labels: {istio.io/rev: canary}}
spec:
  hosts: [external.system.com]
  exportTo: ["."]
  http: [{route: [{destination: {host: relay.example.org}}]}]`},
		"an older VirtualService for the host with a forged owner": {theirs: `
kind: VirtualService
metadata:
  name: a
  namespace: project
  ownerReferences: [{apiVersion: mtls.egress/v1alpha1, kind: EgressTarget, name: external.system.com, uid: forged}]
spec:
  hosts: [external.system.com]
  exportTo: ["."]
  http: [{route: [{destination: {host: relay.example.org}}]}]`, want: []string{limitAnchor}},
		"a VirtualService leads the host of ours elsewhere": {theirs: `
kind: VirtualService
metadata: {name: a, namespace: other}
spec:
  hosts: [external.system.com., external.system.com.mtls-egress.internal]
  http: [{route: [{destination: {host: external.system.com.mtls-egress.internal, port: {number: 443}}}]}]`,
			want: []string{limitReserved}},
		"an older VirtualService for the host of the listener": {theirs: `
kind: VirtualService
metadata: {name: a, namespace: project}
spec:
  hosts: [external.system.com.80.mtls-egress.internal]
  exportTo: ["."]
  http: [{route: [{destination: {host: relay.example.org}}]}]` + relayEntry, want: []string{limitReserved}},
		"a VirtualService for a wildcard over the listener leads the sinkhole address elsewhere": {theirs: `
kind: VirtualService
metadata: {name: a, namespace: project}
spec:
  hosts: ["*.internal"]
  tcp: [{match: [{destinationSubnets: [254.110.240.171]}], route: [{destination: {host: relay.example.org}}]}]` +
			relayEntry,
			want: []string{limitSinkhole}},
		"an HTTPRoute for the listener": {theirs: routeFor("HTTPRoute", "mtls-egress--app.external.system.com") + relayEntry},
		"an HTTPRoute for the listener that the mesh's default makes private": {
			mesh: Mesh{
				VirtualServiceExportTo: []string{"."},
			}, theirs: routeFor("HTTPRoute", "mtls-egress--app.external.system.com") + relayEntry,
			want: []string{limitAttached},
		},
		"a Sidecar that listens at the sinkhole address": {theirs: `
kind: Sidecar
metadata: {name: a, namespace: project}
spec:
  egress:
  - {hosts: [./relay.example.org], bind: 254.110.240.171, port: {number: 80, name: tcp, protocol: TCP}}
  - {hosts: [./*]}` + relayEntry, want: []string{limitSinkhole}},
		"a Sidecar with a listener of its own hides the target's objects": {services: webService, appPort: 8081, theirs: `
kind: Sidecar
metadata: {name: a, namespace: project}
spec:
  egress:
  - {hosts: [other/*], bind: 0.0.0.0, port: {number: 8081, name: https, protocol: HTTPS}}
  - {hosts: [other/*]}`, want: []string{limitOwnListener}},
		"a ServiceEntry has the listener's host, and the listener isn't written": {
			written: func(t Target) []mesh.Object { return closedTarget(t)[:1] }, theirs: `
kind: ServiceEntry
metadata: {name: a, namespace: project}
spec:
  hosts: [external.system.com.80.mtls-egress.internal]
  ports: [{number: 80, name: mysql, protocol: MYSQL}]
  resolution: DNS`, want: []string{limitReserved}},
		"a ServiceEntry with the sinkhole address has the listener's name": {
			written: func(t Target) []mesh.Object { return closedTarget(t)[:2] }, theirs: `
kind: ServiceEntry
metadata: {name: mtls-egress--app.external.system.com, namespace: project}
spec:
  hosts: [relay.example.org]
  addresses: [254.110.240.171]
  ports: [{number: 80, name: tcp, protocol: TCP}]
  resolution: DNS`, want: []string{limitSinkhole}},
		"a TCPRoute for the listener": {
			theirs: routeFor("TCPRoute", "mtls-egress--app.external.system.com") + relayEntry,
		},
		"an HTTPRoute for the ServiceEntry": {
			theirs: routeFor("HTTPRoute", "mtls-egress-external.system.com") + relayEntry,
		},
		"a TLSRoute for the ServiceEntry": {
			theirs: routeFor("TLSRoute", "mtls-egress-external.system.com") + relayEntry,
		},
		"an HTTPRoute for the anchor": {theirs: routeFor("HTTPRoute", "mtls-egress") + relayEntry},
		"an HTTPRoute for the anchor of another app port": {
			appPort: 8081,
			theirs:  routeFor("HTTPRoute", "mtls-egress") + relayEntry,
		},
		"an HTTPRoute for a ServiceEntry that names the host": {theirs: routeFor("HTTPRoute", "b") + plainEntry + relayEntry},
		"a BackendTLSPolicy for the ServiceEntry": {theirs: `
kind: BackendTLSPolicy
metadata: {name: a, namespace: project}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: mtls-egress-external.system.com}]
  validation: {hostname: relay.example.org, wellKnownCACertificates: System}`},
		"a ServiceEntry for MySQL on the app port": {appPort: 5432, theirs: `
kind: ServiceEntry
metadata: {name: a, namespace: other}
spec:
  hosts: [db.example.org]
  exportTo: [project]
  ports: [{number: 5432, name: mysql, protocol: MYSQL}]
  resolution: DNS`},
		"a ServiceEntry for another host of the wildcard, two targets and REGISTRY_ONLY": {
			mesh: Mesh{Mode: "REGISTRY_ONLY"}, theirs: wildcardEntry + namedEntry, second: true,
			want: []string{},
		},
		"a ServiceEntry for TCP on the app port": {appPort: 5432, theirs: `
kind: ServiceEntry
metadata: {name: a, namespace: other}
spec:
  hosts: [db.example.org]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: DNS`, want: []string{limitAnchor}},
		"a ServiceEntry for TCP on the app port, and nothing written": {appPort: 5432, written: nothingWritten, theirs: `
kind: ServiceEntry
metadata: {name: a, namespace: other}
spec:
  hosts: [db.example.org]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: DNS`, want: []string{limitUnwritten}},
		"a ServiceEntry for the host gives the app port TLS": {theirs: `
kind: ServiceEntry
metadata: {name: a, namespace: other}
spec:
  hosts: [external.system.com]
  ports: [{number: 80, name: https, protocol: HTTPS}]`, want: []string{gapProtocol}},
		"a ServiceEntry for the anchor's host gives the app port TLS": {appPort: 8081, theirs: `
kind: ServiceEntry
metadata: {name: a, namespace: project}
spec:
  hosts: [anchor.mtls-egress.internal]
  ports: [{number: 8080, name: auto}, {number: 8081, name: tls, protocol: TLS}]`},
		"a Sidecar gives the app port TLS": {theirs: `
kind: Sidecar
metadata: {name: a, namespace: project}
spec:
  egress:
  - {hosts: [./*], port: {number: 80, name: https, protocol: HTTPS}}
  - {hosts: [./*]}`, want: []string{gapProtocol}},
		"a Sidecar gives the app port TLS and admits a Service there": {appPort: 8081, services: webService, theirs: `
kind: Sidecar
metadata: {name: a, namespace: project}
spec:
  egress:
  - {hosts: ["*/*"], bind: 0.0.0.0, port: {number: 8081, name: https, protocol: HTTPS}}
  - {hosts: ["*/*"]}`, want: []string{saidListener}},
		"a Sidecar that leaves out the anchor": {theirs: `
kind: Sidecar
metadata: {name: a, namespace: project}
spec: {egress: [{hosts: ["*/external.system.com", other/*]}]}`, want: []string{gapAdmits, gapOwnTLS}},
		"a Sidecar that leaves out the host of ours": {theirs: `
kind: Sidecar
metadata: {name: a, namespace: project}
spec: {egress: [{hosts: [./*.com, ~/*.internal]}]}`, want: []string{gapAdmits, gapOwnTLS}},
		"a VirtualService with a TLS route for the host": {theirs: `
kind: VirtualService
metadata: {name: a, namespace: other}
spec:
  hosts: ["*.mtls-egress.internal", external.system.com]
  tls:
  - match: [{sniHosts: ["*.mtls-egress.internal", external.system.com]}]
    route: [{destination: {host: relay.example.org}}]`,
			want: []string{gapOwnTLS}},
		"a VirtualService for a wildcard, and the host known": {theirs: wildcardRoute,
			want: []string{saidWildcardRoute}},
		"a ServiceEntry for a wildcard with HTTPS": {theirs: wildcardEntry},
		"a ServiceEntry for a wildcard with HTTPS, two targets and REGISTRY_ONLY": {
			mesh: Mesh{Mode: "REGISTRY_ONLY"}, theirs: wildcardEntry, second: true, want: []string{saidWildcardTLS},
		},
		"ALLOW_ANY_DYNAMIC_DNS and a ServiceEntry for the host with a dot": {mesh: dynamic, theirs: `
kind: ServiceEntry
metadata: {name: a, namespace: other}
spec:
  hosts: [external.system.com.]
  ports: [{number: 80, name: tls, protocol: TLS}]`, want: []string{limitAnchor, gapProtocol}},
		"ALLOW_ANY_DYNAMIC_DNS and a Sidecar without the anchor": {mesh: dynamic, theirs: `
kind: Sidecar
metadata: {name: a, namespace: project}
spec: {egress: [{hosts: [project/*.system.com]}]}`, want: []string{limitDynamicDNS}},
		"a ServiceEntry with the sinkhole address": {theirs: `
kind: ServiceEntry
metadata: {name: a, namespace: other}
spec:
  hosts: [relay.example.org]
  addresses: [254.110.240.171]
  ports: [{number: 80, name: tcp, protocol: TCP}]
  resolution: DNS`},
	}
}

// routeFor is one of the Gateway API that leads the hosts of a ServiceEntry to a relay.
func routeFor(kind, entry string) string {
	return strings.NewReplacer("KIND", kind, "ENTRY", entry).Replace(`
kind: KIND
metadata: {name: a, namespace: project}
spec:
  parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: ENTRY}]
  rules: [{backendRefs: [{group: networking.istio.io, kind: Hostname, name: relay.example.org, port: 80}]}]`)
}

// wildcardSubset is a rule that Istio takes for every host without a rule of its own.
const wildcardSubset = `
kind: DestinationRule
metadata: {name: a, namespace: project}
spec:
  host: "*"
  subsets: [{name: mtls-egress}]`

// wildcardRoute leads all hosts of a domain elsewhere.
const wildcardRoute = `
kind: ServiceEntry
metadata: {name: a, namespace: project}
spec:
  hosts: [external.system.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
---
kind: VirtualService
metadata: {name: a, namespace: project}
spec:
  hosts: ["*.system.com"]
  http: [{route: [{destination: {host: relay.example.org}}]}]`

// wildcardEntry opens https to all hosts of a domain.
const wildcardEntry = `
kind: ServiceEntry
metadata: {name: a, namespace: project}
spec:
  hosts: ["*.system.com"]
  ports: [{number: 443, name: https, protocol: HTTPS}]`

// relayEntry makes a relay known that others lead calls to.
const relayEntry = `
---
kind: ServiceEntry
metadata: {name: a, namespace: project}
spec:
  hosts: [relay.example.org]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS`

// namedEntry opens https to the second target's host, as a conflict with wildcardEntry says.
const namedEntry = `
---
kind: ServiceEntry
metadata: {name: b, namespace: project}
spec:
  hosts: [api.system.com, external.system.com]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS`

// plainEntry opens the app port of the host.
const plainEntry = `
---
kind: ServiceEntry
metadata: {name: b, namespace: project}
spec:
  hosts: [external.system.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS`

// webService is a Service in another namespace.
const webService = `
kind: Service
metadata: {name: web, namespace: other}
spec: {clusterIP: 10.0.0.7, ports: [{port: 8081, name: tcp}]}`

// hidingSidecar shows the Pods of the namespace nothing of ours.
const hidingSidecar = `
kind: Sidecar
metadata: {name: a, namespace: project}
spec: {egress: [{hosts: ["other/*"]}]}`

// handWritten is what a team writes without this project.
const handWritten = `
kind: ServiceEntry
metadata: {name: a, namespace: project}
spec:
  hosts: [external.system.com]
  exportTo: ["."]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
---
kind: VirtualService
metadata: {name: a, namespace: project}
spec:
  hosts: [external.system.com]
  exportTo: ["."]
  http: [{match: [{port: 80}], route: [{destination: {host: external.system.com, port: {number: 443}}}]}]
---
kind: DestinationRule
metadata: {name: a, namespace: project}
spec:
  host: external.system.com
  exportTo: ["."]
  trafficPolicy:
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: MUTUAL, clientCertificate: /mine/cert, privateKey: /mine/key, caCertificates: /mine/ca,
        sni: external.system.com}`

func TestNamedWorlds(t *testing.T) {
	for name, each := range namedCases() {
		t.Run(name, func(t *testing.T) {
			world := each.world(t)
			var counted count
			sentences := map[string]bool{}
			for _, finding := range judge(t, world, &counted) {
				sentence := finding.limit(world)
				if sentence == "" {
					sentence = finding.Law
				}
				if !sentences[sentence] && !slices.Contains(each.want, sentence) {
					t.Log(finding)
				}
				sentences[sentence] = true
			}
			if diff := gocmp.Diff(slices.Sorted(slices.Values(each.want)),
				slices.Sorted(maps.Keys(sentences))); diff != "" {
				t.Errorf("what is broken differs (-want +got):\n%s\n%s", diff, world)
			}
		})
	}
}

// TestRoutesOfTheGatewayAPIReachSidecars shows that the worlds with one are not just worlds
// without.
func TestRoutesOfTheGatewayAPIReachSidecars(t *testing.T) {
	each := namedCase{written: nothingWritten, theirs: routeFor("HTTPRoute", "b") + plainEntry + relayEntry}
	sidecar := start(t, each.world(t)).sidecar(neighbors()[0])
	ends := sidecar.ends(
		sidecar.resolved(Call{Scheme: "http", Address: "external.system.com", Port: 80, Host: "external.system.com"}),
	)
	if len(ends) != 1 || !slices.Equal(ends[0].To, []string{"relay.example.org:80"}) {
		t.Errorf("the neighbor's call ends so, want at the relay: %v", ends)
	}
}

func (c namedCase) world(t *testing.T) World {
	t.Helper()
	egressTarget := &v1alpha1.EgressTarget{}
	egressTarget.Spec.AppPort = c.appPort
	layout := egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
	only := Target{Target: egress.FromEgressTarget(ownNamespace, "external.system.com", egressTarget, egress.Sinkhole{}), Layout: layout}
	world := World{Mesh: c.mesh,
		Targets: []Target{only}, Theirs: parse(t, c.theirs)}
	world.Mesh.Mode = cmp.Or(world.Mesh.Mode, "ALLOW_ANY")
	if c.second {
		second := Target{Target: egress.FromEgressTarget(ownNamespace, "api.system.com", nil, egress.Sinkhole{}), Layout: layout}
		world.Targets = append(world.Targets, second)
		world.Ours = second.open()
	}
	if c.services != "" {
		service := &corev1.Service{}
		if err := yaml.Unmarshal([]byte(c.services), service); err != nil {
			t.Fatal(err)
		}
		world.Services = []*corev1.Service{service}
	}
	if c.written != nil {
		world.Ours = c.written(only)
	} else {
		world.Ours = slices.Concat(world.Ours, only.open(), []mesh.Object{anchor(world.Targets)})
	}
	return world
}

// parse reads objects of others.
func parse(t *testing.T, text string) []mesh.Object {
	t.Helper()
	var objects []mesh.Object
	for part := range strings.SplitSeq(text, "\n---\n") {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(part), &meta); err != nil {
			t.Fatal(err)
		}
		var object mesh.Object
		switch meta.Kind {
		case mesh.KindVirtualService:
			object = &networkingv1.VirtualService{}
		case mesh.KindDestinationRule:
			object = &networkingv1.DestinationRule{}
		case mesh.KindServiceEntry:
			object = &networkingv1.ServiceEntry{}
		case mesh.KindSidecar:
			object = &networkingv1.Sidecar{}
		case kindHTTPRoute:
			object = &gatewayv1.HTTPRoute{}
		case kindTLSRoute:
			object = &gatewayv1.TLSRoute{}
		case kindTCPRoute:
			object = &gatewayv1.TCPRoute{}
		case kindBackendTLSPolicy:
			object = &gatewayv1.BackendTLSPolicy{}
		default:
			continue // no object at all
		}
		if err := yaml.Unmarshal([]byte(part), object); err != nil {
			t.Fatal(err)
		}
		version := mesh.GroupVersion()
		if strings.Contains(meta.Kind, "Route") || meta.Kind == kindBackendTLSPolicy {
			version = gatewayv1.SchemeGroupVersion
		}
		object.GetObjectKind().SetGroupVersionKind(version.WithKind(meta.Kind))
		if !valid(object) {
			t.Fatalf("Istio refuses:\n%s", part)
		}
		object.SetCreationTimestamp(metav1.NewTime(birth().Add(-time.Hour)))
		objects = append(objects, object)
	}
	return objects
}
