// Package color colors text for terminals.
package color

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Color is an escape sequence.
type Color string

// The colors: errors are red, warnings yellow, and what is fine is green.
const (
	Bold   Color = "\x1b[1m"
	Red    Color = "\x1b[1;31m"
	Yellow Color = "\x1b[1;33m"
	Green  Color = "\x1b[32m"

	reset = "\x1b[0m"
)

// Wanted reports whether out is a terminal that has colors and whose user hasn't switched them off
// (https://no-color.org).
func Wanted(out io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && IsTerminal(out)
}

// IsTerminal reports whether out is a terminal.
func IsTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Paint returns text in the color, or unchanged if colors aren't wanted.
func (c Color) Paint(wanted bool, text string) string {
	if !wanted {
		return text
	}
	return string(c) + text + reset
}
