package mutate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/workload"
)

// Object is an object that admission mutates: a Pod, or a workload.
type Object struct {
	kind     schema.GroupKind
	metadata metav1.ObjectMeta
	// workload describes the kind of a workload. Of a Pod it is nil.
	workload *workload.Kind
	// templates are the Pod itself, or what the workload has of its Pods.
	templates []template
	// notStarted reports whether the object is a suspended Job that never ran. Its template is
	// still mutable.
	notStarted bool
}

// template is a Pod, the Pod template of a workload, or the annotations of Pods without one.
type template struct {
	// pod is the Pod itself, or a Pod of the template.
	pod corev1.Pod
	// pointer is the location of the template as a JSON pointer, and at for messages. Both are empty
	// for a Pod.
	pointer string
	at      *field.Path
	// annotations is the location of the annotations.
	annotations workload.Place
	// job are the annotations of the Job template that the Pod template is part of, with their
	// location. Jobs propagate them, so they come before those of the workload's own metadata.
	job   map[string]string
	jobAt *field.Path
	// path is the path of the annotations in the kind.
	path workload.Path
	// bare means that only the annotations of the Pods are known.
	bare bool
}

// Result is the outcome of admission for an object.
type Result struct {
	// Operations change the object. Empty if there are errors.
	Operations []jsonpatch.Operation
	// Warnings are messages to the user who applies the object.
	Warnings []Warning
	// Errors are all reasons to reject the object.
	Errors field.ErrorList
	// Pods are the Pod itself, or those of the workload, one for each Pod template. Empty if there are
	// errors.
	Pods []PodResult
}

// PodResult is what admission does, or will do, with a Pod.
type PodResult struct {
	// Template is the location of the Pod template in the mutated workload, as a JSON pointer. It is
	// empty for a Pod, and for a workload that has only annotations of its Pods.
	Template string
	// Operations predict, for a Pod template, the operations on its Pods. They apply to the Pod
	// template by itself.
	Operations []jsonpatch.Operation
	// Annotations are the annotations of the Pod in the end.
	Annotations map[string]string
	// Targets are the targets of the Pod.
	Targets []egress.Target
}

// Decode decodes an object from JSON: a Pod, or a workload of one of the kinds.
func Decode(kinds map[schema.GroupKind]workload.Kind, kind schema.GroupKind, object []byte) (*Object, error) {
	subject := &Object{kind: kind}
	if IsPod(kind) {
		var pod template
		if err := json.Unmarshal(object, &pod.pod); err != nil {
			return nil, fmt.Errorf("reading the Pod: %w", wrongType(err))
		}
		subject.metadata, subject.templates = pod.pod.ObjectMeta, []template{pod}
		return subject, nil
	}
	described, known := kinds[kind]
	if !known {
		return nil, fmt.Errorf("%s is neither a Pod nor a workload with a Pod template", kind)
	}
	subject.workload = &described
	return subject, subject.decodeWorkload(object)
}

// IsPod reports whether the kind is that of Pods.
func IsPod(kind schema.GroupKind) bool { return kind == schema.GroupKind{Kind: "Pod"} }

// decodeWorkload decodes the metadata and the templates.
func (s *Object) decodeWorkload(object []byte) error {
	var fields struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	if err := json.Unmarshal(object, &fields); err != nil {
		return fmt.Errorf("reading the metadata of the %s: %w", s.kind.Kind, wrongType(err))
	}
	s.metadata = fields.Metadata
	if s.kind == (schema.GroupKind{Group: "batch", Kind: "Job"}) {
		var job struct {
			Spec struct {
				Suspend bool `json:"suspend"`
			} `json:"spec"`
			Status struct {
				StartTime *metav1.Time `json:"startTime"`
			} `json:"status"`
		}
		if err := json.Unmarshal(object, &job); err != nil {
			return fmt.Errorf("reading the Job: %w", err)
		}
		s.notStarted = job.Spec.Suspend && job.Status.StartTime == nil
	}
	for _, path := range s.workload.Templates {
		var jobs []workload.Place
		if ofJob, found := path.OfWorkload(); found {
			jobs = ofJob.Find(object) // as many as there are templates
		}
		for n, place := range path.Find(object) {
			if place.JSON == nil {
				continue
			}
			read, err := s.decodeTemplate(place)
			if err != nil {
				return err
			}
			if n < len(jobs) {
				if read.jobAt, err = jobs[n].Path, s.decodeAnnotations(jobs[n], &read.job); err != nil {
					return err
				}
			}
			read.path = path + ".metadata.annotations"
			s.templates = append(s.templates, read)
		}
	}
	for _, path := range s.workload.Annotations {
		place := path.Find(object)[0]
		read := template{annotations: place, path: path, bare: true}
		if err := s.decodeAnnotations(place, &read.pod.Annotations); err != nil {
			return err
		}
		s.templates = append(s.templates, read)
	}
	return nil
}

