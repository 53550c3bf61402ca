package evidence

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const empty = "# Guarantees\n\n" + begin + "\n" + end + "\n\nThe rest.\n"

// counted are rows as tests leave them.
func counted() []Row {
	return []Row{
		{Promise: "Rotation", Fault: "three times", Test: "TestRotation", Requests: 1000},
		{
			Promise:  "Never plaintext",
			Fault:    "istiod stopped",
			Test:     "TestFaults/istiod/native_sidecar",
			Requests: 10,
			Failed:   1,
		},
		{
			Promise:  "Never plaintext",
			Fault:    "istiod stopped",
			Test:     "TestFaults/istiod/plain_sidecar",
			Requests: 20,
			Failed:   2,
		},
		{Promise: "Never plaintext", Fault: "a; b, c", Test: "TestStates", Requests: 7},
	}
}

// tabled are the same as rows of the table.
func tabled() []Row {
	return []Row{
		{Promise: "Never plaintext", Fault: "istiod stopped", Test: "TestFaults", Requests: 30, Failed: 3},
		{Promise: "Never plaintext", Fault: "a; b, c", Test: "TestStates", Requests: 7},
		{Promise: "Rotation", Fault: "three times", Test: "TestRotation", Requests: 1000},
	}
}

func TestTheTableIsThatOfTheRows(t *testing.T) {
	once, err := Replace(empty, counted())
	if err != nil {
		t.Fatal(err)
	}
	const want = "# Guarantees\n\n" + begin + `

| promise | fault | requests | without an answer | plaintext bytes | test |
|---|---|---|---|---|---|
| Never plaintext | istiod stopped | 30 | 3 | 0 | ` + "`TestFaults`" + ` |
| Never plaintext | a; b, c | 7 | 0 | 0 | ` + "`TestStates`" + ` |
| Rotation | three times | 1000 | 0 | 0 | ` + "`TestRotation`" + ` |

` + end + "\n\nThe rest.\n"
	if diff := cmp.Diff(want, once); diff != "" {
		t.Errorf("the document (-want +got):\n%s", diff)
	}
	if twice, err := Replace(once, counted()); err != nil || twice != once {
		t.Errorf("replacing again gives %q, error %v", twice, err)
	}
	read, err := Table(once)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tabled(), read); diff != "" {
		t.Errorf("the table, read again (-want +got):\n%s", diff)
	}
}

func TestRowsThatAreNoEvidenceAreRefusedAtOnce(t *testing.T) {
	_, err := Replace(empty, []Row{
		{
			Promise:        "Never plaintext",
			Fault:          "x",
			Test:           "TestA",
			PlaintextBytes: 7,
		}, {Promise: "Rottation", Fault: "y", Test: "TestB"},
		{Promise: "Rotation", Fault: "a|b", Test: "TestC"}, {Promise: "Rotation", Test: "TestD"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"TestA, x: 7 bytes in plain text", `TestB: there is no promise "Rottation"`, `TestC: the fault "a|b"`,
		`TestD: the fault ""`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
}

func TestDocumentsWithoutATableAreRefused(t *testing.T) {
	for name, document := range map[string]string{
		"no markers":           "",
		"the wrong order":      end + begin,
		"nothing between them": empty,
		"another header":       begin + "\n| promise | bytes |\n|---|---|\n" + end,
		"a row with few cells": begin + "\n" + header + "| Rotation | x | 1 |\n" + end,
		"a row without number": begin + "\n" + header + "| Rotation | x | many | 0 | 0 | `TestA` |\n" + end,
	} {
		t.Run(name, func(t *testing.T) {
			if rows, err := Table(document); err == nil {
				t.Errorf("no error, but %v", rows)
			}
		})
	}
}

func TestDifferencesNameEachClaim(t *testing.T) {
	if got := Differences(tabled(), counted()); len(got) > 0 {
		t.Errorf("merging makes a difference: %q", got)
	}
	want := []string{
		`the table has "Rotation", "three times", which no test counted`,
		`the table lacks "Rotation", "once"`,
	}
	changed := slices.Concat(counted()[1:], []Row{{Promise: "Rotation", Fault: "once"}})
	if diff := cmp.Diff(want, Differences(tabled(), changed)); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

func TestFilesKeepTheRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows.json")
	if err := WriteFile(path, counted()); err != nil {
		t.Fatal(err)
	}
	read, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(counted(), read); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if err := WriteFile(path, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil {
		t.Error("a file without rows is no error")
	}
}
