package manifests

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/workload"
)

// unheard reports each key of this project that stands where it has no effect, or where the cluster
// acts and Render shows nothing, and each key that only looks like one of this project. The
// author expects mutual TLS.
func (r *renderer) unheard(item item) {
	s := scan{renderer: r, item: item, heard: map[string]bool{}}
	kind, isWorkload := r.kinds[item.kind.GroupKind()]
	s.isPods = isWorkload || mutate.IsPod(item.kind.GroupKind())
	if s.isPods {
		s.heard["metadata"] = true
	}
	for _, path := range kind.Templates {
		s.heard[strings.ReplaceAll(string(path), workload.Elements, "")+".metadata"] = true
		if ofJob, found := path.OfWorkload(); found {
			s.heard[strings.ReplaceAll(strings.TrimSuffix(string(ofJob), ".annotations"), workload.Elements, "")] = true
		}
	}
	for _, path := range kind.Annotations {
		s.heard[strings.TrimSuffix(string(path), ".annotations")] = true
	}
	s.walk(item.object, nil, nil, "")
}

// scan looks at one object.
type scan struct {
	*renderer

	item item
	// isPods reports whether admission acts on the kind.
	isPods bool
	// heard are the paths, without indices, of the metadata that admission acts on.
	heard map[string]bool
}

// walk looks at the keys of a value. steps is its path, shown the one for messages, and path the
// one without indices.
func (s *scan) walk(value any, steps []any, path []string, shown string) {
	switch value := value.(type) {
	case []any:
		for n, element := range value {
			s.walk(element, append(slices.Clip(steps), n), path, shown+"["+strconv.Itoa(n)+"]")
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			below := append(slices.Clip(steps), key)
			if s.key(key, value[key], below, path, shown) {
				continue
			}
			s.walk(value[key], below, append(slices.Clip(path), key), strings.TrimPrefix(shown+"."+key, "."))
		}
	}
}

// key reports what is to say of one key, and whether there is nothing below it.
func (s *scan) key(key string, value any, steps []any, path []string, shown string) (done bool) {
	if len(path) == 0 {
		return s.item.isData(key)
	}
	last, parent := path[len(path)-1], strings.Join(path[:len(path)-1], ".")
	inAnnotations, inLabels := last == "annotations", last == "labels"
	at := fmt.Sprintf("%s[%s]", shown, key)
	refuse := func(reason Reason, message string) {
		problem := s.item.problem(reason, steps, at+message)
		problem.Field = at
		s.refuse(problem)
	}
	warn := func(reason Reason, message string) { s.warn(s.item.problem(reason, steps, at+message)) }
	switch ours := key == egress.AnnotationTarget || key == egress.AnnotationSecret; {
	case last == "matchLabels", last == "selector", last == "sourceLabels", parent == "spec.workloadSelector":
		return true // selects Pods by their labels
	case ours && inAnnotations && s.heard[parent]:
	case ours && inLabels && s.heard[parent]:
		refuse(ReasonMisplacedKey, fmt.Sprintf(": Forbidden: %s is an annotation, so as a label it would have no "+
			"effect, and the Pods would call in plain text; instead of the label, write under %s.annotations: %s: %v",
			key, parent, key, value))
	case ours && parent == "metadata" && s.item.holdsNoPods():
		refuse(ReasonMisplacedKey, fmt.Sprintf(": Forbidden: %s has no effect on a %s, so calls would leave in plain "+
			"text; write it under metadata.annotations of each workload that calls the host", key, s.item.kind.Kind))
	case ours:
		warn(s.noEffect(parent, inAnnotations))
	case egress.IsAcceptance(key) && inAnnotations && parent == "metadata":
	case egress.IsAcceptance(key) && (inAnnotations || inLabels):
		warn(ReasonUnheardKey, " has no effect there: findings are accepted under metadata.annotations of the object")
	case strings.HasPrefix(key, egress.AnnotationPrefix) && (inAnnotations || inLabels):
		if !s.item.isKnown(key) && (inLabels || !s.heard[parent]) {
			warn(Reason(mutate.ReasonUnknownAnnotation), " has no effect: the annotations of workloads and Pods are "+
				egress.AnnotationTarget+" and "+egress.AnnotationSecret)
		}
	case egress.IsLookalike(key) && (inAnnotations || inLabels):
		warn(ReasonLookalikeKey, " looks like an annotation of this project but has no effect, so calls would leave in "+
			"plain text: the annotations are "+egress.AnnotationTarget+" and "+egress.AnnotationSecret)
	default:
		return false
	}
	return true
}

// noEffect says why nothing shows of the annotation at metadata or elsewhere.
func (s *scan) noEffect(parent string, inAnnotations bool) (Reason, string) {
	kind, group := s.item.kind.Kind, s.item.kind.Group
	switch {
	case group == v1alpha1.Group:
		return ReasonUnheardKey, " has no effect on an " + kind +
			"; write it under metadata.annotations of each workload that calls the host"
	case s.item.isWithoutPods() && parent == "metadata" && inAnnotations:
		return ReasonUnheardKey, " has no effect on an object of the kind " + kind +
			", which has no Pods; write it under metadata.annotations of each workload that calls the host"
	case s.isPods || !inAnnotations:
		return ReasonUnheardKey, " has no effect there; write it under metadata.annotations"
	case parent == "metadata":
		return ReasonUnknownKind, fmt.Sprintf(" has no effect: the kind %s (%s) is not in the table of workloads, so its "+
			"Pods would call in plain text; write it into its Pod template, or add the kind with --workloads, as "+
			"an admin does in the chart's value workloads", kind, group)
	default:
		return ReasonUnknownKind, fmt.Sprintf(" is not shown here: the kind %s (%s) is not in the table of workloads; if "+
			"its Pods get the annotation, the cluster injects them when they are created; add the kind with "+
			"--workloads to see them",
			kind, group)
	}
}

// isData reports whether the field of an object holds data of users, not of Kubernetes.
func (i item) isData(name string) bool {
	switch i.kind.Kind {
	case "ConfigMap", "Secret", "PodTemplate": // nothing makes Pods of a PodTemplate
		return i.kind.Group == "" && name != "metadata"
	}
	return false
}

// holdsNoPods reports whether the object is of a kind that people take for a place of the
// annotation.
func (i item) holdsNoPods() bool {
	return i.kind.Group == "" && (i.kind.Kind == "Namespace" || i.kind.Kind == "Service")
}

// isWithoutPods reports whether the object is of a kind that is known to make no Pods: those of
// Kubernetes that aren't workloads, and those of Istio.
func (i item) isWithoutPods() bool {
	return strings.HasSuffix(i.kind.Group, ".istio.io") || slices.Contains([]string{
		"", "autoscaling", "policy", "cert-manager.io", "networking.k8s.io", "gateway.networking.k8s.io",
		"rbac.authorization.k8s.io", "storage.k8s.io", "apiextensions.k8s.io", "admissionregistration.k8s.io",
	}, i.kind.Group)
}

// isKnown reports whether a key of this project, other than those of users, has its place on the
// object: those that the webhook and the controller write, and those of Namespaces.
func (i item) isKnown(key string) bool {
	switch key {
	case egress.AnnotationPropagated, egress.LabelInjected:
		return true
	case egress.AnnotationAllowedTargets, egress.LabelProtection:
		return i.kind.Group == "" && i.kind.Kind == "Namespace"
	case egress.AnnotationHost:
		return i.kind.Group == "" && i.kind.Kind == "Secret"
	}
	return i.kind.Group == v1alpha1.Group
}
