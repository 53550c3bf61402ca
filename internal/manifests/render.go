package manifests

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	operation "gomodules.xyz/jsonpatch/v2"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/workload"
)

// Options holds information that a cluster would provide.
type Options struct {
	// Namespace is the namespace of objects without one. If "", they keep none.
	Namespace string
	// RootNamespace is the root namespace of the mesh. Defaults to istio-system.
	RootNamespace string
	// Workloads are the kinds of workloads. The zero value means the known ones.
	Workloads workload.Kinds
	// Policy is the cluster-wide policy. The zero value allows no hosts.
	Policy policy.Cluster
	// Now is the time for checking credentials.
	Now time.Time
}

// Output is the result for an input.
type Output struct {
	// Documents are the input in its original order. Workloads and Pods are mutated; all others are
	// unchanged.
	Documents []map[string]any
	// Pods are the mutated Pods of the annotated workloads. They are PodTemplates, so applying the
	// output doesn't start Pods.
	Pods []map[string]any
	// Objects are the Istio objects of the targets, in the order in which the controller writes
	// them.
	Objects []map[string]any
	// Warnings report input that is valid but probably not intended.
	Warnings []Problem
	// Explanations has one sentence per target.
	Explanations []string
}

// key identifies a target.
type key struct{ namespace, host string }

// use is a target with the workloads of the input that use it.
type use struct {
	target egress.Target
	// callers are the objects that call it, by the Secret that they present.
	callers map[string][]Location
	// pods has one Pod per caller.
	pods []*caller
}

// caller is a Pod, or the Pod of a template, after admission.
type caller struct {
	metav1.ObjectMeta

	// address is that of the target's host in the Pod.
	address string
}

// Ended, HasSidecar, ProxyVersion, Owner and Content implement plan.Pod. Whether Istio injects the
// sidecar is not known.
func (*caller) Ended() bool                  { return false }
func (*caller) HasSidecar() bool             { return true }
func (*caller) ProxyVersion() string         { return "" }
func (*caller) Owner() metav1.OwnerReference { return metav1.OwnerReference{} }
func (*caller) Content() any                 { return nil }

// SinkholeAddress implements plan.Pod.
func (c *caller) SinkholeAddress(string) string { return c.address }

// renderer holds the state of one Render call.
type renderer struct {
	options       Options
	kinds         map[schema.GroupKind]workload.Kind
	items         []item
	egressTargets map[string]map[string]*v1alpha1.EgressTarget
	secrets       map[string]secret
	configMaps    map[string]configMap
	namespaces    map[string]policy.Namespace
	validator     *validator
	uses          map[key]*use
	// hosts are the hosts of uses.
	hosts map[string]bool
	// objects are those of the output that aren't encoded yet.
	objects  []mesh.Object
	output   Output
	problems []Problem
}

// Render returns the output for documents, or all problems for which admission or the controller
// would reject them.
func Render(documents []Document, options Options) (*Output, []Problem) {
	r := render(documents, options, (*renderer).asItIs)
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return &r.output, nil
}

// Review is what admission and the controller say of an input.
type Review struct {
	// Refused are the problems for which they would reject it, and Warnings the others.
	Refused, Warnings []Problem
	// Uses are the targets with the Secrets that their Pods present.
	Uses []Use
}

// Use is a target with the names of the Secrets that its Pods present.
type Use struct {
	Target  egress.Target
	Secrets []string
	// Workloads is the number of Pods and Pod templates that ask for the target.
	Workloads int
}

// ReviewOf returns the review of documents. Unlike [Render], it has warnings next to problems, and
// it sees a label that is meant as an annotation as one, next to the problem of the label.
func ReviewOf(documents []Document, options Options) Review {
	r := render(documents, options, func(r *renderer, item item) item { return r.annotated(r.completed(item)) })
	review := Review{Refused: r.problems, Warnings: r.output.Warnings}
	for _, use := range r.sortedUses() {
		t := use.target
		if declared := r.egressTargets[t.Namespace][t.Host]; declared != nil {
			t = egress.FromEgressTarget(t.Namespace, t.Host, declared, r.options.Policy.Sinkhole)
		}
		secrets := slices.Sorted(maps.Keys(plan.SecretsInUse(t, plan.DemandsOf(t, use.pods))))
		review.Uses = append(review.Uses, Use{Target: t, Secrets: secrets, Workloads: len(use.pods)})
	}
	return review
}

// render applies admission and the controller to the documents. Admission sees of each workload
// what seen returns.
func render(documents []Document, options Options, seen func(*renderer, item) item) *renderer {
	if options.Workloads == nil {
		options.Workloads = workload.Known()
	}
	copied, items := open(documents, options.Namespace)
	r := &renderer{
		options:       options,
		kinds:         options.Workloads.ByKind(),
		items:         items,
		egressTargets: map[string]map[string]*v1alpha1.EgressTarget{},
		secrets:       map[string]secret{},
		configMaps:    map[string]configMap{},
		namespaces:    map[string]policy.Namespace{},
		uses:          map[key]*use{},
		hosts:         map[string]bool{},
	}
	r.collect()
	for _, item := range r.items {
		r.unheard(item)
		if _, isWorkload := r.kinds[item.kind.GroupKind()]; isWorkload || mutate.IsPod(item.kind.GroupKind()) {
			r.mutate(seen(r, item))
		}
	}
	r.program()
	r.output.Documents = copied
	return r
}

