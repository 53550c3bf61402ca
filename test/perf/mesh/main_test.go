package mesh_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/scene"
)

// begun is the scene of all benchmarks, once start was called.
var begun *scene.Scene

var start = sync.OnceValue(func() (err error) {
	say := func(step string) { fmt.Fprintln(os.Stderr, step) }
	begun, err = scene.Start(context.Background(), scene.Options{Say: say})
	return err
})

func TestMain(m *testing.M) { os.Exit(cluster.Isolate(func() int { return run(m) })) }

func run(m *testing.M) int {
	code := m.Run()
	if begun == nil {
		return code
	}
	if err := begun.Remove(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "test/perf/mesh:", err)
		return 1
	}
	return code
}

// play returns the scene. What a benchmark makes there ends with the cluster, if that is our own.
func play(b *testing.B) *scene.Scene {
	b.Helper()
	if reason := cluster.Unavailable(); reason != "" {
		b.Skip(reason)
	}
	if err := start(); err != nil {
		b.Fatal(err)
	}
	return begun
}
