package mutate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/workload"
)

// In a mesh that resolves unknown hosts, calls to http://HOST./ leave in plain text until the
// objects of the target exist.
func TestPodsWaitForTheirTargetWhereSidecarsResolveHosts(t *testing.T) {
	const (
		host = "external.system.com"
		said = "the sidecars of this mesh resolve unknown hosts (outboundTrafficPolicy ALLOW_ANY_DYNAMIC_DNS), and " +
			"the target external.system.com is not programmed yet, so calls to it could leave in plain text. " +
			"Create the EgressTarget external.system.com, and create Pods after it is programmed: kubectl wait " +
			"--for=condition=Programmed egresstarget/external.system.com"
	)
	target := func(reason string) map[string]*v1alpha1.EgressTarget {
		egressTarget := &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: host}}
		if reason != "" {
			egressTarget.Status.Conditions = []metav1.Condition{
				{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionFalse, Reason: reason},
			}
		}
		return map[string]*v1alpha1.EgressTarget{host: egressTarget}
	}
	tests := map[string]struct {
		dynamic       bool
		egressTargets map[string]*v1alpha1.EgressTarget
		refused       bool
	}{
		"without an EgressTarget":     {dynamic: true, refused: true},
		"an EgressTarget that is new": {dynamic: true, egressTargets: target(""), refused: true},
		"an EgressTarget that is not written": {
			dynamic:       true,
			egressTargets: target("WriteFailed"),
			refused:       true,
		},
		"an EgressTarget of which a name is taken": {dynamic: true, egressTargets: target("NameTaken"), refused: true},
		"a target that is open":                    {dynamic: true, egressTargets: target("Programmed")},
		"a target that is closed":                  {dynamic: true, egressTargets: target("CredentialInvalid")},
		"a mesh that does not resolve hosts":       {},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rules := policy.Rules{Cluster: policy.Cluster{Other: policy.OtherAllow}, DynamicDNS: test.dynamic}
			var errs, warnings []string
			for kind, object := range map[string]string{
				"Pod": `{"metadata":{"annotations":{"mtls.egress/target":"external.system.com"}},` +
					`"spec":{"containers":[{"name":"app"}]}}`,
				"Deployment": `{"metadata":{"annotations":{"mtls.egress/target":"external.system.com"}},` +
					`"spec":{"template":{"spec":{"containers":[{"name":"app"}]}}}}`,
			} {
				group := map[string]string{"Deployment": "apps"}[kind]
				subject, err := mutate.Decode(workload.Known().ByKind(), schema.GroupKind{Group: group, Kind: kind}, []byte(object))
				if err != nil {
					t.Fatal(err)
				}
				result := subject.Mutate(mutate.Facts{
					Namespace: "shop", EgressTargets: test.egressTargets, Rules: rules,
				})
				for _, problem := range result.Errors {
					errs = append(errs, kind+": "+problem.Detail)
				}
				for _, warning := range result.Warnings {
					warnings = append(warnings, kind+": "+warning.Message)
				}
			}
			var wantErrs, wantWarnings []string
			if test.refused {
				wantErrs = []string{"Pod: " + said}
				wantWarnings = []string{"Deployment: Pods are rejected for now: " + said}
			}
			if diff := cmp.Diff([]any{wantErrs, wantWarnings}, []any{errs, warnings}); diff != "" {
				t.Errorf("errors and warnings (-want +got):\n%s", diff)
			}
		})
	}
}
