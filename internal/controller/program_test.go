package controller

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
)

// nothing is a cache that an object has not come to yet.
type nothing struct{ client.Reader }

func (nothing) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// something is an API server that has every object.
type something struct{ client.Reader }

func (something) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}

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

var errWritten = errors.New("it was written")

// Apply fails, as what it would have to answer is of no concern here.
func (w *writes) Apply(context.Context, runtime.ApplyConfiguration, ...client.ApplyOption) error {
	w.count++
	return errWritten
}

// TestNothingIsWrittenOnAnOutdatedCache: such a cache can't be had from a real API server when a test wants it.
func TestNothingIsWrittenOnAnOutdatedCache(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	egressTarget := func(version string) *v1alpha1.EgressTarget {
		e := &v1alpha1.EgressTarget{}
		e.Namespace, e.Name, e.ResourceVersion = "shop", host, version
		return e
	}
	status := v1alpha1.EgressTargetStatus{Pods: 1}
	route := virtualService(host, "")
	decided := plan.Decide(plan.Facts{EgressTarget: egressTarget("99"), Now: now})
	tests := map[string]struct {
		last  *v1alpha1.EgressTarget
		made  bool
		busy  bool
		live  client.Reader
		write func(*EgressTargetReconciler) error
		want  error
		count int
	}{
		"a status on a version that has been overwritten": {
			last: egressTarget("100"), want: errCacheBehind,
			write: func(r *EgressTargetReconciler) error {
				return r.writeStatus(t.Context(), egressTarget("99"), decided, status)
			},
		},
		"a status on the version that was written last": {
			last: egressTarget("100"), count: 1,
			write: func(r *EgressTargetReconciler) error {
				return r.writeStatus(t.Context(), egressTarget("100"), decided, status)
			},
		},
		"a finalizer on a version that has been overwritten": {
			last: egressTarget("100"), want: errCacheBehind,
			write: func(r *EgressTargetReconciler) error { return r.hold(t.Context(), egressTarget("99")) },
		},
		"an object that was made and isn't in the cache": {
			made: true, live: something{}, want: errCacheBehind,
			write: func(r *EgressTargetReconciler) error {
				_, err := r.ensure(t.Context(), egressTarget("100"), route)
				return err
			},
		},
		"an object that was made, and that somebody has deleted": {
			made: true, live: nothing{}, want: errWritten, count: 1,
			write: func(r *EgressTargetReconciler) error {
				_, err := r.ensure(t.Context(), egressTarget("100"), route)
				return err
			},
		},
		"an object that another worker writes": {
			busy: true, want: errCacheBehind,
			write: func(r *EgressTargetReconciler) error {
				_, err := r.ensure(t.Context(), egressTarget("100"), route)
				return err
			},
		},
		"an object that was never made": {
			want: errWritten, count: 1,
			write: func(r *EgressTargetReconciler) error {
				_, err := r.ensure(t.Context(), egressTarget("100"), route)
				return err
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			written := &writes{}
			r := &EgressTargetReconciler{
				cache: nothing{}, live: test.live, client: written, versions: newVersions(), repairs: newRepairs(), clock: clocktesting.NewFakePassiveClock(now),
			}
			if test.last != nil {
				r.versions.wrote(v1alpha1.Kind, test.last, now)
			}
			if test.made {
				r.versions.wrote(mesh.KindVirtualService, virtualService(host, "100"), now)
			}
			if test.busy {
				r.versions.begin(keyOf(mesh.KindVirtualService, route))
			}
			if err := test.write(r); !errors.Is(err, test.want) || written.count != test.count {
				t.Errorf("it ends with %v after %d writes, want %v after %d", err, written.count, test.want, test.count)
			}
		})
	}
}
