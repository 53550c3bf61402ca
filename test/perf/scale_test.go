package perf_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/crowd"
	"mtls.egress/webhook/test/installation"
	"mtls.egress/webhook/test/perf/report"
)

// size is that of a cluster.
type size struct{ namespaces, targets, pods int }

// large returns a large cluster, or one that is MTLS_EGRESS_SCALE times as large.
func large() (size, error) {
	times := 1
	if text := os.Getenv("MTLS_EGRESS_SCALE"); text != "" {
		var err error
		if times, err = strconv.Atoi(text); err != nil {
			return size{}, fmt.Errorf("MTLS_EGRESS_SCALE: %w", err)
		}
	}
	return size{100 * times, 1000 * times, 10_000 * times}, nil
}

// named returns the name of a benchmark of processes in a cluster of the size.
func (s size) named(benchmark string) string {
	return fmt.Sprintf("%s/targets=%d/pods=%d", benchmark, s.targets, s.pods)
}

// steadily is for how long writes and processor time are counted while nothing happens.
// MTLS_EGRESS_STEADY is another duration, such as 10m.
const steadily = 3 * time.Minute

// settling is for how long nothing may have been written before what happens without a cause is
// counted.
const settling = 10 * time.Second

// BenchmarkScale fills a cluster: 1,000 Pods at once that ask for a different host each, and then
// 9,000 more for the same hosts. It measures how long it takes until the targets are programmed,
// with how many writes, how long a new Secret and a changed EgressTarget take, also when the leader
// was killed, how long webhooks and controllers need to start in such a cluster, and what they
// need. MTLS_EGRESS_SCALE multiplies the numbers, and those of the namespaces, by a factor.
func BenchmarkScale(b *testing.B) {
	ctx := b.Context()
	period := steadily
	if text := os.Getenv("MTLS_EGRESS_STEADY"); text != "" {
		var err error
		if period, err = time.ParseDuration(text); err != nil {
			b.Fatal(err)
		}
	}
	s, err := newScale(ctx)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Stop(); err != nil {
			b.Error(err)
		}
	})
	version, err := s.Admin.Discovery().ServerVersion()
	if err != nil {
		b.Fatal(err)
	}
	if err := report.Environment(pkg, "kubernetes: "+version.GitVersion); err != nil {
		b.Fatal(err)
	}
	if err := s.program(ctx); err != nil {
		b.Fatal(err)
	}
	if err := s.crowd.CreatePods(ctx, s.pods-s.targets); err != nil {
		b.Fatal(err)
	}
	if err := s.settle(ctx); err != nil {
		b.Fatal(err)
	}
	if err := s.answer(ctx); err != nil {
		b.Fatal(err)
	}
	if err := s.failover(ctx); err != nil {
		b.Fatal(err)
	}
	if err := s.restart(ctx); err != nil {
		b.Fatal(err)
	}
	if err := s.rest(ctx, period); err != nil {
		b.Fatal(err)
	}
	reported(b)
}

type scale struct {
	*installation.Installation
	size
	crowd *crowd.Crowd
	// api reads EgressTargets.
	api client.Client
}

func newScale(ctx context.Context) (*scale, error) {
	size, err := large()
	if err != nil {
		return nil, err
	}
	installed, err := installation.Start(ctx, installation.Options{
		Replicas: 2, Controllers: 2,
		Values: []string{
			"controller.targetRetention=24h",
			fmt.Sprintf("controller.deployment.resources.limits.memory=%dMi", controllerMemory(size)),
		},
		APIServer: apiserver.Options{AuditPolicy: installation.AuditOfWrites},
	})
	if err != nil {
		return nil, err
	}
	s := &scale{Installation: installed, size: size}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, installed.Stop())
	}
	return s, nil
}

func (s *scale) prepare(ctx context.Context) (err error) {
	types := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(types); err != nil {
		return err
	}
	if s.api, err = client.New(s.Config, client.Options{Scheme: types}); err != nil {
		return err
	}
	if s.crowd, err = crowd.New(s.Config, s.namespaces, s.targets); err != nil {
		return err
	}
	return s.crowd.Prepare(ctx)
}

// controllerMemory is the limit for a controller in MiB: the chart's default, and less than 1 GiB
// for a larger cluster. The garbage collector keeps the memory below it, and takes more processor
// time for that.
func controllerMemory(of size) int {
	if of.targets > 1000 {
		return 960
	}
	return 256
}

// askAgain is the time for each target after which the metric is asked for again. A controller
// counts all Pods and targets for an answer, which must not take much of its time.
const askAgain = 100 * time.Microsecond

