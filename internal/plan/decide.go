package plan

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/policy"
)

// The reasons of the condition Programmed. The API has two more: v1alpha1.ReasonWriteFailed and
// ReasonNameTaken.
const (
	reasonProgrammed        = "Programmed"
	reasonLastGoodKept      = "LastGoodKept"
	reasonDeletionPending   = "DeletionPending"
	reasonPodsOutdated      = "PodsOutdated"
	reasonPortsDiffer       = "PortsDiffer"
	reasonSinkholeCollision = "SinkholeCollision"
	reasonIstioMissing      = "IstioMissing"
	// ReasonCredentialInvalid and ReasonNotAllowed are also reasons of the condition Verified, if the
	// controller makes no handshake.
	ReasonCredentialInvalid = "CredentialInvalid"
	ReasonNotAllowed        = "NotAllowed"
	// ReasonEndpointNotAllowed and ReasonEndpointInvalid are the reasons of a target that its
	// endpoints close. They are reasons of the condition Verified too.
	ReasonEndpointNotAllowed = "EndpointNotAllowed"
	ReasonEndpointInvalid    = "EndpointInvalid"
	// ReasonPlaintextPossible is the reason of a target that an object of others closes.
	ReasonPlaintextPossible = "PlaintextPossible"
)

// The reasons of the condition PodsOutdated.
const (
	reasonServerCANotMounted = "ServerCANotMounted"
	reasonSecretNotMounted   = "SecretNotMounted"
	reasonAddressUnknown     = "AddressUnknown"
	reasonPodsUpToDate       = "PodsUpToDate"
)

// Plan is the decision about one target.
type Plan struct {
	// Target is the target to program. It differs from the EgressTarget where that can't be programmed
	// now.
	Target egress.Target
	// Layout is empty if it is unknown, which only happens in a closed plan.
	Layout egress.Layout
	// Closed reports whether to write mesh.Closed in place of mesh.Objects: calls fail in the sidecar.
	Closed bool
	// Blocked reports whether nothing can be written because the API server doesn't serve Istio's
	// kinds.
	Blocked bool
	// Programmed is the condition Programmed once the objects are in sync.
	Programmed Condition
	// Conflicts are the conflicting objects that this controller does not own.
	Conflicts []mesh.Conflict

	facts    Facts
	outdated Condition
}

// Decide returns the plan for a target.
func Decide(facts Facts) Plan {
	egressTarget := facts.EgressTarget
	asked := egress.FromEgressTarget(egressTarget.Namespace, egressTarget.Name, egressTarget, facts.Sinkhole).
		Apart(facts.Siblings)
	asked = asked.AlsoAt(addressesOfPods(asked, facts.Demands)).Among(facts.Siblings)
	facts.Credentials = slices.Clone(facts.Credentials)
	for i, c := range facts.Credentials {
		if c.Credential != nil {
			facts.Credentials[i].endsWithin = facts.Warnings.within(c.expiry(), facts.Now)
		}
		if c.ServerCA != nil {
			facts.Credentials[i].caEndsWithin = facts.Warnings.within(expiryOf(c.ServerCA), facts.Now)
		}
	}
	p := withoutConflicts(asked, facts)
	p.Conflicts = mesh.Conflicts(asked, facts.Others)
	p = p.closedBy(p.Conflicts).closedFor(caughtHosts(asked, facts.Siblings)).closedByEndpoints(facts.EndpointProblems)
	if facts.Policy != nil {
		p = p.closedUnless(*facts.Policy)
	}
	p.Target.MaxConnectionAge = credential.ConnectionAge(p.Target, usable(facts.Credentials), facts.Now)
	return p.blockedBy(facts.MissingKinds)
}

// blockedBy returns the plan for an API server that doesn't serve the missing kinds. No sidecar
// knows the target then, so calls fail.
func (p Plan) blockedBy(missing []string) Plan {
	if len(missing) == 0 {
		return p
	}
	p.Blocked = true
	p.Programmed = False(reasonIstioMissing, "the CRDs of Istio are missing: "+strings.Join(missing, ", ")+
		"; install Istio 1.30 or newer. Until then the target is not programmed, and calls of its Pods fail")
	return p
}

// Objects returns the objects to write, in order, without the anchor of the namespace.
func (p Plan) Objects() []mesh.Object {
	if p.Blocked {
		return nil
	}
	if p.Closed {
		return mesh.Closed(p.Target, p.Layout)
	}
	return mesh.Objects(p.Target, p.Layout)
}

