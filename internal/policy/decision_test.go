package policy_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/policy"
)

func TestDecide(t *testing.T) {
	const (
		byAdmins    = "; a cluster administrator can add it to policy.allowedTargets in the chart's values"
		byNamespace = "namespace shop may not reach api.bank.example: neither the Namespace's annotation " +
			"mtls.egress/allowed-targets nor policy.allowedTargets in the " +
			"chart's values has an entry that matches it. A user who may change the Namespace object " +
			"can add it to the annotation" + byAdmins
	)
	annotation := func(value string) map[string]string { return map[string]string{egress.AnnotationAllowedTargets: value} }
	tests := map[string]struct {
		cluster     []string
		other       policy.Other
		annotations map[string]string
		want        bool
		rule        policy.Rule
		explained   string
	}{
		"without any rule every host is allowed": {
			nil,
			policy.OtherAllow,
			nil,
			true,
			policy.RuleOtherTargets,
			"namespace shop may reach api.bank.example: no list matches it, and policy.otherTargets in " +
				"the chart's values is Allow",
		},
		"otherTargets Deny denies a host that no list matches": {
			[]string{"a.example"},
			policy.OtherDeny,
			nil,
			false,
			policy.RuleOtherTargets,
			"namespace shop may not reach api.bank.example: no entry of policy.allowedTargets in the chart's values " +
				"matches it, and policy.otherTargets is Deny. " +
				"A user who may change the Namespace object can list it in the annotation mtls.egress/allowed-targets" +
				byAdmins,
		},
		"the zero default denies": {
			nil,
			"",
			nil,
			false,
			policy.RuleOtherTargets,
			"namespace shop may not reach api.bank.example: no entry of policy.allowedTargets in the chart's values " +
				"matches it, and policy.otherTargets is Deny. " +
				"A user who may change the Namespace object can list it in the annotation mtls.egress/allowed-targets" +
				byAdmins,
		},
		"the cluster's list allows under default Deny": {
			[]string{"*.bank.example"},
			policy.OtherDeny,
			nil,
			true,
			policy.RuleClusterList,
			"namespace shop may reach api.bank.example: the entry *.bank.example of policy.allowedTargets in the " +
				"chart's values matches it",
		},
		"the annotation widens default Deny": {
			nil,
			policy.OtherDeny,
			annotation("a.example, *.bank.example"),
			true,
			policy.RuleNamespaceList,
			"namespace shop may reach api.bank.example: the entry *.bank.example of the Namespace's annotation " +
				"mtls.egress/allowed-targets matches it",
		},
		"the annotation narrows default Allow": {
			nil,
			policy.OtherAllow,
			annotation("a.example"),
			false,
			policy.RuleNamespaceList,
			byNamespace,
		},
		"an empty annotation allows only the cluster-wide list": {
			[]string{"a.example"},
			policy.OtherAllow,
			annotation(""),
			false,
			policy.RuleNamespaceList,
			byNamespace,
		},
		"an annotation can't restrict the cluster-wide list": {
			[]string{"*"},
			policy.OtherDeny,
			annotation(""),
			true,
			policy.RuleClusterList,
			"namespace shop may reach api.bank.example: the entry * of policy.allowedTargets in the " +
				"chart's values matches it",
		},
		"an invalid annotation allows nothing, not even its valid entries": {
			nil,
			policy.OtherAllow,
			annotation("api.bank.example,bank"),
			false,
			policy.RuleInvalidAnnotation,
			"namespace shop may not reach api.bank.example: the Namespace's annotation is " +
				"invalid, so it allows nothing " +
				`(metadata.annotations[mtls.egress/allowed-targets]: Invalid value: "bank": has only one label; a ` +
				`host has at least two labels of letters, digits and ` +
				"inner hyphens, for example external.system.com). A user who may change the " +
				"Namespace object can correct it" + byAdmins,
		},
		"an invalid annotation doesn't affect the cluster-wide list": {
			[]string{"api.bank.example"},
			policy.OtherDeny,
			annotation("bank"),
			true,
			policy.RuleClusterList,
			"namespace shop may reach api.bank.example: the entry api.bank.example of policy.allowedTargets in the " +
				"chart's values matches it",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := policy.Decide(policy.Cluster{Allowed: patterns(t, test.cluster), Other: test.other},
				policy.ReadNamespace(test.annotations), "api.bank.example")
			if got.Allowed != test.want || got.Rule != test.rule {
				t.Errorf("allowed %t by %s, want %t by %s", got.Allowed, got.Rule, test.want, test.rule)
			}
			if diff := cmp.Diff(test.explained, got.Explain("shop", "api.bank.example")); diff != "" {
				t.Errorf("explained (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseOtherTakesTwoWordsOnly(t *testing.T) {
	for _, text := range []string{"", "allow", "DENY", "Maybe"} {
		if other, err := policy.ParseOther(text); err == nil {
			t.Errorf("ParseOther(%q) = %s, want an error", text, other)
		}
	}
	for _, want := range []policy.Other{policy.OtherAllow, policy.OtherDeny} {
		if got, err := policy.ParseOther(string(want)); got != want || err != nil {
			t.Errorf("%s is read as %q, %v", want, got, err)
		}
	}
}

// An additional entry never denies a host, in either list, and the order of entries doesn't matter.
func TestLawsOfLists(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pool := []string{"*", "a.example", "*.a.example", "**.a.example", "b.*.example", "**.*.example", "b.a.example"}
	hosts := []string{"a.example", "b.a.example", "c.b.a.example", "other.test"}
	pick := func() []policy.Pattern {
		var chosen []policy.Pattern
		for range random.IntN(4) {
			chosen = append(chosen, patterns(t, pool[random.IntN(len(pool)):][:1])...)
		}
		return chosen
	}
	for range 5000 {
		cluster := policy.Cluster{
			Allowed: pick(),
			Other:   []policy.Other{policy.OtherAllow, policy.OtherDeny}[random.IntN(2)],
		}
		namespace := policy.Namespace{Annotated: true, Allowed: pick()}
		more, host := pick(), hosts[random.IntN(len(hosts))]
		before := policy.Decide(cluster, namespace, host).Allowed
		shuffled := slices.Clone(cluster.Allowed)
		slices.Reverse(shuffled)
		if policy.Decide(policy.Cluster{Allowed: shuffled, Other: cluster.Other}, namespace, host).Allowed != before {
			t.Errorf("the order of %[2]v affects %[1]s", host, cluster.Allowed)
		}
		wider := policy.Cluster{Allowed: slices.Concat(cluster.Allowed, more), Other: cluster.Other}
		own := policy.Namespace{Annotated: true, Allowed: slices.Concat(namespace.Allowed, more)}
		if before && (!policy.Decide(wider, namespace, host).Allowed || !policy.Decide(cluster, own, host).Allowed) {
			t.Errorf("adding %v denies %s", more, host)
		}
	}
}

func patterns(t *testing.T, texts []string) []policy.Pattern {
	t.Helper()
	parsed, errs := policy.ParsePatterns(texts, nil)
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	return parsed
}

// Cluster-internal names are not external hosts, regardless of the lists.
func TestNamesOfTheClusterAreRefused(t *testing.T) {
	const (
		byName = " is a cluster-internal name, not an external host: call it without a target; the " +
			"mesh uses its own mutual TLS for it"
		byService = " is the name of a Service in the cluster, not an external host: call it without a target; the " +
			"mesh uses its own mutual TLS for it"
	)
	tests := map[string]struct {
		domain, host string
		services     []string
		want         string
	}{
		"a Service by its whole name":  {host: "pay.other.svc.cluster.local", want: byName},
		"a Pod by its whole name":      {host: "10-0-0-1.other.pod.cluster.local", want: byName},
		"the cluster's domain itself":  {host: "cluster.local", want: byName},
		"a Service without the domain": {host: "pay.other.svc", want: byName},
		"a Service in a cluster of another domain": {
			domain: "prod.example",
			host:   "pay.other.svc.prod.example",
			want:   byName,
		},
		"the usual domain in a cluster of another one": {domain: "prod.example", host: "pay.other.svc.cluster.local"},
		"a Service by its short name": {
			host:     "pay.other",
			services: []string{"pay.other"},
			want:     byService,
		},
		"a short name without a Service":        {host: "pay.other", services: []string{"pay.shop"}},
		"a name that only ends like the domain": {host: "notcluster.local"},
		"a name with svc in the middle":         {host: "api.svc.bank.example"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rules := policy.Rules{
				Cluster: policy.Cluster{
					Allowed: patterns(t, []string{"*"}),
					Other:   policy.OtherAllow,
					Domain:  test.domain,
				},
				Services: test.services,
			}
			decision := rules.Decide(test.host)
			got := ""
			if !decision.Allowed {
				got = strings.TrimPrefix(decision.Explain("shop", test.host), test.host)
			}
			if got != test.want {
				t.Errorf("%s: %q, want %q", test.host, got, test.want)
			}
		})
	}
}
