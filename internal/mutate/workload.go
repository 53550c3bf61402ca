package mutate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/workload"
)

// propagated returns the annotations that a workload copies to its Pod template.
func propagated() []string {
	return []string{egress.AnnotationSecret, egress.AnnotationTarget}
}

// propagation is the change to a Pod template's annotations that makes them match the workload's
// own metadata.
type propagation struct {
	set      map[string]string
	remove   []string
	warnings []Warning
}

// propagate compares the annotations of a workload with those of its Pod template.
//
// A template value that the propagated annotation doesn't record belongs to the user and never
// changes. A recorded value follows the workload's annotation. It is removed if an update removes
// the annotation from the workload. In all other cases the template keeps it. The reason is that
// templates with the propagated annotation are copied: by a CronJob to its Jobs, by an operator
// that copies a Deployment, or in an exported manifest. The new object's metadata lacks the
// annotation, which must not remove anything.
//
// written reports whether the user's own manifest sets an annotation of the template. A user who
// moves an annotation from the metadata to the template keeps it, and the propagated annotation
// goes away.
func propagate(
	own, before, template map[string]string,
	written func(key string) bool,
	at *field.Path,
) (propagation, field.ErrorList) {
	recorded, err := readMarker(template)
	if err != nil {
		return propagation{}, field.ErrorList{
			egress.Invalid(at.Key(egress.AnnotationPropagated), template[egress.AnnotationPropagated],
				"the annotation is reserved for the webhook and its value is invalid; remove it"),
		}
	}
	changes := propagation{set: map[string]string{}}
	kept := map[string]string{}
	for _, key := range propagated() {
		wanted, asked := own[key]
		present, there := template[key]
		was, copied := recorded[key]
		ours := there && copied && was == present
		switch {
		case asked && there && !ours:
			if wanted != present {
				changes.warnings = append(changes.warnings, warningf(
					ReasonOverridden, field.NewPath("metadata", "annotations").Key(key),
					"the Pod template has its own %s, which takes precedence; the one in the workload's "+
						"metadata (%q) has no effect", key, egress.Excerpt(wanted)))
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
				changes.warnings = append(changes.warnings, warningf(
					ReasonRemoved, at.Key(key),
					"%s is also removed from the Pod template (%q), so new Pods call without mutual TLS; if your "+
						"manifest has it in the Pod template, apply it again", key, egress.Excerpt(present)))
			}
		case ours:
			kept[key] = present
		}
	}
	return changes.withMarker(template, kept)
}

// restore returns the changes that give the template of an immutable workload what the webhook set
// in it when the workload was created. A client that applies its manifest again, and replaces the
// list that contains the template, doesn't send it, and the kind would reject the change. previous
// are the annotations of the template before. A template with values of its own stays as it is.
func restore(template, previous map[string]string) propagation {
	recorded, err := readMarker(previous)
	if _, marked := template[egress.AnnotationPropagated]; marked || err != nil {
		return propagation{}
	}
	changes := propagation{set: map[string]string{}}
	for key, value := range recorded {
		if present, there := template[key]; there && present != value || previous[key] != value {
			return propagation{}
		}
		changes.set[key] = value
	}
	if len(recorded) > 0 {
		changes.set[egress.AnnotationPropagated] = previous[egress.AnnotationPropagated]
	}
	return changes
}

// addJobs adds the annotations of the Job templates of the object before an update.
func (s *Object) addJobs(previous *Previous, object []byte) error {
	if s.workload == nil {
		return nil
	}
	for _, place := range s.workload.JobAnnotations(object) {
		if err := s.decodeAnnotations(place, &previous.Annotations); err != nil {
			return fmt.Errorf("before the update: %w", err)
		}
	}
	return nil
}

// decodePrevious decodes the object before an update.
func (s *Object) decodePrevious(object []byte) (*Previous, error) {
	var decoded metav1.PartialObjectMetadata
	if err := json.Unmarshal(object, &decoded); err != nil {
		return nil, fmt.Errorf("reading the object before the update: %w", err)
	}
	previous := &Previous{Annotations: decoded.Annotations}
	if err := s.addJobs(previous, object); err != nil {
		return nil, err
	}
	if s.workload == nil || !s.workload.Immutable || s.notStarted {
		return previous, nil
	}
	previous.PodAnnotations = map[string]map[string]string{}
	for _, place := range s.workload.PodAnnotations(object) {
		if place.JSON == nil {
			continue
		}
		var annotations map[string]string
		if err := json.Unmarshal(place.JSON, &annotations); err != nil {
			return nil, fmt.Errorf("reading %s of the %s before the update: %w", place.Path, s.kind.Kind, err)
		}
		previous.PodAnnotations[place.Pointer] = annotations
	}
	return previous, nil
}

// withMarker adds the change of the propagated annotation, which records exactly the values that
// the webhook set in the template.
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

// apply returns the annotations of the template after the changes.
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

// operations adds the changes as operations on the annotations of a template.
func (c propagation) operations(p *patch, at workload.Place, template map[string]string) {
	if len(c.set) > 0 {
		p.addMissing(at.Missing)
	}
	p.setKeys(at.Pointer, template, c.set)
	for _, key := range slices.Sorted(slices.Values(c.remove)) {
		p.removeKey(at.Pointer, key)
	}
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

// controlled reports whether another workload made this one and keeps it as it is. See IsRevision.
func (s *Object) controlled() bool { return IsRevision(s.kind, &s.metadata) }

// IsRevision reports whether the object is a revision of the Pod template of another workload,
// which controls it: the ReplicaSet of a Deployment or of an Argo Rollout, or the
// ReplicationController of an OpenShift DeploymentConfig. It repeats the annotations and the
// template of that workload, so a change would be reverted or cause an endless rollout. Any other
// controlled object is treated as a normal workload: one of an operator, or the Job of a CronJob,
// which can have annotations that exist nowhere else.
func IsRevision(kind schema.GroupKind, object metav1.Object) bool {
	owner := metav1.GetControllerOfNoCopy(object)
	if owner == nil {
		return false
	}
	maker := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()
	switch kind {
	case schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}:
		return maker == schema.GroupKind{Group: "apps", Kind: "Deployment"} ||
			maker == schema.GroupKind{Group: "argoproj.io", Kind: "Rollout"}
	case schema.GroupKind{Kind: "ReplicationController"}:
		return maker == schema.GroupKind{Group: "apps.openshift.io", Kind: "DeploymentConfig"}
	}
	return false
}

func had(annotations map[string]string, key string) bool {
	_, present := annotations[key]
	return present
}
