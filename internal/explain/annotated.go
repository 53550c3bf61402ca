package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// lookAnnotated reports whether the Pod asks for the host.
func lookAnnotated(f *Facts) finding {
	if f.Pod == nil && f.Workload == nil {
		return lookUnused(f)
	}
	annotations := f.annotations()
	if _, asks := annotations[egress.AnnotationTarget]; !asks {
		return lookMisplaced(f)
	}
	intent, _, errs := egress.ParseIntent(annotations, field.NewPath("metadata", "annotations"))
	if len(errs) > 0 {
		return failed(AnnotationInvalid, fmt.Sprintf("%s has an annotation that can't be used: %s",
			f.subject(), errs.ToAggregate()), "")
	}
	if !slices.Contains(intent.Hosts(), f.Host) {
		detail := fmt.Sprintf("%s asks for %s, and not for %s", f.subject(), strings.Join(intent.Hosts(), ", "), f.Host)
		if near := nearest(f.Host, intent.Hosts()); near != "" {
			detail += fmt.Sprintf("; is %s misspelled in %s?", near, egress.AnnotationTarget)
		}
		return failed(HostNotRequested, detail, f.annotate())
	}
	if f.Pod == nil {
		return fine(f.subject() + " asks for " + f.Host)
	}
	return fine(fmt.Sprintf("%s asks for %s", f.subject(), annotations[egress.AnnotationTarget]))
}

// lookUnused is lookAnnotated for an EgressTarget without Pods.
func lookUnused(f *Facts) finding {
	if f.EgressTarget == nil {
		if why := f.Unread[SourceEgressTarget]; why != "" {
			return unknown(why)
		}
		return failed(EgressTargetMissing, fmt.Sprintf("the namespace %s has no EgressTarget %s, and none of its Pods "+
			"asks for that host; annotate the workload with %s: %s", f.Namespace, f.Host, egress.AnnotationTarget, f.Host), "")
	}
	return failed(NoPods, fmt.Sprintf("no Pod in the namespace %s asks for %s; annotate the workload with %s: %s",
		f.Namespace, f.Host, egress.AnnotationTarget, f.Host),
		"kubectl get pods -n "+f.Namespace+" -l "+egress.HostLabel(f.Host))
}

// lookMisplaced explains why the Pod lacks the annotation.
func lookMisplaced(f *Facts) finding {
	if f.Pod != nil && f.Workload != nil {
		if value := f.Workload.Template[egress.AnnotationTarget]; value != "" {
			return failed(PodOutdated, fmt.Sprintf("%s is older than the annotation %s of the %s %s; recreate it",
				f.subject(), egress.AnnotationTarget, f.Workload.Kind, f.Workload.Name), f.restart())
		}
		if value := f.Workload.Annotations[egress.AnnotationTarget]; value != "" {
			return failed(NotPropagated, fmt.Sprintf("the %s %s has the annotation %s, but its Pod template lacks it, so "+
				"the webhook didn't see the change; write the annotation into spec.template.metadata.annotations",
				f.Workload.Kind, f.Workload.Name, egress.AnnotationTarget), "")
		}
	}
	for _, event := range slices.Backward(f.Events) {
		if event.Reason == "NotPropagated" {
			return failed(NotPropagated, event.Message, "")
		}
	}
	if place := f.labeled(); place != "" {
		return failed(AnnotationIsLabel, fmt.Sprintf("%s is a label of %s, where it has no effect; write it as an annotation",
			egress.AnnotationTarget, place), f.annotate())
	}
	if key, place := f.lookalike(); key != "" {
		return failed(AnnotationMisspelled, fmt.Sprintf("%s has the annotation %s, which has no effect; write %s",
			place, egress.Excerpt(key), egress.AnnotationTarget), f.annotate())
	}
	if places := f.misplaced(); len(places) > 0 {
		return failed(AnnotationMisplaced, fmt.Sprintf("%s has the annotation %s, which has an effect only on Pods and "+
			"on workloads; write it on the workload", strings.Join(places, ", "), egress.AnnotationTarget), f.annotate())
	}
	return failed(NotAnnotated, fmt.Sprintf("%s has no annotation %s, so its calls leave as they are; annotate the "+
		"workload",
		f.subject(), egress.AnnotationTarget), f.annotate())
}

// misplaced names the objects that have the annotation and create no Pods.
func (f *Facts) misplaced() []string {
	places := slices.Clone(f.Misplaced)
	if f.NamespaceObject != nil && f.NamespaceObject.Annotations[egress.AnnotationTarget] != "" {
		places = append(places, "the Namespace "+f.Namespace)
	}
	return places
}

// annotate is the command that annotates the workload.
func (f *Facts) annotate() string {
	host := f.Host
	if host == "" {
		host = "HOST"
	}
	if f.Workload == nil {
		return ""
	}
	return fmt.Sprintf("kubectl annotate %s/%s -n %s --overwrite %s=%s",
		lower(f.Workload.Kind), f.Workload.Name, f.Namespace, egress.AnnotationTarget, host)
}

// labeled names the object that has the annotation as a label, or is "".
func (f *Facts) labeled() string {
	if f.Pod != nil {
		if _, found := f.Pod.Labels[egress.AnnotationTarget]; found {
			return f.subject()
		}
	}
	if f.Workload != nil {
		if _, found := f.Workload.Labels[egress.AnnotationTarget]; found {
			return "the " + f.Workload.Kind + " " + f.Workload.Name
		}
	}
	return ""
}

// lookalike returns an annotation that looks like ours and the object that has it.
func (f *Facts) lookalike() (key, place string) {
	near := func(annotations map[string]string) string {
		for _, key := range slices.Sorted(maps.Keys(annotations)) {
			unknown := strings.HasPrefix(key, egress.AnnotationPrefix) && nearest(key, []string{egress.AnnotationTarget}) != ""
			if egress.IsLookalike(key) || unknown && key != egress.AnnotationTarget {
				return key
			}
		}
		return ""
	}
	if f.Pod != nil {
		if key := near(f.Pod.Annotations); key != "" {
			return key, f.subject()
		}
	}
	if f.Workload != nil {
		place := "the " + f.Workload.Kind + " " + f.Workload.Name
		if key := near(f.Workload.Template); key != "" {
			return key, place
		}
		return near(f.Workload.Annotations), place
	}
	return "", ""
}

// nearest returns the text among others that differs from text in at most two characters, or "".
func nearest(text string, others []string) string {
	const most = 2
	return egress.Nearest(text, others, most)
}

func lower(kind string) string { return strings.ToLower(kind) }
