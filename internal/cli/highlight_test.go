package cli

import (
	"bytes"
	"errors"
	"testing"
)

func TestColorsMarkHowBadALineIs(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"an error":       {"error: no input\n", "\x1b[1;31merror:\x1b[0m no input\n"},
		"a warning":      {"Warning: a\nWarning: b\n", "\x1b[1;33mWarning:\x1b[0m a\n\x1b[1;33mWarning:\x1b[0m b\n"},
		"a finding":      {"Findings:\n  refused (Expired): x\n", "Findings:\n\x1b[1;31m  refused\x1b[0m (Expired): x\n"},
		"anything else":  {"Note: an error: no\n", "Note: an error: no\n"},
		"the next steps": {"Next steps:\n  1. a\n", "Next steps:\n  1. a\n"},
	}
	for sentence, test := range tests {
		t.Run(sentence, func(t *testing.T) {
			if got := inColors(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFilesAndPipesGetNoColors(t *testing.T) {
	var out bytes.Buffer
	WriteError(&out, errors.New("a\x1b[2Jb"))
	if err := writeNotes(&out, "Warning: c\n"); err != nil {
		t.Fatal(err)
	}
	if want := "error: a�[2Jb\nWarning: c\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
