package controller

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/target"
)

// The reasons of the condition Programmed.
const (
	reasonProgrammed        = "Programmed"
	reasonLastGoodKept      = "LastGoodKept"
	reasonDeletionPending   = "DeletionPending"
	reasonCredentialInvalid = "CredentialInvalid"
	reasonPodsOutdated      = "PodsOutdated"
	reasonPortsDiffer       = "PortsDiffer"
	reasonPlaintextPossible = "PlaintextPossible"
	reasonNotAllowed        = "NotAllowed"
	reasonSinkholeCollision = "SinkholeCollision"
)

// The reasons of the condition PodsOutdated.
const (
	reasonServerCANotMounted = "ServerCANotMounted"
	reasonSecretNotMounted   = "SecretNotMounted"
	reasonPodsUpToDate       = "PodsUpToDate"
)

// verdict is a condition in the making: whether it holds, and why.
type verdict struct {
	holds   bool
	reason  string
	message string
}

// plan says what to program, and whether that is all that was asked for.
type plan struct {
	// closed says to write mesh.Closed in place of mesh.Objects: calls fail in the sidecar.
	closed bool
	target target.Target
	// layout is empty when nobody knows one, which happens in a closed plan only.
	layout target.Layout
	// verdict is what the condition Programmed says once the objects are as planned.
	verdict verdict
	// outdated is what the condition PodsOutdated says.
	outdated verdict
}

// makePlan decides what to program for t. current is what the DestinationRule in the cluster presents, nil without one.
// conflicts are the objects of other owners that stand in the way.
func makePlan(t target.Target, demands []demand, findings []finding, current *presented, conflicts []mesh.Conflict) plan {
	return planFor(t, demands, findings, current).closedBy(conflicts)
}

// planFor is the plan for a target that nobody else interferes with.
func planFor(t target.Target, demands []demand, findings []finding, current *presented) plan {
	var standing presented
	if current != nil {
		standing = *current
	}
	layout, _, usable := chooseLayout(findings, standing)
	if !usable && current == nil {
		// Not left unprogrammed: the calls of programs that don't ask /etc/hosts, and so don't see the sinkhole, would leave in
		// plain text, and all others would wait for a time-out.
		return plan{closed: true, target: t, outdated: outdated(t, demands), verdict: verdict{reason: reasonCredentialInvalid,
			message: "the target is closed, calls that come to its route fail with 503 in the sidecar, until there is a credential that can be used; see the condition CredentialValid"}}
	}
	p := plan{target: t, layout: layout, outdated: outdated(t, demands), verdict: verdict{holds: true, reason: reasonProgrammed,
		message: "the anchor, listener, VirtualService, DestinationRule and ServiceEntry are as they have to be"}}
	if !usable {
		p.layout, p.target.ServerCA = standing.layout, standing.serverCA
		p.verdict = verdict{holds: true, reason: reasonLastGoodKept,
			message: "no credential can be used now; the objects stay as they were programmed with the last one that could"}
	}
	return p.withComplaints(demands, current)
}

// closedBy closes the plan when calls could leave without mutual TLS, whatever else is to be said of the target.
func (p plan) closedBy(conflicts []mesh.Conflict) plan {
	var leaking []string
	for _, conflict := range conflicts {
		if conflict.Closes {
			leaking = append(leaking, conflict.Reference())
		}
	}
	if len(leaking) == 0 {
		return p
	}
	p.closed = true
	p.verdict = verdict{reason: reasonPlaintextPossible, message: fmt.Sprintf(
		"the target is closed and calls fail with 503 in the sidecar, because of the %s; the condition Conflicted says what to change",
		strings.Join(leaking, ", the "))}
	return p
}

// closedUnless closes the plan when the namespace may not reach the host: its Pods may have been there before that was so, or came past admission.
func (p plan) closedUnless(decision policy.Decision) plan {
	if decision.Allowed {
		return p
	}
	p.closed = true
	p.verdict = verdict{reason: reasonNotAllowed,
		message: "the target is closed, calls that come to its route fail with 503 in the sidecar: " + decision.Explain(p.target.Namespace, p.target.Host)}
	return p
}

// closedFor closes the plan if its ServiceEntry would catch plain calls to these hosts, whichever target came first: the
// calls would leave without TLS, and closing the other target would not stop them.
func (p plan) closedFor(hosts []string) plan {
	if len(hosts) == 0 {
		return p
	}
	p.closed = true
	p.verdict = verdict{reason: reasonSinkholeCollision, message: fmt.Sprintf(
		"the target is closed: it has the same sinkhole address %s as %s, and its TLS port %d is the port that apps call there, so plain calls could go to it; "+
			"change spec.port here or spec.appPort there, or call one of the two from another namespace", p.target.Address(), strings.Join(hosts, ", "), p.target.Port)}
	return p
}

// objects are the objects to write, in their order.
func (p plan) objects() []mesh.Object {
	if p.closed {
		return mesh.Closed(p.target, p.layout)
	}
	return mesh.Objects(p.target, p.layout)
}

// withComplaints adds what Pods lack of what was asked. A CA that Pods don't mount isn't programmed under those that work.
func (p plan) withComplaints(demands []demand, current *presented) plan {
	if p.outdated.holds && p.verdict.reason != reasonLastGoodKept {
		p.verdict = verdict{reason: reasonPodsOutdated, message: p.outdated.message}
		if p.outdated.reason == reasonServerCANotMounted && current != nil {
			p.target.ServerCA, p.layout.ServerCA = current.serverCA, current.layout.ServerCA
			p.verdict.message += "; until then the CA before it stays programmed for all Pods"
		}
		return p
	}
	if names := podsWithout(demands, func(d demand) bool { return d.port == 0 || d.port == p.target.Port }); len(names) > 0 {
		p.verdict = verdict{reason: reasonPortsDiffer, message: fmt.Sprintf(
			"%s asked for another port than %d; write %s:%d or %s alone in their annotation %s, or change spec.port here, which moves every workload of the namespace that calls the host",
			some(names), p.target.Port, p.target.Host, p.target.Port, p.target.Host, target.AnnotationTarget)}
	}
	return p
}

// outdated says whether Pods started with something else than t asks for now and so have to be restarted: volumes of a running Pod can't be changed.
func outdated(t target.Target, demands []demand) verdict {
	withoutCA := podsWithout(demands, func(d demand) bool {
		return t.ServerCA.ConfigMap.Name == "" || d.caConfigMap == t.ServerCA.ConfigMap.Name
	})
	withoutSecret := podsWithout(demands, func(d demand) bool { return d.secretName == d.wantedSecret })
	var v verdict
	var messages []string
	if len(withoutSecret) > 0 {
		v = verdict{holds: true, reason: reasonSecretNotMounted}
		messages = append(messages, some(withoutSecret)+" started with another Secret than the one that is asked for now; restart the Pods to use it")
	}
	if len(withoutCA) > 0 {
		v = verdict{holds: true, reason: reasonServerCANotMounted}
		messages = append(messages, fmt.Sprintf("%s started without the ConfigMap %s; restart the Pods to use its CA", some(withoutCA), t.ServerCA.ConfigMap.Name))
	}
	if len(messages) == 0 {
		return verdict{reason: reasonPodsUpToDate, message: "every Pod mounts what is asked for now"}
	}
	v.message = strings.Join(messages, "; ")
	return v
}

// podsWithout returns the names of the Pods that ask for the host and don't satisfy fine, in order.
func podsWithout(demands []demand, fine func(demand) bool) []string {
	var names []string
	for _, d := range demands {
		if d.asks && !fine(d) {
			names = append(names, d.pod)
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
