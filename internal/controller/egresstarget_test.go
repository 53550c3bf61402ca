package controller

import (
	"context"
	"errors"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/apply"
	"mtls.egress/webhook/internal/plan"
)

// writes counts what it is asked to write, and writes nothing.
type writes struct {
	client.Client
	count int
}

func (w *writes) Status() client.SubResourceWriter { return &statusWrites{w: w} }

type statusWrites struct {
	client.SubResourceWriter
	w *writes
}

func (s *statusWrites) Update(context.Context, client.Object, ...client.SubResourceUpdateOption) error {
	s.w.count++
	return nil
}

func (w *writes) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	w.count++
	return nil
}

// TestNoStatusIsWrittenOnAnOutdatedCache: such a cache can't be had from a real API server when a test wants it.
func TestNoStatusIsWrittenOnAnOutdatedCache(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	egressTarget := func(version string) *v1alpha1.EgressTarget {
		e := &v1alpha1.EgressTarget{}
		e.Namespace, e.Name, e.ResourceVersion = "shop", host, version
		return e
	}
	status := v1alpha1.EgressTargetStatus{Pods: 1}
	decided := plan.Decide(plan.Facts{EgressTarget: egressTarget("99"), Now: now})
	tests := map[string]struct {
		write func(*EgressTargetReconciler) error
		want  error
		count int
	}{
		"a status on a version that has been overwritten": {want: apply.ErrCacheBehind, write: func(r *EgressTargetReconciler) error {
			return r.writeStatus(t.Context(), egressTarget("99"), decided, status)
		}},
		"a status on the version that was written last": {count: 1, write: func(r *EgressTargetReconciler) error {
			return r.writeStatus(t.Context(), egressTarget("100"), decided, status)
		}},
		"a finalizer on a version that has been overwritten": {want: apply.ErrCacheBehind, write: func(r *EgressTargetReconciler) error {
			return r.addFinalizer(t.Context(), egressTarget("99"))
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			written := &writes{}
			r := &EgressTargetReconciler{client: written, clock: clocktesting.NewFakePassiveClock(now)}
			r.writer = apply.NewWriter(apply.Writer{Client: written, Clock: r.clock, Versions: apply.NewVersions()})
			r.writer.Versions.Wrote(v1alpha1.Kind, egressTarget("100"), now)
			if err := test.write(r); !errors.Is(err, test.want) || written.count != test.count {
				t.Errorf("it ends with %v after %d writes, want %v after %d", err, written.count, test.want, test.count)
			}
		})
	}
}
