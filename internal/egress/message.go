package egress

import (
	"fmt"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// excerptLength is the number of bytes of user input that a message repeats.
const excerptLength = 60

// Invalid is field.Invalid with an excerpt of value that is safe to print. field.Error quotes it.
func Invalid(path *field.Path, value, detail string) *field.Error {
	return &field.Error{
		Type:     field.ErrorTypeInvalid,
		Field:    path.String(),
		BadValue: Excerpt(strings.TrimSpace(value)),
		Detail:   detail,
	}
}

// Excerpt returns user input for use in a message: at most 60 bytes, followed by the full length.
func Excerpt(text string) string {
	if len(text) <= excerptLength {
		return strings.ToValidUTF8(text, "�")
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:excerptLength], ""), len(text))
}

// Printable replaces characters that a terminal interprets instead of printing: control characters
// (Unicode category Cc) and format characters (Cf), which can reverse or hide text. Text quoted
// with %q doesn't need it, because %q escapes them.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// Counted returns a number with its noun, which is in the plural unless there is one: "1 Pod" and
// "2 Pods". The plural of noun ends in s.
func Counted[N int | int32 | uint64](number N, noun string) string {
	if number == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", number, noun)
}

// quotedExcerpt returns Excerpt in quotes for use within a sentence. It escapes control characters,
// so none reaches a terminal or a log.
func quotedExcerpt(text string) string {
	if len(text) <= excerptLength {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q… (%d bytes)", strings.ToValidUTF8(text[:excerptLength], ""), len(text))
}
