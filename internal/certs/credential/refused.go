package credential

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// Reason is a CamelCase reason why a credential is refused. It is a valid reason of a Kubernetes
// condition.
type Reason string

// The reasons, the most important first. A problem must be fixed before the following ones matter.
const (
	// LayoutUnknown: the Secret doesn't have the keys of a known layout.
	LayoutUnknown Reason = "LayoutUnknown"
	// LayoutAmbiguous: the Secret has the keys of two layouts.
	LayoutAmbiguous Reason = "LayoutAmbiguous"
	// SecretKeyMissing: the certificate or the private key is missing or empty in the Secret.
	SecretKeyMissing Reason = "SecretKeyMissing"
	// CertificateUnreadable: the client certificate or its chain is not valid PEM.
	CertificateUnreadable Reason = "CertificateUnreadable"
	// PrivateKeyUnreadable: the private key is not a single readable PEM key, for example because it
	// is encrypted.
	PrivateKeyUnreadable Reason = "PrivateKeyUnreadable"
	// PrivateKeyMismatch: the private key belongs to another certificate.
	PrivateKeyMismatch Reason = "PrivateKeyMismatch"
	// CertificateExpired: the client certificate has expired.
	CertificateExpired Reason = "CertificateExpired"
	// CertificateNotYetValid: the client certificate is not valid yet.
	CertificateNotYetValid Reason = "CertificateNotYetValid"
	// NotForClientAuth: the extensions of the client certificate don't allow a TLS client.
	NotForClientAuth Reason = "NotForClientAuth"
	// ServerCANotChosen: the only available CA is the one that cert-manager writes next to the
	// certificate, which is the CA of the client certificate.
	ServerCANotChosen Reason = "ServerCANotChosen"
	// ServerCAMissing: the CA of the server is missing or empty in the Secret or ConfigMap.
	ServerCAMissing Reason = "ServerCAMissing"
	// ServerCAUnreadable: the CA of the server is not a valid PEM bundle.
	ServerCAUnreadable Reason = "ServerCAUnreadable"
	// ServerCAExpired: no certificate of the CA of the server is valid now.
	ServerCAExpired Reason = "ServerCAExpired"
)

// rank orders reasons by importance, the most important first.
func rank(reason Reason) int {
	return slices.Index([]Reason{
		LayoutUnknown,
		LayoutAmbiguous,
		SecretKeyMissing,
		CertificateUnreadable,
		PrivateKeyUnreadable,
		PrivateKeyMismatch,
		CertificateExpired,
		CertificateNotYetValid,
		NotForClientAuth,
		ServerCANotChosen,
		ServerCAMissing,
		ServerCAUnreadable,
		ServerCAExpired,
	}, reason)
}

// Problem is a reason why a credential is refused.
type Problem struct {
	Reason Reason
	// Key is the key in the Secret or ConfigMap. It is empty if the problem concerns the whole Secret.
	Key string
	// Message describes the problem, its location and the fix, on one line. It contains no keys of a
	// Secret except those of the layout, because everybody who can read the EgressTarget can read it.
	Message string
}

// RefusedError is the error for a credential that must not be used. It contains all problems.
type RefusedError struct {
	// Problems is not empty. The most important problem is the first.
	Problems []Problem

	// held lists the keys of the Secret or ConfigMap. It is "" if no key is missing.
	held string
}

// refuse returns a [*RefusedError] with the problems sorted by importance, or nil if there are
// none.
func refuse(problems ...Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(rank(a.Reason), rank(b.Reason)) })
	return &RefusedError{Problems: problems}
}

// refuseKeys is like refuse, and adds the keys of data in holder for [ForOwner].
func refuseKeys(holder string, data map[string][]byte, problems ...Problem) error {
	err := refuse(problems...)
	if refused, ok := errors.AsType[*RefusedError](err); ok && slices.ContainsFunc(problems, aboutKeys) {
		refused.held = holder + " has " + keysOf(data)
	}
	return err
}

// aboutKeys reports whether a problem concerns the names of the keys.
func aboutKeys(p Problem) bool {
	return p.Reason == LayoutUnknown || p.Reason == SecretKeyMissing || p.Reason == ServerCAMissing
}

// Error returns the messages of all problems on one line.
func (e *RefusedError) Error() string {
	messages := make([]string, 0, len(e.Problems))
	for _, problem := range e.Problems {
		messages = append(messages, problem.Message)
	}
	return strings.Join(messages, "; ")
}

// ForOwner adds the existing keys to the messages about missing ones, if err is a [*RefusedError].
// The result is only for users who can read the Secret, never for a status, an event or a log.
func ForOwner(err error) error {
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok {
		return err
	}
	problems := slices.Clone(refused.Problems)
	for i, problem := range problems {
		if refused.held != "" && aboutKeys(problem) {
			problems[i].Message += "; " + refused.held
		}
	}
	return &RefusedError{Problems: problems}
}

// Reason returns the reason of the most important problem, for a condition.
func (e *RefusedError) Reason() Reason {
	return e.Problems[0].Reason
}

// Reasons returns the distinct reasons, the most important first.
func (e *RefusedError) Reasons() []Reason {
	reasons := make([]Reason, 0, len(e.Problems))
	for _, problem := range e.Problems {
		reasons = append(reasons, problem.Reason)
	}
	return slices.Compact(reasons)
}
