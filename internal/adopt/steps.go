package adopt

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
)

// FieldManager is the field manager of what adopt writes.
const FieldManager = "mtls-egress-adopt"

// Verb is what an action does.
type Verb string

// The verbs of actions.
const (
	// Record writes the ConfigMap with what the way back needs, and Forget deletes it.
	Record Verb = "Record"
	Forget Verb = "Forget"
	// Write applies the EgressTarget. Remove deletes it and waits until it is gone.
	Write  Verb = "Write"
	Remove Verb = "Remove"
	// Copy creates an object that must be younger than the generated VirtualService.
	Copy Verb = "Copy"
	// Delete deletes an object, and Restore writes it as it was.
	Delete  Verb = "Delete"
	Restore Verb = "Restore"
	// DropHost removes the host from an object that other hosts need.
	DropHost Verb = "DropHost"
	// Annotate sets annotations of a workload, and removes those that are empty. Its Pods are
	// replaced.
	Annotate Verb = "Annotate"
)

// Proof is what has to hold after an action before the next one.
type Proof string

// The proofs of actions. With each of them, no call of the workloads may have failed meanwhile.
const (
	// Nothing has to hold.
	Nothing Proof = ""
	// Open means that the EgressTarget is programmed, with a credential that can be used.
	Open Proof = "the EgressTarget is Programmed and its credential is valid"
	// Closed means that the EgressTarget is closed because of a hand-written VirtualService, and for
	// no other reason.
	Closed Proof = "the EgressTarget is closed because of the hand-written VirtualService alone, and its credential is " +
		"valid"
	// Taken means that all Pods of the workload are new and ready, and that their sidecars lead calls
	// to the target.
	Taken Proof = "all Pods are new and ready, and their sidecars lead calls to the target with mutual TLS"
	// Given means that all Pods of the workload are new and ready, and that their sidecars lead calls
	// to the hand-written objects.
	Given Proof = "all Pods are new and ready, and their sidecars lead calls to the hand-written objects"
	// Continued means that calls of the workloads go on.
	Continued Proof = "the calls of the workloads still succeed"
	// Gone means that the EgressTarget and its objects don't exist.
	Gone Proof = "the EgressTarget is gone"
)

// Action is one change of the cluster.
type Action struct {
	Verb  Verb
	Proof Proof
	// Undoing reports whether the action undoes a step. Calls may have failed before it.
	Undoing bool
	// Host is the host of the target.
	Host string
	// Object is the object to write, or the one to change as it was.
	Object map[string]any
	// Annotations are those that Annotate sets or, if the value is empty, removes, and Pods the
	// labels of the Pods of the workload.
	Annotations map[string]string
	Pods        map[string]string
}

// Step is an action with its undoing.
type Step struct {
	// Title says what the action does.
	Title string
	Do    Action
	// Undo is nil if there is nothing to undo.
	Undo *Action
}

// Steps returns the steps that take the set over, in the order that loses no call: the successor is
// there, and proven, before an object is deleted.
//
// Istio prefers a private VirtualService that is older than the generated one, which closes the
// target. A younger copy takes its place, so that the target opens while Pods without the
// annotation still have a route.
func Steps(p Proposal) ([]Step, error) {
	manifest, err := p.Manifest()
	if err != nil {
		return nil, err
	}
	record, err := p.record()
	if err != nil {
		return nil, err
	}
	steps := []Step{{
		Title: "Keep a copy of the objects in the ConfigMap " + RecordName(p.Host) + ", for adopt --back",
		Do:    Action{Verb: Record, Host: p.Host, Object: record},
		Undo:  &Action{Verb: Forget, Host: p.Host, Object: record},
	}}
	private := slices.IndexFunc(p.Objects, func(object Object) bool { return object.Private })
	first := Open
	if private >= 0 {
		first = Closed
	}
	create := Step{
		Title: "Create the EgressTarget " + p.Host,
		Do:    Action{Verb: Write, Proof: first, Host: p.Host, Object: manifest},
	}
	if p.TargetExists {
		create.Title = "Check the EgressTarget " + p.Host
	} else {
		create.Undo = &Action{Verb: Remove, Proof: Gone, Host: p.Host, Object: manifest}
	}
	steps = append(steps, create)
	var copied map[string]any
	if private >= 0 {
		original := p.Objects[private]
		copied = copyOf(original.Object, p.Host)
		steps = append(steps,
			Step{
				Title: fmt.Sprintf("Copy the private %s, because Istio prefers the older one to the generated one",
					reference(original.Object)),
				Do:   Action{Verb: Copy, Proof: Continued, Host: p.Host, Object: copied},
				Undo: &Action{Verb: Delete, Proof: Continued, Host: p.Host, Object: copied},
			},
			p.without(original, Open))
	}
	for _, workload := range p.Workloads {
		steps = append(steps, workload.annotate(p.Host))
	}
	for n, object := range p.Objects {
		if n != private {
			steps = append(steps, p.without(object, Continued))
			continue
		}
		steps = append(steps, Step{
			Title: "Delete the copy of the " + reference(object.Object),
			Do:    Action{Verb: Delete, Proof: Continued, Host: p.Host, Object: copied},
			Undo:  &Action{Verb: Restore, Proof: Continued, Host: p.Host, Object: copied},
		})
	}
	return steps, nil
}

