package adopt_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mtls.egress/webhook/internal/adopt"
	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/test/golden"
)

// sets has a file for each form of a hand-written set, as people write them.
const sets = "testdata/sets"

func TestProposalsAndStepsOfHandWrittenSets(t *testing.T) {
	for name, path := range golden.Inputs(t, sets) {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			for _, proposal := range proposalsOf(t, path) {
				described, err := proposal.Text()
				if err != nil {
					t.Fatal(err)
				}
				text.WriteString(described)
				if len(proposal.Refused) > 0 {
					continue
				}
				steps, err := adopt.Steps(proposal)
				if err != nil {
					t.Fatal(err)
				}
				text.WriteString("\n" + adopt.StepsText(steps) + "\n")
			}
			golden.Compare(t, goldenOf(path), []byte(text.String()))
		})
	}
}

func goldenOf(path string) string { return strings.TrimSuffix(path, ".yaml") + ".golden.txt" }

func TestEveryGoldenFileHasASet(t *testing.T) {
	inputs := golden.Inputs(t, sets)
	files, err := filepath.Glob(filepath.Join(sets, "*.golden.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, found := inputs[strings.TrimSuffix(filepath.Base(file), ".golden.txt")]; !found {
			t.Errorf("%s is stale", file)
		}
	}
}

func TestManifestsOfSeveralHostsHaveAllAnnotations(t *testing.T) {
	for _, name := range []string{"several-hosts", "two-workloads"} {
		t.Run(name, func(t *testing.T) {
			objects, err := adopt.Manifests(proposalsOf(t, filepath.Join(sets, name+".yaml")))
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := manifests.YAML(objects)
			if err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, "testdata/manifests-"+name+".golden.txt", encoded)
		})
	}
}

func TestTheWayBackRestoresTheObjectsBeforeTheAnnotationIsRemoved(t *testing.T) {
	for _, name := range []string{"seed", "private", "several-hosts"} {
		t.Run(name, func(t *testing.T) {
			proposals := proposalsOf(t, filepath.Join(sets, name+".yaml"))
			steps, err := adopt.Steps(proposals[0])
			if err != nil {
				t.Fatal(err)
			}
			back, err := adopt.Back(steps[0].Do.Object, func(map[string]any) map[string]string {
				return map[string]string{
					"mtls.egress/target": "other.example.com," + proposals[0].Host,
					"mtls.egress/secret": "other.example.com=a," + proposals[0].Host + "=b",
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, "testdata/back-"+name+".golden.txt", []byte(adopt.StepsText(back)))
		})
	}
}

func TestARecordOfAnotherVersionIsRefused(t *testing.T) {
	_, err := adopt.Back(map[string]any{
		"metadata": map[string]any{"name": "adopted"}, "data": map[string]any{"record.json": `{"version": 2}`},
	}, nil)
	const want = "the ConfigMap adopted has no record that this version can read, in the key record.json"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestHostsLimitTheProposals(t *testing.T) {
	for asked, want := range map[string]int{"external.system.com": 1, "External.System.Com.": 1, "other.example.com": 0} {
		if got := len(proposalsOf(t, filepath.Join(sets, "several-hosts.yaml"), asked)); got != want {
			t.Errorf("%s: %d proposals, want %d", asked, got, want)
		}
	}
}

func proposalsOf(t *testing.T, path string, hosts ...string) []adopt.Proposal {
	t.Helper()
	return adopt.Propose(worldOf(t, path), hosts)
}

func worldOf(t *testing.T, path string) *check.World {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	documents, problems := manifests.Read(path, content)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return check.NewWorld(documents, manifests.Options{Now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)})
}
