package cli

import (
	"io"
	"regexp"
	"strings"

	"mtls.egress/webhook/internal/color"
)

// WriteError writes an error for the user. The word error is red on a terminal.
func WriteError(out io.Writer, err error) {
	// Nothing can be done about an error of standard error.
	_, _ = io.WriteString(out, highlighted(out, "error: "+Message(err)+"\n"))
}

// writeNotes writes text for standard error: warnings, notes and next steps.
func writeNotes(out io.Writer, text string) error {
	_, err := io.WriteString(out, highlighted(out, text))
	return err
}

// highlight matches the words at the beginning of a line that say how bad it is.
var highlight = regexp.MustCompile(`(?m)^(error:|Warning:|  refused|  warning)`)

// highlighted colors these words if out is a terminal.
func highlighted(out io.Writer, text string) string {
	if !color.Wanted(out) {
		return text
	}
	return inColors(text)
}

func inColors(text string) string {
	return highlight.ReplaceAllStringFunc(text, func(word string) string {
		if strings.HasSuffix(word, "error:") || strings.HasSuffix(word, "refused") {
			return color.Red.Paint(true, word)
		}
		return color.Yellow.Paint(true, word)
	})
}
