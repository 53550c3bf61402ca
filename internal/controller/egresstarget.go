package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/apply"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/plan"
)

// EgressTargetReconciler reconciles one host of one namespace: the EgressTarget itself, the Istio
// objects, and the status. Its inputs are the Pods, the EgressTarget and the Secrets. A request is
// the namespace and name of an EgressTarget that may not exist.
type EgressTargetReconciler struct {
	facts *factReader
	// live reads from the API server, for facts that must be current before a deletion.
	live client.Reader
	// client writes with the field manager FieldManager.
	client client.Client
	writer *apply.Writer
	events events.EventRecorder
	// workloads records events on the workloads of Pods. told remembers which have one.
	workloads *workloadEvents
	told      told
	clock     clock.PassiveClock
	// retention is Options.TargetRetention.
	retention time.Duration
}

// FieldManager is the field manager of everything that the controller writes.
const FieldManager = egress.ValueManagedBy

// Requeue delays for cases in which no event is certain.
const (
	// waitForCache is for writes that failed because the cache was stale.
	waitForCache = time.Second
	// waitForOthers is for objects whose deletion a finalizer of another owner delays.
	waitForOthers = 5 * time.Second
)

// Reconcile reconciles one host of one namespace.
func (r *EgressTargetReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	result, err := r.reconcile(ctx, request.NamespacedName)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return reconcile.Result{}, nil
	case apply.Stale(err):
		return reconcile.Result{RequeueAfter: waitForCache}, nil
	}
	return result, err
}

func (r *EgressTargetReconciler) reconcile(ctx context.Context, key types.NamespacedName) (reconcile.Result, error) {
	pods, err := r.facts.cache.Pods.Of(ctx, key.Namespace, key.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	var egressTarget v1alpha1.EgressTarget
	err = r.facts.cache.Get(ctx, key, &egressTarget)
	if absent.Object(err) {
		r.told.set(key, nil)
		return reconcile.Result{}, r.createOnFirstUse(ctx, key, pods)
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("read the EgressTarget: %w", err)
	}
	t := egress.FromEgressTarget(key.Namespace, key.Name, &egressTarget, r.facts.cache.Sinkhole)
	demands := plan.DemandsOf(t, pods)
	switch protected := controllerutil.ContainsFinalizer(&egressTarget, egress.Finalizer); {
	case !egressTarget.DeletionTimestamp.IsZero() && !protected:
		return reconcile.Result{}, nil
	case !egressTarget.DeletionTimestamp.IsZero() && len(demands) == 0:
		return r.finalize(ctx, &egressTarget)
	case egressTarget.DeletionTimestamp.IsZero() && !protected:
		if err := r.addFinalizer(ctx, &egressTarget); err != nil {
			return reconcile.Result{}, err
		}
	}
	unusedSince, left := plan.Retention(&egressTarget, len(demands), r.retention, r.clock.Now())
	if unusedSince != nil && left <= 0 && egressTarget.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, r.removeUnused(ctx, &egressTarget)
	}
	result, err := r.reconcileTarget(ctx, &egressTarget, pods, demands, unusedSince)
	if unusedSince != nil && left > 0 && err == nil {
		result.RequeueAfter = min(result.RequeueAfter, left)
	}
	return result, err
}

// createOnFirstUse creates the EgressTarget that Pods ask for, if no user created it.
func (r *EgressTargetReconciler) createOnFirstUse(
	ctx context.Context, key types.NamespacedName, pods []*informers.Pod,
) error {
	port, asked := plan.WantedPort(plan.DemandsOf(egress.Target{Namespace: key.Namespace, Host: key.Name}, pods))
	if !asked {
		return nil
	}
	egressTarget := &v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:  key.Namespace,
			Name:       key.Name,
			Labels:     map[string]string{egress.LabelManagedBy: egress.ValueManagedBy},
			Finalizers: []string{egress.Finalizer},
		},
		Spec: v1alpha1.EgressTargetSpec{Port: port},
	}
	if err := r.client.Create(ctx, egressTarget); err != nil {
		return fmt.Errorf("create the EgressTarget: %w", err)
	}
	return nil
}

