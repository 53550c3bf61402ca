package credential

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// Reason says in one word why a credential is refused. It is a valid reason of a Kubernetes
// condition.
type Reason string

// The reasons, the most important first: what must be put right before the next one matters.
const (
	// LayoutUnknown: the Secret has the keys of no known layout.
	LayoutUnknown Reason = "LayoutUnknown"
	// LayoutAmbiguous: the Secret has the keys of two layouts.
	LayoutAmbiguous Reason = "LayoutAmbiguous"
	// SecretKeyMissing: the Secret lacks the certificate or the private key, or has it empty.
	SecretKeyMissing Reason = "SecretKeyMissing"
	// CertificateUnreadable: the client certificate or its chain is not PEM that can be read.
	CertificateUnreadable Reason = "CertificateUnreadable"
	// PrivateKeyUnreadable: the private key is not one PEM key that can be read, for example because
	// it is encrypted.
	PrivateKeyUnreadable Reason = "PrivateKeyUnreadable"
	// PrivateKeyMismatch: the private key belongs to another certificate.
	PrivateKeyMismatch Reason = "PrivateKeyMismatch"
	// CertificateExpired: the client certificate's time is over.
	CertificateExpired Reason = "CertificateExpired"
	// CertificateNotYetValid: the client certificate's time has not come.
	CertificateNotYetValid Reason = "CertificateNotYetValid"
	// NotForClientAuth: the client certificate's extensions rule out its use as a TLS client.
	NotForClientAuth Reason = "NotForClientAuth"
	// ServerCANotChosen: the only CA at hand is the one that cert-manager writes next to a
	// certificate, the issuer of the client.
	ServerCANotChosen Reason = "ServerCANotChosen"
	// ServerCAMissing: the Secret or ConfigMap lacks the CA of the server, or has it empty.
	ServerCAMissing Reason = "ServerCAMissing"
	// ServerCAUnreadable: the CA of the server is not PEM certificates that can be read.
	ServerCAUnreadable Reason = "ServerCAUnreadable"
	// ServerCAExpired: no certificate of the CA of the server is valid now.
	ServerCAExpired Reason = "ServerCAExpired"
)

// rank orders reasons by importance, the most important first.
func rank(reason Reason) int {
	return slices.Index([]Reason{
		LayoutUnknown, LayoutAmbiguous, SecretKeyMissing, CertificateUnreadable, PrivateKeyUnreadable, PrivateKeyMismatch,
		CertificateExpired, CertificateNotYetValid, NotForClientAuth, ServerCANotChosen, ServerCAMissing, ServerCAUnreadable, ServerCAExpired,
	}, reason)
}

// Problem is one thing that is wrong with a credential.
type Problem struct {
	Reason Reason
	// Key is the Secret's key that the problem is about; empty when it is about the whole Secret.
	Key string
	// Message says, for a person, what is wrong, where, and what would be right. It fits on one line,
	// and names no key of a Secret but those of the layout: whoever reads an EgressTarget reads it.
	Message string
}

// RefusedError says that a credential must not be used, with everything that is wrong with it.
type RefusedError struct {
	// Problems is never empty; the most important one is first.
	Problems []Problem

	// held says which keys the Secret or ConfigMap has; "" where nothing is missing.
	held string
}

// refuse sorts the problems by importance. Without problems there is no error.
func refuse(problems ...Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(rank(a.Reason), rank(b.Reason)) })
	return &RefusedError{Problems: problems}
}

// refuseKeys is refuse for the data of holder, which [ForOwner] tells of.
func refuseKeys(holder string, data map[string][]byte, problems ...Problem) error {
	err := refuse(problems...)
	if refused, ok := errors.AsType[*RefusedError](err); ok && slices.ContainsFunc(problems, aboutKeys) {
		refused.held = holder + " has " + keysOf(data)
	}
	return err
}

// aboutKeys reports whether a problem is about what the keys are called.
func aboutKeys(p Problem) bool {
	return p.Reason == LayoutUnknown || p.Reason == SecretKeyMissing || p.Reason == ServerCAMissing
}

// Error is the messages of all problems in one line.
func (e *RefusedError) Error() string {
	messages := make([]string, 0, len(e.Problems))
	for _, problem := range e.Problems {
		messages = append(messages, problem.Message)
	}
	return strings.Join(messages, "; ")
}

// ForOwner is err with the keys that there are instead of the missing ones, where err is a
// [*RefusedError]. It is for those who may read the Secret itself: never for a status, an event or
// a log.
func ForOwner(err error) error {
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok {
		return err
	}
	told := slices.Clone(refused.Problems)
	for i, problem := range told {
		if refused.held != "" && aboutKeys(problem) {
			told[i].Message += "; " + refused.held
		}
	}
	return &RefusedError{Problems: told}
}

// Reason is the reason of the most important problem: the one for a condition.
func (e *RefusedError) Reason() Reason {
	return e.Problems[0].Reason
}

// Reasons are the different reasons, the most important first.
func (e *RefusedError) Reasons() []Reason {
	reasons := make([]Reason, 0, len(e.Problems))
	for _, problem := range e.Problems {
		reasons = append(reasons, problem.Reason)
	}
	return slices.Compact(reasons)
}