// withoutConflicts returns the plan for a target without conflicts and without a policy.
func withoutConflicts(asked egress.Target, facts Facts) Plan {
	var standing Standing
	if facts.Standing != nil {
		standing = *facts.Standing
	}
	layout, _, found := chooseLayout(facts.Credentials, standing)
	p := Plan{Target: asked, Layout: layout, facts: facts, outdated: outdated(asked, facts.Demands)}
	switch {
	case !found && facts.Standing == nil:
		// An unprogrammed target is worse than a closed one. Programs that don't read /etc/hosts don't
		// see the sinkhole, so their calls would leave in plain text. All other calls would time out.
		p.Closed = true
		p.Programmed = False(ReasonCredentialInvalid, "the target is closed, and calls on its route get 503 from the "+
			"sidecar until a credential is usable; see the condition CredentialValid")
		return p
	case !found:
		p.Layout, p.Target.ServerCA = standing.Layout, standing.ServerCA
		p.Programmed = True(reasonLastGoodKept,
			"no credential is usable now; the objects still use the last usable one")
	default:
		p.Programmed = True(reasonProgrammed,
			"the anchor, listener, VirtualService, DestinationRule and ServiceEntry are in sync")
		if way := Way(asked); way != "" {
			p.Programmed.Message += "; the sidecars connect to " + way
		}
	}
	return p.withPodProblems()
}

// withPodProblems adds the problems of Pods that are outdated or request another port. While some
// Pods don't mount a new CA, the previous one stays programmed, so that working Pods keep working.
func (p Plan) withPodProblems() Plan {
	if p.outdated.isTrue() && p.Programmed.Reason != reasonLastGoodKept {
		p.Programmed = False(reasonPodsOutdated, p.outdated.Message)
		if standing := p.facts.Standing; p.outdated.Reason == reasonServerCANotMounted && standing != nil {
			p.Target.ServerCA, p.Layout.ServerCA = standing.ServerCA, standing.Layout.ServerCA
			p.Programmed.Message += "; until then the previous CA stays programmed for all Pods"
		}
		return p
	}
	names := podsWithout(p.facts.Demands, func(d Demand) bool { return d.Port == 0 || d.Port == p.Target.Port })
	if len(names) > 0 {
		p.Programmed = False(reasonPortsDiffer, fmt.Sprintf(
			"%s: the annotation %s names a port other than %d; write %s:%d or %s there, or change spec.port here, "+
				"which applies to every workload of the namespace that calls the host",
			some(names), egress.AnnotationTarget, p.Target.Port, p.Target.Host, p.Target.Port, p.Target.Host))
	}
	return p
}

// closedBy closes the plan if a conflict could let calls leave without mutual TLS.
func (p Plan) closedBy(conflicts []mesh.Conflict) Plan {
	var leaking []string
	for _, conflict := range conflicts {
		if conflict.Closes {
			leaking = append(leaking, conflict.Reference())
		}
	}
	if len(leaking) == 0 {
		return p
	}
	p.Closed = true
	p.Programmed = False(ReasonPlaintextPossible, fmt.Sprintf(
		"the target is closed, and calls get 503 from the sidecar, because of the %s; "+
			"see the condition Conflicted",
		strings.Join(leaking, ", the ")))
	return p
}

// closedUnless closes the plan if the namespace may not reach the host. Pods can exist
// nevertheless: they are older than the policy, or they bypassed admission.
func (p Plan) closedUnless(decision policy.Decision) Plan {
	if decision.Allowed {
		return p
	}
	p.Closed = true
	p.Programmed = False(ReasonNotAllowed, "the target is closed, and calls on its route get 503 from the sidecar: "+
		decision.Explain(p.Target.Namespace, p.Target.Host))
	return p
}

// closedFor closes the plan if its ServiceEntry would catch plain calls to these hosts, whichever
// target is older. The calls would leave without TLS, and closing the other target would not stop
// them.
func (p Plan) closedFor(hosts []string) Plan {
	if len(hosts) == 0 {
		return p
	}
	p.Closed = true
	p.Programmed = False(reasonSinkholeCollision, fmt.Sprintf(
		"the target is closed: its Pods have the same sinkhole address as %s, and its TLS port %d is the app port there, "+
			"so plain calls could reach it; restart its Pods, because new ones get the address %s, "+
			"or change spec.port here or spec.appPort there",
		strings.Join(hosts, ", "), p.Target.Port, p.Target.Address()))
	return p
}

