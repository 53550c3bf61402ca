package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/scene"
)

// intruder is an object for the host of a target. The controller doesn't own it.
type intruder struct {
	// manifests and message may contain ${HOST}, ${HERE} for the target's namespace, ${ELSEWHERE} for
	// another one, ${SINKHOLE} for the sinkhole address of the host, and ${PARTNER} for the partner's.
	manifests string
	// kind and name are those of the object that the conditions must name. It is "earlier" or "newer":
	// Istio and the controller look at names when two objects are of the same second, and ours begin
	// with "mtls-egress".
	kind, name string
	elsewhere  bool
	// message is what the condition Conflicted must say of it, reason that of the condition Ready.
	// Without a message the object is in nobody's way, and the target must be ready.
	message, reason string
	// want is what plain calls of the Pod that asked come to.
	want caller.Outcome
	// neighbor and neighborTLS are what plain calls and own https calls of a Pod that didn't ask come
	// to. Default: 200. unsettled ones are not looked at.
	neighbor, neighborTLS caller.Outcome
	// hides says that nothing of the namespace reaches its sidecars.
	hides bool
}

// unsettled is what calls of a neighbor come to that the object itself leads to an address where
// nothing listens.
const unsettled caller.Outcome = "unsettled"

const (
	conflicting = "Conflict"
	// stopped is the reason while the controller stops calls itself, as they could leave without
	// mutual TLS.
	stopped = "PlaintextPossible"
)

// older reports whether the object has to be there before ours of its kind.
func (i intruder) older() bool { return i.name == "earlier" }

