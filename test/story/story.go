// Package story prints what the demos tell: steps with how long they took, sentences, and what
// somebody said.
package story

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Story is printed to a writer. The first error of printing is kept and ends nothing.
type Story struct {
	out io.Writer
	err error
	// step is when the step that was announced last began.
	step time.Time
}

// New returns a story that is printed to out.
func New(out io.Writer) *Story { return &Story{out: out} }

// Err is the first error of printing.
func (s *Story) Err() error { return s.err }

func (s *Story) print(text string) {
	if _, err := io.WriteString(s.out, text); err != nil && s.err == nil {
		s.err = err
	}
}

// Sayf prints a line.
func (s *Story) Sayf(format string, args ...any) { s.print(fmt.Sprintf(format+"\n", args...)) }

// Begin announces a step, after the end of the one before.
func (s *Story) Begin(step string) {
	s.End()
	s.step = time.Now()
	s.print("  " + step + " … ")
}

// End says how long the step took that was announced last, once.
func (s *Story) End() {
	if !s.step.IsZero() {
		s.Sayf("%.1fs", time.Since(s.step).Seconds())
	}
	s.step = time.Time{}
}

// Indented prints the lines of a text.
func (s *Story) Indented(text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		s.Sayf("  %s", line)
	}
}

// Wrapped breaks a text into lines of at most width characters, at blanks. A word that is longer
// gets a line of its own.
func Wrapped(text string, width int) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return strings.Join(append(lines, line), "\n")
}