// asItIs returns the workload itself.
func (*renderer) asItIs(item item) item { return item }

// completed returns the workload with an empty Pod in its template, if it is a part without one,
// such as a patch of kustomize. The API server refuses such an object, so it is not applied alone.
func (r *renderer) completed(item item) item {
	templates := r.kinds[item.kind.GroupKind()].Templates
	_, hasSpec := item.object["spec"]
	builtIn := slices.Contains([]string{"", "apps", "batch"}, item.kind.Group)
	if len(templates) != 1 || hasSpec && !builtIn || strings.Contains(string(templates[0]), workload.Elements) {
		return item
	}
	spec := string(templates[0]) + ".spec"
	if valueAt(item.object, ParsePath(spec)) == nil {
		item.object = runtime.DeepCopyJSON(item.object)
		// It fails below a field of another type, which has a finding of its own.
		_ = unstructured.SetNestedMap(item.object, map[string]any{}, strings.Split(spec, ".")...)
	}
	return item
}

// annotated returns the workload with the annotations that it has as labels. The label is refused,
// and the author sees at once what is refused next.
func (r *renderer) annotated(item item) item {
	places := []string{"metadata"}
	for _, template := range r.kinds[item.kind.GroupKind()].Templates {
		if !strings.Contains(string(template), workload.Elements) {
			places = append(places, string(template)+".metadata")
		}
	}
	for _, place := range places {
		for _, key := range []string{egress.AnnotationTarget, egress.AnnotationSecret} {
			label, isLabel := valueAt(item.object, append(ParsePath(place+".labels"), key)).(string)
			if !isLabel || valueAt(item.object, append(ParsePath(place+".annotations"), key)) != nil {
				continue
			}
			item.object = runtime.DeepCopyJSON(item.object)
			// It fails for annotations of another type, which have a finding of their own.
			_ = unstructured.SetNestedField(item.object, label, append(strings.Split(place, "."), "annotations", key)...)
		}
	}
	return item
}

func (r *renderer) refuse(problem Problem) { r.problems = append(r.problems, problem) }

func (r *renderer) warn(problem Problem) { r.output.Warnings = append(r.output.Warnings, problem) }

// collect decodes the EgressTargets, Secrets, Namespaces and ConfigMaps of the input, which can be
// in any order.
func (r *renderer) collect() {
	for _, item := range r.items {
		switch {
		case item.kind.Group == v1alpha1.Group && item.kind.Kind == v1alpha1.Kind:
			r.collectEgressTarget(item)
		case item.kind.Group == "" && item.kind.Kind == "Secret":
			r.collectSecret(item)
		case item.kind.Group == "" && item.kind.Kind == "Namespace":
			r.collectNamespace(item)
		case item.kind.Group == "" && item.kind.Kind == "ConfigMap":
			r.collectConfigMap(item)
		}
	}
}

func (r *renderer) collectEgressTarget(item item) {
	validator, err := r.egressTargetValidator()
	if err != nil {
		r.refuse(item.problem(ReasonInvalidEgressTarget, nil, err.Error()))
		return
	}
	egressTarget, problems := validator.validate(item)
	for _, problem := range problems {
		refused := item.problem(ReasonInvalidEgressTarget, problem.path, problem.message)
		refused.Field = FieldPath(problem.path)
		r.refuse(refused)
	}
	if len(problems) == 0 {
		r.know(item.namespace(), egressTarget)
	}
}

func (r *renderer) know(namespace string, egressTarget *v1alpha1.EgressTarget) {
	if r.egressTargets[namespace] == nil {
		r.egressTargets[namespace] = map[string]*v1alpha1.EgressTarget{}
	}
	r.egressTargets[namespace][egressTarget.Name] = egressTarget
}

