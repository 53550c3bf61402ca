package cli

import (
	"strings"
	"unicode"
)

// printable replaces what a terminal obeys instead of showing it, line breaks aside: control characters, and those of format, which
// can turn the direction of a text around or hide parts of it. Foreign text is printed through here.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) || r == '\n' {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
