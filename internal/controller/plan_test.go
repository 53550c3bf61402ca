package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

const host = "external.system.com"

func first() target.Layout {
	return target.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
}
func second() target.Layout {
	return target.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"}
}

func usable(name string, pods int32, layout target.Layout) finding {
	return finding{secretName: name, pods: pods, layout: layout, credential: &credential.Credential{}}
}

func TestChooseLayout(t *testing.T) {
	bad := finding{secretName: "bad", pods: 9, layout: second(), reason: "CertificateExpired"}
	type result struct {
		Layout         target.Layout
		Uniform, Found bool
	}
	tests := map[string]struct {
		findings []finding
		current  presented
		want     result
	}{
		"nothing":                                    {nil, presented{}, result{Uniform: true}},
		"none that can be used":                      {[]finding{bad}, presented{}, result{Uniform: true}},
		"one that can be used counts alone":          {[]finding{bad, usable("a", 1, first())}, presented{}, result{first(), true, true}},
		"the layout of most Pods":                    {[]finding{usable("a", 1, first()), usable("b", 2, second())}, presented{}, result{second(), false, true}},
		"Pods of several Secrets add up":             {[]finding{usable("a", 3, second()), usable("b", 2, first()), usable("c", 2, first())}, presented{}, result{first(), false, true}},
		"the first by name among equals":             {[]finding{usable("b", 1, second()), usable("a", 1, first())}, presented{}, result{first(), false, true}},
		"the programmed one stays while it's used":   {[]finding{usable("a", 1, first()), usable("b", 9, second())}, presented{layout: first()}, result{first(), false, true}},
		"the programmed one goes when nobody has it": {[]finding{usable("b", 9, second())}, presented{layout: first()}, result{second(), true, true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got result
			got.Layout, got.Uniform, got.Found = chooseLayout(test.findings, test.current)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMakePlan(t *testing.T) {
	plain := target.FromEgressTarget("project", host, nil)
	withConfigMap := plain
	withConfigMap.ServerCA = target.ServerCA{ConfigMap: v1alpha1.ConfigMapKey{Name: "partner-ca", Key: "ca.pem"}}
	standing := &presented{layout: first(), serverCA: target.ServerCA{SecretKey: "cacert"}}
	kept := withConfigMap
	kept.ServerCA = standing.serverCA
	fine := []demand{{pod: "a", asks: true, secretName: "s", wantedSecret: "s", caConfigMap: "partner-ca"}}
	old := append([]demand{{pod: "b", asks: true, secretName: "s", wantedSecret: "s"}}, fine...)
	good := []finding{usable("s", 1, first())}
	bad := []finding{{secretName: "s", pods: 1, reason: "SecretMissing"}}
	noSecretCA := first()
	noSecretCA.ServerCA = ""

	leak := []mesh.Conflict{{Kind: "VirtualService", Namespace: "project", Name: "theirs", Closes: true}}
	harmless := []mesh.Conflict{{Kind: "VirtualService", Namespace: "project", Name: "theirs"}}

	type result struct {
		Closed bool
		Target target.Target
		Layout target.Layout
		Holds  bool
		Reason string
	}
	tests := map[string]struct {
		target    target.Target
		demands   []demand
		findings  []finding
		current   *presented
		conflicts []mesh.Conflict
		want      result
	}{
		"all well":                                   {plain, fine, good, nil, nil, result{false, plain, first(), true, "Programmed"}},
		"no credential and nothing programmed":       {plain, fine, bad, nil, nil, result{true, plain, target.Layout{}, false, "CredentialInvalid"}},
		"no credential and something is":             {withConfigMap, old, bad, standing, nil, result{false, kept, first(), true, "LastGoodKept"}},
		"a CA that a Pod doesn't mount":              {withConfigMap, old, []finding{usable("s", 2, noSecretCA)}, standing, nil, result{false, kept, first(), false, "PodsOutdated"}},
		"the same with nothing programmed":           {withConfigMap, old, []finding{usable("s", 2, noSecretCA)}, nil, nil, result{false, withConfigMap, noSecretCA, false, "PodsOutdated"}},
		"a CA that all Pods mount":                   {withConfigMap, fine, []finding{usable("s", 1, noSecretCA)}, standing, nil, result{false, withConfigMap, noSecretCA, true, "Programmed"}},
		"a Pod with another Secret than wanted":      {plain, []demand{{pod: "a", asks: true, secretName: "s", wantedSecret: "t"}}, good, nil, nil, result{false, plain, first(), false, "PodsOutdated"}},
		"a Pod that asks for another port":           {plain, []demand{{pod: "a", asks: true, port: 8443}}, good, nil, nil, result{false, plain, first(), false, "PortsDiffer"}},
		"a Pod that no longer asks":                  {plain, []demand{{pod: "a", secretName: "s", wantedSecret: "t", port: 8443}}, good, nil, nil, result{false, plain, first(), true, "Programmed"}},
		"somebody else could lead calls out":         {plain, fine, good, nil, leak, result{true, plain, first(), false, "PlaintextPossible"}},
		"the same without a credential":              {plain, fine, bad, nil, leak, result{true, plain, target.Layout{}, false, "PlaintextPossible"}},
		"the same with the last good one programmed": {withConfigMap, old, bad, standing, leak, result{true, kept, first(), false, "PlaintextPossible"}},
		"somebody else is in the way, but safely":    {plain, fine, good, nil, harmless, result{false, plain, first(), true, "Programmed"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := makePlan(test.target, test.demands, test.findings, test.current, test.conflicts)
			got := result{p.closed, p.target, p.layout, p.verdict.holds, p.verdict.reason}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestATargetThatCatchesCallsToAnotherIsClosed(t *testing.T) {
	const one, other = "h12065.example.com", "h12089.example.com" // of one address
	egressTarget := func(name string, appPort int32) v1alpha1.EgressTarget {
		return v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.EgressTargetSpec{AppPort: appPort}}
	}
	tests := map[string]struct {
		port     int32
		siblings []v1alpha1.EgressTarget
		want     []string
	}{
		"no other target":                 {80, nil, nil},
		"one of another address":          {80, []v1alpha1.EgressTarget{egressTarget(host, 80)}, nil},
		"one of the address":              {443, []v1alpha1.EgressTarget{egressTarget(other, 80)}, nil},
		"one of the address and its port": {8080, []v1alpha1.EgressTarget{egressTarget(host, 8080), egressTarget(other, 8080)}, []string{other}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			catching := egressTarget(one, 8081)
			catching.Spec.Port = test.port
			p := plan{target: target.FromEgressTarget("project", one, &catching), verdict: programmed()}
			got := caughtHosts(p.target, targetsOf(test.siblings))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("caught (-want +got):\n%s", diff)
			}
			if closed := p.closedFor(got); closed.closed != (test.want != nil) {
				t.Errorf("closed is %t: %s", closed.closed, closed.verdict.message)
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
	want := verdict{reason: "PlaintextPossible", message: "the target is closed and calls fail with 503 in the sidecar, because of " +
		"the DestinationRule project/theirs, the VirtualService project/theirs; the condition Conflicted says what to change"}
	if diff := cmp.Diff(want, plan{verdict: programmed()}.closedBy(conflicts).verdict, cmp.AllowUnexported(verdict{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
