package chart

import (
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

func testReserved(t *testing.T, c cluster) {
	const somebody = "team-admin"
	ourLabel := target.HostLabel("external.system.com")
	selecting := func(labels ...string) map[string]any {
		matchLabels := map[string]any{}
		for _, label := range labels {
			matchLabels[label] = "true"
		}
		return map[string]any{"host": "external.system.com", "workloadSelector": map[string]any{"matchLabels": matchLabels}}
	}
	withSubset := func(names ...string) map[string]any {
		var subsets []any
		for _, name := range names {
			subsets = append(subsets, map[string]any{"name": name})
		}
		return map[string]any{"host": "external.system.com", "subsets": subsets}
	}
	plain := map[string]any{"host": "external.system.com"}
	off := map[string]string{"mtls.egress/protection": "off"}
	tests := map[string]struct {
		user       string // default: somebody
		apiVersion string // default: networking.istio.io/v1
		labels     map[string]string
		listed     bool           // whether the namespace is in the chart's value policy.exemptNamespaces
		before     map[string]any // the spec of the rule that is updated, which was written while the protection was off
		spec       map[string]any // of the rule as it is written
		metadata   bool           // whether the update changes the metadata too
		want       string
	}{
		"a rule for the host":                   {spec: plain},
		"a rule that selects by another label":  {spec: selecting("app", "example.com/to.mtls.egress")},
		"a rule with another subset":            {spec: withSubset("mtls", "mtls-egress-2")},
		"a rule that selects by our host label": {spec: selecting("app", ourLabel), want: reservedLabel(ourLabel)},
		"a rule that selects by the label of another host": {
			spec: selecting(target.HostLabel("other.system.com")), want: reservedLabel("to.mtls.egress/other.system.com"),
		},
		"a rule that selects all realised Pods":      {spec: selecting(target.LabelRealised), want: reservedLabel(target.LabelRealised)},
		"a rule with our subset":                     {spec: withSubset("v1", mesh.SubsetName), want: reservedSubset},
		"a rule of an older version":                 {apiVersion: "networking.istio.io/v1alpha3", spec: selecting(ourLabel), want: reservedLabel(ourLabel)},
		"a rule of the version between":              {apiVersion: "networking.istio.io/v1beta1", spec: withSubset(mesh.SubsetName), want: reservedSubset},
		"a rule of a user that is called like ours":  {user: "system:serviceaccount:project:mtls-egress-webhook", spec: selecting(ourLabel), want: reservedLabel(ourLabel)},
		"a rule of the controller":                   {user: accountName, spec: selecting(ourLabel)},
		"where the protection is off":                {labels: off, listed: true, spec: selecting(ourLabel)},
		"our subset where the protection is off":     {labels: off, listed: true, spec: withSubset(mesh.SubsetName)},
		"where the label alone says so":              {labels: off, spec: selecting(ourLabel), want: reservedLabel(ourLabel)},
		"our subset where the label alone says so":   {labels: off, spec: withSubset(mesh.SubsetName), want: reservedSubset},
		"where the chart alone says so":              {listed: true, spec: selecting(ourLabel), want: reservedLabel(ourLabel)},
		"our subset where the chart alone says so":   {listed: true, spec: withSubset(mesh.SubsetName), want: reservedSubset},
		"where the protection is on by name":         {labels: map[string]string{"mtls.egress/protection": "on"}, listed: true, spec: withSubset(mesh.SubsetName), want: reservedSubset},
		"a rule that comes to select by our label":   {before: plain, spec: selecting(ourLabel), want: reservedLabel(ourLabel)},
		"a rule that gets our subset":                {before: plain, spec: withSubset(mesh.SubsetName), want: reservedSubset},
		"a rule that is older, in its labels":        {before: selecting(ourLabel), spec: selecting(ourLabel), metadata: true},
		"a rule that is older, in its spec":          {before: selecting(ourLabel), spec: selecting(ourLabel, "app"), want: reservedLabel(ourLabel)},
		"a rule that is older and lets go of ours":   {before: selecting(ourLabel), spec: selecting("app")},
		"a rule that keeps a subset and selects all": {before: withSubset(mesh.SubsetName), spec: plain},
	}
	number, listed := 0, 0
	for name, test := range tests {
		number++
		in := fmt.Sprintf("reserved-%d", number)
		if test.listed {
			in = exemptNamespace("reserved", listed)
			listed++
		}
		t.Run(name, func(t *testing.T) {
			c.namespace(t, in, test.labels)
			rule := &unstructured.Unstructured{Object: map[string]any{"spec": test.spec}}
			rule.SetAPIVersion("networking.istio.io/v1")
			if test.apiVersion != "" {
				rule.SetAPIVersion(test.apiVersion)
			}
			rule.SetKind(mesh.KindDestinationRule)
			rule.SetNamespace(in)
			rule.SetName("theirs")
			user := c.as(t, somebody)
			switch test.user {
			case "":
			case accountName:
				user = c.account(t, test.user)
			default:
				user = c.as(t, test.user)
			}
			var err error
			if test.before != nil {
				rule.Object["spec"] = test.before
				// As the controller may write anything, this rule is one from before the policy.
				if err := c.account(t, accountName).Create(t.Context(), rule); err != nil {
					t.Fatal(err)
				}
				rule.Object["spec"] = test.spec
				if test.metadata {
					rule.SetLabels(map[string]string{"team": "a"})
				}
				err = user.Update(t.Context(), rule)
			} else {
				err = user.Create(t.Context(), rule)
			}
			if diff := gocmp.Diff(refusedRule(test.want, wayAround(in, test.labels, test.listed)), message(err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// refusedRule is the whole message of the API server for a reason.
func refusedRule(reason, wayAround string) string {
	if reason == "" {
		return ""
	}
	const policy = "mtls-egress-webhook-reserved"
	return fmt.Sprintf(`destinationrules.networking.istio.io "theirs" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s %s`, policy, policy, reason, wayAround)
}

func reservedLabel(label string) string {
	return `the DestinationRule selects Pods by ` + label + `, which only the controller of mtls-egress-webhook does. Istio would merge it with the generated ` +
		`one or follow it instead, so calls of these Pods could leave in plain text. Select them by labels of your own; what their calls need goes into the EgressTarget.`
}

const reservedSubset = `the DestinationRule has a subset mtls-egress, the name of the subset that speaks mutual TLS in generated ones. Istio could follow it in ` +
	`their place, so calls could leave in plain text. Give the subset another name.`