// intruders by what they are, for each kind.
func intruders() map[string]map[string]intruder {
	return map[string]map[string]intruder{
		"VirtualServices": {
			"an older one, private to the namespace, that leads to the partner's port without our subset": {
				kind:    "VirtualService",
				name:    "earlier",
				message: "is private to the namespace and is older",
				reason:  stopped,
				want:    "503",
				manifests: `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: earlier, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["."],
  http: [{match: [{sourceLabels: {app: shop}}], route: [{destination: {host: "${HOST}", port: {number: 443}}}]}]}
`,
			},
			"an older one, private to the namespace, with a ServiceEntry that leads it to the partner": {
				kind:    "VirtualService",
				name:    "earlier",
				message: "is private to the namespace and is older",
				reason:  stopped,
				want:    "503",
				manifests: `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: earlier, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["."],
  http: [{match: [{sourceLabels: {app: shop}}], route: [{destination: {host: "${HOST}", port: {number: 443}}}]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: earlier, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["."], location: MESH_EXTERNAL, resolution: STATIC,
  endpoints: [{address: "${PARTNER}"}], ports: [{number: 443, name: tls, protocol: HTTPS}]}
`,
			},
			"an older one, private to the namespace, that leads to another host": {
				kind:     "VirtualService",
				name:     "earlier",
				message:  "is private to the namespace and is older",
				reason:   stopped,
				want:     "503",
				neighbor: "200",
				manifests: `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: earlier, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["."],
  http: [{route: [{destination: {host: other-name.example.org, port: {number: 80}}}]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: earlier, namespace: "${HERE}"}
spec: {hosts: [other-name.example.org], exportTo: ["."], location: MESH_EXTERNAL, resolution: STATIC,
  endpoints: [{address: "${PARTNER}"}], ports: [{number: 80, name: http, protocol: HTTP}]}
`,
			},
			"a newer one, private to the namespace": {
				kind:     "VirtualService",
				name:     "newer",
				message:  "Istio prefers the generated VirtualService",
				reason:   conflicting,
				want:     "200",
				neighbor: "418",
				manifests: `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: newer, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["."], http: [{directResponse: {status: 418}}]}
`,
			},
			"an older one of the namespace, for all namespaces": {
				kind:     "VirtualService",
				name:     "earlier",
				message:  "Istio prefers the generated VirtualService",
				reason:   conflicting,
				want:     "200",
				neighbor: "418",
				manifests: `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: earlier, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], http: [{directResponse: {status: 418}}]}
`,
			},
			"an older one that another namespace exports": {
				kind:      "VirtualService",
				name:      "earlier",
				elsewhere: true,
				message:   "Istio prefers the generated VirtualService",
				reason:    conflicting,
				want:      "200",
				neighbor:  "418",
				manifests: `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: earlier, namespace: "${ELSEWHERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["${HERE}"], http: [{directResponse: {status: 418}}]}
`,
			},
			"an older one for a wildcard": {
				kind:     "VirtualService",
				name:     "earlier",
				message:  "matches ${HOST} with the wildcard *.system.com",
				reason:   conflicting,
				want:     "200",
				neighbor: "418",
				manifests: `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: earlier, namespace: "${HERE}"}
spec: {hosts: ["*.system.com"], exportTo: ["."], http: [{directResponse: {status: 418}}]}
`,
			},
		},
		"DestinationRules": {
			"an older one for the partner's host, without a selector": {
				kind: "DestinationRule", name: "earlier", want: "200", manifests: `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: earlier, namespace: "${HERE}"}
spec: {host: "${HOST}", trafficPolicy: {tls: {mode: SIMPLE}}}
`},
			"a newer one for the partner's host, without a selector and with the exportTo of ours": {
				kind: "DestinationRule", name: "newer", want: "200", manifests: `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: newer, namespace: "${HERE}"}
spec: {host: "${HOST}", exportTo: ["."], trafficPolicy: {tls: {mode: SIMPLE}}}
`},
			"an older one for the partner's host, with our selector and our subset without TLS": {
				kind: "DestinationRule", name: "earlier", want: "200", manifests: `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: earlier, namespace: "${HERE}"}
spec:
  host: "${HOST}"
  exportTo: ["."]
  workloadSelector: {matchLabels: {"to.mtls.egress/${HOST}": "true"}}
  trafficPolicy: {tls: {mode: DISABLE}}
  subsets: [{name: mtls-egress, trafficPolicy: {tls: {mode: DISABLE}}}]
`},
			"an older one for a wildcard over the host of ours": {
				kind: "DestinationRule", name: "earlier", want: "200", manifests: `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: earlier, namespace: "${HERE}"}
spec: {host: "*.internal", trafficPolicy: {tls: {mode: DISABLE}}}
`},
			"one that another namespace exports together with the partner's host": {
				kind: "DestinationRule", name: "earlier", elsewhere: true, want: "200", manifests: `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: earlier, namespace: "${ELSEWHERE}"}
spec: {host: "${HOST}", exportTo: ["${HERE}"], trafficPolicy: {tls: {mode: DISABLE}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: earlier, namespace: "${ELSEWHERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["${HERE}"], location: MESH_EXTERNAL, resolution: STATIC,
  endpoints: [{address: "${PARTNER}"}], ports: [{number: 443, name: tls, protocol: HTTPS}]}
`},
			"an older one for the host of ours, with our selector and our subset without TLS": {
				kind:    "DestinationRule",
				name:    "earlier",
				message: "which is reserved for the controller",
				reason:  stopped,
				want:    "503",
				manifests: `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: earlier, namespace: "${HERE}"}
spec:
  host: "${HOST}.mtls-egress.internal"
  exportTo: ["."]
  workloadSelector: {matchLabels: {"to.mtls.egress/${HOST}": "true"}}
  subsets: [{name: mtls-egress, trafficPolicy: {tls: {mode: DISABLE}}}]
`,
			},
			"an older one for the host of ours, with another selector that matches and our subset without TLS": {
				kind:    "DestinationRule",
				name:    "earlier",
				message: "which is reserved for the controller",
				reason:  stopped,
				want:    "503",
				manifests: `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: earlier, namespace: "${HERE}"}
spec:
  host: "${HOST}.mtls-egress.internal"
  exportTo: ["."]
  workloadSelector: {matchLabels: {app: shop}}
  subsets: [{name: mtls-egress, trafficPolicy: {tls: {mode: DISABLE}}}]
`,
			},
		},
		"ServiceEntries": {
			"a newer one for the partner's host with an endpoint of its own": {
				kind: "ServiceEntry", name: "newer", want: "200", manifests: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: newer, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["."], location: MESH_EXTERNAL, resolution: STATIC,
  endpoints: [{address: ${PARTNER}, ports: {tls: 8443}}], ports: [{number: 443, name: tls, protocol: HTTPS}]}
`},
			"a newer one for the partner's host that is resolved by name": {
				kind: "ServiceEntry", name: "newer", want: "200", manifests: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: newer, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["."], location: MESH_EXTERNAL, resolution: DNS,
  ports: [{number: 443, name: tls, protocol: HTTPS}]}
`},
			"a newer one for the partner's host with port 80": {
				kind: "ServiceEntry", name: "newer", want: "200", manifests: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: newer, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], location: MESH_EXTERNAL, resolution: STATIC,
  endpoints: [{address: "${PARTNER}"}], ports: [{number: 80, name: http, protocol: HTTP}]}
`},
			"a newer one for the partner's host with port 80, private to the namespace": {
				kind: "ServiceEntry", name: "newer", want: "200", manifests: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: newer, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["."], location: MESH_EXTERNAL, resolution: STATIC,
  endpoints: [{address: "${PARTNER}"}], ports: [{number: 80, name: http, protocol: HTTP}]}
`},
			"one for the partner's host that another namespace exports": {
				kind: "ServiceEntry", name: "earlier", elsewhere: true, want: "200", neighborTLS: unsettled, manifests: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: earlier, namespace: "${ELSEWHERE}"}