// decodeAnnotations decodes the annotations at a place, which may be missing.
func (s *Object) decodeAnnotations(place workload.Place, annotations *map[string]string) error {
	if place.JSON == nil {
		return nil
	}
	if err := json.Unmarshal(place.JSON, annotations); err != nil {
		return fmt.Errorf("reading %s of the %s: %w", place.Path, s.kind.Kind, wrongType(err))
	}
	return nil
}

// wrongType says of a value of the wrong type which field has it, in the words of YAML.
func wrongType(err error) error {
	mistaken, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return err
	}
	if mistaken.Type.Kind() == reflect.String {
		return fmt.Errorf("%s: has a %s, want text: write it in quotes", mistaken.Field, mistaken.Value)
	}
	return fmt.Errorf("%s: has a %s, want another type", mistaken.Field, mistaken.Value)
}

func (s *Object) decodeTemplate(place workload.Place) (template, error) {
	read := template{
		pointer: place.Pointer, at: place.Path, annotations: place.Child("metadata").Child("annotations"),
	}
	var decoded corev1.PodTemplateSpec
	if err := json.Unmarshal(place.JSON, &decoded); err != nil {
		return template{}, fmt.Errorf("reading %s of the %s: %w", place.Path, s.kind.Kind, wrongType(err))
	}
	read.pod = corev1.Pod{ObjectMeta: decoded.ObjectMeta, Spec: decoded.Spec}
	return read, nil
}

