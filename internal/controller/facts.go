package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/apply"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/issuance"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/policy/lookup"
)

// factReader reads the facts for decisions about targets.
type factReader struct {
	cache informers.Cache
	// live reads from the API server, for Secrets, which are never cached.
	live     client.Reader
	clock    clock.PassiveClock
	warnings plan.ExpiryWarnings
	// policy is the cluster's policy on which hosts all namespaces may reach.
	policy        policy.Cluster
	rootNamespace string
	// meshConfig is Options.MeshConfig, and never nil.
	meshConfig func() mesh.Config
	issuer     issuance.Issuer
}

// read returns the facts for a decision about the target. Facts that can't be read are left out.
// readErr joins the errors of facts that only a closed plan can do without. credentialsErr joins
// errors that the checks of the credentials report already.
func (r *factReader) read(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, pods []*informers.Pod, demands []plan.Demand,
) (facts plan.Facts, credentialsErr, readErr error) {
	facts = plan.Facts{
		EgressTarget: egressTarget, Demands: demands, Sinkhole: r.cache.Sinkhole,
		Warnings: r.warnings, Now: r.clock.Now(),
	}
	t := egress.FromEgressTarget(egressTarget.Namespace, egressTarget.Name, egressTarget, r.cache.Sinkhole)
	egressTargets, siblingsErr := r.siblings(ctx, egressTarget)
	facts.Siblings = targetsOf(egressTargets, r.cache.Sinkhole)
	t = t.Among(facts.Siblings)
	rules, rulesErr := lookup.Rules(ctx, r.cache, nil, r.policy, t.Namespace)
	if rulesErr == nil {
		facts.Policy = new(rules.Decide(t.Host))
	} else {
		rules = policy.Rules{Cluster: r.policy}
	}
	facts.EndpointProblems = rules.EndpointProblems(t.Host, t.Endpoints)
	var othersErr, standingErr, issueErr error
	if facts.MissingKinds = r.cache.Missing(); len(facts.MissingKinds) == 0 {
		facts.Others, othersErr = r.cache.Others(ctx, t, pods, r.rootNamespace)
		facts.Others.Mesh = r.meshConfig()
		facts.Standing, standingErr = r.standing(ctx, t)
	}
	facts.Issued, facts.IssuedUnseen, issueErr = r.issuer.Issue(ctx, egressTarget, t)
	facts.Credentials, credentialsErr = r.credentials(ctx, t, plan.SecretsInUse(t, demands), facts.Now)
	return facts, credentialsErr, errors.Join(siblingsErr, rulesErr, othersErr, standingErr, issueErr)
}

// siblings returns the other EgressTargets of the namespace, without deleted ones that have no
// Pods.
func (r *factReader) siblings(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget,
) ([]v1alpha1.EgressTarget, error) {
	var list v1alpha1.EgressTargetList
	err := r.cache.List(ctx, &list, client.InNamespace(egressTarget.Namespace), client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the EgressTargets of %s: %w", egressTarget.Namespace, err)
	}
	var siblings []v1alpha1.EgressTarget
	for _, other := range list.Items {
		if other.Name == egressTarget.Name {
			continue
		}
		if !other.DeletionTimestamp.IsZero() {
			pods, err := r.cache.Pods.Of(ctx, other.Namespace, other.Name)
			if err != nil {
				return nil, err
			}
			if !anyLive(pods) {
				continue
			}
		}
		siblings = append(siblings, other)
	}
	return siblings, nil
}

// anyLive reports whether one of the Pods still makes calls. See plan.DemandsOf.
func anyLive(pods []*informers.Pod) bool {
	return slices.ContainsFunc(pods, func(pod *informers.Pod) bool { return !pod.Ended() })
}

