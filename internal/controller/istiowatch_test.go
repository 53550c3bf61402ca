package controller

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
)

func TestIstiosKindsAreAddedOnceTheyAreServed(t *testing.T) {
	unreachable, broken := errors.New("unreachable"), errors.New("broken")
	all, some := []string{"Sidecar", "VirtualService"}, []string{"Sidecar"}
	type answer struct {
		missing []string
		err     error
	}
	tests := map[string]struct {
		answers []answer
		fails   error
		want    error
		missing [][]string
		after   time.Duration
	}{
		"they are installed one after the other": {
			answers: []answer{{missing: all}, {missing: some}, {}},
			missing: [][]string{all, some},
			after:   2 * retryIstio,
		},
		"the API server is unreachable at first": {answers: []answer{{err: unreachable}, {}}, after: retryIstio},
		"they can't be added":                    {answers: []answer{{}}, fails: broken, want: broken},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var missing [][]string
				asked, added, reconciled := 0, 0, 0
				w := &istioWatch{
					missing: func() ([]string, error) {
						answer := test.answers[asked]
						asked++
						return answer.missing, answer.err
					},
					setMissing:   func(kinds []string) { missing = append(missing, kinds) },
					add:          func(context.Context) error { added++; return test.fails },
					reconcileAll: func() { reconciled++ },
					log:          logr.Discard(),
				}
				begun := time.Now()
				if err := w.Start(t.Context()); !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if diff := cmp.Diff(test.missing, missing); diff != "" {
					t.Errorf("missing (-want +got):\n%s", diff)
				}
				wanted := map[bool]int{true: 1}[test.want == nil]
				if added != 1 || reconciled != wanted || time.Since(begun) != test.after {
					t.Errorf("added %d times, all reconciled %d times, after %s", added, reconciled, time.Since(begun))
				}
			})
		})
	}
}

func TestTheLookForIstiosCRDsEndsWithTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &istioWatch{
			missing:    func() ([]string, error) { return []string{"Sidecar"}, nil },
			setMissing: func([]string) {},
			add:        func(context.Context) error { t.Error("added without CRDs"); return nil },
			log:        logr.Discard(),
		}
		ended := make(chan error, 1)
		go func() { ended <- w.Start(ctx) }()
		time.Sleep(time.Hour)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
