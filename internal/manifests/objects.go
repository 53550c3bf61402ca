package manifests

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/plan"
)

// program adds the Istio objects of all targets. Each namespace starts with its anchor.
func (r *renderer) program() {
	r.addUnused()
	for id := range r.uses {
		r.hosts[id.host] = true
	}
	others := r.others()
	uses := r.sortedUses()
	facts := make([]plan.Facts, len(uses))
	var byAddress map[netip.Addr][]egress.Target
	for n, use := range uses {
		if n == 0 || uses[n-1].target.Namespace != use.target.Namespace {
			byAddress = targetsByAddress(uses, use.target.Namespace)
		}
		facts[n] = r.facts(use, byAddress, others)
	}
	for n, decided := range decideAll(facts) {
		use := uses[n]
		if n == 0 || uses[n-1].target.Namespace != use.target.Namespace {
			r.add(mesh.Anchor(use.target.Namespace, appPorts(uses, use.target.Namespace)))
		}
		r.programOne(use, facts[n], decided)
	}
	r.encodeObjects()
}

// decideAll decides about each target. The search for conflicts takes the longest, so all
// processors share it.
func decideAll(facts []plan.Facts) []plan.Plan {
	plans := make([]plan.Plan, len(facts))
	onAllProcessors(len(facts), func(n int) { plans[n] = plan.Decide(facts[n]) })
	return plans
}

// addUnused adds the targets of EgressTargets that no object in the input uses, because the
// controller programs them too.
func (r *renderer) addUnused() {
	for namespace, egressTargets := range r.egressTargets {
		for host, egressTarget := range egressTargets {
			if id := (key{namespace, host}); r.uses[id] == nil {
				r.uses[id] = &use{target: egress.FromEgressTarget(namespace, host, egressTarget, r.options.Policy.Sinkhole)}
			}
		}
	}
}

// targetsByAddress returns the targets of a namespace by their sinkhole addresses. Only targets
// with an address in common affect each other.
func targetsByAddress(uses []*use, namespace string) map[netip.Addr][]egress.Target {
	targets := map[netip.Addr][]egress.Target{}
	for _, use := range uses {
		if use.target.Namespace == namespace {
			for _, address := range use.target.PossibleAddresses() {
				targets[address] = append(targets[address], use.target)
			}
		}
	}
	return targets
}

// appPorts returns the app ports of the namespace's targets with Pods.
func appPorts(uses []*use, namespace string) []int32 {
	var ports []int32
	for _, use := range uses {
		if use.target.Namespace == namespace && len(use.pods) > 0 {
			ports = append(ports, use.target.AppPort)
		}
	}
	return ports
}

// facts returns what the controller would know of a target. byAddress are the targets of the
// namespace by their sinkhole addresses.
func (r *renderer) facts(use *use, byAddress map[netip.Addr][]egress.Target, others mesh.Others) plan.Facts {
	var targets []egress.Target
	for _, address := range use.target.PossibleAddresses() {
		targets = append(targets, byAddress[address]...)
	}
	egressTarget := r.egressTargets[use.target.Namespace][use.target.Host].DeepCopy()
	egressTarget.Namespace = use.target.Namespace
	t, rules := r.programmed(egressTarget), r.rules(use.target.Namespace)
	demands := plan.DemandsOf(t, use.pods)
	return plan.Facts{
		EgressTarget: egressTarget,
		Siblings: slices.DeleteFunc(slices.Clone(targets),
			func(other egress.Target) bool { return other.Host == t.Host }),
		Demands:     demands,
		Credentials: r.credentials(t, plan.SecretsInUse(t, demands)),
		Others:      others,
		Policy:      new(rules.Decide(t.Host)),
		Sinkhole:    r.options.Policy.Sinkhole,

		EndpointProblems: rules.EndpointProblems(t.Host, t.Endpoints),

		Warnings: plan.NewExpiryWarnings(nil),
		Now:      r.options.Now,
	}
}

// programmed returns the target without the settings of a single workload, which may name its own
// Secret.
func (r *renderer) programmed(egressTarget *v1alpha1.EgressTarget) egress.Target {
	return egress.FromEgressTarget(egressTarget.Namespace, egressTarget.Name, egressTarget, r.options.Policy.Sinkhole)
}

// programOne adds the objects of one target, using the controller's decision.
func (r *renderer) programOne(use *use, facts plan.Facts, decided plan.Plan) {
	if certificate := credential.Issuance(r.programmed(facts.EgressTarget)); certificate != nil {
		r.add(certificate)
	}
	for _, object := range decided.Objects() {
		r.add(object)
	}
	r.complain(use, decided)
	r.output.Explanations = append(r.output.Explanations, explain(use, decided, facts.Credentials))
}

