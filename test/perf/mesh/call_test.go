package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/perf/report"
	"mtls.egress/webhook/test/scene"
)

// rounds is how often each contender has its turn. benchstat needs six samples for a confidence
// interval.
const rounds = 6

// level is what a turn consists of.
type level struct {
	connections, requests int
	// keepAlive keeps the app's connections. Otherwise each call has a new one.
	keepAlive bool
}

func levels() []level {
	return []level{
		{connections: 1, requests: 10_000, keepAlive: true},
		{connections: 50, requests: 20_000, keepAlive: true},
		{connections: 1, requests: 500},
		{connections: 50, requests: 2_000},
	}
}

func (l level) String() string {
	if l.keepAlive {
		return fmt.Sprintf("connections=%d/keepalive=yes", l.connections)
	}
	return fmt.Sprintf("connections=%d/keepalive=no", l.connections)
}

// BenchmarkCall measures calls as the app sees them. The contenders take turns with one partner, so
// that what disturbs the machine disturbs all.
func BenchmarkCall(b *testing.B) {
	s := play(b)
	contenders, err := deploy(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	environment, err := versions(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	if err := report.Environment("mtls.egress/webhook/test/perf/mesh", environment...); err != nil {
		b.Fatal(err)
	}
	for round := range rounds {
		for _, level := range levels() {
			for n := range contenders {
				if err := turn(b.Context(), s, contenders[(n+round)%len(contenders)], level); err != nil {
					b.Fatalf("round %d, %v: %v", round, level, err)
				}
			}
		}
	}
	b.SkipNow() // the lines are printed already; the testing package shall add none of its own
}

// versions of what the calls go through.
func versions(ctx context.Context, s *scene.Scene) ([]string, error) {
	server, err := s.Client.Discovery().ServerVersion()
	if err != nil {
		return nil, err
	}
	envoy, _, err := s.Kubectl(ctx, "exec", "--namespace", namespace, "deployment/sidecar", "--container", "istio-proxy",
		"--", "envoy", "--version")
	if err != nil {
		return nil, err
	}
	// As in "envoy  version: 8f5f4e0b3/1.40.0/Clean/RELEASE/BoringSSL".
	parts := strings.Split(strings.TrimSpace(envoy), "/")
	if len(parts) < 2 {
		return nil, fmt.Errorf("envoy --version says %q", envoy)
	}
	environment := []string{"kubernetes: " + server.GitVersion, "envoy: " + parts[1]}
	if s.Own {
		processor, err := processor()
		if err != nil {
			return nil, err
		}
		environment = append(environment, "cpu: "+processor)
	}
	return environment, nil
}

// processor is this machine's, as Linux calls it. The testing package tells it only with lines of
// its own.
func processor() (string, error) {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(content)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value), nil
		}
	}
	return "of an unknown kind", nil
}

// turn measures one contender at a level and prints the figures.
func turn(ctx context.Context, s *scene.Scene, c contender, at level) error {
	warmUp := max(200, 4*at.connections)
	result, err := c.caller.Bench(ctx, c.load(at.connections, warmUp, at.keepAlive))
	if err := errors.Join(err, whole(result, warmUp)); err != nil {
		return fmt.Errorf("%s, warming up: %w", c.name, err)
	}
	before, err := s.Partner().Summary(ctx, partner.Filter{Remote: c.address})
	if err != nil {
		return err
	}
	result, err = c.caller.Bench(ctx, c.load(at.connections, at.requests, at.keepAlive))
	if err := errors.Join(err, whole(result, at.requests)); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	after, err := s.Partner().Summary(ctx, partner.Filter{Remote: c.address})
	if err != nil {
		return err
	}
	if came := after.Requests - before.Requests; came != at.requests || after.PlainConnections != 0 {
		return fmt.Errorf("%s: of %d requests the partner saw %d; %d connections were plain",
			c.name, at.requests, came, after.PlainConnections)
	}
	return report.Line(fmt.Sprintf("BenchmarkCall/%v/contender=%s", at, c.name), at.requests, map[string]float64{
		"p50-ns": result.P50Micros * 1000, "p99-ns": result.P99Micros * 1000, "requests/s": result.PerSecond,
		"handshakes/10k": float64(after.TLSConnections-before.TLSConnections) * 10_000 / float64(at.requests),
	})
}

// whole fails when a call did.
func whole(result caller.BenchResult, want int) error {
	if result.Errors > 0 || result.Requests != want {
		return fmt.Errorf("%d of %d calls were answered: %v", result.Requests, want, result.ByOutcome)
	}
	return nil
}
