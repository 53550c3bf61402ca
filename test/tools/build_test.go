package main

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLinkFlags(t *testing.T) {
	got, err := linkFlags(versions{kubernetes: "v1.36.3", helm: "v3.21.4", containerd: "v2.4.2"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-s", "-w",
		"-X helm.sh/helm/v3/internal/version.version=v3.21.4",
		"-X github.com/containerd/containerd/v2/version.Version=v2.4.2",
		"-X k8s.io/component-base/version.gitVersion=v1.36.3",
		"-X k8s.io/component-base/version.gitMajor=1",
		"-X k8s.io/component-base/version.gitMinor=36",
		"-X k8s.io/client-go/pkg/version.gitVersion=v1.36.3",
		"-X k8s.io/client-go/pkg/version.gitMajor=1",
		"-X k8s.io/client-go/pkg/version.gitMinor=36",
		"-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
		"-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36",
		"-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1",
		"-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=36",
	}
	if got != strings.Join(want, " ") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, " "))
	}
	if _, err := linkFlags(versions{kubernetes: "master"}); err == nil {
		t.Error("a Kubernetes version without numbers is taken")
	}
}

func TestPinnedVersionsAreReleases(t *testing.T) {
	v, err := pinned(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if major, minor, err := v.minor(); err != nil || major != "1" || minor == "" {
		t.Errorf("Kubernetes %q is %q.%q, error %v; want 1.<minor>", v.kubernetes, major, minor, err)
	}
	if !strings.HasPrefix(v.helm, "v3.") {
		t.Errorf("Helm %q, want v3.…", v.helm)
	}
	if !strings.HasPrefix(v.containerd, "v2.") {
		t.Errorf("containerd %q, want v2.…", v.containerd)
	}
}

func TestExpectation(t *testing.T) {
	if got, want := expectation(2000, 2), 210*time.Second; got != want {
		t.Errorf("2000 packages on 2 cores: %s, want %s", got, want)
	}
	if got, want := expectation(0, 8), linking; got != want {
		t.Errorf("nothing to compile: %s, want %s", got, want)
	}
}

func TestBrief(t *testing.T) {
	failed := func(err error, stderr ...string) error {
		return &commandError{command: "go run it", err: err, stderr: stderr}
	}
	tests := map[string]struct {
		err  error
		want string
	}{
		"a command's last words": {
			failed(&exec.ExitError{}, "go: downloading it", "no such host", "exit status 2"),
			"no such host",
		},
		"a command that ran out of time": {
			failed(errors.New("not done after 1m0s"), "go: downloading it"),
			"not done after 1m0s",
		},
		"an error that is none of a command's": {context.Canceled, "context canceled"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := brief(test.err); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFailedGoCommandSaysWhy(t *testing.T) {
	_, err := runGo(t.Context(), ".", func(int) {}, "list", "./no-such-package")
	if err == nil || !strings.HasPrefix(err.Error(), "go list ./no-such-package: exit status 1\n") ||
		!strings.Contains(err.Error(), "no-such-package: directory not found") {
		t.Errorf("error %v: want command, exit status and what the go command said", err)
	}
}

func TestLineLogCountsLinesHoweverTheyArrive(t *testing.T) {
	var text strings.Builder
	var want []string
	for i := range 3 * errorLines {
		line := strings.Repeat("x", i)
		text.WriteString(line + "\n")
		want = append(want, line)
	}
	want = want[len(want)-errorLines:]
	for _, size := range []int{1, 7, 1 << 20} {
		log := &lineLog{}
		for piece := range slices.Chunk([]byte(text.String()), size) {
			if n, err := log.Write(piece); n != len(piece) || err != nil {
				t.Fatalf("Write of %d bytes: %d, %v", len(piece), n, err)
			}
		}
		if log.lines() != 3*errorLines || !slices.Equal(log.tail, want) {
			t.Errorf("in pieces of %d: %d lines, the last ones %q; want %d, %q", size, log.lines(), log.tail, 3*errorLines, want)
		}
	}
}
