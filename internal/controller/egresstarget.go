package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
	"mtls.egress/webhook/internal/issuance"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/policy/lookup"
	"mtls.egress/webhook/internal/target"
)

// EgressTargetReconciler keeps one host of one namespace as its Pods, its EgressTarget and its Secrets ask: the EgressTarget
// itself, the Istio objects, and the status. A request is the namespace and name of an EgressTarget, whether it exists or not.
type EgressTargetReconciler struct {
	// cache holds what CacheOptions lets in.
	cache client.Reader
	// pods are those in the cache.
	pods *pods
	// live asks the API server: for Secrets, which are never cached, and for what must be certain before something is removed.
	live client.Reader
	// client writes as FieldManager.
	client client.Client
	events events.EventRecorder
	clock  clock.PassiveClock

	retention time.Duration
	warnings  plan.ExpiryWarnings
	// policy says which hosts all namespaces may reach.
	policy        policy.Cluster
	rootNamespace string
	// meshConfig is that of Options, never nil.
	meshConfig func() mesh.Config

	writer *apply.Writer
	issuer issuance.Issuer
}

// Marks on EgressTargets.
const (
	// FieldManager is the field manager of everything that the controller writes.
	FieldManager = target.ValueManagedBy
	// Finalizer keeps a deleted EgressTarget, and with it its objects, until no Pod of the host is left.
	Finalizer = "mtls.egress/teardown"
)

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
	pods, err := r.pods.of(ctx, key.Namespace, key.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	var egressTarget v1alpha1.EgressTarget
	err = r.cache.Get(ctx, key, &egressTarget)
	if absent.Object(err) {
		return reconcile.Result{}, r.createOnFirstUse(ctx, key, pods)
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("read the EgressTarget: %w", err)
	}
	t := target.FromEgressTarget(key.Namespace, key.Name, &egressTarget)
	demands := plan.DemandsOf(t, pods)
	switch held := controllerutil.ContainsFinalizer(&egressTarget, Finalizer); {
	case !egressTarget.DeletionTimestamp.IsZero() && !held:
		return reconcile.Result{}, nil
	case !egressTarget.DeletionTimestamp.IsZero() && len(demands) == 0:
		return r.release(ctx, &egressTarget)
	case egressTarget.DeletionTimestamp.IsZero() && !held:
		if err := r.hold(ctx, &egressTarget); err != nil {
			return reconcile.Result{}, err
		}
	}
	unusedSince, left := plan.Retention(&egressTarget, len(demands), r.retention, r.clock.Now())
	if unusedSince != nil && left <= 0 && egressTarget.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, r.removeUnused(ctx, &egressTarget)
	}
	result, err := r.keep(ctx, &egressTarget, pods, demands, unusedSince)
	if unusedSince != nil && left > 0 && err == nil {
		result.RequeueAfter = min(result.RequeueAfter, left)
	}
	return result, err
}

// createOnFirstUse makes the EgressTarget that Pods ask for and nobody wrote.
func (r *EgressTargetReconciler) createOnFirstUse(ctx context.Context, key types.NamespacedName, pods []*pod) error {
	port, asked := plan.WantedPort(plan.DemandsOf(target.FromEgressTarget(key.Namespace, key.Name, nil), pods))
	if !asked {
		return nil
	}
	egressTarget := &v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:  key.Namespace,
			Name:       key.Name,
			Labels:     map[string]string{target.LabelManagedBy: target.ValueManagedBy},
			Finalizers: []string{Finalizer},
		},
		Spec: v1alpha1.EgressTargetSpec{Port: port},
	}
	if err := r.client.Create(ctx, egressTarget); err != nil {
		return fmt.Errorf("create the EgressTarget: %w", err)
	}
	r.writer.Versions.Wrote(v1alpha1.Kind, egressTarget, r.clock.Now())
	return nil
}

// hold puts our finalizer on the EgressTarget, before anything is programmed for it.
func (r *EgressTargetReconciler) hold(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	if r.writer.Versions.Behind(v1alpha1.Kind, egressTarget, r.clock.Now()) {
		return apply.ErrCacheBehind
	}
	before := egressTarget.DeepCopy()
	controllerutil.AddFinalizer(egressTarget, Finalizer)
	if err := r.client.Patch(ctx, egressTarget, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("add the finalizer: %w", err)
	}
	r.writer.Versions.Wrote(v1alpha1.Kind, egressTarget, r.clock.Now())
	return nil
}

