package perf_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/installation"
	"mtls.egress/webhook/test/perf/report"
	"mtls.egress/webhook/test/scrape"
)

// rounds is how often each contender has its turn. benchstat needs six samples for a confidence
// interval.
const rounds = 6

// levels are the numbers of parallel clients, each with the number of Pods that are created in a
// turn.
func levels() []level {
	return []level{{clients: 1, creates: 300}, {clients: 50, creates: 1600}, {clients: 200, creates: 2400}}
}

type level struct{ clients, creates int }

// BenchmarkPodCreate measures calls that create a Pod, as clients see them. The contenders take
// turns on one API server, so that what disturbs the machine disturbs all.
func BenchmarkPodCreate(b *testing.B) {
	arena, err := newArena(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := arena.stop(); err != nil {
			b.Error(err)
		}
	})
	if err := report.Environment(pkg, "kubernetes: "+arena.version); err != nil {
		b.Fatal(err)
	}
	for round := range rounds {
		for _, level := range levels() {
			if err := arena.round(b.Context(), round, level); err != nil {
				b.Fatal(err)
			}
		}
	}
	memory, err := arena.peakMemory()
	if err != nil {
		b.Fatal(err)
	}
	if err := report.Line("BenchmarkWebhookProcess", 1, map[string]float64{"peak-RSS-bytes": memory}); err != nil {
		b.Fatal(err)
	}
	reported(b)
}

// arena is where the contenders meet.
type arena struct {
	ours      *installation.Installation
	apiServer procfs.Proc
	stage     *stage
	clients   []corev1client.PodInterface
	// version of the API server.
	version string
}

func newArena(ctx context.Context) (_ *arena, err error) {
	ours, err := installation.Start(ctx, installation.Options{
		// The target stays when there is no Pod for a while, as it does in a cluster.
		Values: []string{"controller.targetRetention=24h"},
		APIServer: apiserver.Options{Args: map[string][]string{
			"max-requests-inflight": {"4000"}, "max-mutating-requests-inflight": {"2000"}, // no request waits for a seat
			"delete-collection-workers": {"8"},
		}},
	})
	if err != nil {
		return nil, err
	}
	a := &arena{ours: ours}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stop())
		}
	}()
	if a.apiServer, err = ours.APIServerProcess(); err != nil {
		return nil, err
	}
	if err := a.prepare(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *arena) stop() error {
	var err error
	if a.stage != nil {
		err = a.stage.stop()
	}
	return errors.Join(err, a.ours.Stop())
}

// prepare brings the target into the state that it is in nearly always: programmed, with a
// credential.
func (a *arena) prepare(ctx context.Context) (err error) {
	credential, err := os.MkdirTemp(a.ours.Dir, "credential-")
	if err != nil {
		return err
	}
	if err := installation.WriteCredential(credential, time.Now()); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"create", "namespace", namespace},
		{
			"create", "secret", "generic", "external-system-mtls-data", "--namespace", namespace,
			"--from-file=cert=client.crt", "--from-file=key=client.key", "--from-file=cacert=server-ca.crt",
		},
	} {
		if _, err := a.ours.KubectlIn(ctx, credential, args...); err != nil {
			return err
		}
	}
	version, err := a.ours.Admin.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	a.version = version.GitVersion
	mostClients := slices.MaxFunc(levels(), func(one, other level) int { return one.clients - other.clients }).clients
	if a.clients, err = newClients(a.ours.Config, mostClients); err != nil {
		return err
	}
	if a.stage, err = newStage(ctx, a.ours); err != nil {
		return err
	}
	for _, contender := range contenders() {
		if contender.name != asks {
			continue
		}
		if err := a.stage.turn(ctx, contender.admission); err != nil {
			return err
		}
		if _, err := create(ctx, a.clients[:1], 1, contender); err != nil {
			return err
		}
	}
	for _, state := range []string{"create", "condition=Ready"} {
		if _, _, err := a.ours.Kubectl(
			ctx, "wait", "--for="+state, "--timeout=1m", "--namespace", namespace, "egresstarget/"+host,
		); err != nil {
			return err
		}
	}
	return remove(ctx, a.clients[0])
}

// turn is what is measured of one contender, level and round.
type turn struct {
	sample
	// webhookCPU is the processor time of the process of the contender's webhook.
	webhookCPU time.Duration
	// apiServerCPU is that of the API server, which evaluates match conditions and policies.
	apiServerCPU time.Duration
	// inWebhooks and inPolicies are the API server's own measurements of all creates together.
	inWebhooks, inPolicies time.Duration
}

// round gives each contender a turn at a level, each round in another order, and reports the turns.
func (a *arena) round(ctx context.Context, number int, at level) error {
	all := contenders()
	turns := map[string]turn{}
	for n := range all {
		contender := all[(n+number)%len(all)]
		measured, err := a.measure(ctx, contender, at)
		if err != nil {
			return fmt.Errorf("round %d, %d clients, %s: %w", number, at.clients, contender.name, err)
		}
		turns[contender.name] = measured
	}
	for _, contender := range all {
		if err := reportTurn(contender, at, turns[contender.name], turns[none]); err != nil {
			return err
		}
	}
	return nil
}

