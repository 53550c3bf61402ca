package color_test

import (
	"bytes"
	"io"
	"os"
	"testing"

	"mtls.egress/webhook/internal/color"
)

func TestColorsAreForTerminals(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // it was only read
	for sentence, out := range map[string]io.Writer{"a file": file, "a buffer": &bytes.Buffer{}} {
		if color.Wanted(out) || color.IsTerminal(out) {
			t.Errorf("%s counts as a terminal", sentence)
		}
	}
}

func TestPaint(t *testing.T) {
	if got := color.Red.Paint(true, "error:"); got != "\x1b[1;31merror:\x1b[0m" {
		t.Errorf("got %q", got)
	}
	if got := color.Red.Paint(false, "error:"); got != "error:" {
		t.Errorf("got %q without colors", got)
	}
}
