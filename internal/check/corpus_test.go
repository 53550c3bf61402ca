package check_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/test/golden"
)

// described is a finding in a golden file.
type described struct {
	At       string `json:"at"`
	Object   string `json:"object"`
	Rule     string `json:"rule"`
	Field    string `json:"field,omitempty"`
	Message  string `json:"message"`
	Accepted string `json:"accepted,omitempty"`
}

func TestCorpus(t *testing.T) {
	inputs := golden.Inputs(t, "testdata/corpus")
	for _, name := range golden.Names(inputs) {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(inputs[name])
			if err != nil {
				t.Fatal(err)
			}
			documents, problems := manifests.Read(filepath.Base(inputs[name]), content)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			found := []described{}
			for _, finding := range check.Check(documents, everyHost()) {
				found = append(found, describe(finding))
			}
			encoded, err := yaml.Marshal(found)
			if err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, golden.File(inputs[name]), encoded)
		})
	}
}

func describe(finding check.Finding) described {
	at := finding.Location
	one := described{
		At:     fmt.Sprintf("%s:%d:%d", at.Source, finding.Line, finding.Column),
		Object: fmt.Sprintf("%s %s/%s", at.Kind, at.Namespace, at.Name),
		Rule:   fmt.Sprintf("%s %s %s", finding.Rule.Severity, finding.Rule.ID, finding.Rule.Name),
		Field:  finding.Field, Message: finding.Message,
	}
	if finding.Accepted != nil {
		one.Accepted = finding.Accepted.Reason
	}
	return one
}

// everyHost are options that allow every host.
func everyHost() manifests.Options {
	return manifests.Options{Policy: policy.Cluster{Other: policy.OtherAllow}, Now: now()}
}