spec: {hosts: ["${HOST}"], exportTo: ["${HERE}"], location: MESH_EXTERNAL, resolution: STATIC,
  endpoints: [{address: "${UNUSED}"}], ports: [{number: 443, name: tls, protocol: HTTPS}]}
`},
			"one that makes the host a service of the mesh": {
				kind:        "ServiceEntry",
				name:        "newer",
				message:     "makes ${HOST} a service of the mesh",
				reason:      stopped,
				want:        "503",
				neighborTLS: unsettled,
				manifests: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: newer, namespace: "${HERE}"}
spec: {hosts: ["${HOST}"], location: MESH_INTERNAL, resolution: STATIC,
  endpoints: [{address: "${UNUSED}"}], ports: [{number: 443, name: tls, protocol: HTTPS}]}
`,
			},
			"an older one of another host that takes port 80 as TCP": {
				kind: "ServiceEntry", name: "earlier", want: "200", manifests: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: earlier, namespace: "${HERE}"}
spec: {hosts: [api.example.org], exportTo: ["."], location: MESH_EXTERNAL, resolution: STATIC,
  endpoints: [{address: "${PARTNER}"}], ports: [{number: 80, name: tcp, protocol: TCP}]}
`},
			"an older one of another host, of another namespace, that takes port 80 as MySQL": {
				kind:      "ServiceEntry",
				name:      "earlier",
				elsewhere: true,
				message:   "gives port 80 the protocol MYSQL",
				reason:    conflicting,
				want:      "200",
				neighbor:  unsettled,
				manifests: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: earlier, namespace: "${ELSEWHERE}"}
spec: {hosts: [db.example.org], exportTo: ["${HERE}"], location: MESH_EXTERNAL, resolution: STATIC,
  endpoints: [{address: "${PARTNER}"}], ports: [{number: 80, name: mysql, protocol: MYSQL}]}
`,
			},
			"an older one of another host with the sinkhole address for TCP": {
				kind:    "ServiceEntry",
				name:    "earlier",
				message: "the sinkhole address of ${HOST}",
				reason:  stopped,
				want:    "503",
				manifests: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: earlier, namespace: "${HERE}"}
spec: {hosts: [api.example.org], addresses: ["${SINKHOLE}"], exportTo: ["."], location: MESH_EXTERNAL,
  resolution: STATIC, endpoints: [{address: "${PARTNER}"}], ports: [{number: 80, name: tcp, protocol: TCP}]}
