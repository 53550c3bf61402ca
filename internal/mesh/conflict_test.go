package mesh_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

const (
	host       = "external.system.com"
	objectName = "mtls-egress-external.system.com"
	// sinkhole is the sinkhole address of host.
	sinkhole = "254.110.240.171"
)

// TestConflictsAreTheForeignObjectsInTheWay holds each rule of the detection against the conflicts it must give.
func TestConflictsAreTheForeignObjectsInTheWay(t *testing.T) {
	tests := map[string]struct {
		target func(*target.Target)
		others mesh.Others
		want   []mesh.Conflict
	}{
		"nothing else in the mesh is no conflict": {
			others: mesh.Others{},
		},
		"nil objects and nil parts of objects are no conflict": {
			others: mesh.Others{
				VirtualServices:  []*networkingv1.VirtualService{nil, {}},
				DestinationRules: []*networkingv1.DestinationRule{nil, {}},
				ServiceEntries:   []*networkingv1.ServiceEntry{nil, {}},
				Sidecars:         []*networkingv1.Sidecar{nil, {}},
			},
		},
		"our own objects are no conflict": {
			others: mesh.Others{
				VirtualServices:  []*networkingv1.VirtualService{ourVirtualService()},
				DestinationRules: []*networkingv1.DestinationRule{ourDestinationRule()},
				ServiceEntries:   []*networkingv1.ServiceEntry{ourServiceEntry(), ourAnchor()},
			},
		},
		"objects for another host are no conflict": {
			others: mesh.Others{
				VirtualServices:  []*networkingv1.VirtualService{virtualService(vsHost("other.system.com"))},
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drHost("other.system.com"))},
				ServiceEntries:   []*networkingv1.ServiceEntry{serviceEntry(seHost("other.system.com"))},
			},
		},
		"a VirtualService that has the name of ours and no owner breaks ours, whatever it says": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(vsHost("unrelated.example.com"), vsNamed(objectName))},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "mtls-egress-external.system.com",
					Field: "metadata.name", Effect: mesh.BreaksOurs,
					Message:   "VirtualService project/mtls-egress-external.system.com (metadata.name) has the name that ours needs, and no EgressTarget owns it, so it is left as it is, ours can't be written, and calls to external.system.com fail; rename or delete it",
					Plaintext: true,
				},
			},
		},
		"a DestinationRule that has the name of ours and no owner breaks ours, whatever it says": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drHost("unrelated.example.com"), drNamed(objectName))},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "mtls-egress-external.system.com",
					Field: "metadata.name", Effect: mesh.BreaksOurs,
					Message:   "DestinationRule project/mtls-egress-external.system.com (metadata.name) has the name that ours needs, and no EgressTarget owns it, so it is left as it is, ours can't be written, and calls to external.system.com fail; rename or delete it",
					Plaintext: true,
				},
			},
		},
		"a ServiceEntry that has the name of ours and no owner breaks ours, whatever it says": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seHost("unrelated.example.com"), seNamed(objectName))},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "mtls-egress-external.system.com",
					Field: "metadata.name", Effect: mesh.BreaksOurs,
					Message: "ServiceEntry project/mtls-egress-external.system.com (metadata.name) has the name that ours needs, and no EgressTarget owns it, so it is left as it is, ours can't be written, and calls to external.system.com fail; rename or delete it",
				},
			},
		},
		"our label on an object that has our name does not make it ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(vsNamed(objectName), func(v *networkingv1.VirtualService) {
					v.Labels = map[string]string{target.LabelManagedBy: target.ValueManagedBy}
				})},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "mtls-egress-external.system.com",
					Field: "metadata.name", Effect: mesh.BreaksOurs,
					Message:   "VirtualService project/mtls-egress-external.system.com (metadata.name) has the name that ours needs, and no EgressTarget owns it, so it is left as it is, ours can't be written, and calls to external.system.com fail; rename or delete it",
					Plaintext: true,
				},
			},
		},
		"an object that has our name and belongs to the EgressTarget of another host breaks ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(vsNamed(objectName), func(v *networkingv1.VirtualService) { v.OwnerReferences = ownedBy("other.system.com") })},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "mtls-egress-external.system.com",
					Field: "metadata.name", Effect: mesh.BreaksOurs,
					Message:   "VirtualService project/mtls-egress-external.system.com (metadata.name) has the name that ours needs, and no EgressTarget owns it, so it is left as it is, ours can't be written, and calls to external.system.com fail; rename or delete it",
					Plaintext: true,
				},
			},
		},
		"our name in another namespace is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(vsNamed(objectName), vsHost("unrelated.example.com"), vsIn("other"))},
			},
		},
		"a ServiceEntry that has the name of the anchor and no owner breaks ours": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seHost("unrelated.example.com"), seNamed("mtls-egress"))},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "mtls-egress",
					Field: "metadata.name", Effect: mesh.BreaksOurs,
					Message: "ServiceEntry project/mtls-egress (metadata.name) has the name that the anchor of the namespace needs, and no EgressTarget owns it, so it is left as it is, sidecars may not listen on port 80, and calls to external.system.com fail; rename or delete it",
				},
			},
		},
		"the anchor of another EgressTarget is no conflict": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seHost(target.AnchorHost), seNamed("mtls-egress"), func(s *networkingv1.ServiceEntry) { s.OwnerReferences = ownedBy("other.system.com") })},
			},
		},
		"an older private VirtualService for the host with a trailing dot wins over ours for calls that write it so": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsHost("external.system.com."), vsTo(".")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
		"an older private VirtualService of the namespace wins over ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo(".")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
		"a VirtualService that exports to its own namespace by name is as private as one with a dot": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("project")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
		"a private VirtualService wins while ours is not written yet, however new it is": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(recent, vsTo("."))},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
		"of two equally old private VirtualServices the name decides, and theirs sorts after ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(sameAge, vsTo(".")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, and Istio takes ours before it and merges none, so the http calls of the target's Pods no longer follow it; take the host out of it",
				},
			},
		},
		"of two equally old private VirtualServices the name decides, and theirs sorts before ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(sameAge, vsTo("."), vsNamed("legacy")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "legacy",
					Field: "spec.hosts[0]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService project/legacy (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
		"a newer private VirtualService is hidden by ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(recent, vsTo(".")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, and Istio takes ours before it and merges none, so the http calls of the target's Pods no longer follow it; take the host out of it",
				},
			},
		},
		"an older public VirtualService of the namespace is hidden by ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, and Istio takes ours before it and merges none, so the http calls of the target's Pods no longer follow it; take the host out of it",
				},
			},
		},
		"an asterisk among other namespaces makes a VirtualService public": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo(".", "*")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, and Istio takes ours before it and merges none, so the http calls of the target's Pods no longer follow it; take the host out of it",
				},
			},
		},
		"a public VirtualService of another namespace is hidden by ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsIn("egress")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "egress", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "VirtualService egress/theirs (spec.hosts[0]) is for external.system.com too, and Istio takes ours before it and merges none, so the http calls of the target's Pods no longer follow it; take the host out of it",
				},
			},
		},
		"a VirtualService that another namespace exports to ours by name is hidden by ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsIn("egress"), vsTo("project")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "egress", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "VirtualService egress/theirs (spec.hosts[0]) is for external.system.com too, and Istio takes ours before it and merges none, so the http calls of the target's Pods no longer follow it; take the host out of it",
				},
			},
		},
		"a VirtualService that another namespace keeps to itself is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsIn("egress"), vsTo(".")), ourVirtualService()},
			},
		},
		"a VirtualService that is exported to a third namespace is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsIn("egress"), vsTo("third")), ourVirtualService()},
			},
		},
		"a VirtualService that is exported to nobody is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("~")), ourVirtualService()},
			},
		},
		"an older private VirtualService for a wildcard that covers the host is hidden by ours, as the exact host wins": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsHost("*.system.com")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "VirtualService project/theirs (spec.hosts[0]) covers external.system.com with the wildcard *.system.com, and ours names the host itself, so the http calls of the target's Pods no longer follow it; name the hosts that it is for instead of the wildcard, or call this one without a target",
				},
			},
		},
		"a wildcard that covers other hosts only is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsHost("*.external.system.com")), ourVirtualService()},
			},
		},
		"the exact host counts before a wildcard that stands earlier in the list, in any case of letters": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsHost("*.com", "External.System.COM")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[1]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService project/theirs (spec.hosts[1]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
		"a VirtualService on a gateway only is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsGateways("istio-ingress/public")), ourVirtualService()},
			},
		},
		"a VirtualService on a gateway and on the mesh wins as one on the mesh does": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsGateways("istio-ingress/public", "mesh")), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
		"a VirtualService without HTTP routes is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsRoutes()), ourVirtualService()},
			},
		},
		"a VirtualService that matches another port only is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{Port: 8080})), ourVirtualService()},
			},
		},
		"a VirtualService that matches the app port wins": {
			target: func(t *target.Target) { t.AppPort = 8080 },
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{Port: 8080})), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
		"a VirtualService that matches Pods of another value of our label only is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{SourceLabels: map[string]string{target.LabelRealised: "false"}})), ourVirtualService()},
			},
		},
		"a VirtualService that matches Pods by a label that we know nothing of wins": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{SourceLabels: map[string]string{"app": "shop"}})), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
		"a VirtualService that matches Pods of another namespace only is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsMatch(&networking.HTTPMatchRequest{SourceNamespace: "other"})), ourVirtualService()},
			},
		},
		"with a gateway in the match Istio does not look at its labels, so the VirtualService wins": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{Gateways: []string{"mesh"},
					SourceLabels: map[string]string{target.LabelRealised: "false"}})), ourVirtualService()},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
		"a match on another gateway is no conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{Gateways: []string{"istio-ingress/public"}})), ourVirtualService()},
			},
		},
		"a DestinationRule without selector is hidden from the Pods of the target": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.workloadSelector", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule project/theirs (spec.workloadSelector) is for external.system.com and names no Pods, so it applies to all Pods of the namespace but the target's, which follow ours alone; move what these Pods need to the EgressTarget, and remove it if no other Pod calls the host",
				},
			},
		},
		"a DestinationRule without selector and with the exportTo of ours is merged away for all Pods": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drTo(".")), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.exportTo", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule project/theirs (spec.exportTo) is for external.system.com, names no Pods and has ours' exportTo, so Istio merges it into ours, where ours wins, and no longer applies it to any other Pod of the namespace; write the name of the namespace instead of the dot",
				},
			},
		},
		"a DestinationRule without selector that names its namespace in exportTo keeps the other Pods": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drTo("project")), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.workloadSelector", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule project/theirs (spec.workloadSelector) is for external.system.com and names no Pods, so it applies to all Pods of the namespace but the target's, which follow ours alone; move what these Pods need to the EgressTarget, and remove it if no other Pod calls the host",
				},
			},
		},
		"a DestinationRule without selector that is exported to another namespace only is no conflict": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drTo("other")), ourDestinationRule()},
			},
		},
		"an older DestinationRule with our selector and a traffic policy breaks ours": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drSelects(target.HostLabel(host), "true")), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.trafficPolicy", Effect: mesh.BreaksOurs,
					Message: "DestinationRule project/theirs (spec.trafficPolicy) selects the target's Pods by our label and is older, so for calls to external.system.com Istio takes it in place of ours, which guards port 80; move it to the EgressTarget and delete it here",
				},
			},
		},
		"an older DestinationRule with our selector and our subset breaks ours, in plain text": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drSelects(target.HostLabel(host), "true"), drPolicy(nil), drSubsets("v1", mesh.SubsetName)), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.subsets[1]", Effect: mesh.BreaksOurs,
					Message:   "DestinationRule project/theirs (spec.subsets[1]) selects the target's Pods by our label, is older and has the name of our subset, so Istio takes it in place of ours, and calls to external.system.com leave in plain text unless it sets TLS itself; delete it",
					Plaintext: true,
				},
			},
		},
		"an older DestinationRule with our selector and other subsets only is no conflict": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drSelects(target.HostLabel(host), "true"), drPolicy(nil), drSubsets("v1")), ourDestinationRule()},
			},
		},
		"a newer DestinationRule with our selector is hidden by ours": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drNew, drSelects(target.HostLabel(host), "true")), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.trafficPolicy", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule project/theirs (spec.trafficPolicy) selects the target's Pods by our label and is newer, so Istio merges it into ours and drops this setting for calls to external.system.com; move it to the EgressTarget and delete it here",
				},
			},
		},
		"a newer DestinationRule with our selector and our subset is hidden by ours": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drNew, drSelects(target.HostLabel(host), "true"), drSubsets(mesh.SubsetName)), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.subsets[0]", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule project/theirs (spec.subsets[0]) selects the target's Pods by our label and is newer, so Istio merges it into ours and drops this setting for calls to external.system.com; move it to the EgressTarget and delete it here",
				},
			},
		},
		"an older DestinationRule that may select our Pods takes our subset away": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drSelects("app", "shop")), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.workloadSelector", Effect: mesh.BreaksOurs,
					Message: "DestinationRule project/theirs (spec.workloadSelector) can select Pods of the target and is older, so for a Pod that both select Istio takes it and not ours, the subset mtls-egress is missing, and calls to external.system.com fail with 503; move its settings to the EgressTarget and delete it",
				},
			},
		},
		"an older DestinationRule that may select our Pods and has our subset takes its place, in plain text": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drSelects("app", "shop"), drSubsets(mesh.SubsetName)), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.subsets[0]", Effect: mesh.BreaksOurs,
					Message:   "DestinationRule project/theirs (spec.subsets[0]) can select Pods of the target, is older and has the name of our subset, so for a Pod that both select Istio takes it in place of ours, and calls to external.system.com leave in plain text unless it sets TLS itself; delete it",
					Plaintext: true,
				},
			},
		},
		"a newer DestinationRule that may select our Pods and has our subset is hidden by ours": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drNew, drSelects("app", "shop"), drSubsets(mesh.SubsetName)), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.workloadSelector", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule project/theirs (spec.workloadSelector) can select Pods of the target and is newer, so for a Pod that both select Istio takes ours and it has no effect on calls to external.system.com; move its settings to the EgressTarget and delete it",
				},
			},
		},
		"a selector without labels selects our Pods too": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, func(d *networkingv1.DestinationRule) { d.Spec.WorkloadSelector = &typev1beta1.WorkloadSelector{} }), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.workloadSelector", Effect: mesh.BreaksOurs,
					Message: "DestinationRule project/theirs (spec.workloadSelector) can select Pods of the target and is older, so for a Pod that both select Istio takes it and not ours, the subset mtls-egress is missing, and calls to external.system.com fail with 503; move its settings to the EgressTarget and delete it",
				},
			},
		},
		"a newer DestinationRule that may select our Pods is hidden by ours": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drNew, drSelects("app", "shop")), ourDestinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.workloadSelector", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule project/theirs (spec.workloadSelector) can select Pods of the target and is newer, so for a Pod that both select Istio takes ours and it has no effect on calls to external.system.com; move its settings to the EgressTarget and delete it",
				},
			},
		},
		"a DestinationRule that may select our Pods takes our subset away while ours is not written yet": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drNew, drSelects("app", "shop"))},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.workloadSelector", Effect: mesh.BreaksOurs,
					Message: "DestinationRule project/theirs (spec.workloadSelector) can select Pods of the target and is older, so for a Pod that both select Istio takes it and not ours, the subset mtls-egress is missing, and calls to external.system.com fail with 503; move its settings to the EgressTarget and delete it",
				},
			},
		},
		"a DestinationRule that asks for another value of our label is no conflict": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drSelects(target.LabelRealised, "false")), ourDestinationRule()},
			},
		},
		"a DestinationRule for a wildcard had no effect where nobody else made the host known": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drHost("*.system.com")), ourDestinationRule()},
			},
		},
		"a DestinationRule for a wildcard is hidden by ours where somebody made the host known": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drHost("*.system.com")), ourDestinationRule()},
				ServiceEntries:   []*networkingv1.ServiceEntry{serviceEntry(seIn("egress")), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.host", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule project/theirs (spec.host) covers external.system.com with the wildcard *.system.com, but Istio takes the rules of the most specific host alone and that is ours, so it no longer applies to calls to external.system.com from any Pod of the namespace; write what the other Pods need into a DestinationRule for the host itself",
				},
				{
					Kind: "ServiceEntry", Namespace: "egress", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "ServiceEntry egress/theirs (spec.hosts[0]) is for external.system.com and exported to project, but Istio asks the caller's own namespace first and finds ours there, so its ports and endpoints no longer count for any Pod of the namespace; stop exporting it to this one, or move the Pods that need it to another namespace",
				},
			},
		},
		"an exported DestinationRule of the namespace that made the host known is hidden by ours": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drIn("egress")), ourDestinationRule()},
				ServiceEntries:   []*networkingv1.ServiceEntry{serviceEntry(seIn("egress")), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "egress", Name: "theirs",
					Field: "spec.host", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule egress/theirs (spec.host) is for external.system.com and exported to project, but Istio asks the caller's own namespace first and finds ours there, so it no longer applies to any Pod of the namespace; move what these Pods need to the EgressTarget, or to a DestinationRule of the namespace",
				},
				{
					Kind: "ServiceEntry", Namespace: "egress", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "ServiceEntry egress/theirs (spec.hosts[0]) is for external.system.com and exported to project, but Istio asks the caller's own namespace first and finds ours there, so its ports and endpoints no longer count for any Pod of the namespace; stop exporting it to this one, or move the Pods that need it to another namespace",
				},
			},
		},
		"an exported DestinationRule of the root namespace is hidden by ours where the host was known": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drIn("istio-config")), ourDestinationRule()},
				ServiceEntries:   []*networkingv1.ServiceEntry{serviceEntry(seIn("egress")), ourServiceEntry()},
				RootNamespace:    "istio-config",
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "istio-config", Name: "theirs",
					Field: "spec.host", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule istio-config/theirs (spec.host) is for external.system.com and exported to project, but Istio asks the caller's own namespace first and finds ours there, so it no longer applies to any Pod of the namespace; move what these Pods need to the EgressTarget, or to a DestinationRule of the namespace",
				},
				{
					Kind: "ServiceEntry", Namespace: "egress", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "ServiceEntry egress/theirs (spec.hosts[0]) is for external.system.com and exported to project, but Istio asks the caller's own namespace first and finds ours there, so its ports and endpoints no longer count for any Pod of the namespace; stop exporting it to this one, or move the Pods that need it to another namespace",
				},
			},
		},
		"an exported DestinationRule of any other namespace never had an effect here": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drIn("third")), ourDestinationRule()},
				ServiceEntries:   []*networkingv1.ServiceEntry{serviceEntry(seIn("egress")), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "egress", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "ServiceEntry egress/theirs (spec.hosts[0]) is for external.system.com and exported to project, but Istio asks the caller's own namespace first and finds ours there, so its ports and endpoints no longer count for any Pod of the namespace; stop exporting it to this one, or move the Pods that need it to another namespace",
				},
			},
		},
		"a DestinationRule that the namespace with the ServiceEntry keeps to itself is no conflict of its own": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drIn("egress"), drTo(".")), ourDestinationRule()},
				ServiceEntries:   []*networkingv1.ServiceEntry{serviceEntry(seIn("egress")), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "egress", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "ServiceEntry egress/theirs (spec.hosts[0]) is for external.system.com and exported to project, but Istio asks the caller's own namespace first and finds ours there, so its ports and endpoints no longer count for any Pod of the namespace; stop exporting it to this one, or move the Pods that need it to another namespace",
				},
			},
		},
		"a DestinationRule with a selector never leaves its namespace": {
			others: mesh.Others{
				DestinationRules: []*networkingv1.DestinationRule{destinationRule(drOld, drIn("egress"), drSelects("app", "shop")), ourDestinationRule()},
				ServiceEntries:   []*networkingv1.ServiceEntry{serviceEntry(seIn("egress")), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "egress", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "ServiceEntry egress/theirs (spec.hosts[0]) is for external.system.com and exported to project, but Istio asks the caller's own namespace first and finds ours there, so its ports and endpoints no longer count for any Pod of the namespace; stop exporting it to this one, or move the Pods that need it to another namespace",
				},
			},
		},
		"an older public ServiceEntry of the namespace on the same port mixes its endpoints into ours": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.BreaksOurs,
					Message: "ServiceEntry project/theirs (spec.hosts[0]) opens port 443 of external.system.com too, and Istio sends calls to the endpoints of both, so some calls of the target's Pods go to its endpoints, which inside these Pods may be the sinkhole address; delete it, or move the Pods that need it to another namespace",
				},
			},
		},
		"a newer private ServiceEntry of the namespace on the same port mixes its endpoints into ours": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seNew, seTo(".")), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.BreaksOurs,
					Message: "ServiceEntry project/theirs (spec.hosts[0]) opens port 443 of external.system.com too, and Istio sends calls to the endpoints of both, so some calls of the target's Pods go to its endpoints, which inside these Pods may be the sinkhole address; delete it, or move the Pods that need it to another namespace",
				},
			},
		},
		"a hidden ServiceEntry of the namespace on the same port mixes its endpoints into ours": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seTo("~")), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.BreaksOurs,
					Message: "ServiceEntry project/theirs (spec.hosts[0]) opens port 443 of external.system.com too, and Istio sends calls to the endpoints of both, so some calls of the target's Pods go to its endpoints, which inside these Pods may be the sinkhole address; delete it, or move the Pods that need it to another namespace",
				},
			},
		},
		"a ServiceEntry that stood there first is named before ours is written": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld)},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.BreaksOurs,
					Message: "ServiceEntry project/theirs (spec.hosts[0]) opens port 443 of external.system.com too, and Istio sends calls to the endpoints of both, so some calls of the target's Pods go to its endpoints, which inside these Pods may be the sinkhole address; delete it, or move the Pods that need it to another namespace",
				},
			},
		},
		"an older private ServiceEntry without endpoints hides ours": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seTo("."), seResolution(networking.ServiceEntry_NONE)), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HidesOurs,
					Message: "ServiceEntry project/theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so Istio takes its ports and resolution and not ours, and calls of the target's Pods fail; delete it, or move the Pods that need it to another namespace",
				},
			},
		},
		"an older private ServiceEntry without the partner port hides ours": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seTo("."), sePorts(80)), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HidesOurs,
					Message: "ServiceEntry project/theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so Istio takes its ports and resolution and not ours, and calls of the target's Pods fail; delete it, or move the Pods that need it to another namespace",
				},
			},
		},
		"an older public ServiceEntry without the partner port is hidden by ours": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, sePorts(80)), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "ServiceEntry project/theirs (spec.hosts[0]) is for external.system.com too, and Istio takes ours before it and doesn't merge the two, so calls of any Pod of the namespace to its ports no longer find it and may fail with 503; delete it, or move the Pods that need it to another namespace",
				},
			},
		},
		"a newer private ServiceEntry without the partner port is hidden by ours": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seNew, seTo("."), sePorts(80)), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "ServiceEntry project/theirs (spec.hosts[0]) is for external.system.com too, and Istio takes ours before it and doesn't merge the two, so calls of any Pod of the namespace to its ports no longer find it and may fail with 503; delete it, or move the Pods that need it to another namespace",
				},
			},
		},
		"a hidden ServiceEntry without the partner port is no conflict": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seTo("~"), sePorts(80)), ourServiceEntry()},
			},
		},
		"a ServiceEntry that another namespace exports is hidden by ours for this namespace": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seIn("egress")), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "egress", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "ServiceEntry egress/theirs (spec.hosts[0]) is for external.system.com and exported to project, but Istio asks the caller's own namespace first and finds ours there, so its ports and endpoints no longer count for any Pod of the namespace; stop exporting it to this one, or move the Pods that need it to another namespace",
				},
			},
		},
		"a ServiceEntry that another namespace keeps to itself is no conflict": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seIn("egress"), seTo(".")), ourServiceEntry()},
			},
		},
		"a ServiceEntry for a wildcard that covers the host is no conflict": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seHost("*.system.com")), ourServiceEntry()},
			},
		},
		"a ServiceEntry of another host with the sinkhole address breaks ours": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seHost("db.example.com"), seAddresses("10.0.0.1", sinkhole)), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "theirs",
					Field: "spec.addresses[1]", Effect: mesh.BreaksOurs,
					Message: "ServiceEntry project/theirs (spec.addresses[1]) holds 254.110.240.171, the sinkhole address of external.system.com, so calls of the target's Pods may be taken for calls to its own host and leave in plain text; give it addresses outside 240.0.0.0/4",
				},
			},
		},
		"a ServiceEntry of another host with a prefix around the sinkhole address breaks ours, from any namespace": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seIn("egress"), seHost("db.example.com"), seAddresses("240.0.0.0/4"), sePorts(80)), ourServiceEntry()},
			},
			want: []mesh.Conflict{
				{
					Kind: "ServiceEntry", Namespace: "egress", Name: "theirs",
					Field: "spec.addresses[0]", Effect: mesh.BreaksOurs,
					Message: "ServiceEntry egress/theirs (spec.addresses[0]) holds 254.110.240.171, the sinkhole address of external.system.com, so calls of the target's Pods may be taken for calls to its own host and leave in plain text; give it addresses outside 240.0.0.0/4",
				},
			},
		},
		"the sinkhole address on a port that no call uses is no conflict": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seHost("db.example.com"), seAddresses(sinkhole), sePorts(5432)), ourServiceEntry()},
			},
		},
		"the sinkhole address in a ServiceEntry that is not exported here is no conflict": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seIn("egress"), seTo("."), seHost("db.example.com"), seAddresses(sinkhole)), ourServiceEntry()},
			},
		},
		"addresses that cannot be read are no conflict": {
			others: mesh.Others{
				ServiceEntries: []*networkingv1.ServiceEntry{serviceEntry(seOld, seHost("db.example.com"), seAddresses("", "nonsense", "1.2.3.4/99")), ourServiceEntry()},
			},
		},
		"a Sidecar without egress admits all": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress())},
			},
		},
		"a Sidecar that admits its own namespace admits ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("./*", "istio-system/*")))},
			},
		},
		"a Sidecar that admits the namespace by name admits ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("project/*")))},
			},
		},
		"a Sidecar that admits all admits ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("*/*")))},
			},
		},
		"a Sidecar that leaves the namespace out hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("istio-system/*")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
			},
		},
		"a Sidecar that admits other hosts of the namespace only hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("./*.example.com")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
			},
		},
		"a Sidecar that admits nothing hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("~/*")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
			},
		},
		"a Sidecar that admits the host of all namespaces and nothing else lacks the anchor": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("*/external.system.com")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out anchor.mtls-egress.internal, so the sidecars that it applies to don't route calls on port 80, and calls to external.system.com time out; add ./*, or ./anchor.mtls-egress.internal",
				},
			},
		},
		"a Sidecar that admits the host alone lacks the anchor": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("./external.system.com")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out anchor.mtls-egress.internal, so the sidecars that it applies to don't route calls on port 80, and calls to external.system.com time out; add ./*, or ./anchor.mtls-egress.internal",
				},
			},
		},
		"a Sidecar that admits the host and the anchor admits ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("./external.system.com", "./anchor.mtls-egress.internal")))},
			},
		},
		"a Sidecar that admits the host, and a namespace that may have a service on port 80, gets the benefit of the doubt": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("./external.system.com", "istio-system/*")))},
			},
		},
		"on any app port but 80 only the anchor will do": {
			target: func(t *target.Target) { t.AppPort = 8080 },
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("./external.system.com", "istio-system/*")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out anchor.mtls-egress.internal, so the sidecars that it applies to don't route calls on port 8080, and calls to external.system.com time out; add ./*, or ./anchor.mtls-egress.internal",
				},
			},
		},
		"a Sidecar that excludes the host hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("./*", "~./external.system.com")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
			},
		},
		"a Sidecar that excludes a wildcard around the host from all namespaces hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("*/*", "~*/*.system.com")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
			},
		},
		"an exclusion in another namespace is no conflict": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("./*", "~egress/external.system.com")))},
			},
		},
		"a listener for another port only hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listenerOn(8080, "./*")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress) has no egress listener for port 80, so calls of the target's Pods to external.system.com time out; add one without a port, with the host ./*",
				},
			},
		},
		"a listener for the app port only lacks the ServiceEntry": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listenerOn(80, "./*")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress) has no egress listener that admits external.system.com on port 443, so calls of the target's Pods fail with 503; add one without a port, with the host ./*",
				},
			},
		},
		"a listener for the app port and one for the partner port admit ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listenerOn(80, "./*"), listenerOn(443, "./*")))},
			},
		},
		"a listener for the app port and one for all other ports admit ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listenerOn(80, "./*"), listener("./*")))},
			},
		},
		"the listener for the app port counts and not the one for all other ports": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listenerOn(80, "istio-system/*"), listener("./*")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
			},
		},
		"a Sidecar with entries that cannot be read hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("", "external.system.com", "/*")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
			},
		},
		"a Sidecar that may select our Pods hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scSelects("app", "shop"), egress(listener("istio-system/*")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
			},
		},
		"a Sidecar that asks for another value of our label is no conflict": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scSelects(target.LabelRealised, "false"), egress(listener("istio-system/*")))},
			},
		},
		"the Sidecar of another namespace is no conflict": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scIn("other"), egress(listener("istio-system/*")))},
			},
		},
		"the Sidecar of the root namespace hides ours where the namespace has none": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scIn("istio-system"), egress(listener("istio-system/*")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "istio-system", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar istio-system/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
			},
		},
		"a dot in the Sidecar of the root namespace is the namespace of the Pods": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scIn("istio-system"), egress(listener("./*", "istio-system/*")))},
			},
		},
		"the Sidecar of the root namespace counts where that of the namespace selects some Pods only": {
			others: mesh.Others{
				Sidecars:      []*networkingv1.Sidecar{sidecar(scIn("istio-config"), egress(listener("istio-config/*"))), sidecar(scSelects("app", "shop"), egress(listener("./*")))},
				RootNamespace: "istio-config",
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "istio-config", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar istio-config/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
			},
		},
		"the Sidecar of the namespace counts before that of the root namespace": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scIn("istio-system"), egress(listener("istio-system/*"))), sidecar(egress(listener("./*")))},
			},
		},
		"of two Sidecars for all Pods the older counts": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scNew, scNamed("newer"), egress(listener("istio-system/*"))), sidecar(egress(listener("./*")))},
			},
		},
		"of two Sidecars for all Pods the older counts in any order": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("./*"))), sidecar(scNew, scNamed("newer"), egress(listener("istio-system/*")))},
			},
		},
		"an exclusion is no service that would make up for the anchor": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egress(listener("./external.system.com", "~other/shop.example.com")))},
			},
			want: []mesh.Conflict{
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out anchor.mtls-egress.internal, so the sidecars that it applies to don't route calls on port 80, and calls to external.system.com time out; add ./*, or ./anchor.mtls-egress.internal",
				},
			},
		},
		"a Sidecar with a selector of the root namespace applies to nobody here": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scIn("istio-system"), scSelects("app", "shop"), egress(listener("istio-system/*")))},
			},
		},
		"conflicts come by kind, namespace and name, whatever the order of the objects": {
			others: mesh.Others{
				Sidecars:         []*networkingv1.Sidecar{sidecar(egress(listener("istio-system/*")))},
				ServiceEntries:   []*networkingv1.ServiceEntry{serviceEntry(seNamed("b")), serviceEntry(seNamed("a")), serviceEntry(seIn("egress"))},
				VirtualServices:  []*networkingv1.VirtualService{virtualService()},
				DestinationRules: []*networkingv1.DestinationRule{destinationRule()},
			},
			want: []mesh.Conflict{
				{
					Kind: "DestinationRule", Namespace: "project", Name: "theirs",
					Field: "spec.workloadSelector", Effect: mesh.HiddenByOurs,
					Message: "DestinationRule project/theirs (spec.workloadSelector) is for external.system.com and names no Pods, so it applies to all Pods of the namespace but the target's, which follow ours alone; move what these Pods need to the EgressTarget, and remove it if no other Pod calls the host",
				},
				{
					Kind: "ServiceEntry", Namespace: "egress", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "ServiceEntry egress/theirs (spec.hosts[0]) is for external.system.com and exported to project, but Istio asks the caller's own namespace first and finds ours there, so its ports and endpoints no longer count for any Pod of the namespace; stop exporting it to this one, or move the Pods that need it to another namespace",
				},
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "a",
					Field: "spec.hosts[0]", Effect: mesh.BreaksOurs,
					Message: "ServiceEntry project/a (spec.hosts[0]) opens port 443 of external.system.com too, and Istio sends calls to the endpoints of both, so some calls of the target's Pods go to its endpoints, which inside these Pods may be the sinkhole address; delete it, or move the Pods that need it to another namespace",
				},
				{
					Kind: "ServiceEntry", Namespace: "project", Name: "b",
					Field: "spec.hosts[0]", Effect: mesh.BreaksOurs,
					Message: "ServiceEntry project/b (spec.hosts[0]) opens port 443 of external.system.com too, and Istio sends calls to the endpoints of both, so some calls of the target's Pods go to its endpoints, which inside these Pods may be the sinkhole address; delete it, or move the Pods that need it to another namespace",
				},
				{
					Kind: "Sidecar", Namespace: "project", Name: "theirs",
					Field: "spec.egress[0].hosts", Effect: mesh.HidesOurs,
					Message: "Sidecar project/theirs (spec.egress[0].hosts) leaves out external.system.com, so our objects are hidden from the Pods that it applies to, and their calls to the host time out; add ./*, and no exclusion that covers the host",
				},
				{
					Kind: "VirtualService", Namespace: "project", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.HiddenByOurs,
					Message: "VirtualService project/theirs (spec.hosts[0]) is for external.system.com too, and Istio takes ours before it and merges none, so the http calls of the target's Pods no longer follow it; take the host out of it",
				},
			},
		},
		"without a namespace, as offline, names stand alone": {
			target: func(t *target.Target) { t.Namespace = "" },
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsIn(""))},
			},
			want: []mesh.Conflict{
				{
					Kind: "VirtualService", Namespace: "", Name: "theirs",
					Field: "spec.hosts[0]", Effect: mesh.WinsOverOurs,
					Message:   "VirtualService theirs (spec.hosts[0]) is for external.system.com too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
					Plaintext: true,
				},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			asked := exampleTarget()
			if test.target != nil {
				test.target(&asked)
			}
			got := mesh.Conflicts(asked, test.others)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("conflicts differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConflictsDoNotDependOnTheOrderOfTheOthers(t *testing.T) {
	others := manyOthers(50)
	want := mesh.Conflicts(exampleTarget(), others)
	if len(want) == 0 {
		t.Fatal("no conflict to put in order")
	}
	slices.Reverse(others.VirtualServices)
	slices.Reverse(others.DestinationRules)
	slices.Reverse(others.ServiceEntries)
	slices.Reverse(others.Sidecars)
	if diff := cmp.Diff(want, mesh.Conflicts(exampleTarget(), others)); diff != "" {
		t.Errorf("conflicts differ in reverse order (-first +reverse):\n%s", diff)
	}
}

func exampleTarget() target.Target {
	return target.FromEgressTarget("project", host, nil)
}

func ownedBy(egressTarget string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "mtls.egress/v1alpha1", Kind: "EgressTarget", Name: egressTarget}}
}

// day is a time that is the later the greater n is. Our own objects are written on day 2.
func day(n int) metav1.Time {
	return metav1.NewTime(time.Date(2026, time.January, n, 0, 0, 0, 0, time.UTC))
}

func ourVirtualService() *networkingv1.VirtualService {
	ours := mesh.VirtualService(exampleTarget())
	ours.CreationTimestamp, ours.OwnerReferences = day(2), ownedBy(host)
	return ours
}

func ourDestinationRule() *networkingv1.DestinationRule {
	ours := mesh.DestinationRule(exampleTarget(), target.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"})
	ours.CreationTimestamp, ours.OwnerReferences = day(2), ownedBy(host)
	return ours
}

func ourServiceEntry() *networkingv1.ServiceEntry {
	ours := mesh.ServiceEntry(exampleTarget(), mesh.Options{})
	ours.CreationTimestamp, ours.OwnerReferences = day(2), ownedBy(host)
	return ours
}

func ourAnchor() *networkingv1.ServiceEntry {
	ours := mesh.Anchor("project", []int32{80})
	ours.CreationTimestamp, ours.OwnerReferences = day(2), ownedBy(host)
	return ours
}

func virtualService(changes ...func(*networkingv1.VirtualService)) *networkingv1.VirtualService {
	theirs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "theirs", CreationTimestamp: day(1)}}
	theirs.Spec.Hosts = []string{host}
	theirs.Spec.Http = []*networking.HTTPRoute{{Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "theirs"}}}}}
	for _, change := range changes {
		change(theirs)
	}
	return theirs
}

func old(v *networkingv1.VirtualService)     { v.CreationTimestamp = day(1) }
func sameAge(v *networkingv1.VirtualService) { v.CreationTimestamp = day(2) }
func recent(v *networkingv1.VirtualService)  { v.CreationTimestamp = day(3) }

func vsNamed(name string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Name = name }
}

func vsIn(namespace string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Namespace = namespace }
}

func vsHost(hosts ...string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Spec.Hosts = hosts }
}

func vsTo(exportTo ...string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Spec.ExportTo = exportTo }
}

func vsGateways(gateways ...string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Spec.Gateways = gateways }
}

func vsRoutes(routes ...*networking.HTTPRoute) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Spec.Http = routes }
}

func vsMatch(match *networking.HTTPMatchRequest) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Spec.Http[0].Match = []*networking.HTTPMatchRequest{match} }
}

func destinationRule(changes ...func(*networkingv1.DestinationRule)) *networkingv1.DestinationRule {
	theirs := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "theirs", CreationTimestamp: day(1)}}
	theirs.Spec.Host = host
	theirs.Spec.TrafficPolicy = &networking.TrafficPolicy{Tls: &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_SIMPLE}}
	for _, change := range changes {
		change(theirs)
	}
	return theirs
}

func drOld(d *networkingv1.DestinationRule) { d.CreationTimestamp = day(1) }
func drNew(d *networkingv1.DestinationRule) { d.CreationTimestamp = day(3) }

func drNamed(name string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) { d.Name = name }
}

func drIn(namespace string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) { d.Namespace = namespace }
}

func drHost(pattern string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) { d.Spec.Host = pattern }
}

func drTo(exportTo ...string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) { d.Spec.ExportTo = exportTo }
}

func drSelects(key, value string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) {
		d.Spec.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{key: value}}
	}
}

func drPolicy(policy *networking.TrafficPolicy) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) { d.Spec.TrafficPolicy = policy }
}

func drSubsets(names ...string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) {
		for _, name := range names {
			d.Spec.Subsets = append(d.Spec.Subsets, &networking.Subset{Name: name})
		}
	}
}

func serviceEntry(changes ...func(*networkingv1.ServiceEntry)) *networkingv1.ServiceEntry {
	theirs := &networkingv1.ServiceEntry{ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "theirs", CreationTimestamp: day(1)}}
	theirs.Spec.Hosts = []string{host}
	theirs.Spec.Resolution = networking.ServiceEntry_DNS
	theirs.Spec.Ports = []*networking.ServicePort{{Number: 443, Name: "tls", Protocol: "TLS"}}
	for _, change := range changes {
		change(theirs)
	}
	return theirs
}

func seOld(s *networkingv1.ServiceEntry) { s.CreationTimestamp = day(1) }
func seNew(s *networkingv1.ServiceEntry) { s.CreationTimestamp = day(3) }

func seNamed(name string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Name = name }
}

func seIn(namespace string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Namespace = namespace }
}

func seHost(hosts ...string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Spec.Hosts = hosts }
}

func seTo(exportTo ...string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Spec.ExportTo = exportTo }
}

func seAddresses(addresses ...string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Spec.Addresses = addresses }
}

func seResolution(resolution networking.ServiceEntry_Resolution) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Spec.Resolution = resolution }
}

func sePorts(numbers ...uint32) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) {
		s.Spec.Ports = nil
		for _, number := range numbers {
			s.Spec.Ports = append(s.Spec.Ports, &networking.ServicePort{Number: number, Name: "tcp", Protocol: "TCP"})
		}
	}
}

func sidecar(changes ...func(*networkingv1.Sidecar)) *networkingv1.Sidecar {
	theirs := &networkingv1.Sidecar{ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "theirs", CreationTimestamp: day(1)}}
	for _, change := range changes {
		change(theirs)
	}
	return theirs
}

func scNew(s *networkingv1.Sidecar) { s.CreationTimestamp = day(3) }

func scNamed(name string) func(*networkingv1.Sidecar) {
	return func(s *networkingv1.Sidecar) { s.Name = name }
}

func scIn(namespace string) func(*networkingv1.Sidecar) {
	return func(s *networkingv1.Sidecar) { s.Namespace = namespace }
}

func scSelects(key, value string) func(*networkingv1.Sidecar) {
	return func(s *networkingv1.Sidecar) {
		s.Spec.WorkloadSelector = &networking.WorkloadSelector{Labels: map[string]string{key: value}}
	}
}

func egress(listeners ...*networking.IstioEgressListener) func(*networkingv1.Sidecar) {
	return func(s *networkingv1.Sidecar) { s.Spec.Egress = listeners }
}

func listener(hosts ...string) *networking.IstioEgressListener {
	return &networking.IstioEgressListener{Hosts: hosts}
}

func listenerOn(port uint32, hosts ...string) *networking.IstioEgressListener {
	return &networking.IstioEgressListener{Hosts: hosts, Port: &networking.SidecarPort{Number: port, Name: "any"}}
}
