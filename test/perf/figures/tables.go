package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// row is a figure of one benchmark with its goal.
type row struct {
	what, benchmark, unit string
	// goal is what the figure has to stay below, to reach when least is set, or not to exceed when
	// most is set. 0: there is none, unless most is set.
	goal        float64
	least, most bool
}

func rows() []row {
	const micro, milli, second, mebibyte = 1e3, 1e6, 1e9, 1 << 20
	return []row{
		{
			what:      "inject a Pod of 10 containers",
			benchmark: "BenchmarkInject/10_containers/inject",
			unit:      "ns/op",
			goal:      50 * micro,
		},
		{what: "the same", benchmark: "BenchmarkInject/10_containers/inject", unit: "allocs/op", goal: 100},
		{what: "decode and inject it", benchmark: "BenchmarkInject/10_containers/decode_and_inject", unit: "ns/op"},
		{
			what:      "decode and inject a Pod with 2,000 environment variables",
			benchmark: "BenchmarkInject/2000_env_vars/decode_and_inject",
			unit:      "ns/op",
			goal:      1.5 * milli,
		},
		{
			what:      "parse the annotations of a Pod (two targets, two Secrets)",
			benchmark: "BenchmarkParseIntent",
			unit:      "annotations/s",
			goal:      200_000,
			least:     true,
		},
		{what: "the Istio objects of a target", benchmark: "BenchmarkObjects", unit: "ns/op"},
		{
			what:      "look for conflicts in 1,000 objects of others",
			benchmark: "BenchmarkConflicts/one_in_ten_for_the_host",
			unit:      "ns/op",
		},
		{what: "judge a credential (ECDSA P-256)", benchmark: "BenchmarkJudge/ecdsa-p256", unit: "ns/op"},
		{what: "judge a credential (RSA 3072)", benchmark: "BenchmarkJudge/rsa-3072", unit: "ns/op"},
		{
			what:      "judge 1,000 credentials with chains of two, keys of three types",
			benchmark: "BenchmarkJudgeThousand",
			unit:      "ns/op",
			goal:      2 * second,
		},
		{
			what:      "one scrape of the controller's metrics, 1,000 targets and 10,000 Pods",
			benchmark: "BenchmarkScrape",
			unit:      "ns/op",
			goal:      100 * milli,
		},
		{what: "merge a caBundle of two", benchmark: "BenchmarkMergeBundle/2", unit: "ns/op"},
		{what: "render 1,000 Deployments, in process", benchmark: "BenchmarkRender", unit: "ns/op"},
		{
			what:      "`render` of 1,000 Deployments, process start included",
			benchmark: "BenchmarkCommand/render/deployments=1000",
			unit:      "ns/op",
			goal:      600 * milli,
			most:      true,
		},
		{what: "its processor time", benchmark: "BenchmarkCommand/render/deployments=1000", unit: "cpu-ns/op"},
		{
			what:      "`check` of 1,000 Deployments, process start included",
			benchmark: "BenchmarkCommand/check/deployments=1000",
			unit:      "ns/op",
			goal:      1200 * milli,
			most:      true,
		},
		{what: "its processor time", benchmark: "BenchmarkCommand/check/deployments=1000", unit: "cpu-ns/op"},
		{
			what:      "decide about a target with 10,000 Pods",
			benchmark: "BenchmarkDecideForManyPods",
			unit:      "ns/op",
			goal:      5 * milli,
			most:      true,
		},
		{
			what:      "peak memory of the webhook's process, in the run below",
			benchmark: "BenchmarkWebhookProcess",
			unit:      "peak-RSS-bytes",
		},
		{
			what:      "1,000 new targets at once, in 100 namespaces, until all are ready",
			benchmark: "BenchmarkProgram/targets=1000",
			unit:      "ns/op",
			goal:      12 * second,
			most:      true,
		},
		{
			what:      "writes for each of them, the anchors of their namespaces aside",
			benchmark: "BenchmarkProgram/targets=1000",
			unit:      "writes/target",
			goal:      5,
			most:      true,
		},
		{
			what:      "the same with the anchors",
			benchmark: "BenchmarkProgram/targets=1000",
			unit:      "writes-all/target",
			goal:      5,
			most:      true,
		},
		{what: "writes of each anchor", benchmark: "BenchmarkProgram/targets=1000", unit: "writes/anchor"},
		{
			what:      "start of a webhook until it is ready, with 1,000 targets and 10,000 Pods",
			benchmark: "BenchmarkStart/process=webhook" + large,
			unit:      "ns/op",
			goal:      2 * second,
		},
		{
			what:      "start of a controller until it is ready, there",
			benchmark: "BenchmarkStart/process=controller" + large,
			unit:      "ns/op",
			goal:      2 * second,
		},
		{
			what:      "memory of a webhook, there",
			benchmark: "BenchmarkProcess/role=webhook" + large,
			unit:      "RSS-bytes",
			goal:      80 * mebibyte,
		},
		{
			what:      "its peak since its start",
			benchmark: "BenchmarkProcess/role=webhook" + large,
			unit:      "peak-RSS-bytes",
		},
		{
			what:      "its processor time, in a second in which nothing happens",
			benchmark: "BenchmarkProcess/role=webhook" + large,
			unit:      "cpu-ns/s",
		},
		{
			what:      "memory of a controller that isn't the leader, there",
			benchmark: "BenchmarkProcess/role=standby" + large,
			unit:      "RSS-bytes",
		},
		{
			what:      "its processor time, in a second in which nothing happens",
			benchmark: "BenchmarkProcess/role=standby" + large,
			unit:      "cpu-ns/s",
		},
		{
			what:      "memory of the leader, there",
			benchmark: "BenchmarkProcess/role=leader" + large,
			unit:      "RSS-bytes",
			goal:      160 * mebibyte,
		},
		{
			what:      "of that its own, without the pages of the program's file",
			benchmark: "BenchmarkProcess/role=leader" + large,
			unit:      "own-RSS-bytes",
		},
		{
			what:      "its peak since its start",
			benchmark: "BenchmarkProcess/role=leader" + large,
			unit:      "peak-RSS-bytes",
		},
		{
			what:      "its processor time, in a second in which nothing happens",
			benchmark: "BenchmarkProcess/role=leader" + large,
			unit:      "cpu-ns/s",
		},
		{
			what:      "memory of a webhook, with 10,000 targets and 100,000 Pods",
			benchmark: "BenchmarkProcess/role=webhook" + huge,
			unit:      "RSS-bytes",
		},
		{
			what:      "memory of the leader, there",
			benchmark: "BenchmarkProcess/role=leader" + huge,
			unit:      "RSS-bytes",
			goal:      1024 * mebibyte,
		},
		{
			what:      "its peak since its start",
			benchmark: "BenchmarkProcess/role=leader" + huge,
			unit:      "peak-RSS-bytes",
		},
		{
			what:      "memory of a controller that isn't the leader, there",
			benchmark: "BenchmarkProcess/role=standby" + huge,
			unit:      "RSS-bytes",
		},
		{
			what:      "start of a controller until it is ready, there",
			benchmark: "BenchmarkStart/process=controller" + huge,
			unit:      "ns/op",
			goal:      30 * second,
			most:      true,
		},
		{
			what:      "10,000 new targets at once, in 1,000 namespaces, until all are ready",
			benchmark: "BenchmarkProgram/targets=10000",
			unit:      "ns/op",
		},
		{
			what:      "a target is ready whose Secret was missing, with 10,000 targets and 100,000 Pods",
			benchmark: "BenchmarkSecret" + huge,
			unit:      "ns/op",
			goal:      10 * second,
			most:      true,
		},
		{what: "a changed EgressTarget is programmed, there", benchmark: "BenchmarkChange" + huge, unit: "ns/op"},
		{
			what:      "the same, counted from the moment when the leader was killed",
			benchmark: "BenchmarkFailover" + huge,
			unit:      "ns/op",
			goal:      20 * second,
			most:      true,
		},
		{
			what:      "Pods that were created meanwhile and not injected",
			benchmark: "BenchmarkFailover" + huge,
			unit:      "not-injected",
			goal:      0,
			most:      true,
		},
		{what: "those that were refused", benchmark: "BenchmarkFailover" + huge, unit: "refused", most: true},
		{what: "those that were injected", benchmark: "BenchmarkFailover" + huge, unit: "injected"},
		{
			what:      "how long writes were counted while nothing happened",
			benchmark: "BenchmarkSteady" + large,
			unit:      "counted-ns",
		},
		{
			what:      "writes in that time, renewals of the leader's Lease aside",
			benchmark: "BenchmarkSteady" + large,
			unit:      "writes",
			goal:      0,
			most:      true,
		},
		{what: "renewals of the leader's Lease", benchmark: "BenchmarkSteady" + large, unit: "leases/s"},
	}
}

