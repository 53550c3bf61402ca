package app

import (
	"errors"
	"net/http"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
)

// recorder returns a logger and a function that returns its lines.
func recorder() (logr.Logger, func() []string) {
	var lines []string
	log := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
	return log, func() []string { return lines }
}

func TestReadinessIsLoggedWhenItChanges(t *testing.T) {
	expired, missing := errors.New("expired"), errors.New("missing")
	tests := map[string]struct {
		outcomes []error
		want     []string
	}{
		"ready from the first probe on": {
			outcomes: []error{nil, nil},
			want:     []string{`"level"=0 "msg"="Ready" "check"="certificate"`},
		},
		"the reason is logged once": {
			outcomes: []error{missing, missing},
			want:     []string{`"level"=0 "msg"="Not ready" "check"="certificate" "reason"="missing"`},
		},
		"every change is logged": {
			outcomes: []error{missing, nil, expired, missing, nil},
			want: []string{
				`"level"=0 "msg"="Not ready" "check"="certificate" "reason"="missing"`,
				`"level"=0 "msg"="Ready" "check"="certificate"`,
				`"level"=0 "msg"="Not ready" "check"="certificate" "reason"="expired"`,
				`"level"=0 "msg"="Not ready" "check"="certificate" "reason"="missing"`,
				`"level"=0 "msg"="Ready" "check"="certificate"`,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			log, lines := recorder()
			var outcome error
			check := reported(log, "certificate", func(*http.Request) error { return outcome })
			for _, outcome = range test.outcomes {
				if err := check(nil); !errors.Is(err, outcome) {
					t.Errorf("check returned %v, want %v", err, outcome)
				}
			}
			if diff := cmp.Diff(test.want, lines()); diff != "" {
				t.Errorf("log differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChecksThatFail(t *testing.T) {
	if err := synced("the Pods", func() bool { return true })(nil); err != nil {
		t.Errorf("a synced cache is not ready: %v", err)
	}
	if err := synced("the Pods", func() bool { return false })(nil); err == nil {
		t.Error("a cache that isn't synced is ready")
	}
	draining := &drain{}
	if err := draining.check(nil); err != nil {
		t.Errorf("not ready without a signal: %v", err)
	}
	draining.begin()
	if err := draining.check(nil); err == nil {
		t.Error("ready after begin")
	}
}
