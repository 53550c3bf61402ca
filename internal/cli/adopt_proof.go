package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/adopt"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
)

// begin counts the failed calls from now on.
func (a *adoption) begin(ctx context.Context) error {
	pods, err := a.pods(ctx, a.selectors)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if !isRunning(&pod) {
			continue
		}
		failures, err := a.failures(ctx, &pod)
		if err != nil {
			return err
		}
		a.failed[string(pod.UID)] = failures
	}
	return nil
}

// checkCalls returns an error if a call failed since the last look. A Pod that ends meanwhile has
// no answer, and can't be asked again.
func (a *adoption) checkCalls(ctx context.Context) error {
	pods, err := a.pods(ctx, a.selectors)
	if err != nil {
		return err
	}
	var problems []error
	for _, pod := range pods {
		if !isRunning(&pod) || pod.DeletionTimestamp != nil {
			continue
		}
		failures, err := a.failures(ctx, &pod)
		if err != nil {
			continue // the proof says so, if it lasts
		}
		if before := a.failed[string(pod.UID)]; failures > before {
			problems = append(problems, fmt.Errorf("%s of the Pod %s to %s failed",
				egress.Counted(failures-before, "call"), pod.Name, a.host))
		}
	}
	return errors.Join(problems...)
}

func (a *adoption) failures(ctx context.Context, pod *corev1.Pod) (uint64, error) {
	calls, err := a.sidecar(pod).Calls(ctx, a.host, egress.MeshHost(a.host))
	return calls.Failed, err
}

// checkOthers returns an error if a Pod of another workload calls the host by the hand-written
// objects: it would lose them.
func (a *adoption) checkOthers(ctx context.Context) error {
	list := &corev1.PodList{}
	if err := a.List(ctx, list, client.InNamespace(a.namespace)); err != nil {
		return fmt.Errorf("listing the Pods: %w", err)
	}
	var problems []error
	for _, pod := range list.Items {
		if !isRunning(&pod) || isTaken(&pod, a.host) || isSelected(&pod, a.selectors) {
			continue
		}
		calls, err := a.sidecar(&pod).Calls(ctx, a.host)
		switch {
		case err != nil:
			problems = append(problems, err)
		case calls.Total > 0:
			problems = append(problems, notFine(fmt.Errorf("the Pod %s has called %s %s by the hand-written objects, "+
				"and is not among those that are taken over; annotate its workload with %s: %s first, or wait until the Pod "+
				"ends", pod.Name, a.host, egress.Counted(calls.Total, "time"), egress.AnnotationTarget, a.host)))
		}
	}
	return errors.Join(problems...)
}

// prove returns what is missing for the proof.
func (a *adoption) prove(ctx context.Context, action adopt.Action) error {
	switch action.Proof {
	case adopt.Nothing:
		return nil
	case adopt.Open, adopt.Closed:
		return errors.Join(a.proveTarget(ctx, action.Proof == adopt.Closed), a.proveCalls(ctx, a.selectors))
	case adopt.Gone:
		return a.proveGone(ctx)
	case adopt.Taken, adopt.Given:
		return a.proveReplaced(ctx, action)
	case adopt.Continued:
		return a.proveCalls(ctx, a.selectors)
	}
	return fmt.Errorf("the proof %q is unknown", action.Proof)
}

// proveTarget checks the conditions of the EgressTarget.
func (a *adoption) proveTarget(ctx context.Context, closed bool) error {
	target := &v1alpha1.EgressTarget{}
	if err := a.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: a.host}, target); err != nil {
		return err
	}
	if target.Status.ObservedGeneration != target.Generation {
		return errors.New("the controller hasn't seen the EgressTarget")
	}
	valid := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionCredentialValid)
	if valid == nil || valid.Status != metav1.ConditionTrue {
		return fmt.Errorf("the condition CredentialValid is %s", described(valid))
	}
	programmed := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionProgrammed)
	switch {
	case programmed == nil:
		return errors.New("the condition Programmed is missing")
	case !closed && programmed.Status != metav1.ConditionTrue:
		return fmt.Errorf("the condition Programmed is %s", described(programmed))
	case closed && (programmed.Reason != plan.ReasonPlaintextPossible ||
		strings.Count(programmed.Message, ", the ") > 0 || !strings.Contains(programmed.Message, mesh.KindVirtualService)):
		return fmt.Errorf("the condition Programmed is %s", described(programmed))
	}
	return nil
}

func described(condition *metav1.Condition) string {
	if condition == nil {
		return "missing"
	}
	return fmt.Sprintf("%s (%s): %s", condition.Status, condition.Reason, condition.Message)
}

