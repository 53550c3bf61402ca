// Package evidence holds what the tests of the data path counted, and the table in
// docs/project/guarantees.md that is made of it.
package evidence

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Variable names the file that a run of the tests writes its rows to, as JSON. Unset: it writes
// none, and fails when the table in the document has other rows.
const Variable = "MTLS_EGRESS_EVIDENCE"

// Row is what was counted of one fault.
type Row struct {
	// Promise is one of Promises, Fault what was done to it, in words of the table.
	Promise string `json:"promise"`
	Fault   string `json:"fault"`
	// Test is the name of the test.
	Test string `json:"test"`
	// Requests is how many calls the apps made, Failed how many of them had no answer of the partner.
	Requests int `json:"requests"`
	Failed   int `json:"failed"`
	// PlaintextBytes is what the partner received of them without TLS, on any port.
	PlaintextBytes int64 `json:"plaintextBytes"`
}

// Claim is what a row is evidence of.
type Claim struct{ Promise, Fault string }

// Claim of the row.
func (r Row) Claim() Claim { return Claim{r.Promise, r.Fault} }

// IPv6Only is the promise of all rows of a run on a cluster with IPv6 addresses only: that the
// others hold there as well. Its faults are the other promises.
const IPv6Only = "Pods with IPv6 addresses only"

// Promises are the promises of docs/project/guarantees.md, in its order. Each has a heading there.
func Promises() []string {
	return []string{
		"Never plaintext", "Only those who asked", "Other people's objects", "Your own https and POST", "Rotation",
		"Partner behind an Istio gateway", "Other ways to the partner", "Every form of workload",
		IPv6Only,
	}
}

// Merged adds up the rows of a claim that come from one test and its subtests. The result is in the
// order of the table.
func Merged(rows []Row) []Row {
	var merged []Row
	for _, row := range rows {
		row.Test, _, _ = strings.Cut(row.Test, "/")
		at := slices.IndexFunc(merged, func(other Row) bool { return other.Claim() == row.Claim() && other.Test == row.Test })
		if at < 0 {
			merged = append(merged, row)
			continue
		}
		merged[at].Requests += row.Requests
		merged[at].Failed += row.Failed
		merged[at].PlaintextBytes += row.PlaintextBytes
	}
	slices.SortFunc(merged, func(a, b Row) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.Test, b.Test), cmp.Compare(a.Fault, b.Fault))
	})
	return merged
}

// place of the row's promise among all; the last for an unknown one.
func place(row Row) int {
	if at := slices.Index(Promises(), row.Promise); at >= 0 {
		return at
	}
	return len(Promises())
}

// Claims are those of the rows, each once, in order.
func Claims(rows []Row) []Claim {
	var claims []Claim
	for _, row := range rows {
		claims = append(claims, row.Claim())
	}
	slices.SortFunc(claims,
		func(a, b Claim) int { return cmp.Or(cmp.Compare(a.Promise, b.Promise), cmp.Compare(a.Fault, b.Fault)) })
	return slices.Compact(claims)
}

// Differences say of each claim that only one of two sets of rows has, which of them lacks it.
func Differences(document, counted []Row) []string {
	var differences []string
	inDocument, inRun := Claims(document), Claims(counted)
	for _, claim := range inDocument {
		if !slices.Contains(inRun, claim) {
			differences = append(differences,
				fmt.Sprintf("the table has %q, %q, which no test counted", claim.Promise, claim.Fault))
		}
	}
	for _, claim := range inRun {
		if !slices.Contains(inDocument, claim) {
			differences = append(differences, fmt.Sprintf("the table lacks %q, %q", claim.Promise, claim.Fault))
		}
	}
	return differences
}

// WriteFile writes rows as JSON.
func WriteFile(path string, rows []Row) error {
	content, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o600)
}

// ReadFile reads rows as WriteFile writes them. A file without rows is an error.
func ReadFile(path string) ([]Row, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var rows []Row
	if err := json.Unmarshal(content, &rows); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s has no rows: the tests that write it were skipped", path)
	}
	return rows, nil
}
