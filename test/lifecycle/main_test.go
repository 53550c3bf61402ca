package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/scene"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolate(m.Run)) }

// play puts up a scene without the chart.
func play(t *testing.T) *scene.Scene {
	t.Helper()
	if reason := cluster.Unavailable(); reason != "" {
		t.Skip(reason)
	}
	if cluster.Given() != "" {
		t.Skip("into the cluster of KUBECONFIG no second image can be loaded, and others may change what is in it")
	}
	begin := time.Now()
	s, err := scene.Start(t.Context(), scene.Options{Bare: true, Say: func(step string) {
		fmt.Fprintf(os.Stderr, "test/lifecycle: %5.1fs %s\n", time.Since(begin).Seconds(), step)
	}})
	must(t, err)
	t.Cleanup(func() { must(t, s.Remove(context.WithoutCancel(t.Context()))) })
	return s
}

// must ends the test when there is an error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
