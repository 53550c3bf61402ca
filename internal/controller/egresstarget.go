package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// EgressTargetReconciler reconciles one host of one namespace with what its Pods, its EgressTarget
// and its Secrets ask for: the EgressTarget itself, the Istio objects, and the status. A request is
// the namespace and name of an EgressTarget, whether it exists or not.
type EgressTargetReconciler struct {
	facts *factReader
	// live asks the API server: for what must be certain before something is removed.
	live client.Reader
	// client writes as FieldManager.
	client client.Client
	writer *apply.Writer
	events events.EventRecorder
	clock  clock.PassiveClock
	// retention is that of Options.TargetRetention.
	retention time.Duration
}

// FieldManager is the field manager of everything that the controller writes.
const FieldManager = egress.ValueManagedBy

// How long to wait where no event is certain to come.
const (
	// waitForCache is for writes that were refused because the cache was behind.
	waitForCache = time.Second
	// waitForOthers is for objects that are held back by somebody else's finalizer.
	waitForOthers = 5 * time.Second
)

// Reconcile brings one host of one namespace up to date.
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
		return reconcile.Result{}, r.createOnFirstUse(ctx, key, pods)
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("read the EgressTarget: %w", err)
	}
	t := egress.FromEgressTarget(key.Namespace, key.Name, &egressTarget)
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

// createOnFirstUse creates the EgressTarget that Pods ask for and no user wrote.
func (r *EgressTargetReconciler) createOnFirstUse(ctx context.Context, key types.NamespacedName, pods []*informers.Pod) error {
	port, asked := plan.WantedPort(plan.DemandsOf(egress.FromEgressTarget(key.Namespace, key.Name, nil), pods))
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

// addFinalizer adds our finalizer to the EgressTarget, before anything is programmed for it.
func (r *EgressTargetReconciler) addFinalizer(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	before := egressTarget.DeepCopy()
	controllerutil.AddFinalizer(egressTarget, egress.Finalizer)
	if err := r.client.Patch(ctx, egressTarget, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("add the finalizer: %w", err)
	}
	return nil
}

// finalize removes the objects of a deleted EgressTarget that no Pod needs, and then our finalizer.
func (r *EgressTargetReconciler) finalize(ctx context.Context, egressTarget *v1alpha1.EgressTarget) (reconcile.Result, error) {
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

// removeFinalizer takes our finalizer off the EgressTarget, if it is there.
func removeFinalizer(ctx context.Context, c client.Client, egressTarget *v1alpha1.EgressTarget) error {
	before := egressTarget.DeepCopy()
	if !controllerutil.RemoveFinalizer(egressTarget, egress.Finalizer) {
		return nil
	}
	if err := c.Patch(ctx, egressTarget, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("remove the finalizer: %w", err)
	}
	return nil
}

// removeUnused deletes an EgressTarget that the controller created and no Pod used for the
// retention.
func (r *EgressTargetReconciler) removeUnused(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	if inUse, err := used(ctx, r.live, egressTarget); err != nil || inUse {
		return err
	}
	err := r.client.Delete(ctx, egressTarget, client.Preconditions{UID: new(egressTarget.UID), ResourceVersion: new(egressTarget.ResourceVersion)})
	if err != nil {
		return fmt.Errorf("delete the unused EgressTarget: %w", err)
	}
	record(r.events, egressTarget, plan.Event{
		Type: corev1.EventTypeNormal, Reason: "Unused", Action: "Remove", Note: "no Pod asked for the host for " + r.retention.String(),
	})
	return nil
}

// used asks the API server whether a running Pod has the target: one that the cache doesn't know
// yet must not lose its objects.
func used(ctx context.Context, live client.Reader, egressTarget *v1alpha1.EgressTarget) (bool, error) {
	var list corev1.PodList
	withTarget := client.MatchingLabels{egress.HostLabel(egressTarget.Name): egress.LabelValue}
	if err := live.List(ctx, &list, client.InNamespace(egressTarget.Namespace), withTarget); err != nil {
		return false, fmt.Errorf("list the Pods of %s: %w", egressTarget.Name, err)
	}
	var pods []*informers.Pod
	for i := range list.Items {
		pods = append(pods, informers.NewPod(&list.Items[i]))
	}
	t := egress.FromEgressTarget(egressTarget.Namespace, egressTarget.Name, egressTarget)
	return len(plan.DemandsOf(t, pods)) > 0, nil
}

// reconcileTarget programs what the EgressTarget asks for, as far as possible, and writes the
// status. Facts that can't be read delay neither closing nor the status: a decision to close needs
// the policy and the conflicts alone.
func (r *EgressTargetReconciler) reconcileTarget(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, pods []*informers.Pod, demands []plan.Demand, unusedSince *metav1.Time,
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
	return reconcile.Result{RequeueAfter: decided.NextLook(status)}, errors.Join(writeErr, readErr, credentialsErr)
}

// writeStatus writes the status if it differs from the present one, without the condition of the
// other writer, and raises the events of what changed. The write is bound to the version that was
// read, so an event is raised once.
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

// record raises an event. The Secret is its related object
// (https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/).
func record(recorder events.EventRecorder, egressTarget *v1alpha1.EgressTarget, event plan.Event) {
	var related runtime.Object
	if event.SecretName != "" {
		related = &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Namespace: egressTarget.Namespace, Name: event.SecretName},
		}
	}
	recorder.Eventf(egressTarget, related, event.Type, event.Reason, event.Action, "%s", plan.Shorten(event.Note, plan.MaxEventNote))
}