// Hosts returns all hosts that the object requests, as far as its annotations are valid. Mutate
// needs the EgressTargets of these hosts.
func (s *Object) Hosts() []string {
	var hosts []string
	add := func(annotations map[string]string) {
		intent, _, _ := egress.ParseIntent(annotations, nil)
		hosts = append(hosts, intent.Hosts()...)
	}
	add(s.metadata.Annotations)
	for n := range s.templates {
		add(s.templates[n].job)
		add(s.templates[n].pod.Annotations)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// Previous is the object before an update.
type Previous struct {
	// Annotations are those of the object's own metadata, and of its Job templates.
	Annotations map[string]string
	// PodAnnotations are those of the Pod templates of an immutable kind, by the JSON pointer of the
	// annotations.
	PodAnnotations map[string]map[string]string
}

// Facts are what admission knows besides the object.
type Facts struct {
	Namespace string
	// Previous is the object before an update, or nil.
	Previous *Previous
	// EgressTargets are the EgressTargets of the namespace by host.
	EgressTargets map[string]*v1alpha1.EgressTarget
	// Rules are the hosts that the namespace may reach.
	Rules policy.Rules
	// NamespaceLabels are the labels of the Namespace. nil means that they are not known.
	NamespaceLabels map[string]string
	// Injector is the configuration of Istio's sidecar injector. The zero value has Istio's defaults.
	Injector interception.Injector
	// RequireInjection rejects Pods into which Istio will inject no sidecar. Otherwise they get a
	// warning.
	RequireInjection bool
}

// Mutate returns the outcome of admission for the object. Mutate injects a Pod. For a workload it
// propagates the annotations and checks the Pods in advance, so that the user sees errors on the
// object with the mistake. An immutable template, as that of a started Job, stays as it is, and the
// workload gets a warning.
func (s *Object) Mutate(facts Facts) Result {
	switch {
	case s.metadata.DeletionTimestamp != nil, s.controlled():
		return Result{}
	case s.workload == nil:
		return s.mutatePod(facts).bounded()
	}
	return s.mutateWorkload(facts).bounded()
}

func (s *Object) mutatePod(facts Facts) Result {
	pod := s.templates[0].pod
	targets, p, warnings, errs := facts.inject(&pod, nil, annotationsOf(nil))
	if facts.Rules.DynamicDNS {
		errs = append(errs, notProgrammed(s.Hosts(), facts.EgressTargets)...)
	}
	if len(errs) > 0 {
		return Result{Warnings: warnings, Errors: errs}
	}
	return Result{
		Operations: p.operations,
		Warnings:   warnings,
		Pods:       []PodResult{{Annotations: p.annotated(pod.Annotations), Targets: targets}},
	}
}

// annotationsOf returns the annotations of a Pod or Pod template for messages.
func annotationsOf(at *field.Path) *field.Path { return at.Child("metadata", "annotations") }

func (s *Object) mutateWorkload(facts Facts) Result {
	own, warnings, errs := s.parseOwn()
	errs = append(errs, s.checkTemplates()...)
	var previous Previous
	if facts.Previous != nil {
		previous = *facts.Previous
	}
	before := previous.Annotations
	result := Result{Warnings: warnings, Errors: because(ReasonInvalidAnnotation, errs)}
	var p patch
	for n := range s.templates {
		t := &s.templates[n]
		written := t.pod.Annotations
		restored := restore(written, previous.PodAnnotations[t.annotations.Pointer])
		restored.operations(&p, t.annotations, written)
		t.pod.Annotations = restored.apply(written)
		own, ofJob, jobErrs := t.withJob(own)
		result.Errors = append(result.Errors, because(ReasonInvalidAnnotation, jobErrs)...)
		result.Warnings = append(result.Warnings, ofJob...)
		changes, propagationErrs := propagate(own, before, t.pod.Annotations,
			func(key string) bool { return s.writtenInTemplate(t.path, key) }, t.annotations.Path)
		result.Errors = append(result.Errors, because(ReasonInvalidAnnotation, propagationErrs)...)
		result.Warnings = append(result.Warnings, changes.warnings...)
		if s.workload.Immutable && facts.Previous != nil && !s.notStarted && !changes.empty() {
			result.Warnings = append(result.Warnings, warningf(ReasonImmutable, t.at, "the Pod template of %s is immutable, so "+
				"its Pods don't change; delete the %s and create it again", s.existing(), s.kind.Kind))
			continue
		}
		t.foresee(facts, changes, &result)
		changes.operations(&p, t.annotations, t.pod.Annotations)
	}
	if facts.Rules.DynamicDNS {
		for _, problem := range notProgrammed(s.Hosts(), facts.EgressTargets) {
			result.Warnings = append(result.Warnings, Warning{
				ReasonNotProgrammed, problem.Field, "Pods are rejected for now: " + problem.Detail,
			})
		}
	}
	if len(result.Errors) > 0 {
		result.Pods = nil
		return result
	}
	result.Operations = p.operations
	return result
}

// existing names the workload in a message about an immutable template.
func (s *Object) existing() string {
	if s.kind == (schema.GroupKind{Group: "batch", Kind: "Job"}) {
		return "a started Job"
	}
	return "an existing " + s.kind.Kind
}

// checkTemplates rejects a workload whose annotation would be ignored, because it has no Pod
// template.
func (s *Object) checkTemplates() field.ErrorList {
	_, requested := s.metadata.Annotations[egress.AnnotationTarget]
	if len(s.templates) > 0 || !requested {
		return nil
	}
	paths := make([]string, len(s.workload.Templates))
	for n, path := range s.workload.Templates {
		paths[n] = string(path)
	}
	return field.ErrorList{field.Forbidden(field.NewPath("metadata", "annotations").Key(egress.AnnotationTarget),
		fmt.Sprintf("the %s has no Pod template (%s), so the annotation would have no effect; write it in the "+
			"object that has the Pod template", s.kind.Kind, strings.Join(paths, ", ")))}
}

// foresee injects a Pod of the template after the changes, and adds the outcome to result.
func (t *template) foresee(facts Facts, changes propagation, result *Result) {
	pod := t.pod
	pod.Annotations = changes.apply(t.pod.Annotations)
	targets, injected, warnings, errs := facts.inject(&pod, t.at, t.annotations.Path)
	result.Warnings = append(result.Warnings, warnings...)
	if _, judged := pod.Annotations[egress.AnnotationTarget]; len(result.Errors)+len(errs) > 0 && !judged {
		errs = append(errs, checkPod(&pod, t.at)...)
	}
	result.Errors = append(result.Errors, errs...)
	foreseen := PodResult{Annotations: injected.annotated(pod.Annotations), Targets: targets}
	if !t.bare {
		foreseen.Template, foreseen.Operations = t.pointer, injected.operations
	}
	result.Pods = append(result.Pods, foreseen)
}

// withJob returns the annotations to propagate: own, and those of the Job template, which Jobs will
// propagate in any case.
func (t *template) withJob(own map[string]string) (
	all map[string]string, warnings []Warning, errs field.ErrorList,
) {
	if len(t.job) == 0 {
		return own, nil, nil
	}
	_, found, errs := egress.ParseIntent(t.job, t.jobAt)
	if warnings = unknown(found, t.jobAt); len(errs) > 0 {
		return own, warnings, errs
	}
	all = maps.Clone(own)
	if all == nil {
		all = map[string]string{}
	}
	for _, key := range propagated() {
		value, found := t.job[key]
		if !found {
			continue
		}
		if before, twice := own[key]; twice && before != value {
			warnings = append(warnings, warningf(ReasonOverridden, field.NewPath("metadata", "annotations").Key(key),
				"%s takes precedence over the one in the workload's metadata (%q)", t.jobAt.Key(key), egress.Excerpt(before)))
		}
		all[key] = value
	}
	return all, warnings, nil
}

// parseOwn returns the annotations of the workload's own metadata for propagation, or none if any
// is invalid. If only the templates name targets, the Secret annotation is checked there.
func (s *Object) parseOwn() (map[string]string, []Warning, field.ErrorList) {
	_, requested := s.metadata.Annotations[egress.AnnotationTarget]
	requestedInTemplate := slices.ContainsFunc(s.templates, func(t template) bool {
		_, found := t.pod.Annotations[egress.AnnotationTarget]
		return found
	})
	at := field.NewPath("metadata", "annotations")
	_, found, errs := egress.ParseIntent(s.metadata.Annotations, at)
	warnings := unknown(found, at)
	switch {
	case !requested && requestedInTemplate:
		return s.metadata.Annotations, warnings, nil
	case len(errs) > 0:
		return nil, warnings, errs
	}
	return s.metadata.Annotations, warnings, nil
}

// inject parses the annotations of a Pod and injects it. at and annotations are the locations of
// the Pod and of its annotations for messages.
func (f Facts) inject(
	pod *corev1.Pod, at, annotations *field.Path,
) ([]egress.Target, patch, []Warning, field.ErrorList) {
	if err := validation.ValidateAnnotationsSize(pod.Annotations); err != nil {
		return nil, patch{}, nil, because(ReasonInvalidAnnotation,
			field.ErrorList{field.TooLong(annotations, "", validation.TotalAnnotationSizeLimitB)})
	}
	intent, found, errs := egress.ParseIntent(pod.Annotations, annotations)
	warnings := unknown(found, annotations)
	forbidden := notAllowed(f.Namespace, intent.Hosts(), f.Rules, annotations.Key(egress.AnnotationTarget))
	if len(errs) > 0 {
		return nil, patch{}, warnings, slices.Concat(because(ReasonInvalidAnnotation, errs), forbidden,
			checkPod(pod, at))
	}
	if len(intent.Entries) == 0 {
		return nil, patch{}, warnings, nil
	}
	errs = slices.Concat(forbidden, checkPod(pod, at))
	if len(errs) == 0 {
		var warning string
		if warning, errs = f.foreseeInjection(pod, annotations); warning != "" {
			warnings = append(warnings, Warning{
				ReasonInjectionOff, annotations.Key(egress.AnnotationTarget).String(), warning,
			})
		}
	}
	targets, resolveErrs := egress.Resolve(f.Namespace, intent, f.EgressTargets, f.Rules.Cluster.Sinkhole, annotations)
	if errs = append(errs, because(ReasonTargetClash, resolveErrs)...); len(resolveErrs) > 0 {
		return nil, patch{}, warnings, errs
	}
	p, more, injectErrs := inject(pod, targets, f.Injector.Interception, at)
	if errs = append(errs, injectErrs...); len(errs) > 0 {
		return nil, patch{}, warnings, errs
	}
	return targets, p, slices.Concat(warnings, more, serverFirstWarnings(targets, annotations),
		expiryWarnings(targets, f.EgressTargets, annotations), publicCAWarnings(targets, f.EgressTargets, annotations),
		serverCAWarnings(targets, f.EgressTargets, annotations)), nil
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
		r.Warnings[n].Field, r.Warnings[n].Message = egress.Printable(warning.Field), egress.Printable(warning.Message)
	}
	for _, problem := range r.Errors {
		problem.Field, problem.Detail = egress.Printable(problem.Field), egress.Printable(problem.Detail)
	}
	slices.SortStableFunc(r.Warnings, func(a, b Warning) int { return strings.Compare(a.Message, b.Message) })
	r.Warnings = slices.CompactFunc(r.Warnings, func(a, b Warning) bool { return a.Message == b.Message })
	if more := len(r.Warnings) - maxRemarks; more > 0 {
		r.Warnings = append(r.Warnings[:maxRemarks:maxRemarks],
			warningf(ReasonOther, nil, "%d more warnings are not shown", more))
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
