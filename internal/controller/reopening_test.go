package controller

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func TestATargetOpensSomeTimeAfterTheLastReasonToCloseIt(t *testing.T) {
	type step struct {
		at     time.Duration
		plan   plan
		closed bool
		left   time.Duration
	}
	open := plan{verdict: programmed()}
	byOthers := plan{closed: true, verdict: verdict{reason: reasonPlaintextPossible}}
	noCredential := plan{closed: true, verdict: verdict{reason: reasonCredentialInvalid}}
	tests := map[string][]step{
		"one that was never closed":                     {{0, open, false, 0}},
		"one that had no credential opens at once":      {{0, noCredential, true, 0}, {time.Second, open, false, 0}},
		"somebody else's object goes":                   {{0, byOthers, true, 0}, {time.Hour, open, true, reopenAfter}, {time.Hour + time.Second, open, true, reopenAfter - time.Second}, {time.Hour + reopenAfter, open, false, 0}},
		"it comes back meanwhile":                       {{0, byOthers, true, 0}, {1, open, true, reopenAfter}, {2, byOthers, true, 0}, {3 + reopenAfter, open, true, reopenAfter}},
		"the credential goes meanwhile, and comes back": {{0, byOthers, true, 0}, {1, noCredential, true, 0}, {2, open, true, reopenAfter}},
		"a second time needs a new reason":              {{0, byOthers, true, 0}, {1, open, true, reopenAfter}, {1 + reopenAfter, open, false, 0}, {2 + reopenAfter, open, false, 0}},
	}
	begin := time.Date(2026, time.November, 22, 0, 0, 0, 0, time.UTC)
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			r := &reopening{}
			for i, s := range steps {
				held, left := r.hold(types.NamespacedName{Name: "external.system.com"}, s.plan, begin.Add(s.at))
				if diff := cmp.Diff([]any{s.closed, s.left}, []any{held.closed, left}); diff != "" {
					t.Errorf("step %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

func TestATargetThatIsGoneIsForgotten(t *testing.T) {
	r := &reopening{}
	key := types.NamespacedName{Name: "external.system.com"}
	r.hold(key, plan{closed: true, verdict: verdict{reason: reasonPlaintextPossible}}, time.Time{})
	r.forget(key)
	if len(r.safe) != 0 {
		t.Errorf("still remembered: %v", r.safe)
	}
}
