package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// stageVariable tells a process of Isolate which of its three stages it is in.
const stageVariable = "MTLS_EGRESS_ISOLATION"

const (
	stageInit   = "init"   // process 1 of the namespaces: sets them up, starts the next stage, reaps orphans
	stageInside = "inside" // runs what the caller wants
)

// cgroupVariable names the cgroup below which the kubelet makes those of Pods.
const cgroupVariable = "MTLS_EGRESS_CGROUP"

// cgroupPrefix starts the names of our cgroups; the process ID of the outer process follows.
const cgroupPrefix = "mtls-egress-node-"

// hidden are host directories that the kubelet or the CNI plugins write to wherever their own files
// are put.
func hidden() []string {
	return []string{"/run", "/var/lib/cni", "/var/log/pods", "/var/log/containers"}
}

// Isolate runs run on a machine of its own: new process, mount, network, host name and IPC
// namespaces. Whatever run starts and leaves behind (processes, mounts, network devices, packet
// filter rules) ends with the namespaces, and those end with this process, also when it is killed:
// the kernel does it. What the kernel can't take along are cgroups and a few empty directories;
// Isolate removes those when run is done, and those of a killed run at its next start.
//
// It starts the running program again with the same arguments, twice, so main or TestMain must
// reach Isolate at once and do nothing before. It returns the exit code of run. When Unavailable
// gives a reason, or Given a cluster, it just calls run.
func Isolate(run func() int) int {
	switch os.Getenv(stageVariable) {
	case stageInside:
		return run()
	case stageInit:
		return initialize()
	}
	if Unavailable() != "" || Given() != "" {
		return run()
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "a machine of its own for the tests:", err)
		return 1
	}
	return code
}

// isolated reports whether this process runs in namespaces of its own.
func isolated() bool { return os.Getenv(stageVariable) == stageInside }

// mayIsolate reports whether root may make namespaces, which it may not in most containers.
func mayIsolate() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(status), "CapEff:")
	effective, err := strconv.ParseUint(strings.TrimSpace(strings.SplitN(after, "\n", 2)[0]), 16, 64)
	// https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/capability.h
	const netAdmin, sysAdmin = 1 << 12, 1 << 21
	return err == nil && effective&netAdmin != 0 && effective&sysAdmin != 0
}

// outside starts the namespaces and waits for their end.
func outside() (code int, err error) {
	// The parent-death signal is sent when the thread ends that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	node, err := Assets(context.Background())
	if err != nil {
		return 0, err
	}
	sweep()
	created, err := makeDirectories(hidden())
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, directory := range created {
			err = errors.Join(err, os.Remove(directory))
		}
	}()
	cgroup := cgroupPrefix + strconv.Itoa(os.Getpid())
	if err := makeCgroup(cgroup); err != nil {
		return 0, err
	}
	defer removeCgroup(cgroup)

	cmd := again(stageInit)
	cmd.Env = append(cmd.Env, cgroupVariable+"=/"+cgroup, assetsVariable+"="+node)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig: syscall.SIGKILL,
	}
	return exitCode(cmd)
}

// initialize is process 1 of the namespaces.
func initialize() int {
	runtime.LockOSThread()
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "setting up a machine of its own for the tests:", err)
		return 1
	}
	cmd := again(stageInside)
	// Not a child of the outer process, so the tools that it runs need not wait for adopted children.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go forward(signals, cmd.Process)
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			fmt.Fprintln(os.Stderr, "waiting for the tests:", err)
			return 1
		case pid == cmd.Process.Pid && status.Exited():
			return status.ExitStatus()
		case pid == cmd.Process.Pid && status.Signaled():
			return 128 + int(status.Signal())
		}
	}
}

// again is this very program with its arguments, in another stage.
func again(stage string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageVariable+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// exitCode runs the command, hands signals on to it, and returns its exit code.
func exitCode(cmd *exec.Cmd) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go forward(signals, cmd.Process)
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// forward hands signals on. A terminal sends SIGINT to the whole process group, so the child has
// that already.
func forward(signals <-chan os.Signal, child *os.Process) {
	for received := range signals {
		if received != os.Interrupt {
			// The child may be gone already.
			_ = child.Signal(received)
		}
	}
}

// setUp makes the namespaces a machine.
func setUp() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for _, directory := range hidden() {
		if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mounting a file system on %s: %w", directory, err)
		}
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte(nodeName)); err != nil {
		return err
	}
	if err := shadowSysctls(); err != nil {
		return err
	}
	return makeNetwork()
}