// release removes the objects of a deleted EgressTarget that no Pod needs, and then lets it go.
func (r *EgressTargetReconciler) release(ctx context.Context, egressTarget *v1alpha1.EgressTarget) (reconcile.Result, error) {
	if used, err := r.usedNow(ctx, egressTarget); err != nil || used {
		return reconcile.Result{RequeueAfter: waitForCache}, err
	}
	siblings, err := r.siblings(ctx, egressTarget)
	if err != nil {
		return reconcile.Result{}, err
	}
	done, err := r.tearDown(ctx, egressTarget, siblings)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !done {
		return reconcile.Result{RequeueAfter: waitForOthers}, nil
	}
	return reconcile.Result{}, r.letGo(ctx, egressTarget)
}

// letGo takes our finalizer off the EgressTarget, if it is there.
func (r *EgressTargetReconciler) letGo(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	before := egressTarget.DeepCopy()
	if !controllerutil.RemoveFinalizer(egressTarget, Finalizer) {
		return nil
	}
	if err := r.client.Patch(ctx, egressTarget, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("remove the finalizer: %w", err)
	}
	return nil
}

// removeUnused deletes an EgressTarget of ours that nobody used for the retention. The finalizer does the rest.
func (r *EgressTargetReconciler) removeUnused(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	if used, err := r.usedNow(ctx, egressTarget); err != nil || used {
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

// usedNow asks the API server for a living Pod of the host: one that the cache doesn't know yet must not lose its objects.
func (r *EgressTargetReconciler) usedNow(ctx context.Context, egressTarget *v1alpha1.EgressTarget) (bool, error) {
	var list corev1.PodList
	err := r.live.List(ctx, &list, client.InNamespace(egressTarget.Namespace), client.MatchingLabels{target.HostLabel(egressTarget.Name): target.LabelValue})
	if err != nil {
		return false, fmt.Errorf("list the Pods of %s: %w", egressTarget.Name, err)
	}
	var pods []*pod
	for i := range list.Items {
		pods = append(pods, keptPod(&list.Items[i], nil))
	}
	return len(plan.DemandsOf(target.FromEgressTarget(egressTarget.Namespace, egressTarget.Name, egressTarget), pods)) > 0, nil
}

// keep programs what the EgressTarget asks for, as far as can be, and writes into its status what was found. What can't
// be read delays neither closing nor the status: a decision to close needs the policy and the conflicts alone.
func (r *EgressTargetReconciler) keep(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, pods []*pod, demands []plan.Demand, unusedSince *metav1.Time,
) (reconcile.Result, error) {
	facts, credentialsErr, readErr := r.facts(ctx, egressTarget, pods, demands)
	facts.UnusedSince = unusedSince
	decided := plan.Decide(facts)
	if readErr != nil && !decided.Closed {
		return reconcile.Result{}, readErr
	}
	taken, again, writeErr := r.writer.Program(ctx, egressTarget, decided, func(ctx context.Context) ([]*unstructured.Unstructured, time.Duration, error) {
		return r.anchorToWrite(ctx, egressTarget)
	})
	if apply.Stale(writeErr) || apierrors.HasStatusCause(writeErr, corev1.NamespaceTerminatingCause) {
		return reconcile.Result{}, writeErr
	}
	status := decided.Status(plan.Written{Taken: taken, Err: writeErr})
	if err := r.writeStatus(ctx, egressTarget, decided, status); err != nil {
		return reconcile.Result{}, err
	}
	look := decided.NextLook(status)
	if again > 0 {
		look = min(look, again)
	}
	return reconcile.Result{RequeueAfter: look}, errors.Join(writeErr, readErr, credentialsErr)
}

// facts reads what a decision about the target depends on. What can't be read is left out. readErr is the error of what
// only a closed plan can do without, credentialsErr of what a check of the credentials tells of already.
func (r *EgressTargetReconciler) facts(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, pods []*pod, demands []plan.Demand,
) (facts plan.Facts, credentialsErr, readErr error) {
	facts = plan.Facts{EgressTarget: egressTarget, Demands: demands, Warnings: r.warnings, Now: r.clock.Now()}
	t := target.FromEgressTarget(egressTarget.Namespace, egressTarget.Name, egressTarget)
	egressTargets, siblingsErr := r.siblings(ctx, egressTarget)
	facts.Siblings = targetsOf(egressTargets)
	t = t.Among(facts.Siblings)
	rules, rulesErr := lookup.Rules(ctx, r.cache, r.live, r.policy, t.Namespace)
	if rulesErr == nil {
		facts.Policy = new(rules.Decide(t.Host))
	}
	var othersErr, standingErr, issueErr error
	facts.Others, othersErr = r.others(ctx, t, pods)
	facts.Standing, standingErr = r.standing(ctx, t)
	facts.Issued, facts.IssuedUnseen, issueErr = r.issuer.Issue(ctx, egressTarget, t)
	facts.Credentials, credentialsErr = r.credentials(ctx, t, plan.SecretsInUse(t, demands), facts.Now)
	return facts, credentialsErr, errors.Join(siblingsErr, rulesErr, othersErr, standingErr, issueErr)
}

// siblings returns the other EgressTargets of the namespace, without those that are going: deleted, with no Pod left.
func (r *EgressTargetReconciler) siblings(ctx context.Context, egressTarget *v1alpha1.EgressTarget) ([]v1alpha1.EgressTarget, error) {
	var list v1alpha1.EgressTargetList
	if err := r.cache.List(ctx, &list, client.InNamespace(egressTarget.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the EgressTargets of %s: %w", egressTarget.Namespace, err)
	}
	var siblings []v1alpha1.EgressTarget
	for _, other := range list.Items {
		if other.Name == egressTarget.Name {
			continue
		}
		if !other.DeletionTimestamp.IsZero() {
			pods, err := r.pods.of(ctx, other.Namespace, other.Name)
			if err != nil {
				return nil, err
			}
			if len(plan.DemandsOf(target.FromEgressTarget(other.Namespace, other.Name, &other), pods)) == 0 {
				continue
			}
		}
		siblings = append(siblings, other)
	}
	return siblings, nil
}

func targetsOf(egressTargets []v1alpha1.EgressTarget) []target.Target {
	targets := make([]target.Target, 0, len(egressTargets))
	for i := range egressTargets {
		each := &egressTargets[i]
		targets = append(targets, target.FromEgressTarget(each.Namespace, each.Name, each))
	}
	return targets
}

// standing returns what the DestinationRule in the cluster presents, nil without one of ours.
func (r *EgressTargetReconciler) standing(ctx context.Context, t target.Target) (found *plan.Standing, err error) {
	destinationRule, err := cachedIstioObject(ctx, r.cache, mesh.KindDestinationRule, t.Namespace, target.ObjectName(t.Host))
	if err != nil || destinationRule == nil || !mesh.OwnedFor(destinationRule, t.Host) {
		return nil, err
	}
	if standing, ok := plan.ReadStanding(destinationRule, t.Host); ok {
		found = &standing
	}
	return found, nil
}

// writeStatus writes the status if it is another than before, and then tells what changed. The write is bound to the
// version that was read, so a change is told once.
func (r *EgressTargetReconciler) writeStatus(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, decided plan.Plan, status v1alpha1.EgressTargetStatus,
) error {
	if equality.Semantic.DeepEqual(egressTarget.Status, status) {
		return nil
	}
	changes := decided.Events(status)
	egressTarget.Status = status
	if err := updateStatus(ctx, r.writer, egressTarget); err != nil {
		return err
	}
	for _, event := range changes {
		record(r.events, egressTarget, event)
	}
	return nil
}

// updateStatus writes the status of an EgressTarget, on the version that it has. That the cache is behind is found here and not before a target is programmed, as what the
// cache knows of others may be a reason to close it.
func updateStatus(ctx context.Context, writer *apply.Writer, egressTarget *v1alpha1.EgressTarget) error {
	if writer.Versions.Behind(v1alpha1.Kind, egressTarget, writer.Clock.Now()) {
		return apply.ErrCacheBehind
	}
	if err := writer.Client.Status().Update(ctx, egressTarget); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	writer.Versions.Wrote(v1alpha1.Kind, egressTarget, writer.Clock.Now())
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
