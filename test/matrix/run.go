package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/mesh/evidence"
)

// logs is the folder of the tests' outputs, and of their evidence.
const logs = "bin/matrix"

// play runs a combination's tests and returns its row, without commit and date. The output of the
// tests goes to a file of its own; an error names it.
func (c combination) play(ctx context.Context) (row, error) {
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return row{}, err
	}
	env := slices.Concat(slices.DeleteFunc(os.Environ(), selects), c.env)
	for variable, args := range c.provided {
		tools := exec.CommandContext(ctx, "go", slices.Concat([]string{"-C", "test/tools", "run", "."}, args)...)
		tools.Stderr = os.Stderr
		path, err := tools.Output()
		if err != nil {
			return row{}, fmt.Errorf("%s: %w", strings.Join(tools.Args, " "), err)
		}
		env = append(env, variable+"="+strings.TrimSpace(string(path)))
	}
	written := filepath.Join(logs, c.name+".json")
	if c.counts {
		absolute, err := filepath.Abs(written)
		if err != nil {
			return row{}, err
		}
		env = append(env, evidence.Variable+"="+absolute)
	}
	path := filepath.Join(logs, c.name+".log")
	log, err := os.Create(path)
	if err != nil {
		return row{}, err
	}
	args := slices.Concat([]string{"test", "-json", "-count", "1", "-timeout", "60m"}, c.packages)
	test := exec.CommandContext(ctx, "go", args...)
	test.Env, test.Stderr = env, log
	events, err := test.StdoutPipe()
	if err != nil {
		return row{}, err
	}
	if err := test.Start(); err != nil {
		return row{}, err
	}
	r := row{name: c.name, about: c.about}
	failed, err := r.follow(events, log)
	if err := errors.Join(err, test.Wait(), log.Close()); err != nil {
		return row{}, fmt.Errorf("%w; failed: %q; the output is in %s", err, failed, path)
	}
	if c.counts {
		return r, r.addEvidence(written)
	}
	return r, nil
}

// selects reports whether a variable of the caller's environment, as NAME=VALUE, would have the
// tests run on something else than the combination.
func selects(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains([]string{
		"KUBEBUILDER_ASSETS", "KUBECONFIG", "MTLS_EGRESS_ASSETS", "MTLS_EGRESS_MESH", "MTLS_EGRESS_NODE",
		"MTLS_EGRESS_NODE_FAMILY",
	}, name)
}

// follow counts the events that `go test -json` writes, and copies the tests' output. failed are
// the names of tests that failed.
func (r *row) follow(events io.Reader, output io.Writer) (failed []string, err error) {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return failed, nil
		}
		if err != nil {
			return failed, err
		}
		var event struct{ Action, Package, Test, Output string }
		if err := json.Unmarshal(line, &event); err != nil {
			return failed, fmt.Errorf("%q: %w", line, err)
		}
		switch {
		case event.Action == "output":
			if _, err := io.WriteString(output, event.Output); err != nil {
				return failed, err
			}
		case event.Action == "fail":
			failed = append(failed, strings.TrimSuffix(event.Package+" "+event.Test, " "))
		case event.Test == "":
		case event.Action == "pass":
			r.passed++
		case event.Action == "skip":
			r.skipped++
		}
	}
}

// addEvidence adds what the tests counted.
func (r *row) addEvidence(path string) error {
	counted, err := evidence.ReadFile(path)
	if err != nil {
		return err
	}
	r.counted = true
	for _, found := range counted {
		r.calls += found.Requests
		r.plaintext += found.PlaintextBytes
	}
	return nil
}

// product is what a release is made of; tests and documents are not.
func product() []string { return []string{"api", "charts", "cmd", "internal", "go.mod", "go.sum"} }

// git returns what a git command prints.
func git(ctx context.Context, args ...string) (string, error) {
	stdout, _, err := apiserver.Output(exec.CommandContext(ctx, "git", args...))
	return strings.TrimSpace(stdout), err
}

// commit is the one whose product is in the folder, in short.
func commit(ctx context.Context) (string, error) {
	if err := committed(ctx); err != nil {
		return "", err
	}
	return git(ctx, "rev-parse", "--short=12", "HEAD")
}

// committed returns an error if the product in the folder is in no commit, new files included.
func committed(ctx context.Context) error {
	changed, err := git(ctx, slices.Concat([]string{"status", "--porcelain", "--"}, product())...)
	if err == nil && changed != "" {
		err = fmt.Errorf("commit these changes first, as the table names the commit that was tested:\n%s", changed)
	}
	return err
}

// sameProduct reports whether the product of a commit is that of HEAD.
func sameProduct(ctx context.Context, commit string) (bool, error) {
	changed, err := git(ctx, slices.Concat([]string{"diff", "--name-only", commit, "HEAD", "--"}, product())...)
	return changed == "", err
}
