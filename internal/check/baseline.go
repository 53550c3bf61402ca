package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// baselineVersion is the version of the format of baseline files.
const baselineVersion = 1

// Baseline is a list of accepted findings. Its keys don't change with the file or line of an
// object.
type Baseline struct {
	Version  int   `json:"version"`
	Findings []Key `json:"findings"`
}

// Key identifies a finding.
type Key struct {
	Rule      string `json:"rule"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Field     string `json:"field,omitempty"`
}

// String returns the key for messages.
func (k Key) String() string {
	object := strings.TrimPrefix(k.Namespace+"/"+k.Name, "/")
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", k.Rule, k.Kind, object, k.Field))
}

// Key returns the key of the finding.
func (f Finding) Key() Key {
	at := f.Location
	return Key{Rule: f.Rule.ID, Kind: at.Kind, Namespace: at.Namespace, Name: at.Name, Field: f.Field}
}

// NewBaseline returns the baseline that accepts the findings, except those that an annotation
// accepts.
func NewBaseline(findings []Finding) Baseline {
	baseline := Baseline{Version: baselineVersion, Findings: []Key{}}
	for _, finding := range findings {
		if finding.Accepted == nil || finding.Accepted.ByBaseline {
			baseline.Findings = append(baseline.Findings, finding.Key())
		}
	}
	slices.SortFunc(baseline.Findings, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Field, b.Field))
	})
	baseline.Findings = slices.Compact(baseline.Findings)
	return baseline
}

// ReadBaseline decodes the content of a baseline file.
func ReadBaseline(content []byte) (Baseline, error) {
	var baseline Baseline
	if err := json.Unmarshal(content, &baseline); err != nil {
		return baseline, fmt.Errorf("is not a baseline: %w", err)
	}
	if baseline.Version != baselineVersion {
		return baseline, fmt.Errorf("has version %d, want %d: write it again with --write-baseline", baseline.Version,
			baselineVersion)
	}
	return baseline, nil
}

// Encode returns the content of the baseline file.
func (b Baseline) Encode() ([]byte, error) {
	encoded, err := json.MarshalIndent(b, "", "  ")
	return append(encoded, '\n'), err
}

// Accept marks the findings that the baseline has, and returns its keys without a finding.
func (b Baseline) Accept(findings []Finding) (gone []Key) {
	for _, key := range b.Findings {
		found := false
		for n := range findings {
			if findings[n].Key() != key {
				continue
			}
			found = true
			if findings[n].Accepted == nil {
				findings[n].Accepted = &Acceptance{Reason: "the baseline has it", ByBaseline: true}
			}
		}
		if !found {
			gone = append(gone, key)
		}
	}
	return gone
}
