package egress

import (
	"fmt"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// excerptLength is how much of a user's text a message repeats.
const excerptLength = 60

// Invalid is field.Invalid with a value that is safe to print whatever the user wrote; quoting is
// left to field.Error.
func Invalid(path *field.Path, value, detail string) *field.Error {
	return &field.Error{Type: field.ErrorTypeInvalid, Field: path.String(), BadValue: Excerpt(strings.TrimSpace(value)), Detail: detail}
}

// Excerpt returns a user's text as a message may repeat it: at most 60 bytes of it and its length.
func Excerpt(text string) string {
	if len(text) <= excerptLength {
		return strings.ToValidUTF8(text, "�")
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:excerptLength], ""), len(text))
}

// Printable replaces what a terminal obeys instead of showing it: control characters, and those of
// format, which can turn the direction of a text around or hide parts of it (Unicode categories Cc
// and Cf). Within quotes by %q they are written as escapes.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// quoted is Excerpt in quotes, for use within a sentence: no control character reaches a terminal
// or a log.
func quoted(text string) string {
	if len(text) <= excerptLength {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q… (%d bytes)", strings.ToValidUTF8(text[:excerptLength], ""), len(text))
}
