package fuzzmesh

import (
	"os"
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/test/golden"
)

const publishedManifests = "../../internal/check/testdata/corpus-istio"

// listedFinding is the part of a finding in a golden file that this test reads.
type listedFinding struct {
	Rule string `json:"rule"`
}

// TestFindingsInPublishedManifestsAreTrue compares what the rules find with Istio's simulator.
// Where the app's own https gets two layers of TLS, a finding says so, and nowhere else, unless
// another one says that sidecars don't see the objects. Where a DestinationRule starts TLS and
// calls still leave in plain text, there is a finding, unless the set is a part of a configuration.
// No API server stores the sets whose names contain undecodable.
func TestFindingsInPublishedManifestsAreTrue(t *testing.T) {
	inputs := golden.Inputs(t, publishedManifests)
	for _, name := range golden.Names(inputs) {
		if strings.Contains(name, "undecodable") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			read := readExample(t, inputs[name])
			findings := readFindings(t, golden.File(inputs[name]))
			twice, plain := behavior(t, read)
			said := has(findings, "MTE201") || has(findings, "MTE211") || has(findings, "MTE248")
			hidden := has(findings, "MTE215") || has(findings, "MTE216")
			if said != twice && !hidden {
				t.Errorf("own https gets two layers of TLS: %v; a finding says so: %v", twice, said)
			}
			if plain && len(findings) == 0 && !strings.HasPrefix(name, "partial-") {
				t.Error("calls leave in plain text, and there is no finding")
			}
		})
	}
}

func readFindings(t *testing.T, path string) []listedFinding {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var findings []listedFinding
	if err := yaml.Unmarshal(content, &findings); err != nil {
		t.Fatal(err)
	}
	return findings
}

func has(findings []listedFinding, id string) bool {
	for _, finding := range findings {
		if strings.HasPrefix(finding.Rule, id+" ") {
			return true
		}
	}
	return false
}

// behavior reports whether any host's own https gets two layers of TLS, and whether plain calls
// leave in plain text to a host that a DestinationRule starts TLS for.
func behavior(t *testing.T, read example) (twice, plain bool) {
	t.Helper()
	taken := read.World
	taken.Theirs = nil
	started := map[string]bool{}
	labels := read.labels
	for _, object := range read.Theirs {
		if rule, ok := object.(*networkingv1.DestinationRule); ok {
			started[rule.Spec.Host] = strings.Contains(text(rule), "mode: SIMPLE") ||
				strings.Contains(text(rule), "mode: MUTUAL")
			if selector := rule.Spec.GetWorkloadSelector().GetMatchLabels(); read.deployment == nil && selector != nil {
				labels = selector
			}
		}
		if valid(object) {
			taken.Theirs = append(taken.Theirs, object)
		} else {
			t.Logf("Istio refuses %s %s", kind(object), object.GetName())
		}
	}
	control := start(t, taken)
	for _, object := range taken.Theirs {
		entry, ok := object.(*networkingv1.ServiceEntry)
		if !ok {
			continue
		}
		caller := control.sidecar(Pod{Name: "caller", Namespace: entry.Namespace, Labels: labels})
		for _, host := range entry.Spec.Hosts {
			twice = twice || strings.HasPrefix(caller.outcome(httpsCall(host)), "TLS in TLS")
			plain = plain || started[host] && strings.Contains(caller.outcome(httpCall(host)), "plain text")
		}
	}
	return twice, plain
}