// The clusters of BenchmarkScale, by MTLS_EGRESS_SCALE: 1 and 10.
const (
	large = "/targets=1000/pods=10000"
	huge  = "/targets=10000/pods=100000"
)

// The contenders of BenchmarkPodCreate that goals name.
const (
	plain          = "plain"
	asks           = "asks"
	mutatingPolicy = "mutating-policy"
	noopWebhook    = "no-op-webhook"
	neverMet       = "never-met"
	kyverno        = "kyverno"
)

func contenders() []string {
	return []string{"none", plain, asks, "asks-webhook-only", mutatingPolicy, noopWebhook, neverMet, kyverno}
}

func levels() []int { return []int{1, 50, 200} }

// lookup notes what is missing, so that all of it is reported at once.
type lookup struct {
	results
	missing []error
}

func (l *lookup) get(benchmark, unit string) samples {
	if found := l.figures[benchmark][unit]; len(found) > 0 {
		return found
	}
	l.missing = append(l.missing, fmt.Errorf("%s has no %s", benchmark, unit))
	return samples{math.NaN()}
}

// contenders are those of a run: it may be without Kyverno, which takes minutes to build.
func (l *lookup) contenders() []string {
	return slices.DeleteFunc(contenders(), func(contender string) bool {
		return contender == kyverno && !slices.ContainsFunc(levels(), func(clients int) bool {
			return l.figures[podCreate(clients, kyverno)] != nil
		})
	})
}

