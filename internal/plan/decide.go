package plan

import (
	"fmt"
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
	reasonPlaintextPossible = "PlaintextPossible"
	reasonSinkholeCollision = "SinkholeCollision"
	reasonIstioMissing      = "IstioMissing"
	// ReasonCredentialInvalid and ReasonNotAllowed are those of a condition Verified too, where no
	// handshake is made.
	ReasonCredentialInvalid = "CredentialInvalid"
	ReasonNotAllowed        = "NotAllowed"
)

// The reasons of the condition PodsOutdated.
const (
	reasonServerCANotMounted = "ServerCANotMounted"
	reasonSecretNotMounted   = "SecretNotMounted"
	reasonPodsUpToDate       = "PodsUpToDate"
)

// Plan is what becomes of a target.
type Plan struct {
	// Target is what is programmed. It differs from what the EgressTarget asks for where that can't be
	// had now.
	Target egress.Target
	// Layout is empty if nobody knows one, which happens in a closed plan only.
	Layout egress.Layout
	// Closed reports whether to write mesh.Closed in place of mesh.Objects: calls fail in the sidecar.
	Closed bool
	// Blocked reports whether nothing can be written, as the API server doesn't serve the kinds of
	// Istio.
	Blocked bool
	// Programmed is what that condition says once the objects are as planned.
	Programmed Condition
	// Conflicts are the objects of others that stand in the way.
	Conflicts []mesh.Conflict

	facts    Facts
	outdated Condition
}

// Decide returns what becomes of a target.
func Decide(facts Facts) Plan {
	egressTarget := facts.EgressTarget
	asked := egress.FromEgressTarget(egressTarget.Namespace, egressTarget.Name, egressTarget).Among(facts.Siblings)
	facts.Credentials = slices.Clone(facts.Credentials)
	for i, c := range facts.Credentials {
		if c.Credential != nil {
			facts.Credentials[i].endsWithin = facts.Warnings.within(c, facts.Now)
		}
	}
	p := undisturbed(asked, facts)
	p.Conflicts = mesh.Conflicts(asked, facts.Others)
	p = p.closedBy(p.Conflicts).closedFor(caughtHosts(asked, facts.Siblings))
	if facts.Policy != nil {
		p = p.closedUnless(*facts.Policy)
	}
	p.Target.MaxConnectionAge = credential.ConnectionAge(p.Target, usable(facts.Credentials), facts.Now)
	return p.blockedBy(facts.MissingKinds)
}

// blockedBy is the plan where the API server doesn't serve kinds of Istio: no sidecar knows the
// target, so calls fail.
func (p Plan) blockedBy(missing []string) Plan {
	if len(missing) == 0 {
		return p
	}
	p.Blocked = true
	p.Programmed = False(reasonIstioMissing, "the CRDs of Istio are missing: "+strings.Join(missing, ", ")+
		"; install Istio 1.22 or newer. Until then the target is not programmed, and calls of its Pods fail")
	return p
}

// Objects returns the objects to write, in their order, without the anchor of the namespace.
func (p Plan) Objects() []mesh.Object {
	if p.Blocked {
		return nil
	}
	if p.Closed {
		return mesh.Closed(p.Target, p.Layout)
	}
	return mesh.Objects(p.Target, p.Layout)
}

// undisturbed is the plan for a target that nobody else interferes with.
func undisturbed(asked egress.Target, facts Facts) Plan {
	var standing Standing
	if facts.Standing != nil {
		standing = *facts.Standing
	}
	layout, _, found := chooseLayout(facts.Credentials, standing)
	p := Plan{Target: asked, Layout: layout, facts: facts, outdated: outdated(asked, facts.Demands)}
	switch {
	case !found && facts.Standing == nil:
		// Not left unprogrammed: the calls of programs that don't ask /etc/hosts, and so don't see the
		// sinkhole, would leave in plain text, and all others would wait for a time-out.
		p.Closed = true
		p.Programmed = False(ReasonCredentialInvalid, "the target is closed, calls that come to its route fail with 503 in the sidecar, "+
			"until there is a credential that can be used; see the condition CredentialValid")
		return p
	case !found:
		p.Layout, p.Target.ServerCA = standing.Layout, standing.ServerCA
		p.Programmed = True(reasonLastGoodKept,
			"no credential can be used now; the objects stay as they were programmed with the last one that could")
	default:
		p.Programmed = True(reasonProgrammed,
			"the anchor, listener, VirtualService, DestinationRule and ServiceEntry are in sync")
	}
	return p.withComplaints()
}

