package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const empty = "# Compatibility\n\n" + begin + "\n\n" + header + "\n" + rule + "\n\n" + end + "\n\nThe rest.\n"

// rowOf is a row of the combination at a place in the table.
func rowOf(at, passed int) row {
	c := combinations()[at]
	return row{name: c.name, about: c.about, passed: passed, skipped: 2, commit: "0123456789ab", date: "2026-11-30"}
}

// withCalls is a row whose tests counted calls.
func withCalls(r row) row {
	r.counted, r.calls, r.plaintext = true, 1234, 0
	return r
}

var compareRows = cmp.AllowUnexported(row{})

func TestARowReplacesItselfAndKeepsTheOthers(t *testing.T) {
	document := empty
	for _, r := range []row{rowOf(1, 10), withCalls(rowOf(0, 20)), rowOf(1, 30)} {
		var err error
		if document, err = replace(document, []row{r}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := read(document)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]row{withCalls(rowOf(0, 20)), rowOf(1, 30)}, got, compareRows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(document, "# Compatibility\n\n"+begin) || !strings.HasSuffix(document, end+"\n\nThe rest.\n") {
		t.Errorf("what is around the table has changed:\n%s", document)
	}
}

func TestDocumentsWithoutATableAreRefused(t *testing.T) {
	for name, document := range map[string]string{
		"no markers":            "",
		"nothing between them":  begin + "\n" + end,
		"another header":        begin + "\n| a | b |\n|---|---|\n" + end,
		"a row with few cells":  strings.Replace(empty, rule, rule+"\n| a | b |", 1),
		"a row without numbers": strings.Replace(empty, rule, rule+"\n| a | b | many | 0 | – | – | c | d |", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if rows, err := read(document); err == nil {
				t.Errorf("no error, but %v", rows)
			}
		})
	}
}

func TestATableIsCurrentWhenItHasEverythingOfTodaysProduct(t *testing.T) {
	var whole []row
	for at, c := range combinations() {
		r := rowOf(at, 10)
		if c.counts {
			r = withCalls(r)
		}
		whole = append(whole, r)
	}
	last := len(whole) - 1
	if !whole[last].counted {
		t.Fatalf("the tests of %s count no calls", whole[last].name)
	}
	empty, plain := slices.Clone(whole), slices.Clone(whole)
	empty[0].passed, empty[last].calls, plain[last].plaintext = 0, 0, 7
	first := whole[0].name
	old := slices.Clone(whole)
	old[0].commit = "of-old"
	unknown := slices.Clone(whole)
	unknown[0].commit = "of-nobody"
	for name, test := range map[string]struct {
		rows []row
		want []string
	}{
		"all rows are of today's product": {rows: whole},
		"a row is missing":                {rows: whole[1:], want: []string{first + ": its tests haven't run"}},
		"a row is of another product": {rows: old, want: []string{
			first + ": its tests ran on the commit of-old of 2026-11-30, and the product has changed since",
		}},
		"rows without tests and without calls": {rows: empty, want: []string{
			first + ": 0 tests passed, with 0 calls and 0 bytes of plain text, which is no evidence",
			whole[last].name + ": 10 tests passed, with 0 calls and 0 bytes of plain text, which is no evidence",
		}},
		"plain text": {rows: plain, want: []string{
			whole[last].name + ": 10 tests passed, with 1234 calls and 7 bytes of plain text, which is no evidence",
		}},
		"the commit of a row isn't there": {rows: unknown, want: []string{
			first + ": its tests ran on the commit of-nobody: unknown revision",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := missing(test.rows, func(commit string) (bool, error) {
				if commit == "of-nobody" {
					return false, errors.New("unknown revision")
				}
				return commit != "of-old", nil
			})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTheDocumentHasNoStaleRows reads the table of the document: each row is of a combination that
// there is, in its words.
func TestTheDocumentHasNoStaleRows(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", document))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := read(string(content))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if !slices.ContainsFunc(combinations(), func(c combination) bool { return c.name == r.name && c.about == r.about }) {
			t.Errorf("no combination is called %q and tests %q: run `make test-matrix ON=%s`", r.name, r.about, r.name)
		}
		if r.passed == 0 || r.plaintext != 0 {
			t.Errorf("%s: %d tests passed, and %d bytes of plain text: that is no evidence", r.name, r.passed, r.plaintext)
		}
	}
}

func TestEventsOfTestsAreCounted(t *testing.T) {
	var r row
	var output strings.Builder
	failed, err := r.follow(strings.NewReader(`{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
`), &output)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(row{passed: 2, skipped: 1}, r, compareRows); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"p TestC", "p"}, failed); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	if output.String() != "=== RUN TestA\n" {
		t.Errorf("the output is %q", output.String())
	}
}
