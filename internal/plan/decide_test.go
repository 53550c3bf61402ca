package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/policy"
)

const host = "external.system.com"

func first() egress.Layout {
	return egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
}
func second() egress.Layout {
	return egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"}
}

func checked(name string, pods int32, layout egress.Layout) CredentialCheck {
	return CredentialCheck{SecretName: name, Pods: pods, Layout: layout, Credential: &credential.Credential{}}
}

func TestChooseLayout(t *testing.T) {
	bad := CredentialCheck{SecretName: "bad", Pods: 9, Layout: second(), Reason: "CertificateExpired"}
	type result struct {
		Layout         egress.Layout
		Uniform, Found bool
	}
	tests := map[string]struct {
		checks   []CredentialCheck
		standing Standing
		want     result
	}{
		"nothing":       {nil, Standing{}, result{Uniform: true}},
		"no usable one": {[]CredentialCheck{bad}, Standing{}, result{Uniform: true}},
		"only usable ones count": {
			[]CredentialCheck{bad, checked("a", 1, first())}, Standing{}, result{first(), true, true},
		},
		"the layout of most Pods": {
			[]CredentialCheck{checked("a", 1, first()), checked("b", 2, second())},
			Standing{},
			result{second(), false, true},
		},
		"Pods of several Secrets add up": {
			[]CredentialCheck{checked("a", 3, second()), checked("b", 2, first()), checked("c", 2, first())},
			Standing{},
			result{first(), false, true},
		},
		"the first by name among equals": {
			[]CredentialCheck{checked("b", 1, second()), checked("a", 1, first())},
			Standing{},
			result{first(), false, true},
		},
		"the programmed one stays while it's used": {
			[]CredentialCheck{checked("a", 1, first()), checked("b", 9, second())},
			Standing{Layout: first()},
			result{first(), false, true},
		},
		"the programmed one is replaced when unused": {
			[]CredentialCheck{checked("b", 9, second())}, Standing{Layout: first()}, result{second(), true, true},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got result
			got.Layout, got.Uniform, got.Found = chooseLayout(test.checks, test.standing)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// theirVirtualService returns our VirtualService and another one for the host, created at the given
// time.
func theirVirtualService(created time.Time) mesh.Others {
	theirs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{
		Namespace: "project", Name: "theirs", CreationTimestamp: metav1.Time{Time: created},
	}}
	theirs.Spec.Hosts, theirs.Spec.ExportTo = []string{host}, []string{"."}
	theirs.Spec.Http = []*networking.HTTPRoute{{}}
	ours := mesh.VirtualService(egress.FromEgressTarget("project", host, nil, egress.Sinkhole{}))
	ours.CreationTimestamp = metav1.Time{Time: noon()}
	ours.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.Kind, Name: host, UID: "u",
	}}
	return mesh.Others{VirtualServices: []*networkingv1.VirtualService{theirs, ours}}
}