func targetsOf(egressTargets []v1alpha1.EgressTarget, sinkhole egress.Sinkhole) []egress.Target {
	targets := make([]egress.Target, 0, len(egressTargets))
	for i := range egressTargets {
		each := &egressTargets[i]
		targets = append(targets, egress.FromEgressTarget(each.Namespace, each.Name, each, sinkhole))
	}
	return targets
}

// standing returns the credential that our DestinationRule in the cluster configures, or nil if
// there is none.
func (r *factReader) standing(ctx context.Context, t egress.Target) (found *plan.Standing, err error) {
	destinationRule, err := r.cache.IstioObject(ctx, mesh.KindDestinationRule, t.Namespace, egress.ObjectName(t.Host))
	if err != nil || destinationRule == nil || !mesh.OwnedFor(destinationRule, t.Host) {
		return nil, err
	}
	if standing, ok := plan.ReadStanding(destinationRule, t.Host); ok {
		found = &standing
	}
	return found, nil
}

// credentials reads each Secret in use by name from the API server, and checks them in the order of
// their names. If a ConfigMap has the CA of the server, it checks that too. If a Secret or
// ConfigMap can't be read, the check reports it, and credentials also returns an error, so that the
// reconciliation is retried.
func (r *factReader) credentials(
	ctx context.Context, t egress.Target, inUse map[string]int32, now time.Time,
) ([]plan.CredentialCheck, error) {
	inConfigMap := t.ServerCA.ConfigMap.Name != ""
	var configMap *corev1.ConfigMap
	var configMapErr error
	if inConfigMap {
		configMap, configMapErr = absent.ReadByName[corev1.ConfigMap](ctx, r.live, t.Namespace, t.ServerCA.ConfigMap.Name)
	}
	var checks []plan.CredentialCheck
	errs := []error{configMapErr}
	for _, name := range slices.Sorted(maps.Keys(inUse)) {
		secret, err := absent.ReadByName[corev1.Secret](ctx, r.live, t.Namespace, name)
		if err = cmp.Or(err, configMapErr); err != nil {
			errs = append(errs, err)
			checks = append(checks, plan.Unreadable(name, inUse[name], err))
			continue
		}
		check := plan.CheckCredential(t, name, inUse[name], secret, now)
		if inConfigMap {
			check = check.WithServerCA(t, configMap, now)
		}
		checks = append(checks, check)
	}
	return checks, errors.Join(errs...)
}

// anchorOf returns a function for the desired anchor of the namespace. The anchor includes own if
// it isn't nil, and leaves out other EgressTargets that are being deleted.
func (r *factReader) anchorOf(egressTarget *v1alpha1.EgressTarget, own *v1alpha1.EgressTarget) apply.AnchorOf {
	return func(ctx context.Context, present metav1.Object) (*networkingv1.ServiceEntry, error) {
		siblings, err := r.siblings(ctx, egressTarget)
		if err != nil {
			return nil, err
		}
		members := plan.AnchorMembers(own, siblings, present)
		if len(members) == 0 {
			return nil, nil
		}
		ports, err := r.appPorts(ctx, egressTarget.Namespace, members)
		if err != nil {
			return nil, err
		}
		return plan.Anchor(egressTarget.Namespace, ports, members, present), nil
	}
}

// appPorts returns the app ports of the members that have Pods, because the sidecars of the whole
// namespace expect HTTP on each additional port. If sidecars resolve unknown hosts themselves, the
// port must exist before the Pod, so it returns the ports of all members.
func (r *factReader) appPorts(
	ctx context.Context, namespace string, members []*v1alpha1.EgressTarget,
) ([]int32, error) {
	var ports []int32
	for _, member := range members {
		pods, err := r.cache.Pods.Of(ctx, namespace, member.Name)
		if err != nil {
			return nil, err
		}
		if r.meshConfig().DynamicDNS || anyLive(pods) {
			ports = append(ports, egress.FromEgressTarget(namespace, member.Name, member, r.cache.Sinkhole).AppPort)
		}
	}
	return ports, nil
}