`,
			},
			"an older one of another host with the sinkhole address for HTTP": {
				kind:    "ServiceEntry",
				name:    "earlier",
				message: "the sinkhole address of ${HOST}",
				reason:  stopped,
				want:    "503",
				manifests: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: earlier, namespace: "${HERE}"}
spec: {hosts: [api.example.org], addresses: ["${SINKHOLE}"], exportTo: ["."], location: MESH_EXTERNAL,
  resolution: STATIC, endpoints: [{address: "${PARTNER}"}], ports: [{number: 80, name: http, protocol: HTTP}]}
`,
			},
		},
		"Sidecars": {
			"one that leaves the namespace out": {
				kind:    "Sidecar",
				name:    "earlier",
				message: "does not import ${HOST}",
				reason:  conflicting,
				want:    caller.OutcomeTimeout,
				hides:   true,
				manifests: `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: earlier, namespace: "${HERE}"}
spec: {egress: [{hosts: [istio-system/*]}]}
`,
			},
			"one for the Pods that asked": {
				kind:    "Sidecar",
				name:    "earlier",
				message: "does not import ${HOST}",
				reason:  conflicting,
				want:    caller.OutcomeTimeout,
				hides:   true,
				manifests: `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: earlier, namespace: "${HERE}"}
spec: {workloadSelector: {labels: {app: shop}}, egress: [{hosts: [istio-system/*]}]}
`,
			},
		},
	}
}

// TestOtherPeoplesObjectsForTheHost adds objects that the controller doesn't own to a target that
// works, one at a time, and takes them away again. The namespace's protection is off, so that
// nothing is refused.
func TestOtherPeoplesObjectsForTheHost(t *testing.T) {
	t.Parallel()
	s := play(t)
	for kind, rows := range intruders() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			stand := newStand(t, s, strings.ToLower(kind)+".system.com")
			for sentence, row := range rows {
				t.Run(sentence, func(t *testing.T) {
					before := stand.lastConnection(t)
					stand.meet(t, row)
					if saw := seen(t, s, stand.asked(before)); saw.PlainConnections != 0 || saw.PlaintextBytes != 0 {
						t.Errorf("%d bytes in clear on %d connections reached the partner", saw.PlaintextBytes, saw.PlainConnections)
					}
				})
			}
			all := seen(t, s, stand.asked(0))
			stand.count(t)
			neverPlain(t, all, figures{
				Promise: "Other people's objects", Fault: kind + " of another owner",
				Requests: stand.requests, Failed: stand.failed,
			})
		})
	}
}

// stand is a target that works, with a Pod that asked for it, which calls all the time, and one
// that didn't.
type stand struct {
	*scene.Scene
	// host is the target's. Each stand has its own, as objects that are exported to all namespaces
	// reach those of other tests too.
	host                 string
	namespace, elsewhere string
	credential           scene.Credential
	pod, neighbor        *corev1.Pod
	url                  string
	// partner is the partner's address.
	partner string
	markers int
	// requests and failed count the loops of the Pods that asked and are gone.
	requests, failed int
}

func newStand(t *testing.T, s *scene.Scene, host string) *stand {
	here, elsewhere := unprotectedNamespace(t, s), namespace(t, s)
	service, err := s.Client.CoreV1().Services(scene.PartnerNamespace).Get(t.Context(), "partner", metav1.GetOptions{})
	must(t, err)
	d := &stand{
		Scene:      s,
		host:       host,
		partner:    service.Spec.ClusterIP,
		namespace:  here,
		elsewhere:  elsewhere,
		credential: credential(t, s, here, "shop"),
		url:        "http://" + host + "/others/" + here,
	}
	must(t, s.Deploy(t.Context(), scene.App{Namespace: here, Name: "neighbor"}))
	d.pod = deployed(t, s, scene.App{
		Namespace:   here,
		Name:        "shop",
		Annotations: map[string]string{egress.AnnotationTarget: host, egress.AnnotationSecret: "external-system-mtls-data"},
		Loops:       []string{d.url},
		Args:        []string{"--pause", "50ms"},
	})
	d.neighbor, err = s.ReadyPod(t.Context(), here, "neighbor")
	must(t, err)
	must(t, d.undisturbed(t.Context()))
	return d
}

