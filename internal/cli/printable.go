package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"

	"mtls.egress/webhook/internal/egress"
)

// printable applies egress.Printable to each line. Use it for all text from outside.
func printable(text string) string {
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		lines[n] = egress.Printable(line)
	}
	return strings.Join(lines, "\n")
}

// Message returns the printable text of an error.
func Message(err error) string { return printable(err.Error()) }

// printableJSON escapes the characters that a terminal interprets. In JSON they occur only in
// strings, except for line breaks.
func printableJSON(encoded []byte) []byte {
	var text strings.Builder
	for _, r := range string(encoded) {
		if r == '\n' || unicode.IsGraphic(r) {
			text.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&text, `\u%04x`, unit)
		}
	}
	return []byte(text.String())
}
