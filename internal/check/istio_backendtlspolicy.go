package check

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"mtls.egress/webhook/internal/mesh"
)

// backendTLSPolicyRules returns the rules for BackendTLSPolicies of external hosts.
func backendTLSPolicyRules() []Rule {
	return []Rule{
		{
			ID: "MTE246", Group: Istio, Name: "policy-without-target", Severity: Warning,
			Summary: "A BackendTLSPolicy is for a ServiceEntry, or a port of one, that the input doesn't have.",
			Effect:  "The policy fails open: TLS doesn't start, and calls leave in plain text.",
			Fix: "Use the name of a ServiceEntry of the same namespace in targetRefs, and the name of one of its ports in " +
				"sectionName.",
			find: byHand(policyWithoutTarget),
		},
		{
			ID: "MTE247", Group: Istio, Name: "policy-without-names", Severity: Warning,
			Summary: "A BackendTLSPolicy for an external host has no subjectAltNames.",
			Effect: "Istio uses hostname only as SNI, and checks no name in the server's certificate: one for another host is " +
				"accepted.",
			Fix:  "Add the host to validation.subjectAltNames, with the type Hostname.",
			find: byHand(policyWithoutNames),
		},
		{
			ID: "MTE248", Group: Istio, Name: "policy-on-tls-port", Severity: Error,
			Summary: "A BackendTLSPolicy applies to a port that apps use with TLS of their own.",
			Effect:  "The app's own https calls get two layers of TLS and fail.",
			Fix:     "Name the HTTP port of the ServiceEntry in sectionName, and give that port a targetPort: 443.",
			find:    byHand(policyOnTLSPort),
		},
	}
}

type targetReference = gatewayv1.LocalPolicyTargetReferenceWithSectionName

// eachTarget calls use with every ServiceEntry that a BackendTLSPolicy names. found is nil if the
// input doesn't have it.
func (h *handWritten) eachTarget(use func(
	policy Typed[*gatewayv1.BackendTLSPolicy], n int, reference targetReference, found *serviceEntry,
)) {
	for _, policy := range h.BackendTLSPolicies {
		for n, reference := range policy.Value.Spec.TargetRefs {
			if string(reference.Group) != mesh.GroupVersion().Group || string(reference.Kind) != mesh.KindServiceEntry {
				continue
			}
			index := slices.IndexFunc(h.ServiceEntries, func(e serviceEntry) bool {
				return e.Value.Name == string(reference.Name) && e.Location.Namespace == policy.Location.Namespace
			})
			if index < 0 {
				use(policy, n, reference, nil)
				continue
			}
			use(policy, n, reference, &h.ServiceEntries[index])
		}
	}
}

func policyWithoutTarget(h *handWritten, report report) {
	h.eachTarget(func(
		policy Typed[*gatewayv1.BackendTLSPolicy], n int, reference targetReference, found *serviceEntry,
	) {
		switch {
		case found == nil:
			report(policy.Object, []any{"spec", "targetRefs", n, "name"}, fmt.Sprintf(
				"the input has no ServiceEntry %s%s; if the cluster has none, TLS doesn't start", reference.Name,
				inNamespace(policy.Location.Namespace)))
		case reference.SectionName != nil && portNamed(*found, string(*reference.SectionName)) == nil:
			report(policy.Object, []any{"spec", "targetRefs", n, "sectionName"}, fmt.Sprintf(
				"ServiceEntry %s has no port with the name %s, so TLS doesn't start", reference.Name, *reference.SectionName))
		}
	})
}

func portNamed(e serviceEntry, name string) *networking.ServicePort {
	for _, port := range e.Value.Spec.Ports {
		if port.Name == name {
			return port
		}
	}
	return nil
}

func policyWithoutNames(h *handWritten, report report) {
	told := map[string]bool{}
	h.eachTarget(func(
		policy Typed[*gatewayv1.BackendTLSPolicy], _ int, _ targetReference, found *serviceEntry,
	) {
		if found == nil || len(policy.Value.Spec.Validation.SubjectAltNames) > 0 || told[fmt.Sprint(policy.Location)] ||
			len(found.Value.Spec.SubjectAltNames) > 0 {
			return
		}
		told[fmt.Sprint(policy.Location)] = true
		report(policy.Object, []any{"spec", "validation"}, fmt.Sprintf(
			"Istio doesn't check the server's name, because subjectAltNames is empty; add %s",
			policy.Value.Spec.Validation.Hostname))
	})
}

func policyOnTLSPort(h *handWritten, report report) {
	h.eachTarget(func(
		policy Typed[*gatewayv1.BackendTLSPolicy], n int, reference targetReference, found *serviceEntry,
	) {
		if found == nil {
			return
		}
		for _, port := range found.Value.Spec.Ports {
			if isTLS(port.Protocol) && (reference.SectionName == nil || string(*reference.SectionName) == port.Name) {
				report(policy.Object, []any{"spec", "targetRefs", n}, fmt.Sprintf(
					"the policy starts TLS on port %d (%s) of ServiceEntry %s too, which has the protocol %s", port.Number,
					port.Name, reference.Name, port.Protocol))
			}
		}
	})
}