// undisturbed waits until the target works and says so.
func (d *stand) undisturbed(ctx context.Context) error {
	return scene.Until(ctx, "a target that is ready", func(ctx context.Context) error {
		egressTarget, err := d.egressTarget(ctx)
		if err != nil {
			return err
		}
		if ready := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionReady); ready == nil ||
			ready.Status != metav1.ConditionTrue {
			return fmt.Errorf("the condition Ready is %+v", ready)
		}
		_, err = expect(ctx, d.Caller(d.pod), caller.Call{URL: d.url + "/undisturbed", Count: 3}, "200")
		return err
	})
}

func (d *stand) egressTarget(ctx context.Context) (*v1alpha1.EgressTarget, error) {
	return d.EgressTarget(ctx, d.namespace, d.host)
}

// meet adds an object, checks what everybody says and gets, and removes it.
func (d *stand) meet(t *testing.T, row intruder) {
	fill := strings.NewReplacer("${HOST}", d.host, "${HERE}", d.namespace, "${ELSEWHERE}", d.elsewhere,
		"${SINKHOLE}", d.Sinkhole().Address(d.host).String(), "${PARTNER}", d.partner,
		"${UNUSED}", ofFamily("10.96.0.77", "fd00:10:96::77"))
	manifests := fill.Replace(row.manifests)
	row.message = fill.Replace(row.message)
	t.Cleanup(func() { d.leave(t, manifests) })
	if row.older() {
		d.clear(t)
	}
	before := d.lastConnection(t)
	must(t, d.Apply(t.Context(), manifests))
	if row.older() {
		d.open(t)
	}
	must(t, scene.Until(t.Context(), "the conditions", func(ctx context.Context) error { return d.says(ctx, row) }))
	if !row.hides {
		d.mark(t)
	}
	d.call(t, row)
	saw := seen(t, d.Scene, d.asked(before))
	for serial := range saw.ByClientSerial {
		if serial != d.credential.Serial() {
			t.Errorf("the partner saw the certificate %s, want %s", serial, d.credential.Serial())
		}
	}
}

// lastConnection is the number of the last connection of the Pod that asked.
func (d *stand) lastConnection(t *testing.T) (last int64) {
	t.Helper()
	connections, err := d.Partner().Connections(t.Context(), d.asked(0))
	must(t, err)
	for _, connection := range connections {
		last = max(last, connection.ID)
	}
	return last
}

// asked selects what the Pod that asked has called after a connection, at whatever port of the
// partner.
func (d *stand) asked(after int64) partner.Filter {
	return partner.Filter{Path: "/others/" + d.namespace, After: after}
}

// count adds what the Pod's loop has done.
func (d *stand) count(t *testing.T) {
	t.Helper()
	state, err := d.Caller(d.pod).Loop(t.Context(), d.url)
	must(t, err)
	d.requests += state.Calls
	d.failed += state.Calls - state.ByOutcome["200"]
}

// clear takes the Pod away, and waits until the target is gone after it.
func (d *stand) clear(t *testing.T) {
	t.Helper()
	d.count(t)
	d.scale(t, 0)
	must(t, scene.Until(t.Context(), "the end of the EgressTarget", func(ctx context.Context) error {
		_, err := d.egressTarget(ctx)
		if err == nil {
			return errors.New("it is still there")
		}
		return client.IgnoreNotFound(err)
	}))
}

// open brings a Pod back.
func (d *stand) open(t *testing.T) {
	t.Helper()
	d.scale(t, 1)
	var err error
	d.pod, err = d.ReadyPod(t.Context(), d.namespace, "shop")
	must(t, err)
}

func (d *stand) scale(t *testing.T, replicas int) {
	t.Helper()
	_, _, err := d.Kubectl(t.Context(), "--namespace", d.namespace, "scale", "deployment/shop",
		fmt.Sprintf("--replicas=%d", replicas))
	must(t, err)
}

// leave removes the object, after which the target must work as before.
func (d *stand) leave(t *testing.T, manifests string) {
	ctx := context.WithoutCancel(t.Context())
	remove := d.Command(ctx, "kubectl", "delete", "--filename", "-")
	remove.Stdin = strings.NewReader(manifests)
	_, _, err := apiserver.Output(remove)
	if err := errors.Join(err, d.undisturbed(ctx)); err != nil {
		t.Error(err)
	}
}

