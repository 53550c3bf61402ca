package adopt

import (
	"cmp"
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/runtime"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
)

// Proposal is what takes the place of the hand-written objects for one host of a namespace.
type Proposal struct {
	Namespace, Host string
	// Refused are the reasons why the objects can't be taken over, each a sentence with what to do.
	// If there are any, the other fields are incomplete.
	Refused []string
	// EgressTarget has the settings that differ from the defaults.
	EgressTarget *v1alpha1.EgressTarget
	// Secret holds the credential.
	Secret Secret
	// Workloads are those whose calls use the objects today.
	Workloads []Workload
	// Objects are the hand-written objects that the target replaces.
	Objects []Object
	// Lost are the settings that an EgressTarget doesn't have.
	Lost []Loss
	// Changes are sentences about what changes for calls.
	Changes []string
	// Notes are sentences about what else there is to do or to know.
	Notes []string
	// TargetExists reports whether the namespace has the EgressTarget already.
	TargetExists bool
}

// Secret is the Secret of the hand-written objects, and the keys of the credential in it.
type Secret struct {
	Name   string
	Layout egress.Layout
}

// Object is one of the hand-written objects.
type Object struct {
	manifests.Object

	// Others are the other hosts of the object that it keeps. If there are any, the host is removed
	// from the object, and otherwise the object is deleted.
	Others []string
	// Private reports whether Istio prefers the object to the generated one if it is older: a
	// VirtualService that isn't exported to all namespaces.
	Private bool
}

// Loss is a setting that can't be carried over.
type Loss struct {
	// Object is the kind and the name, and Field the path of the field.
	Object, Field string
	// Effect is what that means for calls.
	Effect string
	// Matters reports whether calls can fail or go elsewhere without it.
	Matters bool
}

// key identifies the objects of one host.
type key struct{ namespace, host string }

// Propose returns a proposal for each host of a namespace that hand-written objects reach over
// mutual TLS, in order of namespace and host. If hosts has any, only for these.
func Propose(world *check.World, hosts []string) []Proposal {
	found := map[key]bool{}
	for _, rule := range world.DestinationRules {
		host := mesh.NormalHost(rule.Value.Spec.Host)
		if isGenerated(rule.Object) || !hasClientCertificate(rule.Value.Spec.TrafficPolicy, rule.Value.Spec.Subsets) {
			continue
		}
		if len(hosts) == 0 || slices.ContainsFunc(hosts, func(asked string) bool { return mesh.Covers(host, asked) }) {
			found[key{rule.Location.Namespace, host}] = true
		}
	}
	keys := slices.SortedFunc(maps.Keys(found), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.host, b.host))
	})
	proposals := make([]Proposal, 0, len(keys))
	for _, k := range keys {
		proposals = append(proposals, propose(world, k))
	}
	share(proposals)
	return proposals
}

// propose returns the proposal for one host.
func propose(world *check.World, k key) Proposal {
	s := collect(world, k)
	s.proposal = Proposal{Namespace: k.namespace, Host: k.host, EgressTarget: emptyTarget(k)}
	steps := []func(){s.checkHost, s.checkNames, s.findCalls, s.readEndpoints, s.readTLS, s.findWorkloads}
	for _, step := range steps {
		if step(); len(s.proposal.Refused) > 0 {
			return s.proposal
		}
	}
	s.readRoute()
	s.readPolicy()
	s.compareTarget()
	s.addObjects()
	s.addChanges()
	s.addNotes()
	return s.proposal
}

func emptyTarget(k key) *v1alpha1.EgressTarget {
	target := &v1alpha1.EgressTarget{}
	target.APIVersion, target.Kind = v1alpha1.GroupVersion().String(), v1alpha1.Kind
	target.Namespace, target.Name = k.namespace, k.host
	return target
}

// share makes each object that several proposals replace lose one host after the other, until the
// last one deletes it, and each workload of several gain one host after the other.
func share(proposals []Proposal) {
	taken, annotations := map[string][]string{}, map[string]map[string]string{}
	for n := range proposals {
		p := &proposals[n]
		if len(p.Refused) > 0 {
			continue
		}
		for n := range p.Objects {
			object := &p.Objects[n]
			name := reference(object.Object)
			object.lose(taken[name])
			taken[name] = append(taken[name], p.Host)
		}
		for n := range p.Workloads {
			workload := &p.Workloads[n]
			name := reference(workload.Object)
			if before, found := annotations[name]; found {
				workload.Before = before
			}
			workload.Annotations = asking(workload.Before, p.Host, workload.Secret, p.Secret.Name)
			annotations[name] = workload.Annotations
		}
	}
}

// lose removes hosts from the object.
func (o *Object) lose(hosts []string) {
	if len(hosts) == 0 {
		return
	}
	isTaken := func(host string) bool { return slices.Contains(hosts, mesh.NormalHost(host)) }
	o.Others = slices.DeleteFunc(o.Others, isTaken)
	o.Content = runtime.DeepCopyJSON(o.Content)
	spec, _ := o.Content["spec"].(map[string]any)
	all, _ := spec["hosts"].([]any)
	spec["hosts"] = slices.DeleteFunc(all, func(host any) bool {
		text, _ := host.(string)
		return isTaken(text)
	})
}

func (s *set) refuse(sentence string) { s.proposal.Refused = append(s.proposal.Refused, sentence) }

func (s *set) change(sentence string) { s.proposal.Changes = append(s.proposal.Changes, sentence) }

func (s *set) lose(object manifests.Object, field, effect string, matters bool) {
	s.proposal.Lost = append(s.proposal.Lost,
		Loss{Object: object.Location.Kind + " " + object.Location.Name, Field: field, Effect: effect, Matters: matters})
}

// hasClientCertificate reports whether any of the TLS settings presents one.
func hasClientCertificate(policy *networking.TrafficPolicy, subsets []*networking.Subset) bool {
	policies := []*networking.TrafficPolicy{policy}
	for _, subset := range subsets {
		policies = append(policies, subset.GetTrafficPolicy())
	}
	return slices.ContainsFunc(policies, func(policy *networking.TrafficPolicy) bool {
		return isMutual(policy.GetTls()) || slices.ContainsFunc(policy.GetPortLevelSettings(),
			func(level *networking.TrafficPolicy_PortTrafficPolicy) bool { return isMutual(level.GetTls()) })
	})
}

func isMutual(settings *networking.ClientTLSSettings) bool {
	return settings.GetMode() == networking.ClientTLSSettings_MUTUAL
}

// reference returns kind, namespace and name of the object, for use in a sentence.
func reference(object manifests.Object) string {
	if object.Location.Namespace == "" {
		return object.Location.Kind + " " + object.Location.Name
	}
	return object.Location.Kind + " " + object.Location.Namespace + "/" + object.Location.Name
}

// isGenerated reports whether the controller wrote the object.
func isGenerated(object manifests.Object) bool {
	metadata, _ := object.Content["metadata"].(map[string]any)
	labels, _ := metadata["labels"].(map[string]any)
	return labels[egress.LabelManagedBy] == egress.ValueManagedBy
}