func TestDecide(t *testing.T) {
	inConfigMap := &v1alpha1.ServerCA{ConfigMap: &v1alpha1.ConfigMapKey{Name: "partner-ca", Key: "ca.pem"}}
	standing := &Standing{Layout: first(), ServerCA: egress.ServerCA{SecretKey: "cacert"}}
	fine := []Demand{{Pod: "a", Asks: true, SecretName: "s", WantedSecret: "s", CAConfigMap: "partner-ca"}}
	old := append([]Demand{{Pod: "b", Asks: true, SecretName: "s", WantedSecret: "s"}}, fine...)
	good := []CredentialCheck{checked("s", 1, first())}
	bad := []CredentialCheck{{SecretName: "s", Pods: 1, Reason: "SecretMissing"}}
	noSecretCA := first()
	noSecretCA.ServerCA = ""
	withoutCA := []CredentialCheck{checked("s", 2, noSecretCA)}
	older, newer := theirVirtualService(noon().Add(-time.Hour)), theirVirtualService(noon().Add(time.Hour))

	type result struct {
		Closed   bool
		ServerCA egress.ServerCA
		Layout   egress.Layout
		Status   metav1.ConditionStatus
		Reason   string
	}
	asked := egress.ServerCA{ConfigMap: *inConfigMap.ConfigMap}
	tests := map[string]struct {
		serverCA *v1alpha1.ServerCA
		facts    Facts
		want     result
	}{
		"all well": {
			facts: Facts{Demands: fine, Credentials: good},
			want:  result{Layout: first(), Status: "True", Reason: "Programmed"},
		},
		"no credential and nothing programmed": {
			facts: Facts{Demands: fine, Credentials: bad},
			want:  result{Closed: true, Status: "False", Reason: "CredentialInvalid"},
		},
		"no credential and something programmed": {
			serverCA: inConfigMap, facts: Facts{Demands: old, Credentials: bad, Standing: standing},
			want: result{ServerCA: standing.ServerCA, Layout: first(), Status: "True", Reason: "LastGoodKept"},
		},
		"a CA that a Pod doesn't mount": {
			serverCA: inConfigMap, facts: Facts{Demands: old, Credentials: withoutCA, Standing: standing},
			want: result{ServerCA: standing.ServerCA, Layout: first(), Status: "False", Reason: "PodsOutdated"},
		},
		"the same with nothing programmed": {
			serverCA: inConfigMap, facts: Facts{Demands: old, Credentials: withoutCA},
			want: result{ServerCA: asked, Layout: noSecretCA, Status: "False", Reason: "PodsOutdated"},
		},
		"a CA that all Pods mount": {
			serverCA: inConfigMap, facts: Facts{Demands: fine, Credentials: withoutCA, Standing: standing},
			want: result{ServerCA: asked, Layout: noSecretCA, Status: "True", Reason: "Programmed"},
		},
		"a Pod with another Secret than wanted": {
			facts: Facts{Demands: []Demand{{Pod: "a", Asks: true, SecretName: "s", WantedSecret: "t"}}, Credentials: good},
			want:  result{Layout: first(), Status: "False", Reason: "PodsOutdated"},
		},
		"a Pod that asks for another port": {
			facts: Facts{Demands: []Demand{{Pod: "a", Asks: true, Port: 8443}}, Credentials: good},
			want:  result{Layout: first(), Status: "False", Reason: "PortsDiffer"},
		},
		"a Pod that no longer asks": {
			facts: Facts{Demands: []Demand{{Pod: "a", SecretName: "s", WantedSecret: "t", Port: 8443}}, Credentials: good},
			want:  result{Layout: first(), Status: "True", Reason: "Programmed"},
		},
		"another VirtualService could route calls out of the mesh": {
			facts: Facts{Demands: fine, Credentials: good, Others: older},
			want:  result{Closed: true, Layout: first(), Status: "False", Reason: "PlaintextPossible"},
		},
		"the same without a credential": {
			facts: Facts{Demands: fine, Credentials: bad, Others: older},
			want:  result{Closed: true, Status: "False", Reason: "PlaintextPossible"},
		},
		"the same with the last good one programmed": {
			serverCA: inConfigMap, facts: Facts{Demands: old, Credentials: bad, Standing: standing, Others: older},
			want: result{
				Closed: true, ServerCA: standing.ServerCA, Layout: first(), Status: "False", Reason: "PlaintextPossible",
			},
		},
		"a conflict that can't route calls out of the mesh": {
			facts: Facts{Demands: fine, Credentials: good, Others: newer},
			want:  result{Layout: first(), Status: "True", Reason: "Programmed"},
		},
		"the namespace may not reach the host": {
			facts: Facts{Demands: fine, Credentials: good, Policy: &policy.Decision{}},
			want:  result{Closed: true, Layout: first(), Status: "False", Reason: "NotAllowed"},
		},
		"the namespace may reach the host": {
			facts: Facts{Demands: fine, Credentials: good, Policy: &policy.Decision{Allowed: true}},
			want:  result{Layout: first(), Status: "True", Reason: "Programmed"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			facts := test.facts
			facts.Now = noon()
			facts.EgressTarget = &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: host}}
			facts.EgressTarget.Spec.ServerCA = test.serverCA
			p := Decide(facts)
			got := result{p.Closed, p.Target.ServerCA, p.Layout, p.Programmed.Status, p.Programmed.Reason}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestATargetThatCatchesCallsToAnotherIsClosed(t *testing.T) {
	const one, other = "h12065.example.com", "h12089.example.com" // both have the same sinkhole address
	sibling := func(name string, appPort int32) egress.Target {
		return egress.FromEgressTarget(
			"project", name, &v1alpha1.EgressTarget{Spec: v1alpha1.EgressTargetSpec{AppPort: appPort}}, egress.Sinkhole{})
	}
	tests := map[string]struct {
		port     int32
		siblings []egress.Target
		pods     int
		closed   bool
	}{
		"no other target":        {80, nil, 1, false},
		"one of another address": {80, []egress.Target{sibling(host, 80)}, 1, false},
		"one of the address":     {443, []egress.Target{sibling(other, 80)}, 1, false},
		"one of the address and its port": {
			8080, []egress.Target{sibling(host, 8080), sibling(other, 8080)}, 1, true,
		},
		"one of the address and its port, and no Pod has it": {
			8080, []egress.Target{sibling(host, 8080), sibling(other, 8080)}, 0, false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			catching := &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: one}}
			catching.Spec.AppPort, catching.Spec.Port = 8081, test.port
			p := Decide(Facts{
				EgressTarget: catching,
				Siblings:     test.siblings,
				Demands:      make([]Demand, test.pods),
				Credentials:  []CredentialCheck{checked("s", 1, first())},
				Now:          noon(),
			})
			if p.Closed != test.closed || p.Closed && !strings.Contains(p.Programmed.Message, " as "+other+",") {
				t.Errorf("closed is %t: %s", p.Closed, p.Programmed.Message)
			}
		})
	}
}

func TestSomeNamesAFew(t *testing.T) {
	tests := map[string]struct {
		names []string
		want  string
	}{
		"one":   {[]string{"a"}, "the Pod a"},
		"three": {[]string{"a", "b", "c"}, "the Pods a, b, c"},
		"many":  {[]string{"a", "b", "c", "d", "e"}, "the Pods a, b, c and 2 more"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := some(test.names); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestAClosedPlanNamesWhoseObjectsCloseIt(t *testing.T) {
	conflicts := []mesh.Conflict{
		{Kind: "DestinationRule", Namespace: "project", Name: "theirs", Closes: true},
		{Kind: "ServiceEntry", Namespace: "project", Name: "harmless"},
		{Kind: "VirtualService", Namespace: "project", Name: "theirs", Closes: true},
	}
	want := False("PlaintextPossible", "the target is closed, and calls get 503 from the sidecar, because of "+
		"the DestinationRule project/theirs, the VirtualService project/theirs; see the condition Conflicted")
	if diff := cmp.Diff(want, Plan{Programmed: programmed()}.closedBy(conflicts).Programmed); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
