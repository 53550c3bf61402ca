package chart

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testTypes finds what the controller manager would write into the status of a policy as a warning.
// It looks at validations, not at variables.
func testTypes(t *testing.T, c cluster) {
	var policies admissionregistrationv1.ValidatingAdmissionPolicyList
	if err := c.List(t.Context(), &policies, client.MatchingLabels{
		"app.kubernetes.io/part-of": "mtls-egress-webhook",
	}); err != nil {
		t.Fatal(err)
	}
	if len(policies.Items) != 8 {
		t.Errorf("%d policies, want 8", len(policies.Items))
	}
	openAPI, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	checker := validating.TypeChecker{
		SchemaResolver: &resolver.ClientDiscoveryResolver{Discovery: openAPI},
		RestMapper:     c.RESTMapper(),
	}
	for _, policy := range policies.Items {
		if diff := cmp.Diff([]admissionregistrationv1.ExpressionWarning(nil), checker.Check(&policy)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", policy.Name, diff)
		}
	}
}
