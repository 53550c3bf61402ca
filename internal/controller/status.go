package controller

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/target"
)

// The reasons of the conditions CredentialValid, Conflicted and Ready that no other file names. A false CredentialValid has a
// credential.Reason, SecretMissing or LayoutsDiffer; a false Ready has the reason of the condition that makes it so.
const (
	reasonValid         = "Valid"
	reasonExpiresSoon   = "ExpiresSoon"
	reasonLayoutsDiffer = "LayoutsDiffer"
	reasonNoConflict    = "NoConflict"
	reasonConflict      = "Conflict"
	reasonReady         = "Ready"
)

// kindOfVerdict is a verdict and the type of condition that says it.
type kindOfVerdict struct {
	kind string
	verdict
}

// observation is everything that a status is made of.
type observation struct {
	generation int64
	host       string
	pods       int32
	findings   []finding
	programmed verdict
	outdated   verdict
	// issued is nil when nobody asks cert-manager for anything.
	issued      *verdict
	conflicts   []string
	unusedSince *metav1.Time
	now         time.Time
}

// statusOf returns the status that follows old after an observation. Equal observations give equal statuses, whenever they
// are made: the times in a status are of transitions.
func statusOf(old v1alpha1.EgressTargetStatus, seen observation) v1alpha1.EgressTargetStatus {
	status := v1alpha1.EgressTargetStatus{
		ObservedGeneration: seen.generation,
		Conditions:         slices.Clone(old.Conditions),
		Pods:               seen.pods,
		PodLabel:           target.HostLabel(seen.host),
		Address:            target.SinkholeAddress(seen.host).String(),
		UnusedSince:        seen.unusedSince,
	}
	for _, f := range seen.findings {
		status.Credentials = append(status.Credentials, credentialStatus(f))
		if f.credential != nil && (status.NotAfter == nil || f.credential.NotAfter.Before(status.NotAfter.Time)) {
			status.NotAfter = &metav1.Time{Time: f.credential.NotAfter}
		}
	}
	credentialValid, conflicted := credentialVerdict(seen), conflictVerdict(seen.conflicts)
	conditions := []kindOfVerdict{
		{v1alpha1.ConditionReady, readyVerdict(credentialValid, seen.programmed, conflicted)},
		{v1alpha1.ConditionCredentialValid, credentialValid},
		{v1alpha1.ConditionProgrammed, seen.programmed},
		{v1alpha1.ConditionConflicted, conflicted},
		{v1alpha1.ConditionPodsOutdated, seen.outdated},
	}
	if seen.issued != nil {
		conditions = append(conditions, kindOfVerdict{v1alpha1.ConditionCertificateIssued, *seen.issued})
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionCertificateIssued)
	}
	for _, condition := range conditions {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type:               condition.kind,
			Status:             conditionStatus(condition.holds),
			Reason:             condition.reason,
			Message:            shortened(condition.message, maxConditionMessage),
			ObservedGeneration: seen.generation,
			LastTransitionTime: metav1.Time{Time: seen.now.Truncate(time.Second)},
		})
	}
	return status
}

func conditionStatus(holds bool) metav1.ConditionStatus {
	if holds {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

func credentialStatus(f finding) v1alpha1.CredentialStatus {
	status := v1alpha1.CredentialStatus{SecretName: f.secretName, Pods: f.pods, Reason: f.reason}
	if c := f.credential; c != nil {
		status.NotAfter = &metav1.Time{Time: c.NotAfter}
		status.Subject, status.Issuer = shortened(c.Subject, maxStatusName), shortened(c.Issuer, maxStatusName)
		status.SerialNumber, status.SHA256 = shortened(c.SerialNumber, maxStatusName), c.SHA256
		status.EndsWithin = endsWithin(f.endsWithin)
	}
	return status
}

func credentialVerdict(seen observation) verdict {
	var reasons, messages, valid []string
	ending := false
	for _, f := range seen.findings {
		if !f.usable() {
			reasons = append(reasons, f.reason)
			messages = append(messages, f.message)
			continue
		}
		valid = append(valid, fmt.Sprintf("%s until %s", f.secretName, f.credential.NotAfter.UTC().Format(time.RFC3339)))
		ending = ending || f.endsWithin > 0
	}
	if len(reasons) > 0 {
		return verdict{reason: reasons[0], message: strings.Join(messages, "; ")}
	}
	if layout, uniform, _ := chooseLayout(seen.findings, presented{}); !uniform {
		return verdict{reason: reasonLayoutsDiffer, message: layoutsMessage(seen.findings, layout)}
	}
	v := verdict{holds: true, reason: reasonValid, message: "the client certificate is valid: " + strings.Join(valid, ", ")}
	if ending {
		v.reason = reasonExpiresSoon
		v.message = "the client certificate ends soon, renew it: valid in " + strings.Join(valid, ", ")
	}
	return v
}

func layoutsMessage(findings []finding, preferred target.Layout) string {
	var has []string
	for _, f := range findings {
		has = append(has, fmt.Sprintf("%s has %s, %s", f.secretName, f.layout.Certificate, f.layout.PrivateKey))
	}
	return fmt.Sprintf("the Secrets of this host have different keys, and one set of objects serves all Pods of the namespace, so Pods with another layout can't call: %s; give all of them the keys %s and %s",
		strings.Join(has, "; "), preferred.Certificate, preferred.PrivateKey)
}

func conflictVerdict(conflicts []string) verdict {
	if len(conflicts) == 0 {
		return verdict{reason: reasonNoConflict, message: "no object of anybody else stands in the way"}
	}
	return verdict{holds: true, reason: reasonConflict, message: strings.Join(conflicts, "; ")}
}

// readyVerdict is CredentialValid ∧ Programmed ∧ ¬Conflicted, with the reason of the first that fails, or that something is
// about to fail.
func readyVerdict(credentialValid, programmed, conflicted verdict) verdict {
	switch {
	case !credentialValid.holds:
		return verdict{reason: credentialValid.reason, message: credentialValid.message}
	case !programmed.holds:
		return verdict{reason: programmed.reason, message: programmed.message}
	case conflicted.holds:
		return verdict{reason: conflicted.reason, message: conflicted.message}
	case credentialValid.reason == reasonExpiresSoon:
		return verdict{holds: true, reason: credentialValid.reason, message: credentialValid.message}
	default:
		return verdict{holds: true, reason: reasonReady, message: "calls to the host leave over mutual TLS"}
	}
}

// The length that the API server admits, less room for the mark of the cut: a condition's message and an event's note.
// https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/apis/core/validation/events.go (NoteLengthLimit)
const (
	maxConditionMessage = 32768
	maxEventNote        = 1024
	// maxStatusName bounds what a status takes over from a certificate, which may be as large as a Secret: with a few of those the API server would take no status at all.
	maxStatusName = 1024
)

func shortened(text string, limit int) string {
	const mark = "…"
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(mark)], "") + mark
}