// withComplaints adds what Pods lack of what was asked. A CA that Pods don't mount isn't programmed
// under those that work.
func (p Plan) withComplaints() Plan {
	if p.outdated.isTrue() && p.Programmed.Reason != reasonLastGoodKept {
		p.Programmed = False(reasonPodsOutdated, p.outdated.Message)
		if standing := p.facts.Standing; p.outdated.Reason == reasonServerCANotMounted && standing != nil {
			p.Target.ServerCA, p.Layout.ServerCA = standing.ServerCA, standing.Layout.ServerCA
			p.Programmed.Message += "; until then the CA before it stays programmed for all Pods"
		}
		return p
	}
	names := podsWithout(p.facts.Demands, func(d Demand) bool { return d.Port == 0 || d.Port == p.Target.Port })
	if len(names) > 0 {
		p.Programmed = False(reasonPortsDiffer, fmt.Sprintf(
			"%s asked for another port than %d; write %s:%d or %s alone in their annotation %s, or change spec.port here, "+
				"which moves every workload of the namespace that calls the host",
			some(names), p.Target.Port, p.Target.Host, p.Target.Port, p.Target.Host, egress.AnnotationTarget))
	}
	return p
}

// closedBy closes the plan when calls could leave without mutual TLS, whatever else is to be said
// of the target.
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
	p.Programmed = False(reasonPlaintextPossible, fmt.Sprintf(
		"the target is closed and calls fail with 503 in the sidecar, because of the %s; the condition Conflicted says what to change",
		strings.Join(leaking, ", the ")))
	return p
}

// closedUnless closes the plan when the namespace may not reach the host: its Pods may have been
// there before that was so, or came past admission.
func (p Plan) closedUnless(decision policy.Decision) Plan {
	if decision.Allowed {
		return p
	}
	p.Closed = true
	p.Programmed = False(ReasonNotAllowed, "the target is closed, calls that come to its route fail with 503 in the sidecar: "+
		decision.Explain(p.Target.Namespace, p.Target.Host))
	return p
}

// closedFor closes the plan if its ServiceEntry would catch plain calls to these hosts, whichever
// target came first: the calls would leave without TLS, and closing the other target would not stop
// them.
func (p Plan) closedFor(hosts []string) Plan {
	if len(hosts) == 0 {
		return p
	}
	p.Closed = true
	p.Programmed = False(reasonSinkholeCollision, fmt.Sprintf(
		"the target is closed: it has the same sinkhole address %s as %s, and its TLS port %d is the port that apps call there, "+
			"so plain calls could go to it; change spec.port here or spec.appPort there, or call one of the two from another namespace",
		p.Target.Address(), strings.Join(hosts, ", "), p.Target.Port))
	return p
}

// caughtHosts returns the hosts of siblings whose plain calls would go to t: see
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

// outdated reports whether Pods started with something else than t asks for now and so have to be
// restarted: volumes of a running Pod can't be changed.
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
			" started with another Secret than the one that is asked for now; restart the Pods to use it")
	}
	if len(withoutCA) > 0 {
		reason = reasonServerCANotMounted
		messages = append(messages, fmt.Sprintf("%s started without the ConfigMap %s; restart the Pods to use its CA",
			some(withoutCA), t.ServerCA.ConfigMap.Name))
	}
	if len(messages) == 0 {
		return False(reasonPodsUpToDate, "all Pods are up to date")
	}
	return True(reason, strings.Join(messages, "; "))
}

// podsWithout returns the names of the Pods that ask for the host and don't satisfy fine, in order.
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

// some names the first Pods of many, in words that stand at the start of a sentence.
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

// Complaints are what keeps the target from working as it was asked for, beside the Conflicts.
func (p Plan) Complaints() []string {
	var complaints []string
	for _, c := range []Condition{credentialValid(p.facts.Credentials), p.Programmed} {
		if !c.isTrue() {
			complaints = append(complaints, c.Message)
		}
	}
	return complaints
}

// Written is what came of writing a plan's objects.
type Written struct {
	// Taken are the objects whose names objects of other owners have.
	Taken []string
	Err   error
}

// outcome is what the condition Programmed says after the attempt to write the plan.
func (p Plan) outcome(written Written) Condition {
	switch {
	case written.Err != nil:
		return False(v1alpha1.ReasonWriteFailed, written.Err.Error())
	case len(written.Taken) > 0:
		return False(v1alpha1.ReasonNameTaken, fmt.Sprintf(
			"an object of another owner has the name that one of ours needs: %s; see the condition Conflicted",
			strings.Join(written.Taken, ", ")))
	case !p.facts.EgressTarget.DeletionTimestamp.IsZero() && p.Programmed.isTrue():
		return True(reasonDeletionPending, fmt.Sprintf(
			"this EgressTarget is deleted; its objects stay until no Pod calls the host any more (now %d)", len(p.facts.Demands)))
	}
	return p.Programmed
}