// without returns the step that deletes an object, or removes the host from it.
func (p Proposal) without(object Object, proof Proof) Step {
	step := Step{
		Title: "Delete the " + reference(object.Object),
		Do:    Action{Verb: Delete, Proof: proof, Host: p.Host, Object: clean(object.Object)},
		Undo:  &Action{Verb: Restore, Proof: Continued, Host: p.Host, Object: clean(object.Object)},
	}
	if len(object.Others) > 0 {
		step.Title = fmt.Sprintf("Remove the host from the %s, which keeps %s", reference(object.Object),
			strings.Join(object.Others, ", "))
		step.Do.Verb = DropHost
	}
	return step
}

// annotate returns the step that annotates the workload.
func (w Workload) annotate(host string) Step {
	return Step{
		Title: fmt.Sprintf("Annotate the %s, and wait until its Pods are replaced", reference(w.Object)),
		Do: Action{
			Verb: Annotate, Proof: Taken, Host: host, Object: identity(w.Object),
			Annotations: changes(w.Before, w.Annotations), Pods: w.Pods,
		},
		Undo: &Action{
			Verb: Annotate, Proof: Given, Host: host, Object: identity(w.Object),
			Annotations: changes(w.Annotations, w.Before), Pods: w.Pods,
		},
	}
}

// identity returns the object without content.
func identity(object manifests.Object) map[string]any {
	metadata := map[string]any{"name": object.Location.Name}
	if object.Location.Namespace != "" {
		metadata["namespace"] = object.Location.Namespace
	}
	return map[string]any{
		"apiVersion": object.Kind.GroupVersion().String(), "kind": object.Kind.Kind, "metadata": metadata,
	}
}

// clean returns the object without what the API server writes.
func clean(object manifests.Object) map[string]any {
	cleaned := identity(object)
	cleaned["spec"] = runtime.DeepCopyJSONValue(object.Content["spec"])
	metadata, _ := object.Content["metadata"].(map[string]any)
	kept, _ := cleaned["metadata"].(map[string]any)
	for _, name := range []string{"labels", "annotations"} {
		fields, _ := metadata[name].(map[string]any)
		fields = maps.Clone(fields)
		delete(fields, "kubectl.kubernetes.io/last-applied-configuration")
		if len(fields) > 0 {
			kept[name] = fields
		}
	}
	return cleaned
}

// copyOf returns the copy of a VirtualService for one of its hosts.
func copyOf(object manifests.Object, host string) map[string]any {
	copied := identity(object)
	metadata, _ := copied["metadata"].(map[string]any)
	metadata["name"] = object.Location.Name + "-adopted"
	spec, _ := runtime.DeepCopyJSONValue(object.Content["spec"]).(map[string]any)
	spec["hosts"] = []any{host}
	copied["spec"] = spec
	return copied
}

// RecordName returns the name of the ConfigMap with the record of a host.
func RecordName(host string) string { return "adopted-" + egress.ObjectName(host) }

// hostIndex returns the index of the host in the object.
func hostIndex(object map[string]any, host string) int {
	spec, _ := object["spec"].(map[string]any)
	hosts, _ := spec["hosts"].([]any)
	return max(0, slices.IndexFunc(hosts, func(other any) bool {
		text, _ := other.(string)
		return mesh.NormalHost(text) == host
	}))
}

// resourceOf returns the resource of a kind, as in kubectl.
func resourceOf(object map[string]any) string {
	kind, _ := object["kind"].(string)
	apiVersion, _ := object["apiVersion"].(string)
	group, _, found := strings.Cut(apiVersion, "/")
	resource := strings.ToLower(kind)
	if found && group == mesh.GroupVersion().Group {
		resource += "." + group
	}
	return resource
}
