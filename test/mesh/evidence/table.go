package evidence

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mtls.egress/webhook/test/marked"
)

// The markers in the document.
const (
	begin = "<!-- evidence: written by make guarantees -->"
	end   = "<!-- end of evidence -->"
)

// part is where the table stands.
func part() marked.Part { return marked.Part{Begin: begin, End: end} }

const header = "| promise | fault | requests | without an answer | plaintext bytes | test " +
	"|\n|---|---|---|---|---|---|\n"

// Replace puts the table of the rows between the markers of a document. Rows of an unknown promise,
// and rows with plaintext, are refused: all are named.
func Replace(document string, rows []Row) (string, error) {
	var problems []error
	var table strings.Builder
	table.WriteString(header)
	for _, row := range Merged(rows) {
		problems = append(problems, row.check())
		fmt.Fprintf(&table, "| %s | %s | %d | %d | %d | `%s` |\n",
			row.Promise, row.Fault, row.Requests, row.Failed, row.PlaintextBytes, row.Test)
	}
	written, err := part().Replace(document, table.String())
	if err != nil {
		return "", err
	}
	return written, errors.Join(problems...)
}

func (r Row) check() error {
	var problems []error
	if !slices.Contains(Promises(), r.Promise) {
		problems = append(problems, fmt.Errorf("%s: there is no promise %q, only %q", r.Test, r.Promise, Promises()))
	}
	if r.Fault == "" || strings.ContainsAny(r.Fault, "|\n") {
		problems = append(problems, fmt.Errorf("%s: the fault %q can't stand in a table", r.Test, r.Fault))
	}
	if r.Requests <= 0 || r.Failed < 0 || r.Failed > r.Requests {
		problems = append(problems, fmt.Errorf("%s, %s: %d of %d requests without an answer; no requests are no evidence",
			r.Test, r.Fault, r.Failed, r.Requests))
	}
	if r.PlaintextBytes != 0 {
		problems = append(problems,
			fmt.Errorf("%s, %s: %d bytes in plain text; such a run is no evidence", r.Test, r.Fault, r.PlaintextBytes))
	}
	return errors.Join(problems...)
}

// Table reads the rows of the table in a document.
func Table(document string) ([]Row, error) {
	_, table, _, err := part().Cut(document)
	if err != nil {
		return nil, err
	}
	lines, isTable := strings.CutPrefix(strings.TrimSpace(table), strings.TrimSuffix(header, "\n"))
	if !isTable {
		return nil, fmt.Errorf("between the lines %q and %q there is no table that starts with\n%s", begin, end, header)
	}
	var rows []Row
	for line := range strings.Lines(strings.TrimPrefix(lines, "\n")) {
		row, err := rowOf(strings.TrimSpace(line))
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func rowOf(line string) (Row, error) {
	cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "| "), " |"), " | ")
	if len(cells) != 6 {
		return Row{}, fmt.Errorf("the row %q has %d cells, not 6", line, len(cells))
	}
	requests, notRequests := strconv.Atoi(cells[2])
	failed, notFailed := strconv.Atoi(cells[3])
	plaintext, notPlaintext := strconv.ParseInt(cells[4], 10, 64)
	if err := errors.Join(notRequests, notFailed, notPlaintext); err != nil {
		return Row{}, fmt.Errorf("the row %q: %w", line, err)
	}
	return Row{
		Promise:        cells[0],
		Fault:          cells[1],
		Requests:       requests,
		Failed:         failed,
		PlaintextBytes: plaintext,
		Test:           strings.Trim(cells[5], "`"),
	}, nil
}