// addressesOfPods returns the sinkhole addresses of the Pods. New Pods can get another, because
// the ranges were changed, or because of another target. An address outside the ranges isn't
// reserved, so it can be another's: outdated reports such Pods.
func addressesOfPods(t egress.Target, demands []Demand) []netip.Addr {
	texts := map[string]bool{}
	for _, d := range demands {
		texts[d.Address] = true
	}
	var addresses []netip.Addr
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		if text == "" {
			addresses = append(addresses, t.Sinkhole.Address(t.Host))
			continue
		}
		if address, err := netip.ParseAddr(text); err == nil && t.Sinkhole.Contains(address) {
			addresses = append(addresses, address.Unmap())
		}
	}
	return addresses
}

// caughtHosts returns the hosts of siblings whose plain calls would go to t. See
// egress.Target.Catches.
func caughtHosts(t egress.Target, siblings []egress.Target) []string {
	var hosts []string
	for _, sibling := range siblings {
		if t.Catches(sibling) {
			hosts = append(hosts, sibling.Host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// outdated returns the condition PodsOutdated. It is true if Pods mount another Secret or ConfigMap
// than t names now. They must restart, because the volumes of a running Pod can't change.
func outdated(t egress.Target, demands []Demand) Condition {
	withoutCA := podsWithout(demands, func(d Demand) bool {
		return t.ServerCA.ConfigMap.Name == "" || d.CAConfigMap == t.ServerCA.ConfigMap.Name
	})
	withoutSecret := podsWithout(demands, func(d Demand) bool { return d.SecretName == d.WantedSecret })
	var reason string
	var messages []string
	if len(withoutSecret) > 0 {
		reason = reasonSecretNotMounted
		messages = append(messages, some(withoutSecret)+
			" started with a Secret other than the one requested now; restart the Pods to use the new one")
	}
	if len(withoutCA) > 0 {
		reason = reasonServerCANotMounted
		messages = append(messages, fmt.Sprintf("%s started without the ConfigMap %s; restart the Pods to use its CA",
			some(withoutCA), t.ServerCA.ConfigMap.Name))
	}
	withoutAddress := podsWithout(demands, func(d Demand) bool {
		address, err := netip.ParseAddr(d.Address)
		return d.Address == "" || err == nil && t.Sinkhole.Contains(address)
	})
	if len(withoutAddress) > 0 {
		reason = cmp.Or(reason, reasonAddressUnknown)
		messages = append(messages, fmt.Sprintf("%s started with a sinkhole address outside %s, so the app's own https "+
			"calls fail there; add the former range to the chart's value sinkholeRanges, or restart the Pods",
			some(withoutAddress), t.Sinkhole))
	}
	if len(messages) == 0 {
		return False(reasonPodsUpToDate, "all Pods are up to date")
	}
	return True(reason, strings.Join(messages, "; "))
}

// podsWithout returns the sorted names of the Pods that ask for the host and don't satisfy fine.
func podsWithout(demands []Demand, fine func(Demand) bool) []string {
	var names []string
	for _, d := range demands {
		if d.Asks && !fine(d) {
			names = append(names, d.Pod)
		}
	}
	slices.Sort(names)
	return names
}

// some lists the first Pods of names, as the start of a sentence.
func some(names []string) string {
	const shown = 3
	switch {
	case len(names) == 1:
		return "the Pod " + names[0]
	case len(names) <= shown:
		return "the Pods " + strings.Join(names, ", ")
	default:
		return "the Pods " + strings.Join(names[:shown], ", ") + " and " + strconv.Itoa(len(names)-shown) + " more"
	}
}

// Complaints returns the conditions that keep the target from working, without the Conflicts.
func (p Plan) Complaints() []Condition {
	var complaints []Condition
	for _, c := range []Condition{credentialValid(p.facts.Credentials), p.Programmed} {
		if !c.isTrue() {
			complaints = append(complaints, c)
		}
	}
	return complaints
}

// Written is the result of writing a plan's objects.
type Written struct {
	// Taken lists the generated objects whose names are taken by objects of other owners.
	Taken []string
	Err   error
}

// outcome returns the condition Programmed after the attempt to write the plan.
func (p Plan) outcome(written Written) Condition {
	switch {
	case written.Err != nil:
		return False(v1alpha1.ReasonWriteFailed, written.Err.Error())
	case len(written.Taken) > 0:
		return False(v1alpha1.ReasonNameTaken, fmt.Sprintf(
			"an object that this controller does not own has the name of a generated object: %s; see the condition Conflicted",
			strings.Join(written.Taken, ", ")))
	case !p.facts.EgressTarget.DeletionTimestamp.IsZero() && p.Programmed.isTrue():
		return True(reasonDeletionPending, fmt.Sprintf(
			"this EgressTarget is being deleted; its objects stay until no Pod calls the host (Pods now: %d)",
			len(p.facts.Demands)))
	}
	return p.Programmed
}
