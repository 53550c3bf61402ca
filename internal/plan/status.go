package plan

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/verify"
)

// Reasons of the conditions CredentialValid, Conflicted and Ready. If CredentialValid is false, its
// reason is a credential.Reason, SecretMissing or LayoutsDiffer. If Ready is false, it has the
// reason of the condition that makes it false, or NoSidecar or DeletionPending.
const (
	reasonValid       = "Valid"
	reasonExpiresSoon = "ExpiresSoon"
	// reasonServerCAExpiresSoon is the reason if only the CA of the server expires soon.
	reasonServerCAExpiresSoon = string(credential.ServerCAExpiresSoon)
	reasonLayoutsDiffer       = "LayoutsDiffer"
	reasonNoConflict          = "NoConflict"
	reasonConflict            = "Conflict"
	// reasonAdoptable is the reason if every conflict is part of a hand-written set for the host.
	reasonAdoptable = "Adoptable"
	reasonReady     = "Ready"
	reasonNoSidecar = "NoSidecar"
	// reasonVerificationPending is the reason of an Unknown Ready.
	reasonVerificationPending = "VerificationPending"
)

// Status returns the status of the EgressTarget after the attempt to write the plan. Equal facts
// give equal statuses at any time, because the only times in a status are those of transitions.
func (p Plan) Status(written Written) v1alpha1.EgressTargetStatus {
	facts, host := p.facts, p.Target.Host
	generation := facts.EgressTarget.Generation
	status := v1alpha1.EgressTargetStatus{
		ObservedGeneration: generation,
		Conditions:         slices.Clone(facts.EgressTarget.Status.Conditions),
		Pods:               int32(min(len(facts.Demands), math.MaxInt32)),
		PodLabel:           egress.HostLabel(host),
		Address:            p.Target.Address().String(),
		UnusedSince:        facts.UnusedSince,
	}
	for _, c := range facts.Credentials {
		status.Credentials = append(status.Credentials, credentialStatus(c))
		if c.Credential != nil && (status.NotAfter == nil || c.Credential.NotAfter.Before(status.NotAfter.Time)) {
			status.NotAfter = &metav1.Time{Time: c.Credential.NotAfter}
		}
	}
	credentialValid, programmed := credentialValid(facts.Credentials), p.outcome(written)
	conflicted := conflicted(p.Conflicts)
	set := func(conditionType string, c Condition) {
		c.Set(&status.Conditions, conditionType, generation, facts.Now)
	}
	set(v1alpha1.ConditionReady, p.ready(credentialValid, programmed, conflicted))
	set(v1alpha1.ConditionCredentialValid, credentialValid)
	set(v1alpha1.ConditionProgrammed, programmed)
	set(v1alpha1.ConditionConflicted, conflicted)
	set(v1alpha1.ConditionPodsOutdated, p.outdated)
	setIfAny := func(conditionType string, c *Condition) {
		if c != nil {
			set(conditionType, *c)
		} else {
			meta.RemoveStatusCondition(&status.Conditions, conditionType)
		}
	}
	setIfAny(v1alpha1.ConditionCertificateIssued, facts.Issued)
	setIfAny(v1alpha1.ConditionRenewalAtRisk, renewalAtRisk(facts.Credentials))
	setIfAny(v1alpha1.ConditionServerCAAtRisk, serverCAAtRisk(facts.Credentials))
	setIfAny(v1alpha1.ConditionRotationUnreliable, rotation(facts.Demands))
	return status
}

func credentialStatus(c CredentialCheck) v1alpha1.CredentialStatus {
	status := v1alpha1.CredentialStatus{SecretName: c.SecretName, Pods: c.Pods, Reason: c.Reason}
	if read := c.Credential; read != nil {
		status.NotAfter = &metav1.Time{Time: read.NotAfter}
		status.Subject, status.Issuer = Shorten(read.Subject, maxStatusName), Shorten(read.Issuer, maxStatusName)
		status.SerialNumber, status.SHA256 = Shorten(read.SerialNumber, maxStatusName), read.SHA256
		status.EndsWithin, status.PublicCA = endsWithin(c.endsWithin), read.PublicCA
	}
	if ca := c.ServerCA; ca != nil {
		status.ServerCA = &v1alpha1.ServerCAStatus{
			Subject: Shorten(ca.Subject, maxStatusName), SerialNumber: Shorten(ca.SerialNumber, maxStatusName),
			NotAfter: &metav1.Time{Time: ca.NotAfter}, EndsWithin: endsWithin(c.caEndsWithin),
			NotCA: ca.NotCA, Skipped: int32(min(ca.Skipped, math.MaxInt32)), //nolint:gosec // bounded
		}
	}
	return status
}

