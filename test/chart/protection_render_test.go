package chart

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A policy that reads the label but not the list would be open to anyone who can label a namespace.
func TestThePoliciesThatKnowTheLabelKnowTheListOfNamespaces(t *testing.T) {
	tests := map[string]struct {
		set  string
		want string
	}{
		"by default": {set: `log={}`, want: `request.namespace in []`},
		"namespaces": {
			set:  `policy.exemptNamespaces=["shop", "2024"]`,
			want: `request.namespace in ["shop","2024"]`,
		},
		"values of a release without one": {set: `policy.exemptNamespaces=null`, want: `request.namespace in []`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := map[string][]string{}
			for _, object := range render(t, "--set-json", test.set) {
				found := expressions(object.Object)
				if object.GetKind() != "ValidatingAdmissionPolicy" ||
					!strings.Contains(strings.Join(found, "\n"), "mtls.egress/protection") {
					continue
				}
				for _, expression := range found {
					if strings.HasPrefix(expression, "request.namespace in ") ||
						strings.HasPrefix(expression, "variables.exemptBy") && !strings.Contains(expression, "?") {
						got[object.GetName()] = append(got[object.GetName()], expression)
					}
				}
			}
			both := []string{test.want, "variables.exemptByLabel && variables.exemptByValues"}
			want := map[string][]string{
				"mtls-egress-webhook-attached":          both,
				"mtls-egress-webhook-generated-objects": both,
				"mtls-egress-webhook-sinkhole":          both,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