func podCreate(clients int, contender string) string {
	return fmt.Sprintf("BenchmarkPodCreate/clients=%d/contender=%s", clients, contender)
}

func (l *lookup) pods(clients int, contender, unit string) samples {
	return l.get(podCreate(clients, contender), unit)
}

// tables returns the Markdown of all figures.
func tables(found results) (string, error) {
	from := &lookup{results: found}
	var text strings.Builder
	fmt.Fprintf(&text, "Measured on %s, %s processors, %s/%s, %s, Kubernetes %s.\n\n",
		from.environment["cpu"], from.environment["procs"], from.environment["goos"], from.environment["goarch"],
		from.environment["go"], from.environment["kubernetes"])
	text.WriteString("| what | goal | measured | met |\n|---|---|---|---|\n")
	for _, row := range rows() {
		measured := from.get(row.benchmark, row.unit)
		fmt.Fprintf(&text, "| %s | %s | %s | %s |\n", row.what, row.goalText(), measured.text(row.unit), row.met(measured))
	}
	text.WriteString(
		"\nPod creates:\n\n| clients | contender | p50 | added p50 | p99 | added p99 | creates/s | processor time of the " +
			"API server, each Pod | of the webhook |\n|---|---|---|---|---|---|---|---|---|\n",
	)
	for _, clients := range levels() {
		for _, contender := range from.contenders() {
			fmt.Fprintf(&text, "| %d | %s |", clients, contender)
			for _, unit := range []string{
				"p50-ns", "added-p50-ns", "p99-ns", "added-p99-ns", "creates/s", "apiserver-cpu-ns/op", "webhook-cpu-ns/op",
			} {
				text.WriteString(" " + from.podsCell(clients, contender, unit) + " |")
			}
			text.WriteString("\n")
		}
	}
	text.WriteString("\nWhat one create waits for, by the API server's own metrics, with one client:\n\n" +
		"| contender | mutating webhooks | validating policies |\n|---|---|---|\n")
	for _, contender := range from.contenders() {
		fmt.Fprintf(&text, "| %s |", contender)
		for _, unit := range []string{"webhooks-ns/op", "policies-ns/op"} {
			text.WriteString(" " + from.pods(1, contender, unit).text(unit) + " |")
		}
		text.WriteString("\n")
	}
	text.WriteString("\n| goal for Pod creates | clients | measured | met |\n|---|---|---|---|\n")
	for _, clients := range levels() {
		added := from.pods(clients, plain, "added-p50-ns")
		fmt.Fprintf(&text, "| Pods that don't ask: no difference (0 lies within the rounds) | %d | %s | %s |\n",
			clients, added.text("added-p50-ns"), yes(slices.Min(added) <= 0 && slices.Max(added) >= 0))
	}
	for _, goal := range podGoals() {
		for _, clients := range goal.clients {
			ours, theirs := from.pods(clients, asks, goal.unit).median(), from.pods(clients, goal.than, goal.unit).median()
			fmt.Fprintf(&text, "| Pods that ask: at most %g times what %s adds to %s | %d | %s, %s: %s | %s |\n", goal.factor,
				goal.than, goal.what, clients, quantity(ours, goal.unit), goal.than, quantity(theirs, goal.unit),
				yes(ours <= goal.factor*theirs))
		}
	}
	cpu := from.pods(50, asks, "webhook-cpu-ns/op")
	fmt.Fprintf(&text,
		"| Pods that ask: at most 250 µs of the webhook's processor time for each | 50 | %s, %s: %s | %s |\n",
		cpu.text("cpu-ns/op"), noopWebhook, from.pods(50, noopWebhook, "webhook-cpu-ns/op").text("cpu-ns/op"),
		yes(cpu.median() <= 250_000))
	return text.String(), errors.Join(from.missing...)
}