// shadowSysctls shows the kubelet the values that it wants of the sysctls that no namespace has of
// its own, so that it leaves the host's alone
// (https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/cm/container_manager_linux.go,
// setupKernelTunables).
func shadowSysctls() error {
	for name, value := range map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	} {
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); errors.Is(err, os.ErrNotExist) {
			continue
		}
		shadow := filepath.Join("/run", "sysctl-"+strings.ReplaceAll(name, "/", "-"))
		if err := shadowFile(target, shadow, value+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// shadowFile shows a content in place of that of target. It keeps it in the file shadow.
func shadowFile(target, shadow, content string) error {
	if err := os.WriteFile(shadow, []byte(content), 0o644); err != nil {
		return err
	}
	if err := syscall.Mount(shadow, target, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("shadowing %s: %w", target, err)
	}
	return nil
}

// makeNetwork makes the node's network.
func makeNetwork() error {
	network, err := newNetwork()
	if err != nil {
		return err
	}
	for name, value := range network.sysctls() {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
			return err
		}
	}
	if network.ipv6 {
		// On some machines, localhost has no IPv6 address. containerd needs it to forward ports.
		if err := shadowFile("/etc/hosts", "/run/hosts", "127.0.0.1 localhost\n::1 localhost\n"); err != nil {
			return err
		}
	}
	for _, command := range network.commands() {
		if output, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, output)
		}
	}
	return nil
}

// makeDirectories makes those that don't exist and returns them, the last one first.
func makeDirectories(directories []string) (created []string, err error) {
	for _, directory := range directories {
		err := os.Mkdir(directory, 0o755)
		switch {
		case err == nil:
			created = append([]string{directory}, created...)
		case !errors.Is(err, os.ErrExist):
			return created, err
		}
	}
	return created, nil
}

// hierarchies are the mounted cgroup hierarchies: one for each controller with cgroup v1, or a
// single one with v2.
func hierarchies() (paths []string, unified bool) {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}, true
	}
	found, _ := filepath.Glob(filepath.Join(root, "*", "cgroup.procs"))
	for _, file := range found {
		paths = append(paths, filepath.Dir(file))
	}
	return paths, false
}

// makeCgroup makes a cgroup in every hierarchy, with what its children need to work.
func makeCgroup(name string) error {
	paths, unified := hierarchies()
	for _, hierarchy := range paths {
		path := filepath.Join(hierarchy, name)
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if unified {
			if err := enableControllers(hierarchy, path); err != nil {
				return err
			}
		}
		// In cgroup v1 a cpuset without processors and memory takes no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			content, err := os.ReadFile(filepath.Join(hierarchy, file))
			if err != nil || unified {
				continue
			}
			if err := os.WriteFile(filepath.Join(path, file), content, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// enableControllers lets the children of cgroups have all controllers there are.
func enableControllers(cgroups ...string) error {
	for _, cgroup := range cgroups {
		content, err := os.ReadFile(filepath.Join(cgroup, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for controller := range strings.FieldsSeq(string(content)) {
			if err := os.WriteFile(filepath.Join(cgroup, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
				return fmt.Errorf("enabling %s in %s: %w", controller, cgroup, err)
			}
		}
	}
	return nil
}

// removeCgroup removes a cgroup and those below it. One in which a process is still ending stays
// for the next sweep.
func removeCgroup(name string) {
	paths, _ := hierarchies()
	for _, hierarchy := range paths {
		var directories []string
		_ = filepath.WalkDir(filepath.Join(hierarchy, name), func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				directories = append([]string{path}, directories...)
			}
			return nil
		})
		for _, directory := range directories {
			_ = syscall.Rmdir(directory)
		}
	}
}

// sweep removes the cgroups of runs that were killed.
func sweep() {
	paths, _ := hierarchies()
	for _, hierarchy := range paths {
		found, _ := filepath.Glob(filepath.Join(hierarchy, cgroupPrefix+"*"))
		for _, path := range found {
			name := filepath.Base(path)
			pid, err := strconv.Atoi(strings.TrimPrefix(name, cgroupPrefix))
			if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				removeCgroup(name)
			}
		}
	}
}
