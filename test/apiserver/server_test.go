package apiserver

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestServerServesKubectlAndHelmAndLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	server := ForTest(t)

	stdout, _, err := server.Kubectl(t.Context(), "version", "--output=json")
	if err != nil {
		t.Fatal(err)
	}
	var versions struct {
		ClientVersion, ServerVersion struct{ Major, Minor string }
	}
	if err := json.Unmarshal([]byte(stdout), &versions); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(versions.ClientVersion, versions.ServerVersion); diff != "" {
		t.Errorf("kubectl (-) and kube-apiserver (+) differ:\n%s", diff)
	}

	crds, err := IstioCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := server.Kubectl(t.Context(), "apply", "--server-side", "--filename", crds); err != nil {
		t.Fatal(err)
	}
	if _, _, err := server.Kubectl(
		t.Context(), "wait", "--for=condition=Established", "--timeout=3m", "--filename", crds,
	); err != nil {
		t.Fatal(err)
	}
	if stdout, _, err = server.Kubectl(
		t.Context(), "get", "serviceentries.networking.istio.io", "--output=name",
	); err != nil || stdout != "" {
		t.Errorf("a new server has service entries %q, error %v", stdout, err)
	}

	if stdout, _, err = server.Helm(t.Context(), "version", "--template={{.Version}}"); err != nil ||
		!strings.HasPrefix(stdout, "v3.") {
		t.Errorf("helm version is %q, error %v; want v3.…", stdout, err)
	}
	if stdout, _, err = server.Helm(t.Context(), "list", "--short"); err != nil || stdout != "" {
		t.Errorf("a new server has Helm releases %q, error %v", stdout, err)
	}

	pids := Processes(t, server.Dir)
	if len(pids) != 2 {
		t.Fatalf("processes %v: want etcd and kube-apiserver", pids)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there after Stop: %v", pid, err)
		}
	}
	wantNothing(t)
}

func TestStartThatFailsLeavesNothingAndSaysWhy(t *testing.T) {
	assets, err := Assets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		options Options
		want    string
	}{
		"kube-apiserver ends at once": {
			options: Options{Assets: assets, Args: map[string][]string{"no-such-flag": {"true"}}},
			want:    "unknown flag: --no-such-flag",
		},
		"no programs": {
			options: Options{Assets: t.TempDir()},
			want:    "the assets directory lacks a program",
		},
		"etcd ends at once": {
			options: Options{Assets: broken(t, assets)},
			want:    "etcd is broken",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			server, err := Start(t.Context(), test.options)
			if err == nil {
				t.Fatalf("started, error on stop: %v", server.Stop())
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not contain %q", err, test.want)
			}
			wantNothing(t)
		})
	}
}

// helper in the environment makes the test below the process that is killed.
const helper = "MTLS_EGRESS_TEST_KILL_ME"

func TestServerEndsWithAKilledProcess(t *testing.T) {
	if os.Getenv(helper) != "" {
		server := ForTest(t)
		if _, err := os.Stdout.WriteString(server.Dir + "\n"); err != nil {
			t.Fatal(err)
		}
		<-t.Context().Done()
		return
	}
	t.Setenv("TMPDIR", t.TempDir())
	process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	process.Env = append(os.Environ(), helper+"=yes")
	process.Stderr = os.Stderr
	stdout, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	pids := Processes(t, lines.Text())
	if len(pids) != 2 {
		t.Errorf("processes %v: want etcd and kube-apiserver", pids)
	}
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := process.Wait(); err == nil {
		t.Error("the process ended by itself: want it killed")
	}
	for len(left(t)) > 0 { // or until the test's time is up
		time.Sleep(10 * time.Millisecond)
	}
}

// broken is a copy of the assets with an etcd that only complains.
func broken(t *testing.T, assets string) string {
	t.Helper()
	directory := t.TempDir()
	if err := os.Symlink(filepath.Join(assets, "kube-apiserver"), filepath.Join(directory, "kube-apiserver")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(
		filepath.Join(directory, "etcd"), []byte("#!/bin/sh\necho etcd is broken >&2\nexit 1\n"), 0o700,
	); err != nil {
		t.Fatal(err)
	}
	return directory
}

func wantNothing(t *testing.T) {
	t.Helper()
	if diff := cmp.Diff([]string(nil), left(t)); diff != "" {
		t.Errorf("left behind (+):\n%s", diff)
	}
}

// left is what there is of servers of this test: files in TMPDIR, and processes that have TMPDIR in
// their arguments.
func left(t *testing.T) []string {
	t.Helper()
	var found []string
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		found = append(found, "file "+entry.Name())
	}
	for _, command := range commands(t) {
		if strings.Contains(command, os.TempDir()) {
			found = append(found, "process "+command)
		}
	}
	return found
}

// commands are the command lines of all processes, from /proc where there is one, else from ps.
func commands(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		output, err := exec.CommandContext(t.Context(), "ps", "-A", "-o", "args").Output()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Collect(strings.Lines(string(output)))
	}
	var lines []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) { // ended meanwhile
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.ReplaceAll(string(content), "\x00", " "))
	}
	return lines
}