// addFinalizer adds our finalizer to the EgressTarget before the controller programs it.
func (r *EgressTargetReconciler) addFinalizer(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	before := egressTarget.DeepCopy()
	controllerutil.AddFinalizer(egressTarget, egress.Finalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.client.Patch(ctx, egressTarget, patch); err != nil {
		return fmt.Errorf("add the finalizer: %w", err)
	}
	return nil
}

// finalize deletes the objects of a deleted EgressTarget without Pods, and then removes our
// finalizer.
func (r *EgressTargetReconciler) finalize(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget,
) (reconcile.Result, error) {
	if inUse, err := used(ctx, r.live, egressTarget); err != nil || inUse {
		return reconcile.Result{RequeueAfter: waitForCache}, err
	}
	done, err := r.writer.RemoveAll(ctx, egressTarget, r.facts.anchorOf(egressTarget, nil))
	if err != nil {
		return reconcile.Result{}, err
	}
	if !done {
		return reconcile.Result{RequeueAfter: waitForOthers}, nil
	}
	return reconcile.Result{}, removeFinalizer(ctx, r.client, egressTarget)
}

// removeFinalizer removes our finalizer from the EgressTarget, if it has it.
func removeFinalizer(ctx context.Context, c client.Client, egressTarget *v1alpha1.EgressTarget) error {
	before := egressTarget.DeepCopy()
	if !controllerutil.RemoveFinalizer(egressTarget, egress.Finalizer) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := c.Patch(ctx, egressTarget, patch); err != nil {
		return fmt.Errorf("remove the finalizer: %w", err)
	}
	return nil
}

// removeUnused deletes an EgressTarget that the controller created, and that no Pod used during the
// retention.
func (r *EgressTargetReconciler) removeUnused(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	if inUse, err := used(ctx, r.live, egressTarget); err != nil || inUse {
		return err
	}
	asRead := client.Preconditions{UID: new(egressTarget.UID), ResourceVersion: new(egressTarget.ResourceVersion)}
	if err := r.client.Delete(ctx, egressTarget, asRead); err != nil {
		return fmt.Errorf("delete the unused EgressTarget: %w", err)
	}
	record(r.events, egressTarget, plan.Event{
		Type: corev1.EventTypeNormal, Reason: "Unused", Action: "Remove",
		Note: "no Pod asked for the host for " + r.retention.String(),
	})
	return nil
}

// used reports whether a running Pod has the target. It reads from the API server, because a Pod
// that is not in the cache yet must not lose its objects.
func used(ctx context.Context, live client.Reader, egressTarget *v1alpha1.EgressTarget) (bool, error) {
	var list corev1.PodList
	withTarget := client.MatchingLabels{egress.HostLabel(egressTarget.Name): egress.LabelValue}
	if err := live.List(ctx, &list, client.InNamespace(egressTarget.Namespace), withTarget); err != nil {
		return false, fmt.Errorf("list the Pods of %s: %w", egressTarget.Name, err)
	}
	return slices.ContainsFunc(list.Items, func(pod corev1.Pod) bool {
		return !informers.NewPod(&pod, egress.Sinkhole{}).Ended()
	}), nil
}

// reconcileTarget programs the EgressTarget and writes the status. Facts that can't be read don't
// delay a decision to close, because the policy and the conflicts are enough for it.
func (r *EgressTargetReconciler) reconcileTarget(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget,
	pods []*informers.Pod, demands []plan.Demand, unusedSince *metav1.Time,
) (reconcile.Result, error) {
	facts, credentialsErr, readErr := r.facts.read(ctx, egressTarget, pods, demands)
	facts.UnusedSince = unusedSince
	decided := plan.Decide(facts)
	if readErr != nil && !decided.Closed {
		return reconcile.Result{}, readErr
	}
	var taken []string
	var writeErr error
	if !decided.Blocked {
		taken, writeErr = r.writer.Program(ctx, egressTarget, decided, r.facts.anchorOf(egressTarget, egressTarget))
	}
	if apply.Stale(writeErr) || apierrors.HasStatusCause(writeErr, corev1.NamespaceTerminatingCause) {
		return reconcile.Result{}, writeErr
	}
	status := decided.Status(plan.Written{Taken: taken, Err: writeErr})
	if err := r.writeStatus(ctx, egressTarget, decided, status); err != nil {
		return reconcile.Result{}, err
	}
	r.recordOnWorkloads(egressTarget, decided, status)
	return reconcile.Result{RequeueAfter: decided.NextLook(status)}, errors.Join(writeErr, readErr, credentialsErr)
}

// writeStatus writes the status if it changed, without the condition of VerificationReconciler, and
// records the events of the change. The write carries the resource version that was read, so an
// event is recorded only once.
func (r *EgressTargetReconciler) writeStatus(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, decided plan.Plan, status v1alpha1.EgressTargetStatus,
) error {
	if equality.Semantic.DeepEqual(egressTarget.Status, status) {
		return nil
	}
	owned := status
	owned.Conditions = slices.DeleteFunc(slices.Clone(status.Conditions), func(condition metav1.Condition) bool {
		return condition.Type == v1alpha1.ConditionVerified
	})
	if err := apply.Status(ctx, r.client, egressTarget, owned, FieldManager); err != nil {
		return err
	}
	for _, event := range decided.Events(status) {
		record(r.events, egressTarget, event)
	}
	return nil
}

// recordOnWorkloads records the problems of a target on the workloads of its Pods.
func (r *EgressTargetReconciler) recordOnWorkloads(
	egressTarget *v1alpha1.EgressTarget, decided plan.Plan, status v1alpha1.EgressTargetStatus,
) {
	key := client.ObjectKeyFromObject(egressTarget)
	before := r.told.of(key)
	if before == nil {
		before = decided.ToldBefore()
	}
	events, now := decided.WorkloadEvents(status, before)
	r.told.set(key, now)
	related := &corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.Kind,
		Namespace: key.Namespace, Name: key.Name, UID: egressTarget.UID,
	}
	for _, event := range events {
		r.workloads.add(workloadEvent{namespace: key.Namespace, WorkloadEvent: event, related: related})
	}
}

// told remembers the workloads that know the problem of a target. The zero value is ready to use.
type told struct {
	mutex   sync.Mutex
	targets map[types.NamespacedName]plan.Told
}

// of returns nil for targets without a problem, and for all targets after a start.
func (t *told) of(target types.NamespacedName) plan.Told {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.targets[target]
}

func (t *told) set(target types.NamespacedName, now plan.Told) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if now == nil {
		delete(t.targets, target)
		return
	}
	if t.targets == nil {
		t.targets = map[types.NamespacedName]plan.Told{}
	}
	t.targets[target] = now
}

// record records an event. The Secret is its related object
// (https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/).
func record(recorder events.EventRecorder, egressTarget *v1alpha1.EgressTarget, event plan.Event) {
	var related runtime.Object
	if event.SecretName != "" {
		related = &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Namespace: egressTarget.Namespace, Name: event.SecretName},
		}
	}
	note := plan.Shorten(event.Note, plan.MaxEventNote)
	recorder.Eventf(egressTarget, related, event.Type, event.Reason, event.Action, "%s", note)
}