func reportTurn(of contender, at level, measured, baseline turn) error {
	nanoseconds := func(duration time.Duration) float64 { return float64(duration.Nanoseconds()) }
	figures := map[string]float64{
		"p50-ns": nanoseconds(
			measured.quantile(0.5),
		), "p99-ns": nanoseconds(measured.quantile(0.99)), "creates/s": measured.perSecond(),
	}
	figures["apiserver-cpu-ns/op"] = nanoseconds(measured.apiServerCPU) / float64(at.creates)
	figures["webhooks-ns/op"] = nanoseconds(measured.inWebhooks) / float64(at.creates)
	figures["policies-ns/op"] = nanoseconds(measured.inPolicies) / float64(at.creates)
	if of.name != none {
		figures["added-p50-ns"] = nanoseconds(measured.quantile(0.5) - baseline.quantile(0.5))
		figures["added-p99-ns"] = nanoseconds(measured.quantile(0.99) - baseline.quantile(0.99))
	}
	if of.admission.webhook || of.admission.foreign() {
		figures["webhook-cpu-ns/op"] = nanoseconds(measured.webhookCPU) / float64(at.creates)
	}
	return report.Line(fmt.Sprintf("BenchmarkPodCreate/clients=%d/contender=%s", at.clients, of.name), at.creates, figures)
}

func (a *arena) measure(ctx context.Context, of contender, at level) (turn, error) {
	if err := a.stage.turn(ctx, of.admission); err != nil {
		return turn{}, err
	}
	clients := a.clients[:at.clients]
	if _, err := create(ctx, clients, max(50, 2*at.clients), of); err != nil {
		return turn{}, fmt.Errorf("warming up: %w", err)
	}
	if err := a.settle(ctx); err != nil {
		return turn{}, err
	}
	before, err := a.counts(ctx, of)
	if err != nil {
		return turn{}, err
	}
	// The API server's own metrics take it processor time, so they are read outside of this.
	cpuBefore, err := cpuTime(a.apiServer)
	if err != nil {
		return turn{}, err
	}
	measured, err := create(ctx, clients, at.creates, of)
	if err != nil {
		return turn{}, err
	}
	cpuAfter, err := cpuTime(a.apiServer)
	if err != nil {
		return turn{}, err
	}
	after, err := a.counts(ctx, of)
	if err != nil {
		return turn{}, err
	}
	want := 0
	if of.asks && of.admission.webhook {
		want = at.creates
	}
	if asked := int(after.requests - before.requests); asked != want {
		return turn{}, fmt.Errorf("the webhook was asked %d times about %d Pods, want %d", asked, at.creates, want)
	}
	if err := remove(ctx, a.clients[0]); err != nil {
		return turn{}, err
	}
	seconds := func(before, after float64) time.Duration {
		return time.Duration((after - before) * float64(time.Second))
	}
	return turn{
		sample:       measured,
		webhookCPU:   seconds(before.cpuSeconds, after.cpuSeconds),
		apiServerCPU: cpuAfter - cpuBefore,
		inWebhooks:   seconds(before.webhookSeconds, after.webhookSeconds),
		inPolicies:   seconds(before.policySeconds, after.policySeconds),
	}, a.settle(ctx)
}

// settle waits until the controller has done what the Pods of before gave it to do and the API
// server takes less than a tenth of a processor, and collects our own garbage. Deleted Pods and new
// policies keep the API server busy for seconds, which doubled the figures of some turns.
func (a *arena) settle(ctx context.Context) error {
	const window = 200 * time.Millisecond // processor time is counted in hundredths of a second
	for {
		before, err := cpuTime(a.apiServer)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(window):
		}
		after, err := cpuTime(a.apiServer)
		if err != nil {
			return err
		}
		waiting, err := a.ours.Metric(ctx, "workqueue_depth", nil)
		if err != nil {
			return err
		}
		working, err := a.ours.Metric(ctx, "controller_runtime_active_workers", nil)
		if err != nil {
			return err
		}
		if waiting+working == 0 && after-before < window/10 {
			runtime.GC()
			return nil
		}
	}
}

// cpuTime is the processor time of a process since its start.
func cpuTime(process procfs.Proc) (time.Duration, error) {
	stat, err := process.Stat()
	return time.Duration(stat.CPUTime() * float64(time.Second)), err
}

// counts are those of the process of the contender's webhook and of the API server, from their
// start. requests are those to our webhook.
type counts struct {
	requests, cpuSeconds float64
	// webhookSeconds and policySeconds are what creates of Pods waited for webhooks and policies, with
	// their match conditions.
	webhookSeconds, policySeconds float64
}

func (a *arena) counts(ctx context.Context, of contender) (counts, error) {
	requests, err := a.ours.Replicas[0].Metric(ctx, "mtls_egress_admission_requests_total", nil)
	if err != nil {
		return counts{}, err
	}
	cpuSeconds, err := a.ours.Replicas[0].Metric(ctx, "process_cpu_seconds_total", nil)
	if process, ok := a.stage.processes[of.name]; ok {
		var taken time.Duration
		taken, err = cpuTime(process)
		cpuSeconds = taken.Seconds()
	}
	if err != nil {
		return counts{}, err
	}
	now := counts{requests: requests, cpuSeconds: cpuSeconds}
	page, err := a.ours.APIServerMetricsPage(ctx)
	if err != nil {
		return counts{}, err
	}
	// https://kubernetes.io/docs/reference/instrumentation/metrics/
	admission := func(plugin string) (float64, error) {
		return scrape.Sum(page, "apiserver_admission_controller_admission_duration_seconds",
			map[string]string{"name": plugin, "operation": "CREATE"})
	}
	if now.webhookSeconds, err = admission("MutatingAdmissionWebhook"); err != nil {
		return counts{}, err
	}
	now.policySeconds, err = admission("ValidatingAdmissionPolicy")
	return now, err
}

// peakMemory is the most memory that the webhook's process had at any time, in bytes.
func (a *arena) peakMemory() (float64, error) { return a.ours.Replicas[0].Memory("VmHWM") }
