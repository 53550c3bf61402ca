package plan

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Condition is a condition of an EgressTarget without its type, generation and time.
type Condition struct {
	Status          metav1.ConditionStatus
	Reason, Message string
}

// True returns a condition with status True.
func True(reason, message string) Condition {
	return Condition{Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

// False returns a condition with status False.
func False(reason, message string) Condition {
	return Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// Unknown returns a condition with status Unknown.
func Unknown(reason, message string) Condition {
	return Condition{Status: metav1.ConditionUnknown, Reason: reason, Message: message}
}

func (c Condition) isTrue() bool { return c.Status == metav1.ConditionTrue }

// Set stores c under conditionType in conditions, as observed at generation. The transition time
// changes only with the status.
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
	// maxConditionMessage is the API server's limit for a condition's message, in bytes.
	maxConditionMessage = 32768
	// MaxEventNote is the API server's limit for an event's note, in bytes.
	// https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/apis/core/validation/events.go
	// (NoteLengthLimit).
	MaxEventNote = 1024
	// maxStatusName limits each name that a status copies from a certificate, in bytes. A certificate
	// can be as large as a Secret, and the API server would reject a status with the names of a few of
	// those.
	maxStatusName = 1024
)

// Shorten truncates text to at most limit bytes, including the ellipsis.
func Shorten(text string, limit int) string {
	const mark = "…"
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(mark)], "") + mark
}
