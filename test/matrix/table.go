package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mtls.egress/webhook/test/marked"
)

// row is the result of a run of a combination's tests. The document is the only place that has the
// rows: a run replaces its own, and keeps the others.
type row struct {
	name, about string
	// passed and skipped are numbers of tests, subtests included.
	passed, skipped int
	// counted says that the tests counted calls, and plaintext the bytes that the partner received
	// without TLS.
	counted   bool
	calls     int
	plaintext int64
	// commit is that of the product, in short, and date the day of the run as YYYY-MM-DD.
	commit, date string
}

// The lines around the table in the document.
const (
	begin = "<!-- matrix: written by make test-matrix -->"
	end   = "<!-- end of matrix -->"
)

func part() marked.Part { return marked.Part{Begin: begin, End: end} }

const (
	header = "| runs on | what is tested | tests passed | left out | calls | plaintext bytes | commit | date |"
	rule   = "|---|---|---|---|---|---|---|---|"
	// uncounted is in the cells of tests that make no calls to a partner.
	uncounted = "–"
)

// read returns the rows of the document.
func read(document string) ([]row, error) {
	_, table, _, err := part().Cut(document)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) < 2 || lines[0] != header || lines[1] != rule {
		return nil, fmt.Errorf("below the line %q there is no table that starts with\n%s\n%s", begin, header, rule)
	}
	var rows []row
	for _, line := range lines[2:] {
		parsed, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("the row %q: %w", line, err)
		}
		rows = append(rows, parsed)
	}
	return rows, nil
}

func parse(line string) (row, error) {
	cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "| "), " |"), " | ")
	if len(cells) != 8 {
		return row{}, fmt.Errorf("%d cells, want 8", len(cells))
	}
	r := row{name: cells[0], about: cells[1], commit: cells[6], date: cells[7]}
	var problems [4]error
	r.passed, problems[0] = strconv.Atoi(cells[2])
	r.skipped, problems[1] = strconv.Atoi(cells[3])
	if cells[4] != uncounted {
		r.counted = true
		r.calls, problems[2] = strconv.Atoi(cells[4])
		r.plaintext, problems[3] = strconv.ParseInt(cells[5], 10, 64)
	}
	return r, errors.Join(problems[:]...)
}

func (r row) String() string {
	calls, plaintext := uncounted, uncounted
	if r.counted {
		calls, plaintext = strconv.Itoa(r.calls), strconv.FormatInt(r.plaintext, 10)
	}
	return fmt.Sprintf("| %s | %s | %d | %d | %s | %s | %s | %s |",
		r.name, r.about, r.passed, r.skipped, calls, plaintext, r.commit, r.date)
}

// replace puts rows into the document's table, in the place of those with their names. Rows of
// combinations that don't exist go.
func replace(document string, fresh []row) (string, error) {
	kept, err := read(document)
	if err != nil {
		return "", err
	}
	var table strings.Builder
	table.WriteString(header + "\n" + rule + "\n")
	for _, c := range combinations() {
		for _, rows := range [][]row{fresh, kept} {
			if at := slices.IndexFunc(rows, func(r row) bool { return r.name == c.name }); at >= 0 {
				table.WriteString(rows[at].String() + "\n")
				break
			}
		}
	}
	return part().Replace(document, table.String())
}

// missing says what the table lacks as evidence for a release: a row for each combination, with
// tests that passed on today's product. sameProduct reports whether the product of a commit is
// today's.
func missing(rows []row, sameProduct func(commit string) (bool, error)) []string {
	var problems []string
	for _, c := range combinations() {
		at := slices.IndexFunc(rows, func(r row) bool { return r.name == c.name })
		if at < 0 {
			problems = append(problems, c.name+": its tests haven't run")
			continue
		}
		r := rows[at]
		same, err := sameProduct(r.commit)
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s: its tests ran on the commit %s: %v", c.name, r.commit, err))
		case r.passed == 0 || c.counts && r.calls == 0 || r.plaintext != 0:
			problems = append(problems, fmt.Sprintf("%s: %d tests passed, with %d calls and %d bytes of plain text, which is "+
				"no evidence", c.name, r.passed, r.calls, r.plaintext))
		case !same:
			problems = append(problems, fmt.Sprintf(
				"%s: its tests ran on the commit %s of %s, and the product has changed since", c.name, r.commit, r.date))
		}
	}
	return problems
}
