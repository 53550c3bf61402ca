package chart

import (
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/mesh"
)

func testReserved(t *testing.T, c cluster) {
	const somebody = "team-admin"
	all := []string{mesh.KindVirtualService, mesh.KindDestinationRule, mesh.KindServiceEntry}
	ruleOnly := []string{mesh.KindDestinationRule}
	// for is an object for a host.
	forHost := func(host string) change {
		return func(object *unstructured.Unstructured) { object.Object["spec"] = istioSpec(object.GetKind(), host) }
	}
	owned := func(apiVersion, kind string) change {
		return func(object *unstructured.Unstructured) { object.SetOwnerReferences(ownedBy(apiVersion, kind)) }
	}
	withSubset := func(host, name string) change {
		return func(object *unstructured.Unstructured) {
			object.Object["spec"] = map[string]any{
				"host":    host,
				"subsets": []any{map[string]any{"name": "v1"}, map[string]any{"name": name}},
			}
		}
	}
	labeled := func(object *unstructured.Unstructured) { object.SetLabels(map[string]string{"team": "a"}) }
	const ours = "external.system.com.mtls-egress.internal"
	off := map[string]string{"mtls.egress/protection": "off"}
	tests := map[string]struct {
		user       string // default: somebody
		kinds      []string
		apiVersion string // default: networking.istio.io/v1
		labels     map[string]string
		listed     bool     // whether the namespace is in the chart's value policy.exemptNamespaces
		before     []change // the object that is updated, which was written while the protection was off
		change     []change // the object as it is written
		want       func(kind string) string
	}{
		"the partner's host":                       {change: []change{forHost("external.system.com")}},
		"a host whose end is only like the domain": {change: []change{forHost("external.my-mtls-egress.internal")}},
		"a host whose beginning is the domain":     {change: []change{forHost("mtls-egress.internal.example.com")}},
		"a host of another domain":                 {change: []change{forHost("mtls-egress.internals")}},
		"a wildcard that has the domain in it":     {change: []change{forHost("*.internal")}},
		"the host of a generated object":           {change: []change{forHost(ours)}, want: reservedName(ours)},
		"the host of a generated object, with a dot": {
			change: []change{forHost(ours + ".")},
			want:   reservedName(ours + "."),
		},
		"the host of a generated object, upper case": {
			change: []change{forHost("External.System.com.MTLS-Egress.Internal")},
			want:   reservedName("External.System.com.MTLS-Egress.Internal"),
		},
		"the host of the anchor": {
			change: []change{forHost("anchor.mtls-egress.internal")},
			want:   reservedName("anchor.mtls-egress.internal"),
		},
		"the domain": {
			change: []change{forHost("mtls-egress.internal")},
			want:   reservedName("mtls-egress.internal"),
		},
		"a wildcard below the domain": {
			change: []change{forHost("*.mtls-egress.internal")},
			want:   reservedName("*.mtls-egress.internal"),
		},
		"an older version": {
			apiVersion: "networking.istio.io/v1alpha3",
			change:     []change{forHost(ours)},
			want:       reservedName(ours),
		},
		"the version between": {
			apiVersion: "networking.istio.io/v1beta1",
			change:     []change{forHost(ours)},
			want:       reservedName(ours),
		},
		"a user that is called like the controller": {
			user:   "system:serviceaccount:project:mtls-egress-webhook-controller",
			change: []change{forHost(ours)},
			want:   reservedName(ours),
		},
		"the webhook": {
			user:   webhookUser,
			change: []change{forHost(ours)},
			want:   reservedName(ours),
		},
		"the controller": {
			user:   controllerUser,
			change: []change{forHost(ours), owned("mtls.egress/v1alpha1", "EgressTarget")},
		},
		"where the protection is off": {
			labels: off,
			listed: true,
			change: []change{forHost(ours), owned("mtls.egress/v1alpha1", "EgressTarget")},
		},
		"where the label alone says so": {
			labels: off,
			change: []change{forHost(ours)},
			want:   reservedName(ours),
		},
		"where the chart alone says so": {
			listed: true,
			change: []change{forHost(ours)},
			want:   reservedName(ours),
		},
		"where the protection is on by name": {
			labels: map[string]string{"mtls.egress/protection": "on"},
			listed: true,
			change: []change{forHost(ours)},
			want:   reservedName(ours),
		},
		"the host comes": {
			before: []change{forHost("a.example")},
			change: []change{forHost(ours)},
			want:   reservedName(ours),
		},
		"the host goes": {
			before: []change{forHost(ours)},
			change: []change{forHost("a.example")},
		},
		"the host is there, and a label comes": {before: []change{forHost(ours)}, change: []change{labeled}},
		"the host is there, and the spec changes": {
			before: []change{forHost(ours)},
			change: []change{exported},
			want:   reservedName(ours),
		},
		"a route to a generated object": {
			kinds:  []string{mesh.KindVirtualService},
			change: []change{routedTo(ours)},
		},
		"an owner of another group": {change: []change{owned("apps/v1", "Deployment")}},
		"an owner of a group that is only like ours": {
			change: []change{owned("mtls.egress.example.com/v1", "EgressTarget")},
		},
		"an EgressTarget as owner": {
			change: []change{owned("mtls.egress/v1alpha1", "EgressTarget")},
			want:   forgedOwner("EgressTarget owner"),
		},
		"an EgressTarget of a version to come": {
			change: []change{owned("mtls.egress/v2", "EgressTarget")},
			want:   forgedOwner("EgressTarget owner"),
		},
		"an EgressTarget as owner, where label says": {
			labels: off,
			change: []change{owned("mtls.egress/v1alpha1", "EgressTarget")},
			want:   forgedOwner("EgressTarget owner"),
		},
		"an EgressTarget comes to be the owner": {
			before: []change{labeled},
			change: []change{owned("mtls.egress/v1alpha1", "EgressTarget")},
			want:   forgedOwner("EgressTarget owner"),
		},
		"an EgressTarget was the owner": {
			before: []change{owned("mtls.egress/v1alpha1", "EgressTarget")},
			change: []change{labeled},
		},
		"an EgressTarget is no owner any more": {
			before: []change{owned("mtls.egress/v1alpha1", "EgressTarget")},
			change: []change{owned("apps/v1", "Deployment")},
		},
		"a wildcard with another subset": {kinds: ruleOnly, change: []change{withSubset("*.internal", "mtls")}},
		"a wildcard with the generated subset": {
			kinds:  ruleOnly,
			change: []change{withSubset("*.internal", mesh.SubsetName)},
			want:   reservedSubset("*.internal"),
		},
		"every host with the generated subset": {
			kinds:  ruleOnly,
			change: []change{withSubset("*", mesh.SubsetName)},
			want:   reservedSubset("*"),
		},
		"a host of its own with the generated subset": {
			kinds:  ruleOnly,
			change: []change{withSubset("external.system.com", mesh.SubsetName)},
		},
		"a wildcard gets the generated subset": {
			kinds:  ruleOnly,
			before: []change{forHost("*")},
			change: []change{withSubset("*", mesh.SubsetName)},
			want:   reservedSubset("*"),
		},
		"a wildcard had the generated subset": {
			kinds:  ruleOnly,
			before: []change{withSubset("*", mesh.SubsetName)},
			change: []change{labeled},
		},
	}
	number, listed := 0, 0
	for name, test := range tests {
		kinds := test.kinds
		if kinds == nil {
			kinds = all
		}
		for _, kind := range kinds {
			number++
			in := fmt.Sprintf("reserved-%d", number)
			if test.listed {
				in = exemptNamespace("reserved", listed)
				listed++
			}
			t.Run(name+": "+kind, func(t *testing.T) {
				c.namespace(t, in, test.labels)
				object := &unstructured.Unstructured{Object: map[string]any{"spec": istioSpec(kind, "external.system.com")}}
				object.SetAPIVersion("networking.istio.io/v1")
				if test.apiVersion != "" {
					object.SetAPIVersion(test.apiVersion)
				}
				object.SetKind(kind)
				object.SetNamespace(in)
				object.SetName("theirs")
				user := c.as(t, somebody)
				switch test.user {
				case "":
				case controllerUser:
					user = c.account(t, test.user)
				default:
					user = c.as(t, test.user)
				}
				write := user.Create
				for _, change := range test.before {
					change(object)
				}
				if test.before != nil {
					// As the controller may write anything, this object is one from before the policy.
					if err := c.as(t, controllerUser).Create(t.Context(), object); err != nil {
						t.Fatal(err)
					}
				}
				for _, change := range test.change {
					change(object)
				}
				var err error
				if test.before != nil {
					err = user.Update(t.Context(), object)
				} else {
					err = write(t.Context(), object)
				}
				want := ""
				if test.want != nil {
					want = fmt.Sprintf(
						`%s.networking.istio.io "theirs" is forbidden: ValidatingAdmissionPolicy '%s' `+
							`with binding '%s' denied request: %s %s`,
						pluralOf(kind), generatedPolicy, generatedPolicy, test.want(kind), wayAround(in, test.labels, test.listed),
					)
				}
				if diff := gocmp.Diff(want, message(err)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

const generatedPolicy = "mtls-egress-webhook-generated-objects"

// change is what is different about an object.
type change func(object *unstructured.Unstructured)

func exported(object *unstructured.Unstructured) {
	object.Object["spec"].(map[string]any)["exportTo"] = []any{"*"}
}

func routedTo(host string) change {
	return func(object *unstructured.Unstructured) {
		spec := istioSpec(object.GetKind(), host)
		spec["hosts"] = []any{"external.system.com"}
		object.Object["spec"] = spec
	}
}

func pluralOf(kind string) string {
	return map[string]string{
		mesh.KindVirtualService:  "virtualservices",
		mesh.KindDestinationRule: "destinationrules",
		mesh.KindServiceEntry:    "serviceentries",
		mesh.KindSidecar:         "sidecars",
		"WorkloadEntry":          "workloadentries",
	}[kind]
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func reservedName(host string) func(kind string) string {
	return func(kind string) string {
		return kind + ` theirs is for ` + host + `, but the domain mtls-egress.internal is reserved for the controller of ` +
			`mtls-egress-webhook: Istio could use the object instead of a generated one, so calls could fail or leave in ` +
			`plain text. Use the host of the partner, such as external.system.com, and configure its calls in the EgressTarget.`
	}
}

func forgedOwner(owner string) func(kind string) string {
	return func(kind string) string {
		return kind + ` theirs has the owner ` + owner + `, but only the controller of mtls-egress-webhook can create ` +
			`objects that an EgressTarget owns. Remove the owner from metadata.ownerReferences.`
	}
}

func reservedSubset(host string) func(kind string) string {
	return func(string) string {
		return `DestinationRule theirs is for the wildcard ` + host + ` and has a subset mtls-egress, the name of the ` +
			`mutual TLS subset in generated DestinationRules. If a generated one is missing, Istio would use this one, so ` +
			`calls could leave in plain text. Rename the subset.`
	}
}
