// Package marked reads and writes the part of a document that is between two lines of its own,
// as comments of Markdown are: what a program made of figures, in the middle of what a person
// wrote.
package marked

import (
	"fmt"
	"strings"
)

// Part is where in a document the text stands.
type Part struct {
	// Begin and End are the lines above and below it.
	Begin, End string
}

// Cut returns what is between the lines, with its empty lines, and what is around them. Lines that
// are missing are an error.
func (p Part) Cut(document string) (before, text, after string, err error) {
	before, rest, hasBegin := strings.Cut(document, p.Begin)
	text, after, hasEnd := strings.Cut(rest, p.End)
	if !hasBegin || !hasEnd {
		return "", "", "", fmt.Errorf("the lines %q and, below it, %q are missing: what is generated goes between them",
			p.Begin, p.End)
	}
	return before, text, after, nil
}

// Replace puts a text, which ends with a line break, between the lines.
func (p Part) Replace(document, text string) (string, error) {
	before, _, after, err := p.Cut(document)
	if err != nil {
		return "", err
	}
	return before + p.Begin + "\n\n" + text + "\n" + p.End + after, nil
}
