package adopt

import (
	"encoding/json"
	"fmt"
	"slices"

	"mtls.egress/webhook/internal/mesh"
)

// recordKey is the key of the ConfigMap with the record.
const recordKey = "record.json"

// recorded is what the way back needs. It contains no Secret.
type recorded struct {
	// Version is the version of this format.
	Version int    `json:"version"`
	Host    string `json:"host"`
	// Target is the EgressTarget. It is kept if it was there before.
	Target       map[string]any `json:"target"`
	TargetIsKept bool           `json:"targetIsKept,omitempty"`
	// Objects are the hand-written objects as they were.
	Objects   []map[string]any   `json:"objects"`
	Workloads []recordedWorkload `json:"workloads"`
}

// recordedWorkload is a workload, and the labels of its Pods.
type recordedWorkload struct {
	Object map[string]any    `json:"object"`
	Pods   map[string]string `json:"pods"`
}

// record returns the ConfigMap with the record of the set.
func (p Proposal) record() (map[string]any, error) {
	manifest, err := p.Manifest()
	if err != nil {
		return nil, err
	}
	r := recorded{Version: 1, Host: p.Host, Target: manifest, TargetIsKept: p.TargetExists}
	for _, object := range p.Objects {
		r.Objects = append(r.Objects, clean(object.Object))
	}
	for _, workload := range p.Workloads {
		r.Workloads = append(r.Workloads, recordedWorkload{Object: identity(workload.Object), Pods: workload.Pods})
	}
	encoded, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	metadata := map[string]any{"name": RecordName(p.Host)}
	if p.Namespace != "" {
		metadata["namespace"] = p.Namespace
	}
	return map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": map[string]any{recordKey: string(encoded)},
	}, nil
}

// Back returns the steps of the way back, from the ConfigMap that Steps made.
//
// The objects are written before the annotation is removed, in the order in which no call can
// follow half of them: without the DestinationRule, the VirtualService would lead calls to the
// partner's TLS port in plain text. Pods of the target don't use them. annotations returns those
// that a workload has now.
func Back(configMap map[string]any, annotations func(workload map[string]any) map[string]string) ([]Step, error) {
	data, _ := configMap["data"].(map[string]any)
	text, _ := data[recordKey].(string)
	var r recorded
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.Version != 1 {
		return nil, fmt.Errorf("the ConfigMap %s has no record that this version can read, in the key %s",
			nameOf(configMap), recordKey)
	}
	var steps []Step
	for _, kind := range []string{mesh.KindDestinationRule, mesh.KindVirtualService, mesh.KindServiceEntry} {
		for _, object := range slices.DeleteFunc(slices.Clone(r.Objects),
			func(object map[string]any) bool { return object["kind"] != kind }) {
			undo := Delete
			if spec, _ := object["spec"].(map[string]any); isShared(spec) {
				undo = DropHost
			}
			steps = append(steps, Step{
				Title: fmt.Sprintf("Restore the %s %s", kind, nameOf(object)),
				Do:    Action{Verb: Restore, Proof: Continued, Host: r.Host, Object: object},
				Undo:  &Action{Verb: undo, Proof: Continued, Host: r.Host, Object: object},
			})
		}
	}
	for _, workload := range r.Workloads {
		now := ours(annotations(workload.Object))
		after := without(now, r.Host)
		steps = append(steps, Step{
			Title: fmt.Sprintf("Remove the host from the annotation of the %s %s, and wait until its Pods are replaced",
				workload.Object["kind"], nameOf(workload.Object)),
			Do: Action{
				Verb: Annotate, Proof: Given, Host: r.Host, Object: workload.Object, Annotations: changes(now, after),
				Pods: workload.Pods,
			},
			Undo: &Action{
				Verb: Annotate, Proof: Taken, Host: r.Host, Object: workload.Object, Annotations: changes(after, now),
				Pods: workload.Pods,
			},
		})
	}
	if !r.TargetIsKept {
		steps = append(steps, Step{
			Title: "Delete the EgressTarget " + r.Host,
			Do:    Action{Verb: Remove, Proof: Gone, Host: r.Host, Object: r.Target},
			Undo:  &Action{Verb: Write, Proof: Nothing, Host: r.Host, Object: r.Target},
		})
	}
	return append(steps, Step{
		Title: "Delete the ConfigMap " + nameOf(configMap),
		Do:    Action{Verb: Forget, Host: r.Host, Object: configMap},
	}), nil
}

// isShared reports whether an object has several hosts.
func isShared(spec map[string]any) bool {
	hosts, _ := spec["hosts"].([]any)
	return len(hosts) > 1
}

// Manifests returns what a GitOps repository has after the sets are taken over: the EgressTargets,
// and the workloads with their annotations.
func Manifests(proposals []Proposal) ([]map[string]any, error) {
	var targets []map[string]any
	var workloads []Workload
	for _, p := range proposals {
		if len(p.Refused) > 0 {
			continue
		}
		manifest, err := p.Manifest()
		if err != nil {
			return nil, err
		}
		targets = append(targets, manifest)
		for _, workload := range p.Workloads {
			// The annotations of a later proposal include those of the earlier ones.
			workloads = append(slices.DeleteFunc(workloads, func(other Workload) bool {
				return reference(other.Object) == reference(workload.Object)
			}), workload)
		}
	}
	for _, workload := range workloads {
		targets = append(targets, workload.annotated())
	}
	return targets, nil
}

// annotated returns the workload with the annotations, and without what the API server writes.
func (w Workload) annotated() map[string]any {
	object := clean(w.Object)
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
	}
	delete(annotations, "deployment.kubernetes.io/revision")
	for name, value := range w.Annotations {
		annotations[name] = value
	}
	metadata["annotations"] = annotations
	return object
}
