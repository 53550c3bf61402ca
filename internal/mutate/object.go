package mutate

import (
	"encoding/json"
	"fmt"
	"slices"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/policy"
)

// Object is an object that admission mutates: a Pod, or a workload with a Pod template.
type Object struct {
	kind     schema.GroupKind
	metadata metav1.ObjectMeta
	// pod is the Pod itself, or a Pod of the template.
	pod corev1.Pod
	// notStarted reports whether the object is a suspended Job that never ran. Its template is
	// still mutable.
	notStarted bool
	// template is the location of the Pod template, as a JSON pointer and as a field path for
	// messages. Both are empty for a Pod.
	template     string
	templatePath *field.Path
}

// Result is the outcome of admission for an object.
type Result struct {
	// Operations change the object. Empty if there are errors.
	Operations []jsonpatch.Operation
	// Warnings are messages to the user who applies the object.
	Warnings []string
	// Errors are all reasons to reject the object.
	Errors field.ErrorList
	// PodOperations predict, for a workload, the operations on its Pods. They apply to the Pod
	// template by itself.
	PodOperations []jsonpatch.Operation
	// Targets are the targets of the Pod, or of the Pods of the workload.
	Targets []egress.Target
}

// templates returns the fields that lead to the Pod template of a supported kind. A Pod has none.
func templates(kind schema.GroupKind) (fields []string, known bool) {
	switch kind {
	case schema.GroupKind{Kind: "Pod"}:
		return nil, true
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}, schema.GroupKind{Group: "apps", Kind: "StatefulSet"},
		schema.GroupKind{Group: "apps", Kind: "DaemonSet"}, schema.GroupKind{Group: "apps", Kind: "ReplicaSet"},
		schema.GroupKind{Group: "batch", Kind: "Job"}:
		return []string{"spec", "template"}, true
	case schema.GroupKind{Group: "batch", Kind: "CronJob"}:
		return []string{"spec", "jobTemplate", "spec", "template"}, true
	}
	return nil, false
}

// IsMutable reports whether the webhook handles objects of this kind.
func IsMutable(kind schema.GroupKind) bool {
	_, known := templates(kind)
	return known
}

// Template returns the fields that lead to the Pod template of a workload kind, or nil for a Pod
// and unsupported kinds.
func Template(kind schema.GroupKind) []string {
	fields, _ := templates(kind)
	return fields
}

// Decode decodes an object of a supported kind from JSON.
func Decode(kind schema.GroupKind, object []byte) (*Object, error) {
	fields, known := templates(kind)
	if !known {
		return nil, fmt.Errorf("%s is neither a Pod nor a workload with a Pod template", kind)
	}
	subject := &Object{kind: kind}
	if len(fields) == 0 {
		if err := json.Unmarshal(object, &subject.pod); err != nil {
			return nil, fmt.Errorf("reading the Pod: %w", err)
		}
		subject.metadata = subject.pod.ObjectMeta
		return subject, nil
	}
	subject.templatePath = field.NewPath(fields[0], fields[1:]...)
	for _, name := range fields {
		subject.template += "/" + name
	}
	return subject, subject.decodeWorkload(object)
}

// decodeWorkload decodes the fields that all workloads have: metadata and, at one of two paths, a
// Pod template.
func (s *Object) decodeWorkload(object []byte) error {
	var workload struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     struct {
			Suspend     bool                   `json:"suspend"`
			Template    corev1.PodTemplateSpec `json:"template"`
			JobTemplate struct {
				Spec struct {
					Template corev1.PodTemplateSpec `json:"template"`
				} `json:"spec"`
			} `json:"jobTemplate"`
		} `json:"spec"`
		Status struct {
			StartTime *metav1.Time `json:"startTime"`
		} `json:"status"`
	}
	if err := json.Unmarshal(object, &workload); err != nil {
		return fmt.Errorf("reading the %s: %w", s.kind.Kind, err)
	}
	template := workload.Spec.Template
	if s.kind.Kind == "CronJob" {
		template = workload.Spec.JobTemplate.Spec.Template
	}
	s.notStarted = workload.Spec.Suspend && workload.Status.StartTime == nil
	s.metadata = workload.Metadata
	s.pod = corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	return nil
}

