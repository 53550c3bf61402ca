package apiserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// guard sees to it that etcd and kube-apiserver end when the process that started them does,
// however that ends. envtest puts each into a process group of its own, so a Ctrl-C does not reach
// them, and leaves no room for Linux's parent-death signal.
//
// A shell waits for the end of its standard input, which is a pipe from this process. A line in it
// means that all is stopped already; the end without a line means that this process is gone: the
// shell kills the servers and removes their files.
type guard struct {
	dir   string
	shell *exec.Cmd
	pipe  io.WriteCloser
}

// watch is the shell's script; its argument is the server's directory.
const watch = `if read -r stopped; then exit 0; fi
for file in "$1"/pids/*; do
	kill -9 "-${file##*/}" 2>/dev/null
done
rm -rf "$1" || { sleep 1; rm -rf "$1"; }`

// wrap is what envtest starts for a program: it notes its process ID, with the name of the program,
// and becomes the program. envtest also asks programs for their flags.
const wrap = `#!/bin/sh
dir=${0%/*}/..
[ "$1" = --help ] || echo "${0##*/}" >"$dir/pids/$$"
exec "$dir/assets/${0##*/}" "$@"
`

func newGuard(dir, assets string) (*guard, error) {
	assets, err := filepath.Abs(assets)
	if err != nil {
		return nil, err
	}
	for _, folder := range []string{"pids", "wrappers"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			return nil, err
		}
	}
	if err := os.Symlink(assets, filepath.Join(dir, "assets")); err != nil {
		return nil, err
	}
	g := &guard{dir: dir}
	for _, program := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(assets, program)); err != nil {
			return nil, fmt.Errorf("the assets directory lacks a program: %w", err)
		}
		if err := os.WriteFile(g.wrapper(program), []byte(wrap), 0o700); err != nil {
			return nil, err
		}
	}
	g.shell = exec.Command("/bin/sh", "-c", watch, "guard", dir)
	g.shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is not for the shell
	if g.pipe, err = g.shell.StdinPipe(); err != nil {
		return nil, err
	}
	return g, g.shell.Start()
}

// StartGuarded starts another program beside the servers, such as a webhook, which ends when this
// process does, however that ends. It gets a process group of its own, so that a Ctrl-C does not
// reach it. The caller ends it, waits for it, and then calls release.
func (s *Server) StartGuarded(cmd *exec.Cmd) (release func() error, err error) {
	if cmd.Err != nil {
		return nil, cmd.Err
	}
	cmd.Args = append(
		[]string{"/bin/sh", "-c", `: >"$1/$$"; shift; exec "$@"`, "guarded", filepath.Join(s.Dir, "pids"), cmd.Path},
		cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error { return os.RemoveAll(filepath.Join(s.Dir, "pids", strconv.Itoa(cmd.Process.Pid))) }, nil
}

// pid is the process ID of a program that was started through its wrapper.
func (g *guard) pid(program string) (int, error) {
	notes, err := os.ReadDir(filepath.Join(g.dir, "pids"))
	if err != nil {
		return 0, err
	}
	for _, note := range notes {
		if content, err := os.ReadFile(filepath.Join(g.dir, "pids", note.Name())); err == nil &&
			strings.TrimSpace(string(content)) == program {
			return strconv.Atoi(note.Name())
		}
	}
	return 0, fmt.Errorf("%s was not started", program)
}

// forget removes the note of a process that has ended.
func (g *guard) forget(pid int) error {
	return os.Remove(filepath.Join(g.dir, "pids", strconv.Itoa(pid)))
}

func (g *guard) wrapper(program string) string { return filepath.Join(g.dir, "wrappers", program) }

// dismiss ends the shell. When the servers are not known to be stopped, it kills them first.
func (g *guard) dismiss(stopped bool) error {
	var err error
	if stopped {
		_, err = io.WriteString(g.pipe, "stopped\n")
	}
	return errors.Join(err, g.pipe.Close(), g.shell.Wait())
}