// program creates the first Pod of every target and waits until all are ready.
func (s *scale) program(ctx context.Context) error {
	before, err := s.Writes()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := s.crowd.CreatePods(ctx, s.targets); err != nil {
		return err
	}
	err = await.Until(ctx, 20*time.Minute, "all targets are ready", func(ctx context.Context) error {
		ready, err := s.Metric(ctx, "mtls_egress_target_ready", nil)
		if err == nil && ready < float64(s.targets) {
			err = fmt.Errorf("%v of %d are", ready, s.targets)
			time.Sleep(time.Duration(s.targets) * askAgain)
		}
		return err
	})
	if err != nil {
		return err
	}
	took := time.Since(start)
	after, err := s.Writes()
	if err != nil {
		return err
	}
	writes := after.Since(before)
	own := writes.Sum(func(what string) bool { return !anchor(what) && !lease(what) })
	return report.Line(fmt.Sprintf("BenchmarkProgram/targets=%d", s.targets), 1, map[string]float64{
		"ns/op":             float64(took.Nanoseconds()),
		"writes/target":     float64(own) / float64(s.targets),
		"writes/anchor":     float64(writes.Sum(anchor)) / float64(s.namespaces),
		"writes-all/target": float64(writes.Sum(func(what string) bool { return !lease(what) })) / float64(s.targets),
	})
}

func anchor(what string) bool { return strings.HasSuffix(what, installation.Anchor) }

func lease(what string) bool { return strings.HasSuffix(what, " leases") }

// repeated is how often the answer to a change is measured, each time with another target.
const repeated = 6

// answer measures how long it takes until a target is ready whose Secret was missing, and until a
// changed EgressTarget is programmed.
func (s *scale) answer(ctx context.Context) error {
	for n := range repeated {
		took, err := s.timeSecret(ctx, s.targets+n)
		if err != nil {
			return err
		}
		if err := s.reportTime("BenchmarkSecret", took); err != nil {
			return err
		}
		if took, err = s.timeChange(ctx, n); err != nil {
			return err
		}
		if err := s.reportTime("BenchmarkChange", took); err != nil {
			return err
		}
	}
	return s.settle(ctx)
}

func (s *scale) reportTime(benchmark string, took time.Duration) error {
	return report.Line(s.named(benchmark), 1, map[string]float64{"ns/op": float64(took.Nanoseconds())})
}

// timeSecret creates a Pod for a target without a Secret, and then the Secret.
func (s *scale) timeSecret(ctx context.Context, target int) (time.Duration, error) {
	if _, err := s.crowd.CreatePod(ctx, target); err != nil {
		return 0, err
	}
	if err := s.reaches(ctx, target, v1alpha1.ConditionCredentialValid, metav1.ConditionFalse); err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := s.crowd.CreateSecret(ctx, target); err != nil {
		return 0, err
	}
	err := s.reaches(ctx, target, v1alpha1.ConditionReady, metav1.ConditionTrue)
	return time.Since(begun), err
}

// timeChange changes the timeout of a target, which is a field of its VirtualService.
func (s *scale) timeChange(ctx context.Context, target int) (time.Duration, error) {
	egressTarget, err := s.egressTarget(ctx, target)
	if err != nil {
		return 0, err
	}
	before := egressTarget.DeepCopy()
	egressTarget.Spec.HTTP = &v1alpha1.HTTP{Timeout: &metav1.Duration{Duration: 17 * time.Second}}
	begun := time.Now()
	if err := s.api.Patch(ctx, egressTarget, client.MergeFrom(before)); err != nil {
		return 0, err
	}
	err = s.reaches(ctx, target, v1alpha1.ConditionProgrammed, metav1.ConditionTrue)
	return time.Since(begun), err
}

func (s *scale) egressTarget(ctx context.Context, target int) (*v1alpha1.EgressTarget, error) {
	egressTarget := &v1alpha1.EgressTarget{}
	key := client.ObjectKey{Namespace: s.crowd.Namespace(target), Name: s.crowd.Host(target)}
	return egressTarget, s.api.Get(ctx, key, egressTarget)
}

// reaches waits until the newest generation of a target has a condition.
func (s *scale) reaches(ctx context.Context, target int, name string, status metav1.ConditionStatus) error {
	what := fmt.Sprintf("%s is %s: %s", s.crowd.Host(target), name, status)
	return await.Until(ctx, await.Patience, what, func(ctx context.Context) error {
		egressTarget, err := s.egressTarget(ctx, target)
		if err != nil {
			return err
		}
		conditions := egressTarget.Status.Conditions
		if egressTarget.Status.ObservedGeneration != egressTarget.Generation ||
			!meta.IsStatusConditionPresentAndEqual(conditions, name, status) {
			return fmt.Errorf("not yet: %+v", conditions)
		}
		return nil
	})
}

