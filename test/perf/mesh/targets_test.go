package mesh_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/envoyadmin"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/perf/report"
	"mtls.egress/webhook/test/scene"
	"mtls.egress/webhook/test/scrape"
)

// crowded is the namespace that gets more and more targets, and next the one beside it.
const crowded, next = "crowded", "next"

// counts are the numbers of targets at which is measured.
func counts() []int { return []int{0, 10, 100, 1000} }

// starts is how many Pods of a kind are started one after the other.
const starts = 3

// quiet is for how long istiod may have pushed nothing before what a sidecar has is measured.
const quiet = 5 * time.Second

// lookupPeriod is for how long DNS queries are counted.
const lookupPeriod = 30 * time.Second

// BenchmarkTargets measures what targets cost istiod and the sidecars: those that ask for one of
// them, their neighbors in the namespace, and those of another namespace.
func BenchmarkTargets(b *testing.B) {
	s := play(b)
	if !s.Own {
		b.Skip("in a cluster of KUBECONFIG istiod has other work as well")
	}
	c, err := newCosts(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	for _, count := range counts() {
		if err := c.measure(b.Context(), count); err != nil {
			b.Fatalf("%d targets: %v", count, err)
		}
	}
	if err := c.weighByHand(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.SkipNow() // the lines are printed already; the testing package shall add none of its own
}

// costs is what BenchmarkTargets measures with.
type costs struct {
	*scene.Scene
	sidecars []sidecar
	targets  int
	started  int
}

// sidecar is one that runs all the time. Its role is that of its Pod.
type sidecar struct {
	role string
	pod  *corev1.Pod
}

func newCosts(ctx context.Context, s *scene.Scene) (*costs, error) {
	c := &costs{Scene: s}
	for _, name := range []string{crowded, next} {
		if err := s.CreateNamespace(ctx, name); err != nil {
			return nil, err
		}
	}
	credential, err := s.Credential("bench")
	if err != nil {
		return nil, err
	}
	if err := s.WriteSecret(ctx, crowded, secret, credential.Data(scene.LayoutCert)); err != nil {
		return nil, err
	}
	for _, app := range []scene.App{
		asks("asks"), {Namespace: crowded, Name: "neighbor"}, {Namespace: next, Name: "next"},
	} {
		if err := s.Deploy(ctx, app); err != nil {
			return nil, err
		}
		pod, err := s.ReadyPod(ctx, app.Namespace, app.Name)
		if err != nil {
			return nil, err
		}
		c.sidecars = append(c.sidecars, sidecar{app.Name, pod})
	}
	return c, c.pushed(ctx)
}

// asks is an app that asks for one target, which isn't counted.
func asks(name string) scene.App {
	return scene.App{Namespace: crowded, Name: name, Annotations: scene.Target(host)}
}

// figures are what is counted all the time.
type figures struct {
	pushes, processor float64
	updates           map[string]float64
}

// measure creates the targets that are missing, and prints what istiod and the sidecars then took
// for that, and what they have.
func (c *costs) measure(ctx context.Context, count int) error {
	before, err := c.count(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	created := count - c.targets
	if err := c.program(ctx, count); err != nil {
		return err
	}
	took := time.Since(begun)
	if err := c.pushed(ctx); err != nil {
		return err
	}
	after, err := c.count(ctx)
	if err != nil {
		return err
	}
	memory, err := c.istiod(ctx, "process_resident_memory_bytes")
	if err != nil {
		return err
	}
	line := map[string]float64{"RSS-bytes": memory}
	if created > 0 {
		line["ns/op"] = float64(took.Nanoseconds())
		line["pushes/target"] = (after.pushes - before.pushes) / float64(created)
		line["cpu-ns/target"] = (after.processor - before.processor) * float64(time.Second) / float64(created)
	}
	if err := report.Line(fmt.Sprintf("BenchmarkTargets/targets=%d/of=istiod", count), 1, line); err != nil {
		return err
	}
	lookups, err := c.lookups(ctx)
	if err != nil {
		return err
	}
	if err := report.Line(fmt.Sprintf("BenchmarkTargets/targets=%d/of=dns", count), 1,
		map[string]float64{"lookups/s": lookups}); err != nil {
		return err
	}
	for _, sidecar := range c.sidecars {
		line, err := c.weigh(ctx, sidecar.pod)
		if err != nil {
			return err
		}
		line["updates"] = after.updates[sidecar.role] - before.updates[sidecar.role]
		if err := report.Line(fmt.Sprintf("BenchmarkTargets/targets=%d/of=%s", count, sidecar.role), 1, line); err != nil {
			return err
		}
	}
	return c.startPods(ctx, count)
}

// program creates targets until there are count, and waits until all are ready.
func (c *costs) program(ctx context.Context, count int) error {
	for ; c.targets < count; c.targets++ {
		made := &unstructured.Unstructured{Object: map[string]any{
			"spec": map[string]any{"credential": map[string]any{"secretName": secret}},
		}}
		made.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind("EgressTarget"))
		made.SetName(fmt.Sprintf("partner-%d.system.com", c.targets))
		if _, err := c.EgressTargets(crowded).Create(ctx, made, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return await.Until(ctx, 10*time.Minute, "all targets are ready", func(ctx context.Context) error {
		list, err := c.EgressTargets(crowded).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			egressTarget, err := scene.ReadEgressTarget(&list.Items[i])
			if err != nil {
				return err
			}
			if !meta.IsStatusConditionTrue(egressTarget.Status.Conditions, v1alpha1.ConditionReady) {
				time.Sleep(time.Second) // the list takes processor time from what is measured
				return fmt.Errorf("%s isn't: %+v", egressTarget.Name, egressTarget.Status.Conditions)
			}
		}
		return nil
	})
}

// pushed waits until istiod has pushed nothing for a while.
func (c *costs) pushed(ctx context.Context) error {
	last, since := -1.0, time.Now()
	return await.Until(ctx, 10*time.Minute, "istiod has nothing to push", func(ctx context.Context) error {
		pushes, err := c.istiod(ctx, "pilot_xds_pushes")
		if err != nil {
			return err
		}
		if pushes != last {
			last, since = pushes, time.Now()
		}
		if time.Since(since) < quiet {
			time.Sleep(time.Second)
			return fmt.Errorf("%v pushes so far", pushes)
		}
		return nil
	})
}

// istiod is the sum of one of istiod's metrics.
func (c *costs) istiod(ctx context.Context, name string) (float64, error) {
	page, err := c.Client.CoreV1().RESTClient().Get().
		RequestURI("/api/v1/namespaces/" + cluster.IstioNamespace + "/services/istiod:15014/proxy/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	return scrape.Sum(page, name, nil)
}

// lookups counts the DNS queries for hosts of partners, a second.
func (c *costs) lookups(ctx context.Context) (float64, error) {
	queries := func() (sum float64, err error) {
		pods, err := c.Client.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
		if err != nil || len(pods.Items) == 0 {
			return 0, errors.Join(err, errors.New("no Pod of CoreDNS"))
		}
		page, err := c.Client.CoreV1().RESTClient().Get().
			RequestURI("/api/v1/namespaces/kube-system/pods/" + pods.Items[0].Name + ":9153/proxy/metrics").DoRaw(ctx)
		if err != nil {
			return 0, err
		}
		return scrape.Sum(page, "coredns_dns_requests_total", nil)
	}
	before, err := queries()
	if err != nil {
		return 0, err
	}
	time.Sleep(lookupPeriod)
	after, err := queries()
	return (after - before) / lookupPeriod.Seconds(), err
}

func (c *costs) count(ctx context.Context) (now figures, err error) {
	if now.pushes, err = c.istiod(ctx, "pilot_xds_pushes"); err != nil {
		return now, err
	}
	if now.processor, err = c.istiod(ctx, "process_cpu_seconds_total"); err != nil {
		return now, err
	}
	now.updates = map[string]float64{}
	for _, sidecar := range c.sidecars {
		stats, err := c.stats(ctx, sidecar.pod)
		if err != nil {
			return now, err
		}
		now.updates[sidecar.role] = stats["cluster_manager.cds.update_success"] + stats["listener_manager.lds.update_success"]
	}
	return now, nil
}

const (
	statsPath  = "/stats?format=json"
	memoryPath = "/memory"
	dumpPath   = "/config_dump"
)

// stats are the counters and gauges of an Envoy.
func (c *costs) stats(ctx context.Context, pod *corev1.Pod) (map[string]float64, error) {
	answers, err := envoyadmin.Forward(ctx, c.Config, pod, statsPath)
	if err != nil {
		return nil, err
	}
	return parseStats(answers[statsPath])
}

func parseStats(answer []byte) (map[string]float64, error) {
	var content struct {
		Stats []struct {
			Name  string          `json:"name"`
			Value json.RawMessage `json:"value"`
		} `json:"stats"`
	}
	if err := json.Unmarshal(answer, &content); err != nil {
		return nil, err
	}
	stats := map[string]float64{}
	for _, stat := range content.Stats {
		var value float64
		if json.Unmarshal(stat.Value, &value) == nil { // histograms and texts aren't numbers
			stats[stat.Name] = value
		}
	}
	return stats, nil
}

// weigh is what a sidecar has.
func (c *costs) weigh(ctx context.Context, pod *corev1.Pod) (map[string]float64, error) {
	answers, err := envoyadmin.Forward(ctx, c.Config, pod, statsPath, memoryPath, dumpPath)
	if err != nil {
		return nil, err
	}
	stats, err := parseStats(answers[statsPath])
	if err != nil {
		return nil, err
	}
	var memory struct {
		Allocated float64 `json:"allocated,string"`
		Heap      float64 `json:"heap_size,string"`
	}
	if err := json.Unmarshal(answers[memoryPath], &memory); err != nil {
		return nil, err
	}
	var dump any
	if err := json.Unmarshal(answers[dumpPath], &dump); err != nil {
		return nil, err
	}
	compact, err := json.Marshal(dump)
	return map[string]float64{
		"clusters":     stats["cluster_manager.active_clusters"],
		"listeners":    stats["listener_manager.total_listeners_active"],
		"config-bytes": float64(len(compact)),
		"heap-bytes":   memory.Heap,
		"used-bytes":   memory.Allocated,
	}, err
}

// sets is how many are written by hand in a namespace for comparison.
const sets = 100

// weighByHand prints what a sidecar has in a namespace with sets that are written by hand.
func (c *costs) weighByHand(ctx context.Context) error {
	const beside = "beside-by-hand"
	if err := c.CreateNamespace(ctx, beside); err != nil {
		return err
	}
	var all []string
	for n := range sets {
		all = append(all, strings.NewReplacer(
			"external.system.com", fmt.Sprintf("by-hand-%d.system.com", n),
			"name: by-hand,", fmt.Sprintf("name: by-hand-%d,", n),
		).Replace(scene.ByHand(beside, ".")))
	}
	if err := c.Apply(ctx, strings.Join(all, "---")); err != nil {
		return err
	}
	if err := c.Deploy(ctx, scene.App{Namespace: beside, Name: beside}); err != nil {
		return err
	}
	pod, err := c.ReadyPod(ctx, beside, beside)
	if err != nil {
		return err
	}
	if err := c.pushed(ctx); err != nil {
		return err
	}
	line, err := c.weigh(ctx, pod)
	if err != nil {
		return err
	}
	return report.Line(fmt.Sprintf("BenchmarkTargets/by-hand=%d", sets), 1, line)
}

// startPods measures how long it takes from the creation of a Pod until it is ready.
func (c *costs) startPods(ctx context.Context, count int) error {
	for range starts {
		for _, role := range []string{"asks", "neighbor"} {
			c.started++
			name := fmt.Sprintf("late-%d", c.started)
			app := scene.App{Namespace: crowded, Name: name, Kind: "Pod"}
			if role == "asks" {
				app.PodAnnotations = scene.Target(host)
			}
			begun := time.Now()
			if err := c.Deploy(ctx, app); err != nil {
				return err
			}
			if _, err := c.ReadyPod(ctx, crowded, name); err != nil {
				return err
			}
			took := time.Since(begun)
			if _, _, err := c.Kubectl(
				ctx, "delete", "pod", "--now", "--namespace", crowded, "--selector", "app="+name,
			); err != nil {
				return err
			}
			if err := report.Line(fmt.Sprintf("BenchmarkTargets/targets=%d/start=%s", count, role), 1,
				map[string]float64{"ns/op": float64(took.Nanoseconds())}); err != nil {
				return err
			}
		}
	}
	return nil
}
