package plan

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Condition is what a condition of an EgressTarget says, before it has a type, a generation and a
// time.
type Condition struct {
	Status          metav1.ConditionStatus
	Reason, Message string
}

// True returns a condition that holds, False one that doesn't, Unknown one of which nobody can
// tell.
func True(reason, message string) Condition {
	return Condition{Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

// False returns a condition that doesn't hold.
func False(reason, message string) Condition {
	return Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// Unknown returns a condition of which nobody can tell whether it holds.
func Unknown(reason, message string) Condition {
	return Condition{Status: metav1.ConditionUnknown, Reason: reason, Message: message}
}

func (c Condition) isTrue() bool { return c.Status == metav1.ConditionTrue }

// Set makes c the condition of a type among conditions, as seen at generation. Its time changes
// only with its status.
func (c Condition) Set(conditions *[]metav1.Condition, conditionType string, generation int64, now time.Time) {
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type:               conditionType,
		Status:             c.Status,
		Reason:             c.Reason,
		Message:            Shorten(c.Message, maxConditionMessage),
		ObservedGeneration: generation,
		// The API server stores whole seconds.
		LastTransitionTime: metav1.Time{Time: now.Truncate(time.Second)},
	})
}

const (
	// maxConditionMessage is what the API server admits of a condition's message, in bytes.
	maxConditionMessage = 32768
	// MaxEventNote is what it admits of an event's note, in bytes.
	// https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/apis/core/validation/events.go
	// (NoteLengthLimit)
	MaxEventNote = 1024
	// maxStatusName bounds what a status takes over from a certificate, in bytes. A certificate may be
	// as large as a Secret; with a few of those the API server would take no status at all.
	maxStatusName = 1024
)

// Shorten cuts text to at most limit bytes, the mark of the cut among them.
func Shorten(text string, limit int) string {
	const mark = "…"
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(mark)], "") + mark
}