// mutate applies admission to one object.
func (r *renderer) mutate(item item) {
	encoded, err := item.json()
	if err != nil {
		r.refuse(item.problem(ReasonInvalidObject, nil, err.Error()))
		return
	}
	subject, err := mutate.Decode(r.kinds, item.kind.GroupKind(), encoded)
	if err != nil {
		r.refuse(item.problem(ReasonInvalidObject, nil, err.Error()))
		return
	}
	result := subject.Mutate(mutate.Facts{
		Namespace: item.namespace(), EgressTargets: r.egressTargets[item.namespace()], Rules: r.rules(item.namespace()),
	})
	for _, problem := range result.Errors {
		r.refuse(item.admitted(mutate.Reason(problem.Origin), problem.Field, problem.Error()))
	}
	for _, warning := range result.Warnings {
		r.warn(item.admitted(warning.Reason, warning.Field, warning.Message))
	}
	if len(result.Errors) > 0 {
		return
	}
	object, err := patch(item.object, result.Operations)
	if err != nil {
		r.refuse(item.problem(ReasonInvalidObject, nil, err.Error()))
		return
	}
	item.put(object)
	for n, pod := range result.Pods {
		name := item.podName()
		if len(result.Pods) > 1 {
			name += "-" + strconv.Itoa(n)
		}
		if err := r.addPod(item, name, object, pod); err != nil {
			r.refuse(item.problem(ReasonInvalidObject, nil, err.Error()))
			return
		}
		for _, t := range pod.Targets {
			r.call(item, name, t, pod.Annotations)
		}
	}
}

// addPod adds the Pods of a Pod template to the output.
func (r *renderer) addPod(item item, name string, object map[string]any, pod mutate.PodResult) error {
	if len(pod.Operations) == 0 {
		return nil
	}
	template, ok := at(object, pod.Template).(map[string]any)
	if !ok {
		return fmt.Errorf("has no Pod template at %s", pod.Template)
	}
	patched, err := patch(map[string]any{"metadata": template["metadata"], "spec": template["spec"]}, pod.Operations)
	if err != nil {
		return err
	}
	r.output.Pods = append(r.output.Pods, podTemplate(name, item.location.Namespace, patched))
	return nil
}

// call records that the object, whose Pods have these annotations, calls the target. Later objects
// of the namespace see the EgressTarget that the controller would have created by then.
func (r *renderer) call(item item, name string, t egress.Target, annotations map[string]string) {
	id := key{item.namespace(), t.Host}
	if r.uses[id] == nil {
		r.uses[id] = &use{target: t, callers: map[string][]Location{}}
	}
	if !slices.Contains(r.uses[id].callers[t.SecretName], item.location) {
		r.uses[id].callers[t.SecretName] = append(r.uses[id].callers[t.SecretName], item.location)
	}
	r.uses[id].pods = append(r.uses[id].pods, &caller{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}, address: t.Address().String(),
	})
	if r.egressTargets[id.namespace][t.Host] == nil {
		r.know(id.namespace, &v1alpha1.EgressTarget{
			ObjectMeta: metav1.ObjectMeta{
				Name:   t.Host,
				Labels: map[string]string{egress.LabelManagedBy: egress.ValueManagedBy},
			},
			Spec: v1alpha1.EgressTargetSpec{Port: t.Port},
		})
	}
	notePresented(r.egressTargets[id.namespace][t.Host], t.SecretName)
}

// notePresented records in the status that a Pod presents the Secret, as the controller would.
func notePresented(egressTarget *v1alpha1.EgressTarget, secretName string) {
	for n := range egressTarget.Status.Credentials {
		if known := &egressTarget.Status.Credentials[n]; known.SecretName == secretName {
			known.Pods++
			return
		}
	}
	egressTarget.Status.Credentials = append(egressTarget.Status.Credentials,
		v1alpha1.CredentialStatus{SecretName: secretName, Pods: 1})
}

// at returns the value at a JSON pointer (RFC 6901) without escaped characters, or nil.
func at(value any, pointer string) any {
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		switch parent := value.(type) {
		case map[string]any:
			value = parent[token]
		case []any:
			n, err := strconv.Atoi(token)
			if err != nil || n < 0 || n >= len(parent) {
				return nil
			}
			value = parent[n]
		default:
			return nil
		}
	}
	return value
}

// podName is the name of the Pods of a workload in the output.
func (i item) podName() string {
	// A generated name ends before the part that the API server adds.
	return strings.ToLower(i.location.Kind) + "-" + strings.TrimRight(i.location.Name, "-.")
}

func podTemplate(name, namespace string, pod map[string]any) map[string]any {
	metadata := map[string]any{"name": name}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	return map[string]any{"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata, "template": pod}
}

// patch applies operations with the API server's own patch library.
func patch(object map[string]any, operations []operation.Operation) (map[string]any, error) {
	if len(operations) == 0 {
		return object, nil
	}
	encodedPatch, err := json.Marshal(operations)
	if err != nil {
		return nil, err
	}
	decoded, err := jsonpatch.DecodePatch(encodedPatch)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	patched, err := decoded.Apply(encoded)
	if err != nil {
		return nil, err
	}
	var result map[string]any
	return result, json.Unmarshal(patched, &result)
}

// sortedUses returns the targets in the order of namespace and host.
func (r *renderer) sortedUses() []*use {
	ids := slices.SortedFunc(maps.Keys(r.uses), func(a, b key) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.host, b.host))
	})
	uses := make([]*use, len(ids))
	for n, id := range ids {
		uses[n] = r.uses[id]
	}
	return uses
}
