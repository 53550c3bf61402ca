package target

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// shownLength is how much of a user's text a message repeats.
const shownLength = 60

// Invalid is field.Invalid with a value that is safe to print whatever the user wrote; quoting is left to field.Error.
func Invalid(path *field.Path, value, detail string) *field.Error {
	return &field.Error{Type: field.ErrorTypeInvalid, Field: path.String(), BadValue: Shorten(strings.TrimSpace(value)), Detail: detail}
}

// Shorten returns a user's text as a message may repeat it: at most 60 bytes of it and its length.
func Shorten(text string) string {
	if len(text) <= shownLength {
		return strings.ToValidUTF8(text, "�")
	}
	return fmt.Sprintf("%s… (%d characters)", strings.ToValidUTF8(text[:shownLength], ""), len(text))
}

// shown is Shorten in quotes, for use within a sentence: no control character reaches a terminal or a log.
func shown(text string) string {
	if len(text) <= shownLength {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q… (%d characters)", strings.ToValidUTF8(text[:shownLength], ""), len(text))
}