// podGoal compares what asks adds with what another contender adds.
type podGoal struct {
	what, unit string
	than       string
	factor     float64
	clients    []int
}

func podGoals() []podGoal {
	return []podGoal{
		{what: "the p50", unit: "added-p50-ns", than: noopWebhook, factor: 1.3, clients: levels()},
		{what: "the p99", unit: "added-p99-ns", than: noopWebhook, factor: 1.5, clients: levels()},
		{what: "the p50", unit: "added-p50-ns", than: mutatingPolicy, factor: 1, clients: []int{50, 200}},
	}
}

// podsCell is empty where a contender has no such figure: none adds nothing, and has no webhook.
func (l *lookup) podsCell(clients int, contender, unit string) string {
	if (contender == "none" && strings.HasPrefix(unit, "added")) ||
		(strings.HasPrefix(unit, "webhook") &&
			slices.Contains([]string{"none", mutatingPolicy, neverMet}, contender)) {
		return ""
	}
	return l.pods(clients, contender, unit).text(unit)
}

func (r row) goalText() string {
	switch {
	case r.most:
		return "at most " + quantity(r.goal, r.unit)
	case r.goal == 0:
		return ""
	case r.least:
		return "at least " + quantity(r.goal, r.unit)
	default:
		return "below " + quantity(r.goal, r.unit)
	}
}

func (r row) met(measured samples) string {
	switch {
	case r.most:
		return yes(measured.median() <= r.goal)
	case r.goal == 0:
		return ""
	case r.least:
		return yes(measured.median() >= r.goal)
	default:
		return yes(measured.median() < r.goal)
	}
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "**no**"
}

// quantity writes a value with three digits in the unit that a person would take.
func quantity(value float64, unit string) string {
	unit = strings.TrimSuffix(unit, "/op")
	switch {
	case unit == "cpu-ns/s", unit == "cpu-ns/target": // the row or the column says of what
		return duration(value)
	case strings.HasPrefix(unit, "writes"), slices.Contains([]string{"injected", "not-injected", "refused"}, unit):
		return digits(value)
	case unit == "leases/s":
		return digits(value) + " a second"
	case strings.HasSuffix(unit, "ns"):
		return duration(value)
	case strings.HasSuffix(unit, "bytes"):
		return digits(value/(1<<20)) + " MiB"
	case slices.Contains([]string{
		"creates/s", "requests/s", "handshakes/10k", "clusters", "listeners", "updates", "pushes/target", "lookups/s",
	}, unit): // the column says so
		return digits(value)
	default:
		return digits(value) + " " + unit
	}
}

func duration(nanoseconds float64) string {
	for _, scale := range []struct {
		of   float64
		name string
	}{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}} {
		if math.Abs(nanoseconds) >= scale.of {
			return digits(nanoseconds/scale.of) + " " + scale.name
		}
	}
	return digits(nanoseconds) + " ns"
}

// digits keeps three digits, and all of a whole number that has more.
func digits(value float64) string {
	after := 0
	for size := math.Abs(value); size < 100 && size > 0 && after < 2; size *= 10 {
		after++
	}
	return strconv.FormatFloat(value, 'f', after, 64)
}