// reports whether the EgressTarget's conditions name the object as they must.
func (d *stand) says(ctx context.Context, row intruder) error {
	egressTarget, err := d.egressTarget(ctx)
	if err != nil {
		return err
	}
	where := d.namespace
	if row.elsewhere {
		where = d.elsewhere
	}
	ready := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionReady)
	conflicted := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionConflicted)
	object := row.kind + " " + where + "/" + row.name + " ("
	switch {
	case row.message == "" && (ready == nil || ready.Status != metav1.ConditionTrue):
		return fmt.Errorf("the condition Ready is %+v", ready)
	case row.message == "":
		return nil
	case conflicted == nil || conflicted.Status != metav1.ConditionTrue ||
		!strings.Contains(conflicted.Message, object) || !strings.Contains(conflicted.Message, row.message):
		return fmt.Errorf("the condition Conflicted is %+v; it must name the %s) and say %q", conflicted, object, row.message)
	case ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != row.reason:
		return fmt.Errorf("the condition Ready is %+v; its reason must be %s", ready, row.reason)
	}
	return nil
}

// mark waits until both sidecars know everything that was written before. The marker has an address
// of its own, as another object may take port 80 of all other addresses for a protocol that isn't
// HTTP.
func (d *stand) mark(t *testing.T) {
	t.Helper()
	d.markers++
	// For documentation (RFC 5737, RFC 3849): a call that the marker doesn't answer comes to nothing.
	address := ofFamily("192.0.2.2", "2001:db8::2")
	marker := caller.Call{
		URL:     "http://" + net.JoinHostPort(address, "80") + "/",
		Headers: map[string]string{"Host": "marker.internal"},
		Timeout: caller.Duration(time.Second),
	}
	status := caller.Outcome(strconv.Itoa(210 + d.markers))
	must(t, d.Apply(t.Context(), fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: marker, namespace: %[1]s}
spec:
  hosts: [marker.internal]
  addresses: ["%[3]s"]
  exportTo: ["."]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{address: "%[3]s"}]
  ports: [{number: 80, name: marker}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker, namespace: %[1]s}
spec: {hosts: [marker.internal], exportTo: ["."], http: [{directResponse: {status: %[2]s}}]}
`, d.namespace, status, address)))
	for _, pod := range []*corev1.Pod{d.pod, d.neighbor} {
		must(t, scene.Until(t.Context(), "the marker", func(ctx context.Context) error {
			_, err := expect(ctx, d.Caller(pod), marker, status)
			return err
		}))
	}
}

// call checks what the two Pods get.
func (d *stand) call(t *testing.T, row intruder) {
	t.Helper()
	call := caller.Call{URL: d.url + "/row", Count: 10, Parallel: 5, Timeout: caller.Duration(2 * time.Second)}
	must(t, scene.Until(t.Context(), "what the app gets", func(ctx context.Context) error {
		_, err := expect(ctx, d.Caller(d.pod), call, row.want)
		return err
	}))
	if row.hides {
		return
	}
	for address, want := range map[string]caller.Outcome{
		"http://" + d.host + "/others/neighbor":  row.neighbor,
		"https://" + d.host + "/others/neighbor": row.neighborTLS,
	} {
		if want == unsettled {
			continue
		}
		if want == "" {
			want = "200"
		}
		call := caller.Call{
			URL:           address,
			CAPEM:         string(d.ServerCA.CertPEM),
			ClientCertPEM: string(d.credential.CertPEM),
			ClientKeyPEM:  string(d.credential.KeyPEM),
			Timeout:       caller.Duration(2 * time.Second),
		}
		// The sidecar resolves the name of a new ServiceEntry first.
		must(t, scene.Until(t.Context(), "what the neighbor gets", func(ctx context.Context) error {
			_, err := expect(ctx, d.Caller(d.neighbor), call, want)
			return err
		}))
	}
}
