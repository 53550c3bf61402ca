package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"

	"mtls.egress/webhook/internal/egress"
)

// printable is egress.Printable line by line. Foreign text is printed through here.
func printable(text string) string {
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		lines[n] = egress.Printable(line)
	}
	return strings.Join(lines, "\n")
}

// Message is what the user is told of an error.
func Message(err error) string { return printable(err.Error()) }

// printableJSON writes in JSON as an escape what a terminal would obey. Outside of strings JSON has
// no such characters, line breaks aside.
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
