package main

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

func TestCollectTakesEveryChildThatHasEnded(t *testing.T) {
	var children []int
	for range 3 {
		child := exec.CommandContext(t.Context(), "true")
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, child.Process.Pid)
	}
	for _, child := range children {
		for !errors.Is(syscall.Kill(child, 0), syscall.ESRCH) {
			collect()
			runtime.Gosched()
		}
	}
}

func TestCollectReturnsWhileAChildRuns(t *testing.T) {
	child := exec.CommandContext(t.Context(), "cat")
	input, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	collect()
	if err := syscall.Kill(child.Process.Pid, 0); err != nil {
		t.Errorf("the child is gone: %v", err)
	}
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}