// Hosts returns all hosts that the object requests, as far as its annotations are valid. Mutate
// needs the EgressTargets of these hosts.
func (s *Object) Hosts() []string {
	var hosts []string
	for _, annotations := range []map[string]string{s.metadata.Annotations, s.pod.Annotations} {
		intent, _, _ := egress.ParseIntent(annotations, nil)
		hosts = append(hosts, intent.Hosts()...)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// Previous is the object before an update.
type Previous struct {
	// Annotations are those of the object's own metadata.
	Annotations map[string]string
}

// Mutate returns the outcome of admission for the object in namespace. previous is nil unless the
// request is an update. egressTargets holds the EgressTargets of the namespace by host, and rules
// the hosts that it may reach. Mutate injects a Pod. For a workload it propagates the annotations
// and checks the Pods in advance, so that the user sees errors on the object with the mistake. The
// template of a started Job is immutable, so the Job gets a warning.
func (s *Object) Mutate(
	namespace string,
	previous *Previous,
	egressTargets map[string]*v1alpha1.EgressTarget,
	rules policy.Rules,
) Result {
	if s.metadata.DeletionTimestamp != nil {
		return Result{}
	}
	if s.template == "" {
		return s.mutatePod(namespace, egressTargets, rules)
	}
	if s.controlled() {
		return Result{}
	}
	return s.mutateWorkload(namespace, previous, egressTargets, rules)
}

func (s *Object) mutatePod(
	namespace string,
	egressTargets map[string]*v1alpha1.EgressTarget,
	rules policy.Rules,
) Result {
	targets, p, warnings, errs := injectTargets(namespace, &s.pod, egressTargets, rules, nil)
	if rules.DynamicDNS {
		errs = append(errs, notProgrammed(s.Hosts(), egressTargets)...)
	}
	return Result{Operations: p.operations, Warnings: warnings, Errors: errs, Targets: targets}.bounded()
}

func (s *Object) mutateWorkload(
	namespace string,
	previous *Previous,
	egressTargets map[string]*v1alpha1.EgressTarget,
	rules policy.Rules,
) Result {
	own, warnings, errs := s.parseOwn()
	var before map[string]string
	if previous != nil {
		before = previous.Annotations
	}
	changes, propagationErrs := propagate(own, before, s.pod.Annotations, s.writtenInTemplate,
		s.templatePath.Child("metadata", "annotations"))
	errs = because(ReasonInvalidAnnotation, append(errs, propagationErrs...))
	warnings = append(warnings, changes.warnings...)
	if s.kind.Kind == "Job" && previous != nil && !s.notStarted && !changes.empty() {
		warnings = append(warnings,
			"the Pod template of a started Job is immutable, so its Pods don't change; delete "+
				"the Job and create it again")
		return Result{Warnings: warnings, Errors: errs}.bounded()
	}
	pod := s.pod
	pod.Annotations = changes.apply(s.pod.Annotations)
	targets, injected, podWarnings, podErrs := injectTargets(namespace, &pod, egressTargets, rules, s.templatePath)
	errs, warnings = append(errs, podErrs...), append(warnings, podWarnings...)
	if rules.DynamicDNS {
		for _, problem := range notProgrammed(s.Hosts(), egressTargets) {
			warnings = append(warnings, "Pods are rejected for now: "+problem.Detail)
		}
	}
	if _, judged := pod.Annotations[egress.AnnotationTarget]; len(errs) > 0 && !judged {
		errs = append(errs, checkPod(&pod, s.templatePath)...)
	}
	if len(errs) > 0 {
		return Result{Warnings: warnings, Errors: errs}.bounded()
	}
	return Result{
		Operations:    changes.operations(s.template, s.pod.Annotations).operations,
		PodOperations: injected.operations,
		Warnings:      warnings,
		Targets:       targets,
	}.bounded()
}

// parseOwn returns the annotations of the workload's own metadata for propagation, or none if any
// is invalid. If only the template names targets, the Secret annotation is checked there.
func (s *Object) parseOwn() (map[string]string, []string, field.ErrorList) {
	_, requested := s.metadata.Annotations[egress.AnnotationTarget]
	_, requestedInTemplate := s.pod.Annotations[egress.AnnotationTarget]
	_, warnings, errs := egress.ParseIntent(s.metadata.Annotations, field.NewPath("metadata", "annotations"))
	switch {
	case !requested && requestedInTemplate:
		return s.metadata.Annotations, warnings, nil
	case len(errs) > 0:
		return nil, warnings, errs
	}
	return s.metadata.Annotations, warnings, nil
}

// injectTargets parses the annotations of a Pod and injects it.
func injectTargets(
	namespace string,
	pod *corev1.Pod,
	egressTargets map[string]*v1alpha1.EgressTarget,
	rules policy.Rules,
	at *field.Path,
) ([]egress.Target, patch, []string, field.ErrorList) {
	annotations := at.Child("metadata", "annotations")
	if err := validation.ValidateAnnotationsSize(pod.Annotations); err != nil {
		return nil, patch{}, nil, because(ReasonInvalidAnnotation,
			field.ErrorList{field.TooLong(annotations, "", validation.TotalAnnotationSizeLimitB)})
	}
	intent, warnings, errs := egress.ParseIntent(pod.Annotations, annotations)
	forbidden := notAllowed(namespace, intent.Hosts(), rules, annotations.Key(egress.AnnotationTarget))
	if len(errs) > 0 {
		return nil, patch{}, warnings, slices.Concat(because(ReasonInvalidAnnotation, errs), forbidden,
			checkPod(pod, at))
	}
	if len(intent.Entries) == 0 {
		return nil, patch{}, warnings, nil
	}
	errs = slices.Concat(forbidden, checkPod(pod, at))
	targets, resolveErrs := egress.Resolve(namespace, intent, egressTargets, annotations)
	if errs = append(errs, because(ReasonTargetClash, resolveErrs)...); len(resolveErrs) > 0 {
		return nil, patch{}, warnings, errs
	}
	p, more, injectErrs := inject(pod, targets, at)
	if errs = append(errs, injectErrs...); len(errs) > 0 {
		return nil, patch{}, warnings, errs
	}
	return targets, p, slices.Concat(warnings, more, serverFirstWarnings(targets),
		expiryWarnings(targets, egressTargets)), nil
}

// notAllowed returns an error for each host that the namespace may not reach.
func notAllowed(namespace string, hosts []string, rules policy.Rules, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, host := range hosts {
		if decision := rules.Decide(host); !decision.Allowed {
			errs = append(errs, field.Forbidden(at, decision.Explain(namespace, host)))
		}
	}
	return because(ReasonNotAllowed, errs)
}

// maxRemarks is the maximum number of errors, and of warnings, in a response. More are not useful,
// and clients store them in conditions and events.
const maxRemarks = 20

// bounded removes duplicate warnings and limits errors and warnings to maxRemarks each. It also
// removes characters that a terminal interprets, because the API server has not validated the
// object yet.
func (r Result) bounded() Result {
	for n, warning := range r.Warnings {
		r.Warnings[n] = egress.Printable(warning)
	}
	for _, problem := range r.Errors {
		problem.Field, problem.Detail = egress.Printable(problem.Field), egress.Printable(problem.Detail)
	}
	slices.Sort(r.Warnings)
	r.Warnings = slices.Compact(r.Warnings)
	if more := len(r.Warnings) - maxRemarks; more > 0 {
		r.Warnings = append(r.Warnings[:maxRemarks:maxRemarks], fmt.Sprintf("%d more warnings are not shown", more))
	}
	if more := len(r.Errors) - maxRemarks; more > 0 {
		r.Errors = append(r.Errors[:maxRemarks:maxRemarks], &field.Error{
			Type:     field.ErrorTypeTooMany,
			Field:    r.Errors[maxRemarks].Field,
			BadValue: field.OmitValueType{},
			Detail:   fmt.Sprintf("%d more problems are not shown", more),
		})
	}
	return r
}
