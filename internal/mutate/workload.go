package mutate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// propagated are the annotations that a workload hands to its Pod template.
func propagated() []string {
	return []string{egress.AnnotationSecret, egress.AnnotationTarget}
}

// propagation is what has to change in the annotations of a Pod template so that it asks for what
// the workload's own metadata asks for.
type propagation struct {
	set      map[string]string
	remove   []string
	warnings []string
}

// propagate compares the annotations of a workload with those of its Pod template. A template's
// value that the marker doesn't record is the user's own and stays, whatever the workload says; one
// that it records follows the workload to a new value, and away when an update takes the workload's
// annotation away, which it had before. In every other case what the template asks for stays: a
// template with a marker is handed on, by a CronJob to its Jobs, by an operator that copies a
// Deployment, in an exported manifest, and that the new object's metadata lacks the annotation
// takes nothing back. written says which annotations of the template the user's own manifest has:
// who moves one there from the workload's metadata leaves it as it is, and the marker with it.
func propagate(workload, before, template map[string]string, written func(key string) bool, at *field.Path) (propagation, field.ErrorList) {
	recorded, err := readMarker(template)
	if err != nil {
		return propagation{}, field.ErrorList{egress.Invalid(at.Key(egress.AnnotationPropagated), template[egress.AnnotationPropagated],
			"the webhook writes this annotation itself and can't read it; take it away")}
	}
	changes := propagation{set: map[string]string{}}
	kept := map[string]string{}
	for _, key := range propagated() {
		wanted, asked := workload[key]
		present, there := template[key]
		was, copied := recorded[key]
		ours := there && copied && was == present
		switch {
		case asked && there && !ours:
			if wanted != present {
				changes.warnings = append(changes.warnings, fmt.Sprintf(
					"the Pod template has its own %s, which stays; the one in the workload's metadata (%q) has no effect", key, egress.Excerpt(wanted)))
			}
		case asked:
			kept[key] = wanted
			if wanted != present || !there {
				changes.set[key] = wanted
			}
		case ours && had(before, key) && written(key):
		case ours && had(before, key):
			changes.remove = append(changes.remove, key)
			if key == egress.AnnotationTarget {
				changes.warnings = append(changes.warnings, fmt.Sprintf(
					"%s is taken off the Pod template too (%q), so new Pods call without mutual TLS; if your manifest has it in the Pod template, apply it again",
					key, egress.Excerpt(present)))
			}
		case ours:
			kept[key] = present
		}
	}
	return changes.withMarker(template, kept)
}

// withMarker adds the change of the marker annotation: it records exactly what stands in the
// template because of us.
func (c propagation) withMarker(template, kept map[string]string) (propagation, field.ErrorList) {
	current, marked := template[egress.AnnotationPropagated]
	if len(kept) == 0 {
		if marked {
			c.remove = append(c.remove, egress.AnnotationPropagated)
		}
		return c, nil
	}
	marker, err := json.Marshal(kept)
	if err != nil {
		return propagation{}, field.ErrorList{field.InternalError(nil, err)}
	}
	if string(marker) != current {
		c.set[egress.AnnotationPropagated] = string(marker)
	}
	return c, nil
}

// apply returns the template's annotations as they are after the changes.
func (c propagation) apply(template map[string]string) map[string]string {
	after := maps.Clone(template)
	if after == nil {
		after = map[string]string{}
	}
	maps.Copy(after, c.set)
	for _, key := range c.remove {
		delete(after, key)
	}
	return after
}

func (c propagation) empty() bool {
	return len(c.set) == 0 && len(c.remove) == 0
}

// operations writes the changes as operations on the template at pointer.
func (c propagation) operations(pointer string, template map[string]string) patch {
	var p patch
	annotations := pointer + "/metadata/annotations"
	p.setKeys(annotations, template, c.set)
	for _, key := range slices.Sorted(slices.Values(c.remove)) {
		p.removeKey(annotations, key)
	}
	return p
}

func readMarker(template map[string]string) (map[string]string, error) {
	text, marked := template[egress.AnnotationPropagated]
	if !marked {
		return nil, nil
	}
	var recorded map[string]string
	if err := json.Unmarshal([]byte(text), &recorded); err != nil {
		return nil, err
	}
	return recorded, nil
}

// controlled reports whether a Deployment makes this ReplicaSet. Its metadata repeats the
// Deployment's annotations and its template comes from there, so a change would be undone or start
// a roll-out without end. What anything else controls is a workload like any other: that of an
// operator, and the Job of a CronJob, which may carry annotations that stand nowhere else.
func (s *Object) controlled() bool {
	return s.kind == schema.GroupKind{Group: "apps", Kind: "ReplicaSet"} && MadeByDeployment(&s.metadata)
}

// MadeByDeployment reports whether a Deployment of Kubernetes controls the object.
func MadeByDeployment(object metav1.Object) bool {
	owner := metav1.GetControllerOfNoCopy(object)
	return owner != nil && owner.Kind == "Deployment" && strings.HasPrefix(owner.APIVersion, "apps/")
}

func had(annotations map[string]string, key string) bool {
	_, present := annotations[key]
	return present
}