func credentialValid(checks []CredentialCheck) Condition {
	var reasons, messages, valid []string
	ending := false
	for _, c := range checks {
		if !c.Usable() {
			reasons = append(reasons, c.Reason)
			messages = append(messages, c.Message)
			continue
		}
		if c.Credential == nil {
			valid = append(valid, c.SecretName)
			continue
		}
		valid = append(valid, fmt.Sprintf("%s until %s", c.SecretName, c.Credential.NotAfter.UTC().Format(time.RFC3339)))
		ending = ending || c.endsWithin > 0
	}
	if len(reasons) > 0 {
		return False(reasons[0], strings.Join(messages, "; "))
	}
	if layout, uniform, _ := chooseLayout(checks, Standing{}); !uniform {
		return False(reasonLayoutsDiffer, layoutsMessage(checks, layout))
	}
	soon := serverCAsEnding(checks)
	if ending {
		message := "the client certificate expires soon, renew it: valid in " + strings.Join(valid, ", ")
		return True(reasonExpiresSoon, strings.Join(append([]string{message}, soon...), "; "))
	}
	if len(soon) > 0 {
		return True(reasonServerCAExpiresSoon, strings.Join(soon, "; "))
	}
	return True(reasonValid, "the client certificate is valid: "+strings.Join(valid, ", "))
}

// serverCAsEnding returns a message about the CAs of usable credentials that expire soon, or none.
func serverCAsEnding(checks []CredentialCheck) []string {
	var ending []string
	for _, c := range checks {
		if c.Usable() && c.ServerCA != nil && c.caEndsWithin > 0 {
			ending = append(ending,
				fmt.Sprintf("%s until %s", c.SecretName, c.ServerCA.NotAfter.UTC().Format(time.RFC3339)))
		}
	}
	if len(ending) == 0 {
		return nil
	}
	return []string{"the CA of the server expires soon, ask the partner for the current one: valid for " +
		strings.Join(ending, ", ")}
}

func layoutsMessage(checks []CredentialCheck, preferred egress.Layout) string {
	var has []string
	for _, c := range checks {
		has = append(has, fmt.Sprintf("%s has %s, %s", c.SecretName, c.Layout.Certificate, c.Layout.PrivateKey))
	}
	return fmt.Sprintf(
		"the Secrets of this host have different keys, and one set of objects serves all Pods of the namespace, "+
			"so Pods with another layout can't call: %s; give all of them the keys %s and %s",
		strings.Join(has, "; "), preferred.Certificate, preferred.PrivateKey,
	)
}

func conflicted(conflicts []mesh.Conflict) Condition {
	if len(conflicts) == 0 {
		return False(reasonNoConflict, "no conflicting Istio objects")
	}
	var messages []string
	reason := reasonAdoptable
	for _, conflict := range conflicts {
		messages = append(messages, conflict.Message)
		if !conflict.Adoptable {
			reason = reasonConflict
		}
	}
	return True(reason, strings.Join(messages, "; "))
}

// ready reports whether a call from every Pod succeeds, as far as the controller knows. If not, it
// has the reason of the first problem. If there is none, it warns of a certificate that expires
// soon.
func (p Plan) ready(credentialValid, programmed, conflicted Condition) Condition {
	verified := meta.FindStatusCondition(p.facts.EgressTarget.Status.Conditions, v1alpha1.ConditionVerified)
	withoutSidecar := podsWithout(p.facts.Demands, func(d Demand) bool { return !d.NoSidecar })
	switch {
	case !credentialValid.isTrue():
		return credentialValid
	case !programmed.isTrue():
		return programmed
	case conflicted.isTrue():
		return False(conflicted.Reason, conflicted.Message)
	case len(withoutSidecar) > 0:
		return False(reasonNoSidecar, fmt.Sprintf("no sidecar in %d of %s, so calls from there are dropped: %s; enable "+
			"sidecar injection for the namespace (istio-injection: enabled, or istio.io/rev) and recreate the Pods",
			len(withoutSidecar), egress.Counted(len(p.facts.Demands), "Pod"), some(withoutSidecar)))
	case verified != nil && verified.Status == metav1.ConditionFalse && !verify.Reason(verified.Reason).Answered():
		// The Pods may reach what the controller doesn't.
		return Unknown(verified.Reason, verified.Message)
	case verified != nil && verified.Status == metav1.ConditionFalse:
		return False(verified.Reason, verified.Message)
	case p.handshakePending(verified):
		return Unknown(reasonVerificationPending, "the controller hasn't tried the credential with the partner yet; "+
			"the condition Verified will have the result")
	case programmed.Reason == reasonDeletionPending:
		return False(reasonDeletionPending, programmed.Message)
	case credentialValid.Reason == reasonExpiresSoon, credentialValid.Reason == reasonServerCAExpiresSoon:
		return credentialValid
	default:
		return True(reasonReady, "calls to the host use mutual TLS")
	}
}

// handshakePending reports whether the controller is about to make the first handshake with a
// usable credential. It does so within seconds.
func (p Plan) handshakePending(verified *metav1.Condition) bool {
	if verified == nil {
		asked := p.facts.EgressTarget.Spec.Verify
		return asked != nil && *asked
	}
	return verified.Reason == ReasonCredentialInvalid // there was none before
}
