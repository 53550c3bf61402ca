package check_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/test/golden"
)

// corpus has sets of manifests in the shape in which people write and publish them, and what the
// rules find in each. Those whose names start with docs are in the shape of Istio's documentation.
const corpus = "testdata/corpus-istio"

func TestFindingsInPublishedManifests(t *testing.T) {
	inputs := golden.Inputs(t, corpus)
	if len(inputs) < 40 {
		t.Errorf("%d sets", len(inputs))
	}
	for _, name := range golden.Names(inputs) {
		t.Run(name, func(t *testing.T) {
			content, findings := checkFile(t, inputs[name])
			if !bytes.HasPrefix(content, []byte("# Source: ")) {
				t.Error("the first line doesn't name the source")
			}
			golden.Compare(t, golden.File(inputs[name]), listed(findings))
		})
	}
}

// TestMessages compares what the rules for Istio say about their bad examples.
func TestMessages(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(rules, "MTE2*", "bad.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	for _, path := range paths {
		_, findings := checkFile(t, path)
		fmt.Fprintf(&said, "# %s\n%s", filepath.Base(filepath.Dir(path)), listed(findings))
	}
	golden.Compare(t, "testdata/messages-istio.golden.yaml", said.Bytes())
}

// TestMissingObjectsAreNoError leaves out documents of each good example in all combinations.
// Objects that aren't part of the input may exist in the cluster, so nothing but warnings may
// follow.
func TestMissingObjectsAreNoError(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(rules, "MTE2*", "good.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		documents, _ := manifests.Read(path, content)
		for kept := range 1 << len(documents) {
			var rest []manifests.Document
			for n, document := range documents {
				if kept&(1<<n) != 0 {
					rest = append(rest, document)
				}
			}
			for _, finding := range check.Check(rest, manifests.Options{Now: now()}) {
				if finding.Rule.Severity == check.Error {
					t.Errorf("%s with the documents %b: %s %s", path, kept, finding.Rule.ID, finding.Message)
				}
			}
		}
	}
}

// trueErrors are the manifests of Istio's documentation that have findings with the severity error,
// and why these are true. The module test/fuzzmesh shows it.
func trueErrors() map[string]string {
	const double = "The app's own https calls get two layers of TLS, as Istio's page of common problems says."
	return map[string]string{
		"docs-tls-origination-1-6":        double,
		"docs-egress-gateway-origination": double + " The rule is for the gateway, but sidecars see it too.",
		"docs-egress-gateway-http-route":  double + " The rule is for the gateway, but sidecars see it too.",
		"docs-samples-bookinfo":           double,
	}
}

func TestIstiosDocumentationHasOnlyTrueErrors(t *testing.T) {
	reasons := trueErrors()
	for name, path := range golden.Inputs(t, corpus) {
		if !strings.HasPrefix(name, "docs-") {
			continue
		}
		_, findings := checkFile(t, path)
		errors := 0
		for _, finding := range findings {
			if finding.Rule.Severity == check.Error {
				errors++
			}
		}
		if known := reasons[name] != ""; known != (errors > 0) {
			t.Errorf("%s has %d errors, and a reason: %v", name, errors, known)
		}
		delete(reasons, name)
	}
	if len(reasons) > 0 {
		t.Errorf("no such manifests: %v", reasons)
	}
}

// listed returns findings as YAML, in a golden file.
func listed(findings []check.Finding) []byte {
	var b bytes.Buffer
	if len(findings) == 0 {
		b.WriteString("[]\n")
	}
	for _, finding := range findings {
		fmt.Fprintf(&b, "- rule: %s %s\n  severity: %s\n  at: %d:%d %s/%s %s\n  message: %q\n", finding.Rule.ID,
			finding.Rule.Name, finding.Rule.Severity, finding.Line, finding.Column, finding.Location.Kind,
			finding.Location.Name, finding.Field, finding.Message)
	}
	return b.Bytes()
}

func checkFile(t *testing.T, path string) ([]byte, []check.Finding) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	documents, problems := manifests.Read(filepath.Base(path), content)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return content, check.Check(documents, manifests.Options{Now: now()})
}

func TestGeneratedObjectsHaveNoFindings(t *testing.T) {
	target := egress.Target{
		Namespace: "project", Host: "external.system.com", Port: 443, AppPort: 80, SNI: "external.system.com",
		SubjectAltNames: []string{"external.system.com"}, Retries: 2, MaxConnectionAge: 5 * time.Minute,
	}
	layout := egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"}
	for name, objects := range map[string][]mesh.Object{
		"open": mesh.Objects(target, layout), "closed": mesh.Closed(target, layout),
	} {
		var rendered []map[string]any
		for _, object := range append(objects, mesh.Anchor("project", []int32{80})) {
			each, err := mesh.Unstructured(object)
			if err != nil {
				t.Fatal(err)
			}
			rendered = append(rendered, each.Object)
		}
		encoded, err := manifests.YAML(rendered)
		if err != nil {
			t.Fatal(err)
		}
		documents, problems := manifests.Read("rendered.yaml", encoded)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if findings := check.Check(documents, manifests.Options{Now: now()}); len(findings) > 0 {
			t.Errorf("%s: %s", name, listed(findings))
		}
	}
}

// BenchmarkThousandWorkloads checks 1,000 workloads of one namespace, each with its own partner.
func BenchmarkThousandWorkloads(b *testing.B) {
	content, err := os.ReadFile(filepath.Join(corpus, "howto-sidecar-mutual.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	var documents []manifests.Document
	for n := range 1000 {
		text := bytes.ReplaceAll(content, []byte("api.bank.example"), fmt.Appendf(nil, "api-%d.bank.example", n))
		text = bytes.ReplaceAll(text, []byte("name: partner"), fmt.Appendf(nil, "name: partner-%d", n))
		read, problems := manifests.Read(fmt.Sprintf("%d.yaml", n), text)
		if len(problems) > 0 {
			b.Fatal(problems)
		}
		documents = append(documents, read...)
	}
	for b.Loop() {
		check.Check(documents, manifests.Options{Now: now()})
	}
}
