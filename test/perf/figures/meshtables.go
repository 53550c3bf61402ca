package main

import (
	"errors"
	"fmt"
	"strings"
)

// The dimensions of BenchmarkCall.
func callContenders() []string { return []string{"sidecar", "own-tls-in-mesh", "own-tls"} }

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
