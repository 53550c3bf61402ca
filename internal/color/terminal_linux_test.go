package color_test

import (
	"os"
	"syscall"
	"testing"

	"mtls.egress/webhook/internal/color"
)

func TestATerminalHasColorsUnlessTheyAreSwitchedOff(t *testing.T) {
	terminal := openTerminal(t)
	for sentence, test := range map[string]struct {
		environment map[string]string
		want        bool
	}{
		"a terminal":              {map[string]string{"TERM": "xterm", "NO_COLOR": ""}, true},
		"a user without colors":   {map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false},
		"a terminal without them": {map[string]string{"TERM": "dumb", "NO_COLOR": ""}, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			for name, value := range test.environment {
				t.Setenv(name, value)
			}
			if got := color.Wanted(terminal); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

// openTerminal opens a pseudoterminal.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudoterminals here: %v", err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal
}
