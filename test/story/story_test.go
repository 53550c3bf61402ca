package story

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAStepSaysHowLongItTookAndEndsOnce(t *testing.T) {
	var out strings.Builder
	s := New(&out)
	s.Begin("one")
	s.Begin("two")
	s.End()
	s.End()
	s.Sayf("%d steps", 2)
	s.Indented("a\n\nb\n")
	got := regexp.MustCompile(`[0-9]+\.[0-9]s`).ReplaceAllString(out.String(), "TIME")
	if diff := cmp.Diff("  one … TIME\n  two … TIME\n2 steps\n  a\n  \n  b\n", got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

func TestTheFirstErrorOfPrintingIsKept(t *testing.T) {
	w := &failing{}
	s := New(w)
	s.Sayf("one")
	s.Sayf("two")
	if err := s.Err(); err == nil || err.Error() != "write 1" {
		t.Errorf("got %v, want that of the first line", err)
	}
}

type failing struct{ writes int }

func (f *failing) Write([]byte) (int, error) {
	f.writes++
	return 0, errors.New("write " + string(rune('0'+f.writes)))
}

func TestWrappedBreaksAtBlanks(t *testing.T) {
	tests := map[string]struct {
		text string
		want string
	}{
		"what fits stays":                   {"one two", "one two"},
		"what doesn't goes to the next":     {"one two three four", "one two\nthree four"},
		"letters count, not bytes":          {"→→→ →→→→→→", "→→→ →→→→→→"},
		"a long word has a line of its own": {"a longer-than-the-line b", "a\nlonger-than-the-line\nb"},
		"nothing":                           {" ", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Wrapped(test.text, 10); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
