package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/explain"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/workload"
)

// Subject is what the user asks about. One of the fields is set.
type Subject struct {
	// Pod is the name of a Pod, and Host that of an EgressTarget.
	Pod, Host string
	// Workload is the name of a workload of the kind in Resource, as in workload.Kinds.
	Workload, Resource string
}

// shortNames are the names of kinds that kubectl knows too.
func shortNames() map[string]string {
	return map[string]string{
		"deploy": "deployments.apps", "sts": "statefulsets.apps", "ds": "daemonsets.apps", "rs": "replicasets.apps",
		"rc": "replicationcontrollers", "cj": "cronjobs.batch", "ksvc": "services.serving.knative.dev",
	}
}

// ParseSubject parses POD, pod/NAME, KIND/NAME or egt/HOST.
func ParseSubject(argument string, kinds workload.Kinds) (Subject, error) {
	kind, name, typed := strings.Cut(argument, "/")
	kind = strings.ToLower(kind)
	switch {
	case !typed:
		return Subject{Pod: argument}, nil
	case name == "" || strings.Contains(name, "/"):
		return Subject{}, fmt.Errorf("%q is not POD, KIND/NAME or egt/HOST", argument)
	case slices.Contains([]string{"pod", "pods", "po"}, kind):
		return Subject{Pod: name}, nil
	case slices.Contains([]string{"egt", "egresstarget", "egresstargets", "egresstargets.mtls.egress"}, kind):
		host, err := egress.NormalizeHost(name)
		if err != nil {
			return Subject{}, fmt.Errorf("egt/%s: %w", name, err)
		}
		return Subject{Host: host}, nil
	}
	for _, resource := range slices.Sorted(maps.Keys(kinds)) {
		if slices.Contains(namesOf(resource, kinds[resource].Kind), kind) || shortNames()[kind] == resource {
			return Subject{Workload: name, Resource: resource}, nil
		}
	}
	return Subject{}, fmt.Errorf("%q is not a kind that creates Pods; write pod/NAME, a kind such as deploy/NAME, or "+
		"egt/HOST",
		kind)
}

// namesOf returns the names by which users call a kind. A kind that shares its name with one of
// Kubernetes that creates no Pods, such as Knative's Service, has only the name with its group.
func namesOf(resource, kind string) []string {
	plural, _, _ := strings.Cut(resource, ".")
	if plural == "services" {
		return []string{resource}
	}
	return []string{resource, plural, strings.ToLower(kind)}
}

// resolve reads the workload and its Pods. A Pod's own workload is read too.
func (r *Reader) resolve(ctx context.Context, subject Subject) (found *explain.Workload, pods []corev1.Pod, err error) {
	switch {
	case subject.Pod != "":
		pod := &corev1.Pod{}
		there, err := absent.Read(ctx, r.Client, "Pod", r.Namespace, subject.Pod, pod)
		if err != nil {
			return nil, nil, r.forbidden(err, "get", "pods")
		}
		if !there {
			return nil, nil, fmt.Errorf("the namespace %s has no Pod %s", r.Namespace, subject.Pod)
		}
		return r.ownerOf(ctx, pod), []corev1.Pod{*pod}, nil
	case subject.Host != "":
		pods, err := r.pods(ctx, client.HasLabels{egress.HostLabel(subject.Host)})
		if err != nil || len(pods) == 0 {
			return nil, nil, err
		}
		return r.ownerOf(ctx, &pods[0]), pods, nil
	}
	content, err := r.workload(ctx, subject.Resource, subject.Workload)
	if err != nil {
		return nil, nil, err
	}
	all, err := r.pods(ctx)
	if err != nil {
		return nil, nil, err
	}
	found = r.describe(subject.Resource, content)
	pods = slices.DeleteFunc(all, func(pod corev1.Pod) bool {
		owner := informers.NewPod(&pod, egress.Sinkhole{}).Owner()
		return !ownedBy(owner, found)
	})
	return found, pods, nil
}

