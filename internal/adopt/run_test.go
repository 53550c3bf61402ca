package adopt_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/adopt"
)

// cluster records what is done, and fails at an action.
type cluster struct {
	done  []string
	fails func(adopt.Action) bool
}

func (c *cluster) Do(ctx context.Context, action adopt.Action) error {
	c.done = append(c.done, fmt.Sprintf("%s %s", action.Verb, action.Object["kind"]))
	if c.fails != nil && c.fails(action) {
		return errors.New("3 calls failed")
	}
	return ctx.Err()
}

func TestAStepThatFailsIsUndoneWithThoseBefore(t *testing.T) {
	steps := stepsOf(t, "seed")
	c := &cluster{fails: func(action adopt.Action) bool {
		return action.Verb == adopt.Delete && action.Object["kind"] == "VirtualService"
	}}
	err := adopt.Run(t.Context(), steps, c, func(string) {})
	const want = "step 5 of 6 (Delete the VirtualService shop/partner): 3 calls failed; the steps before it are undone"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if diff := cmp.Diff([]string{
		"Record ConfigMap", "Write EgressTarget", "Annotate Deployment", "Delete ServiceEntry", "Delete VirtualService",
		"Restore VirtualService", "Restore ServiceEntry", "Annotate Deployment", "Remove EgressTarget", "Forget ConfigMap",
	}, c.done); diff != "" {
		t.Errorf("actions differ (-want +got):\n%s", diff)
	}
}

func TestAnUndoingThatFailsKeepsTheRecord(t *testing.T) {
	c := &cluster{fails: func(action adopt.Action) bool {
		return action.Verb == adopt.Delete || action.Verb == adopt.Restore
	}}
	err := adopt.Run(t.Context(), stepsOf(t, "seed"), c, func(string) {})
	const want = "step 4 of 6 (Delete the ServiceEntry shop/partner): 3 calls failed\n" +
		"step 4 (Delete the ServiceEntry shop/partner) can't be undone: 3 calls failed"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if slices.Contains(c.done, "Forget ConfigMap") {
		t.Error("the record was deleted")
	}
}

func TestAnInterruptIsUndone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &cluster{fails: func(action adopt.Action) bool {
		if action.Verb == adopt.Annotate {
			cancel()
		}
		return false
	}}
	if err := adopt.Run(ctx, stepsOf(t, "seed"), c, func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the cancellation", err)
	}
	if c.done[len(c.done)-1] != "Forget ConfigMap" {
		t.Errorf("not undone: %v", c.done)
	}
}

func stepsOf(t *testing.T, name string) []adopt.Step {
	t.Helper()
	steps, err := adopt.Steps(proposalsOf(t, filepath.Join(sets, name+".yaml"))[0])
	if err != nil {
		t.Fatal(err)
	}
	return steps
}
