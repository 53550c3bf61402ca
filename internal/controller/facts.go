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
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/issuance"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/policy/lookup"
	"mtls.egress/webhook/internal/target"
)

// factReader reads what the decisions about targets depend on.
type factReader struct {
	cache informers.Cache
	// live asks the API server: for Secrets, which are never cached.
	live     client.Reader
	clock    clock.PassiveClock
	warnings plan.ExpiryWarnings
	// policy says which hosts all namespaces may reach.
	policy        policy.Cluster
	rootNamespace string
	// meshConfig is that of Options, never nil.
	meshConfig func() mesh.Config
	issuer     issuance.Issuer
}

// read reads what a decision about the target depends on. What can't be read is left out. readErr is the error of what
// only a closed plan can do without, credentialsErr of what a check of the credentials tells of already.
func (r *factReader) read(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, pods []*informers.Pod, demands []plan.Demand,
) (facts plan.Facts, credentialsErr, readErr error) {
	facts = plan.Facts{EgressTarget: egressTarget, Demands: demands, Warnings: r.warnings, Now: r.clock.Now()}
	t := target.FromEgressTarget(egressTarget.Namespace, egressTarget.Name, egressTarget)
	egressTargets, siblingsErr := r.siblings(ctx, egressTarget)
	facts.Siblings = targetsOf(egressTargets)
	t = t.Among(facts.Siblings)
	rules, rulesErr := lookup.Rules(ctx, r.cache, nil, r.policy, t.Namespace)
	if rulesErr == nil {
		facts.Policy = new(rules.Decide(t.Host))
	}
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

// siblings returns the other EgressTargets of the namespace, without those that are going: deleted, with no Pod left.
func (r *factReader) siblings(ctx context.Context, egressTarget *v1alpha1.EgressTarget) ([]v1alpha1.EgressTarget, error) {
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
			pods, err := r.cache.Pods.Of(ctx, other.Namespace, other.Name)
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
func (r *factReader) standing(ctx context.Context, t target.Target) (found *plan.Standing, err error) {
	destinationRule, err := r.cache.IstioObject(ctx, mesh.KindDestinationRule, t.Namespace, target.ObjectName(t.Host))
	if err != nil || destinationRule == nil || !mesh.OwnedFor(destinationRule, t.Host) {
		return nil, err
	}
	if standing, ok := plan.ReadStanding(destinationRule, t.Host); ok {
		found = &standing
	}
	return found, nil
}

// credentials reads the Secrets in use, each by name from the API server, and checks them in the order of their names,
// with the CA of the server where a ConfigMap has it. A Secret or ConfigMap that can't be read gives a check that says so,
// and an error, so that it is read again.
func (r *factReader) credentials(
	ctx context.Context, t target.Target, inUse map[string]int32, now time.Time,
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

// anchorOf returns how the anchor of the namespace has to be, with own if it isn't nil, and without any other EgressTarget
// that is going.
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

// appPorts returns the app ports of those members that have Pods: each port more is one on which the sidecars of the whole
// namespace expect HTTP. Where sidecars resolve unknown hosts themselves, the port has to be there before the Pod, so there it
// returns those of all members.
func (r *factReader) appPorts(ctx context.Context, namespace string, members []v1alpha1.EgressTarget) ([]int32, error) {
	var ports []int32
	for i := range members {
		pods, err := r.cache.Pods.Of(ctx, namespace, members[i].Name)
		if err != nil {
			return nil, err
		}
		if r.meshConfig().DynamicDNS || slices.ContainsFunc(pods, func(p *informers.Pod) bool { return !p.Ended() }) {
			ports = append(ports, target.FromEgressTarget(namespace, members[i].Name, &members[i]).AppPort)
		}
	}
	return ports, nil
}
