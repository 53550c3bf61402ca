package main

import (
	"errors"
	"fmt"
	"strings"
)

// The dimensions of BenchmarkCall.
func callContenders() []string {
	return []string{"sidecar", "sidecar-without-log", "sidecar-by-hand", "own-tls-in-mesh", "own-tls"}
}

func callLevels() []string {
	return []string{
		"connections=1/keepalive=yes", "connections=50/keepalive=yes", "connections=1/keepalive=no",
		"connections=50/keepalive=no",
	}
}

// meshTables returns the Markdown of the figures of the data path.
func meshTables(found results) (string, error) {
	from := &lookup{results: found}
	var text strings.Builder
	fmt.Fprintf(&text, "Measured on %s, %s processors, %s/%s, %s, Kubernetes %s, Envoy %s.\n\n",
		from.environment["cpu"], from.environment["procs"], from.environment["goos"], from.environment["goarch"],
		from.environment["go"], from.environment["kubernetes"], from.environment["envoy"])
	text.WriteString(
		"| connections of the app | kept alive | contender | requests/s | p50 | p99 | handshakes per 10,000 requests " +
			"|\n|---|---|---|---|---|---|---|\n",
	)
	for _, level := range callLevels() {
		connections, keepAlive, _ := strings.Cut(strings.TrimPrefix(level, "connections="), "/keepalive=")
		for _, contender := range callContenders() {
			fmt.Fprintf(&text, "| %s | %s | %s |", connections, keepAlive, contender)
			for _, unit := range []string{"requests/s", "p50-ns", "p99-ns", "handshakes/10k"} {
				text.WriteString(" " + from.get("BenchmarkCall/"+level+"/contender="+contender, unit).text(unit) + " |")
			}
			text.WriteString("\n")
		}
	}
	return text.String(), errors.Join(from.missing...)
}

// The dimensions of BenchmarkTargets.
func targetCounts() []string { return []string{"0", "10", "100", "1000"} }

func sidecarRoles() []string { return []string{"asks", "neighbor", "next"} }

// targetTables returns the Markdown of what targets cost others.
func targetTables(found results) (string, error) {
	from := &lookup{results: found}
	var text strings.Builder
	cell := func(benchmark, unit string) {
		text.WriteString(" " + from.get(benchmark, unit).text(unit) + " |")
	}
	text.WriteString("| sidecar | targets | clusters | listeners | configuration | Envoy's memory | pushes to it | " +
		"from the creation of such a Pod until it is ready |\n|---|---|---|---|---|---|---|---|\n")
	for _, role := range sidecarRoles() {
		for _, count := range targetCounts() {
			fmt.Fprintf(&text, "| %s | %s |", role, count)
			at := "BenchmarkTargets/targets=" + count
			for _, unit := range []string{"clusters", "listeners", "config-bytes", "used-bytes", "updates"} {
				cell(at+"/of="+role, unit)
			}
			if role == "next" {
				text.WriteString("  |")
			} else {
				cell(at+"/start="+role, "ns/op")
			}
			text.WriteString("\n")
		}
	}
	text.WriteString("| neighbor of sets written by hand | 100 |")
	for _, unit := range []string{"clusters", "listeners", "config-bytes", "used-bytes"} {
		cell("BenchmarkTargets/by-hand=100", unit)
	}
	text.WriteString("  |  |\n")
	text.WriteString("\n| targets | until the new ones are ready | istiod's processor time for each | " +
		"its pushes for each | its memory | DNS lookups of the sidecars |\n|---|---|---|---|---|---|\n")
	for _, count := range targetCounts() {
		fmt.Fprintf(&text, "| %s |", count)
		at := "BenchmarkTargets/targets=" + count
		for _, unit := range []string{"ns/op", "cpu-ns/target", "pushes/target"} {
			if count == "0" {
				text.WriteString("  |")
				continue
			}
			cell(at+"/of=istiod", unit)
		}
		cell(at+"/of=istiod", "RSS-bytes")
		cell(at+"/of=dns", "lookups/s")
		text.WriteString("\n")
	}
	return text.String(), errors.Join(from.missing...)
}