// proveGone checks that the EgressTarget and its VirtualService don't exist.
func (a *adoption) proveGone(ctx context.Context) error {
	err := a.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: a.host}, &v1alpha1.EgressTarget{})
	if err == nil {
		return fmt.Errorf("the EgressTarget %s exists", a.host)
	}
	if !absent.Object(err) {
		return err
	}
	return a.proveCalls(ctx, a.selectors)
}

// proveReplaced checks that all Pods of a workload are new and ready. A Pod that ends still calls.
func (a *adoption) proveReplaced(ctx context.Context, action adopt.Action) error {
	workload, err := a.live(ctx, action.Object)
	if err != nil {
		return err
	}
	if err := rolledOut(workload.Object); err != nil {
		return err
	}
	selectors := []map[string]string{action.Pods}
	pods, err := a.pods(ctx, selectors)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		switch taken := isTaken(&pod, a.host); {
		case taken != (action.Proof == adopt.Taken):
			return fmt.Errorf("the Pod %s is not replaced", pod.Name)
		case !isReady(&pod):
			return fmt.Errorf("the Pod %s is not ready", pod.Name)
		}
	}
	return a.proveCalls(ctx, selectors)
}

// rolledOut returns an error while the controller of a workload replaces Pods, if its status says
// so.
func rolledOut(workload map[string]any) error {
	var content struct {
		Metadata struct {
			Generation int64 `json:"generation"`
		} `json:"metadata"`
		Spec struct {
			Replicas *int64 `json:"replicas"`
		} `json:"spec"`
		Status struct {
			ObservedGeneration *int64 `json:"observedGeneration"`
			UpdatedReplicas    int64  `json:"updatedReplicas"`
			ReadyReplicas      int64  `json:"readyReplicas"`
			Replicas           int64  `json:"replicas"`
		} `json:"status"`
	}
	if err := decode(workload, &content); err != nil {
		return nil //nolint:nilerr // for a kind with another status, its Pods decide
	}
	status := content.Status
	switch {
	case status.ObservedGeneration != nil && *status.ObservedGeneration < content.Metadata.Generation:
		return errors.New("the change of the workload isn't observed yet")
	case content.Spec.Replicas != nil && (status.UpdatedReplicas != *content.Spec.Replicas ||
		status.ReadyReplicas != *content.Spec.Replicas || status.Replicas != *content.Spec.Replicas):
		return fmt.Errorf("new Pods: %d of %d; ready Pods: %d", status.UpdatedReplicas, *content.Spec.Replicas,
			status.ReadyReplicas)
	}
	return nil
}

// proveCalls checks where the sidecars lead calls: those of Pods of the target to the target, and
// the others to a cluster of the hand-written objects with a client certificate.
func (a *adoption) proveCalls(ctx context.Context, selectors []map[string]string) error {
	pods, err := a.pods(ctx, selectors)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if !isReady(&pod) || pod.DeletionTimestamp != nil {
			continue
		}
		if err := a.proveSidecar(ctx, &pod); err != nil {
			return err
		}
	}
	return nil
}

func (a *adoption) proveSidecar(ctx context.Context, pod *corev1.Pod) error {
	if !egress.HasSidecar(pod) {
		return fmt.Errorf("the Pod %s has no sidecar", pod.Name)
	}
	sidecar := a.sidecar(pod)
	clusters, err := sidecar.Clusters(ctx, a.host)
	if err != nil {
		return err
	}
	taken := isTaken(pod, a.host)
	isOurs := func(cluster string) bool { return strings.HasSuffix(cluster, "|"+egress.MeshHost(a.host)) }
	clusters = slices.DeleteFunc(clusters, func(cluster string) bool { return cluster == noCluster })
	if len(clusters) == 0 || slices.ContainsFunc(clusters, func(cluster string) bool { return isOurs(cluster) != taken }) {
		return fmt.Errorf("the sidecar of the Pod %s leads calls to %s", pod.Name,
			strings.Join(append(clusters, noCluster)[:max(1, len(clusters))], " and "))
	}
	for _, cluster := range clusters {
		certificate, err := sidecar.Certificate(ctx, cluster)
		if err != nil {
			return err
		}
		if certificate == "" || taken && !strings.Contains(certificate, egress.MountPath(a.host)+"/") {
			return fmt.Errorf("the sidecar of the Pod %s presents %q to %s", pod.Name, certificate, cluster)
		}
	}
	return nil
}

// isTaken reports whether the Pod has the target.
func isTaken(pod *corev1.Pod, host string) bool {
	return pod.Labels[egress.HostLabel(host)] == egress.LabelValue
}

func isRunning(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && egress.HasSidecar(pod)
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
	})
}
