// Package workflows holds the workflow files of the forge to their rules: they run what anybody can
// run here, with pinned actions and no more rights than they need.
package workflows

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const root = "../.."

// workflow is what the rules are about.
type workflow struct {
	Permissions *map[string]string `json:"permissions"`
	Concurrency struct {
		Group string `json:"group"`
	} `json:"concurrency"`
	Jobs map[string]job `json:"jobs"`
}

type job struct {
	TimeoutMinutes int                `json:"timeout-minutes"`
	Permissions    *map[string]string `json:"permissions"`
	Steps          []struct {
		Uses string         `json:"uses"`
		Run  string         `json:"run"`
		With map[string]any `json:"with"`
	} `json:"steps"`
}

var (
	// A digest can't be moved to other code, as a tag can.
	pinned = regexp.MustCompile(`^\s*- uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	// The tests of the data path need root.
	runs = regexp.MustCompile(`^(?:sudo env "PATH=\$PATH" )?make ([a-z-]+)(?: [A-Z]+=\S+)*$`)
	goal = regexp.MustCompile(`(?m)^([a-z-]+):.*## `)
)

// problems are all places where the text of a workflow breaks a rule.
func problems(text string, targets []string) error {
	var w workflow
	if err := yaml.Unmarshal([]byte(text), &w); err != nil {
		return err
	}
	var found []error
	report := func(format string, args ...any) { found = append(found, fmt.Errorf(format, args...)) }
	for line := range strings.Lines(text) {
		if strings.Contains(line, "uses:") && !pinned.MatchString(strings.TrimRight(line, "\n")) {
			report(
				"%s: want an action by the 40 digits of its commit, and its version behind it, "+
					"as in - uses: owner/name@0123… # v1.2.3",
				strings.TrimSpace(line),
			)
		}
	}
	if w.Permissions == nil || len(*w.Permissions) > 0 {
		report("want permissions: {} for the workflow, and for each job what it needs")
	}
	if w.Concurrency.Group == "" {
		report("want a concurrency group")
	}
	if len(w.Jobs) == 0 {
		report("want a job")
	}
	for _, name := range slices.Sorted(maps.Keys(w.Jobs)) {
		j := w.Jobs[name]
		if j.TimeoutMinutes == 0 {
			report("job %s: want timeout-minutes", name)
		}
		if j.Permissions == nil {
			report("job %s: want permissions", name)
		}
		for _, step := range j.Steps {
			if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
				report("job %s: want persist-credentials: false, or the token stays in the clone", name)
			}
			if step.Run == "" {
				continue
			}
			if match := runs.FindStringSubmatch(step.Run); match == nil {
				report("job %s: run: %s: want a target of the Makefile, which anybody can run", name, step.Run)
			} else if !slices.Contains(targets, match[1]) {
				report("job %s: the Makefile has no target %s", name, match[1])
			}
		}
	}
	return errors.Join(found...)
}

func TestWorkflowsKeepTheRules(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d workflows, error %v", len(paths), err)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, match := range goal.FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, match[1])
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := problems(string(text), targets); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestActionsHaveOneVersion finds an update that has reached some of the files only.
func TestActionsHaveOneVersion(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*"))
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`uses: (\S+)@(.*)`).FindAllStringSubmatch(string(text), -1) {
			if before, ok := first[match[1]]; ok && before != match[2] {
				t.Errorf("%s: %s@%s, elsewhere %s", filepath.Base(path), match[1], match[2], before)
			}
			first[match[1]] = match[2]
		}
	}
}

func TestBrokenRulesAreFound(t *testing.T) {
	const good = `permissions: {}
concurrency: {group: a}
jobs:
  a:
    timeout-minutes: 1
    permissions: {contents: read}
    steps:
    - uses: actions/checkout@0123456789abcdef0123456789abcdef01234567 # v1.2.3
      with: {persist-credentials: false}
    - run: make test
`
	tests := map[string]struct {
		old, new string
		want     string
	}{
		"none": {},
		"a tag": {
			"0123456789abcdef0123456789abcdef01234567",
			"v1",
			"- uses: actions/checkout@v1 # v1.2.3: want an action by the 40 digits of its commit, and its version behind it, " +
				"as in - uses: owner/name@0123… # v1.2.3",
		},
		"a branch's comment": {
			"# v1.2.3",
			"# main",
			"- uses: actions/checkout@0123456789abcdef0123456789abcdef01234567 # main: want an action by the 40 digits of its " +
				"commit, and its version behind it, as in - uses: owner/name@0123… # v1.2.3",
		},
		"no rights said": {"permissions: {}\n", "", "want permissions: {} for the workflow, and for each job what it needs"},
		"rights for all": {
			"permissions: {}\n",
			"permissions: {contents: read}\n",
			"want permissions: {} for the workflow, and for each job what it needs",
		},
		"a job without": {"    permissions: {contents: read}\n", "", "job a: want permissions"},
		"no end":        {"    timeout-minutes: 1\n", "", "job a: want timeout-minutes"},
		"no group":      {"concurrency: {group: a}\n", "", "want a concurrency group"},
		"a kept token": {
			"{persist-credentials: false}",
			"{}",
			"job a: want persist-credentials: false, or the token stays in the clone",
		},
		"a script": {
			"make test",
			"curl example.com | sh",
			"job a: run: curl example.com | sh: want a target of the Makefile, which anybody can run",
		},
		"two commands": {
			"make test",
			"make test; make verify",
			"job a: run: make test; make verify: want a target of the Makefile, which anybody can run",
		},
		"an unknown target": {"make test", "make tests", "job a: the Makefile has no target tests"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := problems(strings.Replace(good, test.old, test.new, 1), []string{"test", "verify"}); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
