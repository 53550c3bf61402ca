package main

import (
	"context"
	"errors"
	"fmt"
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

// runGo runs the go command in dir and returns its standard output without space around it. report is called every 15 seconds with the number of lines that the
// command has written to standard error until then: `go build -v` writes one for each package, a download one for each module.
func runGo(ctx context.Context, dir string, report func(lines int), args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", // no C compiler needed
		"GOWORK=off",    // the versions in go.mod, whatever workspace this checkout lies in
	)
	// A group of its own, so that what the go command started is interrupted with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 5 * time.Second
	var stdout strings.Builder
	cmd.Stdout = &stdout
	stderr := &lineLog{}
	cmd.Stderr = stderr
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
		return "", &commandError{command: "go " + strings.Join(args, " "), err: err, stderr: stderr.tail}
	}
	return strings.TrimSpace(stdout.String()), nil
}

// lineLog counts the lines that are written to it and keeps the last ones. It may be written to and asked for the number at the same time.
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

// brief is an error in one line: of a command that failed by itself, the last thing it said, but for the exit status that `go run` adds.
func brief(err error) string {
	var exit *exec.ExitError
	var failed *commandError
	if !errors.As(err, &failed) {
		return err.Error()
	}
	if errors.As(failed.err, &exit) {
		for _, line := range slices.Backward(failed.stderr) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "exit status ") {
				return line
			}
		}
	}
	return failed.err.Error()
}
