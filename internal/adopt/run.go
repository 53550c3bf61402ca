package adopt

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Cluster does the actions of steps.
type Cluster interface {
	// Do changes the cluster, and returns when the proof of the action holds. It returns an error if
	// that takes too long, or if a call of the workloads failed meanwhile.
	Do(ctx context.Context, action Action) error
}

// Run does the steps. If one fails, it undoes it and those before it, in reverse order, and returns
// what failed. tell is told each step before it is taken.
func Run(ctx context.Context, steps []Step, cluster Cluster, tell func(string)) error {
	for n, step := range steps {
		tell(fmt.Sprintf("%d/%d %s", n+1, len(steps), step.Title))
		err := cluster.Do(ctx, step.Do)
		if err == nil {
			continue
		}
		failed := fmt.Errorf("step %d of %d (%s): %w", n+1, len(steps), step.Title, err)
		// A user who interrupts the command wants the cluster as it was.
		if undone := undo(context.WithoutCancel(ctx), steps[:n+1], cluster, tell); undone != nil {
			return errors.Join(failed, undone)
		}
		return fmt.Errorf("%w; the steps before it are undone", failed)
	}
	return nil
}

// undo undoes the steps from the last to the first. It stops at an error, because each step needs
// the one behind it undone.
func undo(ctx context.Context, steps []Step, cluster Cluster, tell func(string)) error {
	for n, step := range slices.Backward(steps) {
		// A record that wasn't written is not this run's.
		if step.Undo == nil || step.Do.Verb == Record && n == len(steps)-1 {
			continue
		}
		action := *step.Undo
		action.Undoing = true
		tell(fmt.Sprintf("undoing %d: %s", n+1, step.Title))
		if err := cluster.Do(ctx, action); err != nil {
			return fmt.Errorf("step %d (%s) can't be undone: %w", n+1, step.Title, err)
		}
	}
	return nil
}
