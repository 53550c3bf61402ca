package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseKeepsSamplesByBenchmarkAndUnit(t *testing.T) {
	got := parse(`goos: linux
pkg: mtls.egress/webhook/internal/mesh
cpu: Some Processor @ 2.00GHz
BenchmarkObjects-2        	   13142	     200.5 ns/op	    6728 B/op
BenchmarkObjects-2        	   13142	     100 ns/op	    6728 B/op
BenchmarkJudge/rsa-3072-2 	     610	      30 ns/op
PASS
ok  	mtls.egress/webhook/internal/mesh	1.673s
`)
	want := results{
		environment: map[string]string{
			"goos":  "linux",
			"pkg":   "mtls.egress/webhook/internal/mesh",
			"cpu":   "Some Processor @ 2.00GHz",
			"procs": "2",
		},
		figures: map[string]map[string]samples{
			"BenchmarkObjects":        {"ns/op": {200.5, 100}, "B/op": {6728, 6728}},
			"BenchmarkJudge/rsa-3072": {"ns/op": {30}},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(results{})); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

func TestSamplesAreTheMedianWithTheLeastAndTheMost(t *testing.T) {
	tests := map[string]struct {
		samples samples
		unit    string
		want    string
	}{
		"an odd number":       {samples{3_000_000, 1_000_000, 2_500_000}, "p50-ns", "2.50 ms (1.00 ms to 3.00 ms)"},
		"an even number":      {samples{10, 20}, "allocs/op", "15.0 allocs (10.0 allocs to 20.0 allocs)"},
		"one alone":           {samples{1_310_580_943}, "ns/op", "1.31 s"},
		"less than the other": {samples{-24_271_608}, "added-p50-ns", "-24.3 ms"},
		"microseconds":        {samples{17_405}, "cpu-ns/op", "17.4 µs"},
		"nanoseconds":         {samples{0}, "added-p50-ns", "0 ns"},
		"a rate":              {samples{293_132}, "annotations/s", "293132 annotations/s"},
		"what was counted":    {samples{5.333}, "writes-all/target", "5.33"},
		"nothing":             {samples{0}, "writes", "0"},
		"processor time":      {samples{2_500_000}, "cpu-ns/s", "2.50 ms"},
		"memory":              {samples{96 << 20}, "peak-RSS-bytes", "96.0 MiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.samples.text(test.unit); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// whole are results with every figure.
func whole() string {
	var text strings.Builder
	text.WriteString("goos: linux\ngoarch: amd64\ncpu: Some Processor\ngo: go1.26.0\nkubernetes: v1.36.3\n")
	for _, row := range rows() {
		fmt.Fprintf(&text, "%s-2 1 10 %s\n", row.benchmark, row.unit)
	}
	for _, clients := range levels() {
		for at, contender := range contenders() {
			fmt.Fprintf(
				&text,
				"BenchmarkPodCreate/clients=%d/contender=%s-2 100 2000000 p50-ns 4000000 p99-ns %d added-p50-ns %d added-p99-ns "+
					"500 creates/s 5000 apiserver-cpu-ns/op 3000 webhook-cpu-ns/op 7000 webhooks-ns/op 8000 policies-ns/op\n",
				clients, contender, 1000*(at-1), 2000*(at-1),
			)
		}
	}
	return text.String()
}

func TestTablesSayWhichGoalsAreMet(t *testing.T) {
	got, err := tables(parse(whole()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Measured on Some Processor, 2 processors, linux/amd64, go1.26.0, Kubernetes v1.36.3.\n",
		"| inject a Pod of 10 containers | below 50.0 µs | 10.0 ns | yes |\n",
		"| parse the annotations of a Pod (two targets, two Secrets) | at least 200000 " +
			"annotations/s | 10.0 annotations/s | **no** |\n",
		"| the Istio objects of a target |  | 10.0 ns |  |\n",
		"| judge 1,000 credentials with chains of two, keys of three types | below 2.00 s | 10.0 ns | yes |\n",
		"| writes for each of them, the anchors of their namespaces aside | at most 5.00 | 10.0 | **no** |\n",
		"| writes in that time, renewals of the leader's Lease aside | at most 0 | 10.0 | **no** |\n",
		"| renewals of the leader's Lease |  | 10.0 a second |  |\n",
		"| 1 | none | 2.00 ms |  | 4.00 ms |  | 500 | 5.00 µs |  |\n",
		"| 50 | asks | 2.00 ms | 1.00 µs | 4.00 ms | 2.00 µs | 500 | 5.00 µs | 3.00 µs |\n",
		"| 200 | mutating-policy | 2.00 ms | 3.00 µs | 4.00 ms | 6.00 µs | 500 | 5.00 µs |  |\n",
		"| 50 | kyverno | 2.00 ms | 6.00 µs | 4.00 ms | 12.0 µs | 500 | 5.00 µs | 3.00 µs |\n",
		"| plain | 7.00 µs | 8.00 µs |\n",
		"| Pods that don't ask: no difference (0 lies within the rounds) | 1 | 0 ns | yes |\n",
		"| Pods that ask: at most 1.3 times what no-op-webhook adds to the p50 | 50 | 1.00 µs, " +
			"no-op-webhook: 4.00 µs | yes |\n",
		"| Pods that ask: at most 250 µs of the webhook's processor time for each | 50 | 3.00 µs, " +
			"no-op-webhook: 3.00 µs | yes |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the tables lack %q:\n%s", want, got)
		}
	}
}

func TestARunMayBeWithoutKyvernoButNotWithHalfOfIt(t *testing.T) {
	text := whole()
	for n, clients := range levels() {
		text = strings.ReplaceAll(text, podCreate(clients, kyverno)+"-2", "Gone")
		got, err := tables(parse(text))
		if n < len(levels())-1 {
			if want := podCreate(clients, kyverno) + " has no p50-ns"; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v lacks %q", err, want)
			}
			continue
		}
		if err != nil || strings.Contains(got, kyverno) {
			t.Errorf("error %v, want none and no row with Kyverno:\n%s", err, got)
		}
	}
}

func TestAllMissingFiguresAreNamed(t *testing.T) {
	text := whole()
	for _, gone := range []string{"BenchmarkParseIntent-2", "BenchmarkPodCreate/clients=50/contender=plain-2"} {
		text = strings.ReplaceAll(text, gone, "Gone")
	}
	_, err := tables(parse(text))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"BenchmarkParseIntent has no annotations/s",
		"BenchmarkPodCreate/clients=50/contender=plain has no p99-ns"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestOnlyWhatStandsBetweenTheMarkersIsReplaced(t *testing.T) {
	for name, section := range sections() {
		t.Run(name, func(t *testing.T) {
			begin, end := section.Begin, section.End
			document := "# Performance\n\n" + begin + "\nold\n" + end + "\n\nThe rest.\n"
			once, err := section.Replace(document, "| new |\n")
			if err != nil {
				t.Fatal(err)
			}
			if want := "# Performance\n\n" + begin + "\n\n| new |\n\n" + end + "\n\nThe rest.\n"; once != want {
				t.Errorf("got %q, want %q", once, want)
			}
			if twice, err := section.Replace(once, "| new |\n"); err != nil || twice != once {
				t.Errorf("replacing again gives %q, error %v", twice, err)
			}
			for name, without := range map[string]string{"no begin": end, "no end": begin, "in the wrong order": end + begin} {
				if _, err := section.Replace(without, "| new |\n"); err == nil {
					t.Errorf("%s: no error", name)
				}
			}
		})
	}
}

func TestTheDocumentHasAllSections(t *testing.T) {
	document, err := os.ReadFile("../../../docs/project/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, section := range sections() {
		if _, err := section.Replace(string(document), ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMeshTablesHaveEveryContenderAtEveryLevel(t *testing.T) {
	var text strings.Builder
	text.WriteString("goos: linux\ngoarch: amd64\ncpu: Some Processor\ngo: go1.26.0\nkubernetes: v1.36.3\nenvoy: 1.40.0\n")
	for _, level := range callLevels() {
		for at, contender := range callContenders() {
			fmt.Fprintf(&text,
				"BenchmarkCall/%s/contender=%s-2\t 100\t %d p50-ns\t 4000000 p99-ns\t 2500 requests/s\t 25.00 handshakes/10k\n",
				level, contender, 1000*(at+1))
		}
	}
	got, err := meshTables(parse(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	const want = `Measured on Some Processor, 2 processors, linux/amd64, go1.26.0, Kubernetes v1.36.3, Envoy 1.40.0.

| connections of the app | kept alive | contender | requests/s | p50 | p99 | handshakes per 10,000 requests |
|---|---|---|---|---|---|---|
| 1 | yes | sidecar | 2500 | 1.00 µs | 4.00 ms | 25.0 |
| 1 | yes | sidecar-without-log | 2500 | 2.00 µs | 4.00 ms | 25.0 |
| 1 | yes | sidecar-by-hand | 2500 | 3.00 µs | 4.00 ms | 25.0 |
| 1 | yes | own-tls-in-mesh | 2500 | 4.00 µs | 4.00 ms | 25.0 |
| 1 | yes | own-tls | 2500 | 5.00 µs | 4.00 ms | 25.0 |
| 50 | yes | sidecar | 2500 | 1.00 µs | 4.00 ms | 25.0 |
| 50 | yes | sidecar-without-log | 2500 | 2.00 µs | 4.00 ms | 25.0 |
| 50 | yes | sidecar-by-hand | 2500 | 3.00 µs | 4.00 ms | 25.0 |
| 50 | yes | own-tls-in-mesh | 2500 | 4.00 µs | 4.00 ms | 25.0 |
| 50 | yes | own-tls | 2500 | 5.00 µs | 4.00 ms | 25.0 |
| 1 | no | sidecar | 2500 | 1.00 µs | 4.00 ms | 25.0 |
| 1 | no | sidecar-without-log | 2500 | 2.00 µs | 4.00 ms | 25.0 |
| 1 | no | sidecar-by-hand | 2500 | 3.00 µs | 4.00 ms | 25.0 |
| 1 | no | own-tls-in-mesh | 2500 | 4.00 µs | 4.00 ms | 25.0 |
| 1 | no | own-tls | 2500 | 5.00 µs | 4.00 ms | 25.0 |
| 50 | no | sidecar | 2500 | 1.00 µs | 4.00 ms | 25.0 |
| 50 | no | sidecar-without-log | 2500 | 2.00 µs | 4.00 ms | 25.0 |
| 50 | no | sidecar-by-hand | 2500 | 3.00 µs | 4.00 ms | 25.0 |
| 50 | no | own-tls-in-mesh | 2500 | 4.00 µs | 4.00 ms | 25.0 |
| 50 | no | own-tls | 2500 | 5.00 µs | 4.00 ms | 25.0 |
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	if _, err := meshTables(parse("")); err == nil || strings.Count(err.Error(), "\n") != 79 {
		t.Errorf("want the 80 missing figures named, got %v", err)
	}
}

func TestTargetTablesHaveEachSidecarAtEachNumber(t *testing.T) {
	var text strings.Builder
	for _, count := range targetCounts() {
		at := "BenchmarkTargets/targets=" + count
		for n, role := range sidecarRoles() {
			fmt.Fprintf(&text, "%s/of=%s-2\t 1\t %d clusters\t 16 listeners\t 2097152 config-bytes\t"+
				" 1048576 used-bytes\t 3 updates\n", at, role, 20+n)
			fmt.Fprintf(&text, "%s/start=%s-2\t 1\t 2100000000 ns/op\n", at, role)
		}
		fmt.Fprintf(&text, "%s/of=istiod-2\t 1\t 1000000000 ns/op\t 2000000 cpu-ns/target\t"+
			" 0.25 pushes/target\t 1048576 RSS-bytes\n", at)
		fmt.Fprintf(&text, "%s/of=dns-2\t 1\t 4.5 lookups/s\n", at)
	}
	text.WriteString("BenchmarkTargets/by-hand=100-2\t 1\t 216 clusters\t 15 listeners\t 2097152 config-bytes\t" +
		" 1048576 used-bytes\n")
	got, err := targetTables(parse(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| asks | 0 | 20.0 | 16.0 | 2.00 MiB | 1.00 MiB | 3.00 | 2.10 s |\n",
		"| next | 1000 | 22.0 | 16.0 | 2.00 MiB | 1.00 MiB | 3.00 |  |\n",
		"| neighbor of sets written by hand | 100 | 216 | 15.0 | 2.00 MiB | 1.00 MiB |  |  |\n",
		"| 0 |  |  |  | 1.00 MiB | 4.50 |\n",
		"| 1000 | 1.00 s | 2.00 ms | 0.25 | 1.00 MiB | 4.50 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the tables lack %q:\n%s", want, got)
		}
	}
	if _, err := targetTables(parse("")); err == nil {
		t.Error("missing figures aren't named")
	}
}
