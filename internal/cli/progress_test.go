package cli

import (
	"bytes"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// screen passes on what is written.
type screen chan string

func (s screen) Write(text []byte) (int, error) {
	s <- string(text)
	return len(text), nil
}

func TestProgressIsShownAfterTwoSeconds(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	shown := make(screen, 1)
	done := progress{out: shown, clock: clock}.wait("connecting to external.system.com:443")
	for _, step := range []struct {
		passes time.Duration
		want   string
	}{
		{2 * time.Second, "\r\x1b[Kconnecting to external.system.com:443 (2s)"},
		{time.Second, "\r\x1b[Kconnecting to external.system.com:443 (3s)"},
	} {
		clock.Step(step.passes)
		if got := <-shown; got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
	done()
	if got := <-shown; got != "\r\x1b[K" {
		t.Errorf("the end writes %q", got)
	}
}

func TestProgressOfAQuickCommandShowsNothing(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	var shown bytes.Buffer
	done := progress{out: &shown, clock: clock}.wait("connecting")
	clock.Step(progressDelay - time.Millisecond)
	done()
	if shown.Len() > 0 {
		t.Errorf("it shows %q", shown.String())
	}
}

func TestProgressIsForTerminals(t *testing.T) {
	var out bytes.Buffer
	shown := newProgress(&out)
	shown.wait("connecting")()
	if shown.out != nil || out.Len() > 0 {
		t.Errorf("something that is not a terminal gets %q", out.String())
	}
}
