package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mutate"
)

// user is an object that needs the webhook: an injected Pod, or a workload whose next Pod needs
// injection.
type user struct {
	namespace, kind, name string
	// targets are the requested targets, as in the annotation.
	targets string
}

const kindPod = "Pod"

// userOf reports whether the object, a Pod or a workload from a typed list, needs the webhook.
// Workloads that create no more Pods don't: one that is being deleted, a finished Job, a ReplicaSet
// that a Deployment controls, or one that another controller keeps at 0 replicas as its history.
func userOf(object client.Object) (user, bool) {
	switch object := object.(type) {
	case *corev1.Pod:
		// A terminating Pod can still make calls.
		ended := object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed
		injected := object.Labels[egress.LabelInjected] == egress.LabelValue
		return newUser(object, kindPod, podTargets(object)), injected && !ended
	case *appsv1.Deployment:
		return workloadUser(object, "Deployment", object.Spec.Template.Annotations)
	case *appsv1.StatefulSet:
		return workloadUser(object, "StatefulSet", object.Spec.Template.Annotations)
	case *appsv1.DaemonSet:
		return workloadUser(object, "DaemonSet", object.Spec.Template.Annotations)
	case *appsv1.ReplicaSet:
		if isHistory(object) {
			return user{}, false
		}
		return workloadUser(object, "ReplicaSet", object.Spec.Template.Annotations)
	case *batchv1.Job:
		if hasEnded(object) {
			return user{}, false
		}
		return workloadUser(object, "Job", object.Spec.Template.Annotations)
	case *batchv1.CronJob:
		template := object.Spec.JobTemplate
		return workloadUser(object, "CronJob", template.Spec.Template.Annotations, template.Annotations)
	}
	return user{}, false
}

func newUser(object client.Object, kind, targets string) user {
	return user{namespace: object.GetNamespace(), kind: kind, name: object.GetName(), targets: targets}
}

// workloadUser reads the annotations of the Pod template before those of the workload, like
// admission.
func workloadUser(workload client.Object, kind string, templates ...map[string]string) (user, bool) {
	if !workload.GetDeletionTimestamp().IsZero() {
		return user{}, false
	}
	for _, annotations := range append(templates, workload.GetAnnotations()) {
		if targets, asks := annotations[egress.AnnotationTarget]; asks {
			return newUser(workload, kind, targets), true
		}
	}
	return user{}, false
}

// podTargets returns the targets in the annotation or, if it was removed from the running Pod, in
// the labels.
func podTargets(pod *corev1.Pod) string {
	if targets, asks := pod.Annotations[egress.AnnotationTarget]; asks {
		return targets
	}
	var hosts []string
	for label := range pod.Labels {
		if host, found := strings.CutPrefix(label, egress.LabelHostPrefix); found {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return strings.Join(hosts, ",")
}

func isHistory(replicaSet *appsv1.ReplicaSet) bool {
	controlled := metav1.GetControllerOfNoCopy(replicaSet) != nil
	return mutate.MadeByDeployment(replicaSet) ||
		controlled && replicaSet.Spec.Replicas != nil && *replicaSet.Spec.Replicas == 0
}

func hasEnded(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(condition batchv1.JobCondition) bool {
		return (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobFailed) &&
			condition.Status == corev1.ConditionTrue
	})
}

// shownUsers is the maximum number of rows of the table.
const shownUsers = 20

// writeUsers writes users as a table, with workloads before Pods.
func writeUsers(w io.Writer, users []user) error {
	users = slices.Clone(users)
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
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	rows := [][]string{{"NAMESPACE", "KIND", "NAME", "TARGETS"}}
	for _, u := range users[:min(len(users), shownUsers)] {
		rows = append(rows, []string{u.namespace, u.kind, u.name, cell(u.targets)})
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(table, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if more := len(users) - shownUsers; more > 0 {
		fmt.Fprintf(&text, "and %d more\n", more)
	}
	_, err := io.WriteString(w, text.String())
	return err
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
		counted(len(users)-pods, "workload"), counted(pods, "Pod"), egress.AnnotationTarget)
}

func counted(number int, noun string) string {
	if number == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", number, noun)
}
