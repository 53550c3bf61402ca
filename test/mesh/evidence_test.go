package mesh

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/mesh/evidence"
)

// guarantees is the document with the table of the rows.
const guarantees = "../../docs/project/guarantees.md"

// figures are one row of the table in docs/project/guarantees.md.
type figures = evidence.Row

// counted gathers the rows of a run.
var counted ledger

type ledger struct {
	sync.Mutex
	rows []figures
	// skipped says that a test was skipped, so that the rows aren't all.
	skipped bool
}

// neverPlain fails the test when the partner received a byte without TLS of what the filter
// selects, and keeps the figures.
func neverPlain(t *testing.T, saw partner.Summary, row figures) {
	t.Helper()
	if saw.PlainConnections != 0 || saw.PlaintextBytes != 0 || saw.PlainRequests != 0 {
		t.Errorf("%s, while %s: %d plain connections with %d bytes and %d requests reached the partner",
			row.Promise, row.Fault, saw.PlainConnections, saw.PlaintextBytes, saw.PlainRequests)
	}
	row.Test, row.PlaintextBytes = t.Name(), saw.PlaintextBytes
	t.Logf("%s; %s: %d calls, %d without an answer, %d bytes without TLS",
		row.Promise, row.Fault, row.Requests, row.Failed, row.PlaintextBytes)
	if cluster.IPv6() {
		row.Promise, row.Fault = evidence.IPv6Only, row.Promise
	}
	counted.Lock()
	defer counted.Unlock()
	counted.rows = append(counted.rows, row)
}

// skip skips the test, for a reason that the machine gives. A run with such a test isn't compared
// with the document.
func skip(t *testing.T, reason string) {
	t.Helper()
	counted.Lock()
	counted.skipped = true
	counted.Unlock()
	t.Skip(reason)
}

// publish writes the rows of a run to where they are asked for. When nobody asks, they have to be
// those of the document, which is about the default mesh. Rows of a run that didn't run all tests,
// or didn't pass, are neither.
func (l *ledger) publish(passed bool) error {
	l.Lock()
	defer l.Unlock()
	path, asked := os.LookupEnv(evidence.Variable)
	if !passed || l.skipped || chosen() || asked && testing.Short() {
		if asked {
			return errors.New("no evidence is written: not all tests ran, or one failed")
		}
		return nil
	}
	if asked {
		return evidence.WriteFile(path, l.rows)
	}
	if mesh, err := cluster.SelectedMesh(); err != nil || mesh.Name != "" {
		return err
	}
	document, err := os.ReadFile(guarantees)
	if err != nil {
		return err
	}
	table, err := evidence.Table(string(document))
	if err != nil {
		return fmt.Errorf("docs/project/guarantees.md, which make guarantees writes: %w", err)
	}
	table = slices.DeleteFunc(table, ofOtherRun)
	if differences := evidence.Differences(table, l.rows); len(differences) > 0 {
		return errors.New(
			"docs/project/guarantees.md is not of these tests, make guarantees writes it:\n" + strings.Join(differences, "\n"),
		)
	}
	return nil
}

// ofOtherRun reports whether a row of the document comes from tests that this run doesn't play.
func ofOtherRun(row figures) bool {
	return (row.Promise == evidence.IPv6Only) != cluster.IPv6() || testing.Short() && !slices.Contains(core(), row.Test)
}

// chosen says that not all tests were to run.
func chosen() bool {
	return slices.ContainsFunc([]string{"test.run", "test.skip", "test.list"}, func(name string) bool {
		given := flag.Lookup(name)
		return given != nil && given.Value.String() != ""
	})
}
