package cluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/cluster"
)

// machineVariable makes this program what the tests start: a machine with a cluster, which says
// that it is up and ends when its standard input does.
const machineVariable = "MTLS_EGRESS_TEST_MACHINE"

const up = "up"

func TestMain(m *testing.M) {
	if os.Getenv(machineVariable) == "" {
		os.Exit(m.Run())
	}
	os.Exit(cluster.Isolate(machine))
}

// machine brings a cluster up, and a Pod with a sidecar in it.
func machine() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := cluster.Start(ctx, cluster.Options{})
	if err == nil {
		err = injected(ctx, c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(up)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-ended:
		return 0
	case <-ctx.Done():
		return 3
	}
}

// injected makes a Pod, and asks for its containers: the sidecar must be among them, and all must
// run.
func injected(ctx context.Context, c *cluster.Cluster) error {
	if err := c.Apply(ctx, `
apiVersion: v1
kind: Namespace
metadata: {name: app, labels: {istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers: [{name: app, image: "registry.local/pause:1"}]
`); err != nil {
		return err
	}
	if err := c.Rollout(ctx, "app", "deployment/app"); err != nil {
		return err
	}
	stdout, _, err := c.Kubectl(ctx, "--namespace", "app", "get", "pods",
		"--output", "jsonpath={.items[*].status.initContainerStatuses[*].name}")
	if err == nil && !slices.Contains(strings.Fields(stdout), "istio-proxy") {
		err = fmt.Errorf("init containers %q: no sidecar among them", stdout)
	}
	return err
}

func TestAClusterLeavesNothing(t *testing.T) {
	if reason := cluster.Unavailable(); reason != "" {
		t.Skip(reason)
	}
	if cluster.Given() != "" {
		t.Skip("the cluster of KUBECONFIG is not ours to start and stop")
	}
	node, err := cluster.Assets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for sentence, test := range map[string]struct {
		end  func(*exec.Cmd, io.Closer) error
		code int
	}{
		"after its end": {
			end:  func(_ *exec.Cmd, stdin io.Closer) error { return stdin.Close() },
			code: 0,
		},
		"after Ctrl-C": {
			end:  func(cmd *exec.Cmd, _ io.Closer) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) },
			code: 3,
		},
		"after it was killed in the middle": {
			end:  func(cmd *exec.Cmd, _ io.Closer) error { return cmd.Process.Kill() },
			code: -1,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			before := footprint(t)
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), machineVariable+"=1", "MTLS_EGRESS_NODE="+node)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var problems strings.Builder
			cmd.Stderr = &problems
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(stdout).ReadString('\n')
			if line != up+"\n" {
				t.Fatalf("the cluster said %q: %v\n%s", line, cmd.Wait(), problems.String())
			}
			t.Logf("a cluster with Istio and a Pod with a sidecar after %.1f s", time.Since(begin).Seconds())
			if during := footprint(t); len(during.Processes) == len(before.Processes) {
				t.Error("no process of the cluster is seen while it runs: this test would not see one that stays either")
			}
			if err := test.end(cmd, stdin); err != nil {
				t.Fatal(err)
			}
			err = cmd.Wait()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != test.code {
				t.Errorf("exit code %d, want %d: %v\n%s", cmd.ProcessState.ExitCode(), test.code, err, problems.String())
			}
			// The kernel ends the processes of a namespace at once, and takes a moment to take the rest
			// down.
			deadline := time.Now().Add(20 * time.Second)
			for diff := "-"; diff != ""; time.Sleep(100 * time.Millisecond) {
				if diff = cmp.Diff(before, footprint(t)); diff != "" && time.Now().After(deadline) {
					t.Fatalf("left behind (-before +after):\n%s", diff)
				}
			}
		})
	}
}

// traces are what a cluster could leave on the machine.
type traces struct {
	Mounts, Devices, Rules, Namespaces string
	Processes                          []string
}

func footprint(t *testing.T) traces {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	seen := traces{
		Mounts:     string(mounts),
		Devices:    ask(t, "ip", "-brief", "link"),
		Rules:      ask(t, "nft", "list", "ruleset"),
		Namespaces: ask(t, "ip", "netns", "list"),
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		// Processes come and go while this looks.
		if path, err := os.Readlink(filepath.Join(process, "exe")); err == nil && ofMachine(process) {
			seen.Processes = append(seen.Processes, filepath.Base(path))
		}
	}
	slices.Sort(seen.Processes)
	return seen
}

// ofMachine reports whether a process belongs to a machine that this test started: by its
// environment, or, of one in a container, by its cgroup.
func ofMachine(process string) bool {
	environment, err := os.ReadFile(filepath.Join(process, "environ"))
	if err == nil && strings.Contains(string(environment), machineVariable+"=1\x00") {
		return true
	}
	cgroup, err := os.ReadFile(filepath.Join(process, "cgroup"))
	return err == nil && strings.Contains(string(cgroup), "mtls-egress-node-")
}

func ask(t *testing.T, program string, args ...string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, output)
	}
	return string(output)
}