// failover kills the leader, and measures how long it takes until the other controller has
// programmed a changed EgressTarget. Pods are created all the time.
func (s *scale) failover(ctx context.Context) error {
	leader := s.Leader(ctx)
	if leader == nil {
		return errors.New("no controller is the leader")
	}
	if err := leader.Kill(); err != nil {
		return err
	}
	creating, stop := context.WithCancel(ctx)
	defer stop()
	var created, missed, refused float64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for target := 0; creating.Err() == nil; target = (target + 1) % s.crowd.Targets {
			pod, err := s.crowd.CreatePod(ctx, target)
			switch {
			case err != nil:
				refused++
			case pod.Labels[labelInjected] == "":
				missed++
			default:
				created++
			}
		}
	}()
	took, err := s.timeChange(ctx, repeated)
	stop()
	<-done
	if err != nil {
		return err
	}
	if err := report.Line(s.named("BenchmarkFailover"), 1, map[string]float64{
		"ns/op": float64(took.Nanoseconds()), "injected": created, "not-injected": missed, "refused": refused,
	}); err != nil {
		return err
	}
	if err := s.StartProcess(ctx, leader); err != nil {
		return err
	}
	return s.settle(ctx)
}

// restart restarts all processes, one after the other.
func (s *scale) restart(ctx context.Context) error {
	for _, process := range s.Processes() {
		if err := process.Stop(); err != nil {
			return err
		}
	}
	for _, process := range s.Processes() {
		took, err := s.TimeStart(ctx, process)
		if err != nil {
			return err
		}
		kind, _, _ := strings.Cut(process.Name, "-")
		if err := report.Line(s.named("BenchmarkStart/process="+kind), 1, map[string]float64{
			"ns/op": float64(took.Nanoseconds()),
		}); err != nil {
			return err
		}
	}
	return s.settle(ctx)
}

// settle waits until the leader has nothing to do, and has written nothing for a while.
func (s *scale) settle(ctx context.Context) error {
	last, since := -1, time.Now()
	return await.Until(ctx, 20*time.Minute, "the leader has nothing to do", func(ctx context.Context) error {
		waiting, err := s.Metric(ctx, "workqueue_depth", nil)
		if err != nil {
			return err
		}
		writes, err := s.Writes()
		if err != nil {
			return err
		}
		if written := writes.Sum(func(what string) bool { return !lease(what) }); written != last || waiting > 0 ||
			s.Leader(ctx) == nil {
			last, since = written, time.Now()
		}
		if time.Since(since) < settling {
			time.Sleep(time.Second)
			return fmt.Errorf("%d writes so far, %v targets wait", last, waiting)
		}
		return nil
	})
}

// rest counts while nothing happens, and weighs the processes at its end.
func (s *scale) rest(ctx context.Context, period time.Duration) error {
	before, err := s.Writes()
	if err != nil {
		return err
	}
	cpu := map[*installation.Process]float64{}
	for _, process := range s.Processes() {
		if cpu[process], err = process.Metric(ctx, "process_cpu_seconds_total", nil); err != nil {
			return err
		}
	}
	time.Sleep(period)
	after, err := s.Writes()
	if err != nil {
		return err
	}
	writes := after.Since(before)
	err = report.Line(s.named("BenchmarkSteady"), 1, map[string]float64{
		"counted-ns": float64(period.Nanoseconds()),
		"writes":     float64(writes.Sum(func(what string) bool { return !lease(what) })),
		"leases/s":   float64(writes.Sum(lease)) / period.Seconds(),
	})
	if err != nil {
		return err
	}
	roles := s.roles(ctx)
	for _, process := range s.Processes() {
		spent, err := process.Metric(ctx, "process_cpu_seconds_total", nil)
		if err != nil {
			return err
		}
		figures := map[string]float64{"cpu-ns/s": (spent - cpu[process]) * float64(time.Second) / period.Seconds()}
		for unit, name := range map[string]string{
			"RSS-bytes":      "VmRSS",
			"own-RSS-bytes":  "RssAnon",
			"peak-RSS-bytes": "VmHWM",
		} {
			if figures[unit], err = process.Memory(name); err != nil {
				return err
			}
		}
		if err := report.Line(s.named("BenchmarkProcess/role="+roles[process]), 1, figures); err != nil {
			return err
		}
	}
	return nil
}

// roles are webhook, leader and standby: a controller that isn't the leader.
func (s *scale) roles(ctx context.Context) map[*installation.Process]string {
	roles := map[*installation.Process]string{}
	for _, replica := range s.Replicas {
		roles[replica.Process] = "webhook"
	}
	leader := s.Leader(ctx)
	for _, controller := range s.Controllers {
		roles[controller] = "standby"
		if controller == leader {
			roles[controller] = "leader"
		}
	}
	return roles
}