// complain warns of what keeps the target from working.
func (r *renderer) complain(use *use, decided plan.Plan) {
	closed := false
	for _, conflict := range decided.Conflicts {
		reason := ReasonConflict
		if conflict.Closes {
			reason, closed = ReasonConflictCloses, true
		}
		r.warn(Problem{
			Location: r.locationOf(conflict.Kind, conflict.Namespace, conflict.Name), Reason: reason,
			Path: ParsePath(conflict.Field), Message: conflict.Message,
		})
	}
	for _, complaint := range decided.Complaints() {
		warning := Problem{
			Location: r.locationOfTarget(use), Reason: ReasonNotReady, Message: use.target.Host + ": " + complaint.Message,
		}
		switch {
		case complaint.Reason == plan.ReasonNotAllowed, complaint.Reason == plan.ReasonEndpointNotAllowed:
			warning.Reason = Reason(mutate.ReasonNotAllowed)
		case closed:
			warning.Reason = ReasonConflictCloses
		}
		r.warn(warning)
	}
}

// locationOf returns the location of an object of the input.
func (r *renderer) locationOf(kind, namespace, name string) Location {
	for _, item := range r.items {
		if at := item.location; at.Kind == kind && at.Namespace == namespace && at.Name == name {
			return at
		}
	}
	return Location{Kind: kind, Namespace: namespace, Name: name}
}

// locationOfTarget returns the location of the EgressTarget, or of a workload that calls the
// target.
func (r *renderer) locationOfTarget(use *use) Location {
	at := r.locationOf(v1alpha1.Kind, use.target.Namespace, use.target.Host)
	for _, secretName := range slices.Sorted(maps.Keys(use.callers)) {
		if at.Source == "" && len(use.callers[secretName]) > 0 {
			at = use.callers[secretName][0]
		}
	}
	return at
}

// add adds an object that encodeObjects encodes.
func (r *renderer) add(object mesh.Object) { r.objects = append(r.objects, object) }

// encodeObjects adds the added objects to the output, in their order.
func (r *renderer) encodeObjects() {
	encoded, errs := make([]*unstructured.Unstructured, len(r.objects)), make([]error, len(r.objects))
	onAllProcessors(len(r.objects), func(n int) { encoded[n], errs[n] = mesh.Unstructured(r.objects[n]) })
	for n, object := range r.objects {
		if errs[n] == nil {
			r.output.Objects = append(r.output.Objects, encoded[n].Object)
			continue
		}
		r.refuse(Problem{
			Location: Location{
				Kind:      object.GetObjectKind().GroupVersionKind().Kind,
				Namespace: object.GetNamespace(),
				Name:      object.GetName(),
			},
			Reason: ReasonInvalidObject, Message: errs[n].Error(),
		})
	}
}

// others returns the objects of the input that may conflict with generated ones: Istio objects and
// Services.
func (r *renderer) others() mesh.Others {
	others := mesh.Others{RootNamespace: r.options.RootNamespace}
	for _, item := range r.items {
		if item.kind.Group == "" && item.kind.Kind == mesh.KindService {
			for _, service := range appendTyped(r, item, nil, &corev1.Service{}) {
				others.Services = append(others.Services, r.catching(service)...)
			}
		}
		if item.kind.Group != mesh.GroupVersion().Group {
			continue
		}
		switch item.kind.Kind {
		case mesh.KindVirtualService:
			others.VirtualServices = appendTyped(r, item, others.VirtualServices, &networkingv1.VirtualService{})
		case mesh.KindDestinationRule:
			others.DestinationRules = appendTyped(r, item, others.DestinationRules, &networkingv1.DestinationRule{})
		case mesh.KindServiceEntry:
			others.ServiceEntries = appendTyped(r, item, others.ServiceEntries, &networkingv1.ServiceEntry{})
		case mesh.KindSidecar:
			others.Sidecars = appendTyped(r, item, others.Sidecars, &networkingv1.Sidecar{})
		}
	}
	return others
}

// catching returns the Service if it can conflict with a target: by an external address, or by its
// short name.
func (r *renderer) catching(service *corev1.Service) []mesh.Service {
	addresses := slices.Clone(service.Spec.ExternalIPs)
	if service.Spec.LoadBalancerIP != "" {
		addresses = append(addresses, service.Spec.LoadBalancerIP)
	}
	if len(addresses) == 0 && !r.hosts[service.Name+"."+service.Namespace] {
		return nil
	}
	return []mesh.Service{{Namespace: service.Namespace, Name: service.Name, Addresses: addresses}}
}

// appendTyped decodes an Istio object and appends it. An invalid one passes through with a warning,
// because render doesn't own it.
func appendTyped[T mesh.Object](r *renderer, item item, list []T, typed T) []T {
	encoded, err := item.json()
	if err == nil {
		err = json.Unmarshal(encoded, typed)
	}
	if err != nil {
		for _, fault := range item.undecodable(err) {
			warning := item.problem(ReasonInvalidObject, fault.path, fault.String()+"; the object was not checked for conflicts")
			warning.Field = FieldPath(fault.path)
			r.warn(warning)
		}
		return list
	}
	typed.SetNamespace(item.namespace())
	return append(list, typed)
}
