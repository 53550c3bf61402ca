package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	reportEvery = 15 * time.Second
	errorLines  = 20 // of standard error that an error carries
)

// command is a program with its arguments, to be run in dir.
type command struct {
	dir  string
	args []string // the program's name first
	env  []string // in addition to the environment of this process
	// talkative tells that it reports on standard output what it does, which then counts as standard
	// error.
	talkative bool
}

// runGo runs the go command in dir. The rest is as for command.run: `go build -v` writes a line to
// standard error for each package, a download one for each module.
func runGo(ctx context.Context, dir string, report func(lines int), args ...string) (string, error) {
	return command{dir: dir, args: append([]string{"go"}, args...), env: []string{
		"CGO_ENABLED=0", // no C compiler needed
		"GOWORK=off",    // the versions in go.mod, whatever workspace this checkout lies in
	}}.run(ctx, report)
}

// run returns the command's standard output without space around it. report is called every 15
// seconds with the number of lines that the command has written to standard error until then.
func (c command) run(ctx context.Context, report func(lines int)) (string, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	// A group of its own, so that what the command started is interrupted with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 5 * time.Second
	var stdout strings.Builder
	stderr := &lineLog{}
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	if c.talkative {
		cmd.Stdout = stderr
	}
	done := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		for tick := time.Tick(reportEvery); ; {
			select {
			case <-done:
				return
			case <-tick:
				report(stderr.lines())
			}
		}
	})
	err := cmd.Run()
	close(done)
	reporting.Wait()
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", &commandError{command: strings.Join(c.args, " "), err: err, stderr: stderr.tail}
	}
	return strings.TrimSpace(stdout.String()), nil
}

// lineLog counts the lines that are written to it and keeps the last ones. It may be written to and
// asked for the number at the same time.
type lineLog struct {
	mu      sync.Mutex
	count   int
	tail    []string
	partial string
}

func (l *lineLog) Write(output []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(l.partial+string(output), "\n")
	l.count += len(lines) - 1
	l.partial = lines[len(lines)-1]
	l.tail = append(l.tail, lines[:len(lines)-1]...)
	l.tail = l.tail[max(0, len(l.tail)-errorLines):]
	return len(output), nil
}

func (l *lineLog) lines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// commandError is a command that failed.
type commandError struct {
	command string
	err     error
	stderr  []string // its last lines
}

func (e *commandError) Error() string {
	return fmt.Sprintf("%s: %v\n%s", e.command, e.err, strings.Join(e.stderr, "\n"))
}

func (e *commandError) Unwrap() error { return e.err }

// brief is an error in one line: of a command that failed by itself, the last thing it said, but
// for the exit status that `go run` adds.
func brief(err error) string {
	failed, ok := errors.AsType[*commandError](err)
	if !ok {
		return err.Error()
	}
	if _, ok := errors.AsType[*exec.ExitError](failed.err); ok {
		for _, line := range slices.Backward(failed.stderr) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "exit status ") {
				return line
			}
		}
	}
	return failed.err.Error()
}

// tellf writes what is being done, for users who wait for it. Nothing depends on its being read.
func tellf(progress io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(progress, format, args...)
}
