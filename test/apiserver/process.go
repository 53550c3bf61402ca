package apiserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// logLines is how many lines of a program's log an error carries.
const logLines = 20

// Starter starts a program that ends when this process does, such as Server.StartGuarded. The
// caller waits for the end and then calls release.
type Starter func(cmd *exec.Cmd) (release func() error, err error)

// Process is a program that was started beside a server.
type Process struct {
	cmd     *exec.Cmd
	log     string
	release func() error
	ended   chan struct{} // closed when the program has ended
	exit    error         // once it has
}

// StartProcess starts a program whose outputs are added to a file, its log. It doesn't wait for it
// to work. The caller calls Stop.
func StartProcess(cmd *exec.Cmd, log string, start Starter) (*Process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written here: the program has its own
	cmd.Stdout, cmd.Stderr = file, file
	p := &Process{cmd: cmd, log: log, ended: make(chan struct{})}
	if p.release, err = start(cmd); err != nil {
		return nil, err
	}
	go func() {
		p.exit = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Running reports whether the program runs.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// PID is the program's process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// LastWords is the end of its log.
func (p *Process) LastWords() string { return LastLines(p.log, logLines) }

// Stop sends SIGTERM and waits for the end. A program that doesn't end within the limit is killed,
// which is an error, as is a bad exit.
func (p *Process) Stop(limit time.Duration) error {
	var problems []error
	name := filepath.Base(p.log)
	if p.Running() {
		problems = append(problems, p.cmd.Process.Signal(syscall.SIGTERM))
	}
	select {
	case <-p.ended:
	case <-time.After(limit):
		problems = append(problems,
			fmt.Errorf("the program of %s did not stop within %s and was killed", name, limit), p.cmd.Process.Kill())
		<-p.ended
	}
	if p.exit != nil {
		problems = append(problems,
			fmt.Errorf("the program of %s ended with %w; it said at the end:\n%s", name, p.exit, p.LastWords()))
	}
	return errors.Join(append(problems, p.release())...)
}

// Kill ends the program with SIGKILL, as a node does that is out of memory, and waits for the end.
// One that has ended is fine.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-p.ended
	return errors.Join(err, p.release())
}

// FreeAddresses returns loopback addresses that nobody listens on.
func FreeAddresses(count int) (addresses []string, problem error) {
	addresses = make([]string, count)
	for n := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { problem = errors.Join(problem, listener.Close()) }() // all at the end, so that they differ
		addresses[n] = listener.Addr().String()
	}
	return addresses, nil
}
