package report

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"mtls.egress/webhook/internal/check"
)

// The parts of SARIF 2.1.0 that code scanners read.
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string       `json:"id"`
		Name             string       `json:"name"`
		ShortDescription sarifMessage `json:"shortDescription"`
		FullDescription  sarifMessage `json:"fullDescription"`
		Help             sarifMessage `json:"help"`
		HelpURI          string       `json:"helpUri,omitempty"`
		Configuration    struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
		Properties struct {
			Tags []string `json:"tags"`
		} `json:"properties"`
	}
	sarifMessage struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Message      sarifMessage       `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region struct {
			StartLine   int `json:"startLine"`
			StartColumn int `json:"startColumn"`
		} `json:"region"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification"`
	}
)

func writeSARIF(out io.Writer, r Report) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "mtls-egress-webhook", Version: r.Version}
	indices := map[string]int{}
	for n, rule := range check.Rules() {
		indices[rule.ID] = n
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, r.sarifRule(rule))
	}
	keys := fingerprints(r.Findings)
	for n, finding := range r.Findings {
		result := sarifResult{
			RuleID: finding.Rule.ID, RuleIndex: indices[finding.Rule.ID], Level: string(finding.Rule.Severity),
			Message:      sarifMessage{Text: sentence(finding)},
			Locations:    []sarifLocation{sarifPlace(finding)},
			Fingerprints: map[string]string{"object/v1": keys[n]},
		}
		if finding.Accepted != nil {
			kind := "inSource"
			if finding.Accepted.ByBaseline {
				kind = "external"
			}
			result.Suppressions = []sarifSuppression{{Kind: kind, Justification: finding.Accepted.Reason}}
		}
		run.Results = append(run.Results, result)
	}
	return encode(out, sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	})
}

func (r Report) sarifRule(rule check.Rule) sarifRule {
	one := sarifRule{
		ID: rule.ID, Name: rule.Name,
		ShortDescription: sarifMessage{Text: rule.Summary},
		FullDescription:  sarifMessage{Text: rule.Summary + " " + rule.Effect},
		Help: sarifMessage{
			Text: fmt.Sprintf("%s %s %s See %s.", rule.Summary, rule.Effect, rule.Fix, r.page(rule)),
			Markdown: fmt.Sprintf("%s %s\n\n**Fix:** %s\n\nSee [%s](%s).", rule.Summary, rule.Effect, rule.Fix, rule.ID,
				r.page(rule)),
		},
	}
	one.Configuration.Level = string(rule.Severity)
	one.Properties.Tags = []string{string(rule.Group), "security"}
	// The format wants an absolute URL.
	if page, err := url.Parse(r.page(rule)); err == nil && page.IsAbs() {
		one.HelpURI = r.page(rule)
	}
	return one
}

func sarifPlace(finding check.Finding) sarifLocation {
	at := sarifLocation{}
	if name := subject(finding); name != "" {
		at.Logical = []sarifLogical{{Name: name, Kind: "resource"}}
	}
	if finding.Line > 0 {
		at.Physical = &sarifPhysical{}
		at.Physical.Artifact.URI = fileURI(finding.Location.Source)
		at.Physical.Region.StartLine, at.Physical.Region.StartColumn = finding.Line, finding.Column
	}
	return at
}

// fileURI returns the reference of a file, relative to the folder in which the command runs, or the
// URL that the input is from.
func fileURI(source string) string {
	if strings.Contains(source, "://") {
		return source
	}
	return (&url.URL{Path: strings.TrimPrefix(filepath.ToSlash(source), "./")}).String()
}

// fingerprints returns a stable hash for each finding: of the rule, the object (or the file, if no
// object could be read) and the field, and of the number among equal ones.
func fingerprints(findings []check.Finding) []string {
	hashes := make([]string, len(findings))
	seen := map[check.Key]int{}
	for n, finding := range findings {
		key := finding.Key()
		if object(finding.Location) == "" {
			key.Name = finding.Location.Source
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", key, seen[key]))
		hashes[n] = hex.EncodeToString(sum[:16])
		seen[key]++
	}
	return hashes
}
