package cli

import (
	"bytes"
	"fmt"
	"os"
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

// The line would erase what a plugin of the kubeconfig asks on the same terminal.
func TestProgressIsSilentBesideALogin(t *testing.T) {
	t.Setenv("CI", "")
	t.Setenv("TERM", "xterm")
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal: %v", err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	const plugin = `"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"login","interactiveMode":"%s"}`
	for sentence, test := range map[string]struct {
		user  string
		shown bool
	}{
		"a token":                               {`"token":"t"`, true},
		"a plugin that never asks":              {fmt.Sprintf(plugin, "Never"), true},
		"a plugin that asks if there is a user": {fmt.Sprintf(plugin, "IfAvailable"), false},
		"a plugin that always asks":             {fmt.Sprintf(plugin, "Always"), false},
		"a plugin of the old version, which asks by default": {
			`"exec":{"apiVersion":"client.authentication.k8s.io/v1beta1","command":"login"}`, false,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			flags := connectionFlags{kubeconfig: kubeconfigOf(t, "https://127.0.0.1:1", test.user)}
			if shown := flags.progress(terminal).out != nil; shown != test.shown {
				t.Errorf("it is shown: %t, want %t", shown, test.shown)
			}
		})
	}
	missing := connectionFlags{kubeconfig: "/nowhere"}
	if missing.progress(terminal).out != nil {
		t.Error("it is shown without a kubeconfig")
	}
}