// ownedBy reports whether a Pod's owner is the workload. The Jobs of a CronJob have its name and a
// number.
func ownedBy(owner metav1.OwnerReference, w *explain.Workload) bool {
	if owner.Kind == w.Kind && owner.Name == w.Name {
		return true
	}
	number, found := strings.CutPrefix(owner.Name, w.Name+"-")
	return w.Kind == "CronJob" && owner.Kind == "Job" && found && strings.Trim(number, "0123456789") == ""
}

// pods returns the Pods of the namespace that aren't being deleted, the newest first.
func (r *Reader) pods(ctx context.Context, options ...client.ListOption) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, append(options, client.InNamespace(r.Namespace))...); err != nil {
		return nil, r.forbidden(err, "list", "pods")
	}
	live := slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil })
	slices.SortFunc(live, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	return live, nil
}

// workload reads an object of a resource of workload.Kinds.
func (r *Reader) workload(ctx context.Context, resource, name string) (*unstructured.Unstructured, error) {
	group := schema.ParseGroupResource(resource)
	mapping, err := r.Client.RESTMapper().RESTMapping(schema.GroupKind{Group: group.Group, Kind: r.Kinds[resource].Kind})
	if err != nil {
		return nil, fmt.Errorf("looking for the kind %s: %w", resource, err)
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(mapping.GroupVersionKind)
	there, err := absent.Read(ctx, r.Client, r.Kinds[resource].Kind, r.Namespace, name, object)
	if err != nil {
		return nil, r.forbidden(err, "get", resource)
	}
	if !there {
		return nil, fmt.Errorf("the namespace %s has no %s %s", r.Namespace, r.Kinds[resource].Kind, name)
	}
	return object, nil
}

// describe returns the workload with the annotations of its first Pod template.
func (r *Reader) describe(resource string, object *unstructured.Unstructured) *explain.Workload {
	kind := r.Kinds[resource]
	r.collect("workload.json", object)
	w := &explain.Workload{
		Kind: kind.Kind, Name: object.GetName(), Annotations: object.GetAnnotations(), Labels: object.GetLabels(),
	}
	for _, path := range kind.Templates {
		if strings.Contains(string(path), workload.Elements) {
			continue
		}
		annotations, _, err := unstructured.NestedStringMap(object.Object,
			append(strings.Split(string(path), "."), "metadata", "annotations")...)
		if err == nil && w.Template == nil {
			w.Template = annotations
		}
	}
	if replicas, found, err := unstructured.NestedInt64(object.Object, "spec", "replicas"); found && err == nil {
		w.Replicas = &replicas
	}
	return w
}

// ownerOf reads the workload of a Pod, or returns nil if the user may read none.
func (r *Reader) ownerOf(ctx context.Context, pod *corev1.Pod) *explain.Workload {
	owner := informers.NewPod(pod, egress.Sinkhole{}).Owner()
	if owner.Name == "" {
		return nil
	}
	group := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).Group
	for _, resource := range slices.Sorted(maps.Keys(r.Kinds)) {
		if r.Kinds[resource].Kind != owner.Kind || schema.ParseGroupResource(resource).Group != group {
			continue
		}
		content, err := r.workload(ctx, resource, owner.Name)
		if err == nil {
			return r.describe(resource, content)
		}
		if errors.Is(err, context.Canceled) {
			return nil
		}
		r.miss(explain.SourceWorkload, err)
	}
	return &explain.Workload{Kind: owner.Kind, Name: owner.Name}
}

// choose returns the Pod to explain: the newest one of those that fail earliest on their way.
func choose(pods []corev1.Pod, host string) *corev1.Pod {
	var chosen *corev1.Pod
	least := 0
	for i := range pods {
		if rank := progress(&pods[i], host); chosen == nil || rank < least {
			chosen, least = &pods[i], rank
		}
	}
	return chosen
}

// progress returns how far a Pod is: asked, injected, with a sidecar, ready.
func progress(pod *corev1.Pod, host string) (steps int) {
	ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	_, asks := pod.Annotations[egress.AnnotationTarget]
	injected := pod.Labels[egress.LabelInjected] == egress.LabelValue &&
		(host == "" || pod.Labels[egress.HostLabel(host)] == egress.LabelValue)
	for _, done := range []bool{asks, injected, egress.HasSidecar(pod), ready} {
		if !done {
			return steps
		}
		steps++
	}
	return steps
}
