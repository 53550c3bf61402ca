package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/workload"
)

// user is an object that needs the webhook: an injected Pod, or a workload whose next Pod needs
// injection.
type user struct {
	namespace, kind, name string
	// targets are the hosts that it asks for. If the annotation can't be parsed, unparsed is its text.
	targets  []string
	unparsed string
}

const kindPod = "Pod"

// podUser reports whether the Pod needs the webhook.
func podUser(pod *corev1.Pod) (user, bool) {
	// A terminating Pod can still make calls.
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	injected := pod.Labels[egress.LabelInjected] == egress.LabelValue
	found := newUser(pod, kindPod, pod.Annotations[egress.AnnotationTarget])
	// The annotation may have been removed from the running Pod.
	found.targets = podHosts(pod)
	return found, injected && !ended
}

// workloadUser reports whether the workload needs the webhook. Workloads that create no more Pods
// don't: one that is being deleted or has ended, and a revision of another workload's Pod template
// (see mutate.IsRevision), also one that another controller keeps at 0 replicas. The annotations of
// the Pods come before those of the workload, like in admission.
func workloadUser(kind workload.Kind, object *unstructured.Unstructured) (user, bool, error) {
	if object.GetDeletionTimestamp() != nil || isHistory(object) || hasEnded(object) {
		return user{}, false, nil
	}
	encoded, err := object.MarshalJSON()
	if err != nil {
		return user{}, false, fmt.Errorf("reading the %s %s: %w", kind.Kind, object.GetName(), err)
	}
	for _, place := range slices.Concat(kind.PodAnnotations(encoded), kind.JobAnnotations(encoded),
		workload.Path("metadata.annotations").Find(encoded)) {
		if target := place.Child(egress.AnnotationTarget); target.JSON != nil {
			var targets string
			if err := json.Unmarshal(target.JSON, &targets); err != nil {
				return user{}, false, fmt.Errorf("reading %s of the %s %s: %w", place.Path, kind.Kind, object.GetName(), err)
			}
			return newUser(object, kind.Kind, targets), true, nil
		}
	}
	return user{}, false, nil
}

// newUser returns a user with the targets in the text of its annotation, which may be "".
func newUser(object client.Object, kind, annotation string) user {
	found := user{namespace: object.GetNamespace(), kind: kind, name: object.GetName()}
	if annotation == "" {
		return found
	}
	intent, _, errs := egress.ParseIntent(map[string]string{egress.AnnotationTarget: annotation}, nil)
	if found.targets = intent.Hosts(); len(errs) > 0 {
		found.unparsed = annotation
	}
	return found
}

func isHistory(object *unstructured.Unstructured) bool {
	if mutate.IsRevision(object.GroupVersionKind().GroupKind(), object) {
		return true
	}
	replicas, found, err := unstructured.NestedInt64(object.Object, "spec", "replicas")
	return object.GetKind() == "ReplicaSet" && metav1.GetControllerOfNoCopy(object) != nil &&
		found && err == nil && replicas == 0
}

// hasEnded reports whether the workload has ended: the conditions Complete (Job) and Completed
// (JobSet), and Failed, and the phases of Workflows, SparkApplications and Volcano Jobs say so.
func hasEnded(object *unstructured.Unstructured) bool {
	conditions, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	if err == nil && slices.ContainsFunc(conditions, func(condition any) bool {
		fields, _ := condition.(map[string]any)
		return fields["status"] == "True" && slices.Contains([]any{"Complete", "Completed", "Failed"}, fields["type"])
	}) {
		return true
	}
	for _, path := range [][]string{{"phase"}, {"applicationState", "state"}, {"state", "phase"}} {
		phase, found, err := unstructured.NestedString(object.Object, append([]string{"status"}, path...)...)
		if found && err == nil && slices.Contains([]string{"succeeded", "completed", "failed", "error", "aborted",
			"terminated"}, strings.ToLower(phase)) {
			return true
		}
	}
	return false
}

// shownUsers is the maximum number of rows of the table, so that the log of a Job stays readable.
const shownUsers = 20

// userLine is a user in the formats json and yaml.
type userLine struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	// Targets are hosts. Unparsed is the text of an annotation that can't be parsed.
	Targets  []string `json:"targets"`
	Unparsed string   `json:"unparsed,omitempty"`
}

// sortUsers sorts workloads before Pods.
func sortUsers(users []user) {
	isPod := func(u user) int {
		if u.kind == kindPod {
			return 1
		}
		return 0
	}
	slices.SortFunc(users, func(a, b user) int {
		return cmp.Or(cmp.Compare(isPod(a), isPod(b)), strings.Compare(a.namespace, b.namespace),
			strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
	})
}

// usersTable returns at most shown users as a table.
func usersTable(users []user, shown int) string {
	rows := [][]string{{"NAMESPACE", "KIND", "NAME", "TARGETS"}}
	for _, u := range users[:min(len(users), shown)] {
		rows = append(rows, []string{u.namespace, u.kind, u.name, cell(cmp.Or(u.unparsed, listed(u.targets)))})
	}
	text := table(rows)
	if more := len(users) - shown; more > 0 {
		text += fmt.Sprintf("and %d more; -o wide lists all\n", more)
	}
	return text
}

// userLines returns the users for the formats json and yaml.
func userLines(users []user) map[string][]userLine {
	lines := make([]userLine, len(users))
	for n, u := range users {
		lines[n] = userLine{Namespace: u.namespace, Kind: u.kind, Name: u.name, Targets: u.targets, Unparsed: u.unparsed}
		if u.targets == nil {
			lines[n].Targets = []string{}
		}
	}
	return map[string][]userLine{"users": lines}
}

// cell shortens the value of an annotation to fit a row, and removes characters that a terminal
// interprets.
func cell(text string) string {
	const limit = 80
	printed := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.Join(strings.Fields(text), " ")))
	if len(printed) > limit {
		return string(printed[:limit-1]) + "…"
	}
	return string(printed)
}

// inUse returns an error if users is not empty.
func inUse(users []user) error {
	if len(users) == 0 {
		return nil
	}
	pods := 0
	for _, u := range users {
		if u.kind == kindPod {
			pods++
		}
	}
	return fmt.Errorf(
		"the webhook is in use: %s and %s request mutual TLS. Without the webhook and its policies, their next Pods "+
			"would call in plain text. "+
			"Remove the annotation %s from the workloads and wait until their Pods are gone, then uninstall again. "+
			"helm uninstall --no-hooks skips this check. "+
			"helm rollback to the last revision (helm list --all) keeps the release",
		egress.Counted(len(users)-pods, "workload"), egress.Counted(pods, "Pod"), egress.AnnotationTarget)
}
