package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// measurement is what the two examples of a rule were measured to do. test/fuzzmesh writes it.
type measurement struct {
	// Source is what the examples were tried on.
	Source string `json:"source"`
	// Bad and Good map what was tried to its outcome.
	Bad  map[string]string `json:"bad"`
	Good map[string]string `json:"good"`
}

// measurementsOf returns the measurements by the IDs of the rules. They are beside the examples.
func measurementsOf(examples string) (map[string]measurement, error) {
	path := filepath.Join(filepath.Dir(examples), "measured.golden.json")
	content, err := os.ReadFile(path) //nolint:gosec // the caller chooses the folder
	if err != nil {
		return nil, err
	}
	measured := map[string]measurement{}
	if err := json.Unmarshal(content, &measured); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return measured, nil
}

// table returns the section of the page, or "" for a rule that wasn't measured.
func (m measurement) table() string {
	if m.Source == "" {
		return ""
	}
	outcomes := maps.Clone(m.Bad)
	maps.Copy(outcomes, m.Good)
	var text strings.Builder
	fmt.Fprintf(&text, "## Measured\n\nSource: %s.\n\n| | with the mistake | without it |\n|---|---|---|\n", m.Source)
	for _, what := range slices.Sorted(maps.Keys(outcomes)) {
		fmt.Fprintf(&text, "| %s | %s | %s |\n", what, m.Bad[what], m.Good[what])
	}
	return text.String() + "\n"
}
