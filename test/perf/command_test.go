package perf_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/perf/report"
)

// BenchmarkCommand measures one call of the command that renders or checks a file of 1,000
// Deployments, each with a host of its own, from the start of the process to its end. The binary is
// built as `make build` does.
func BenchmarkCommand(b *testing.B) {
	const deployments, runs = 1000, 10
	root, err := apiserver.Root(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	command := filepath.Join(b.TempDir(), "mtls-egress-webhook")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w",
		"-o", command, "./cmd/webhook")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, output)
	}
	file := filepath.Join(b.TempDir(), "deployments.yaml")
	if err := os.WriteFile(file, manifests(deployments), 0o600); err != nil {
		b.Fatal(err)
	}
	output, err := exec.CommandContext(b.Context(), command, "render", "-f", file).Output()
	if err != nil {
		b.Fatal(err)
	}
	for _, kind := range []string{"Deployment", "PodTemplate", "DestinationRule"} {
		if rendered := bytes.Count(output, []byte("\nkind: "+kind+"\n")); rendered != deployments {
			b.Fatalf("rendered %d objects of kind %s, want %d", rendered, kind, deployments)
		}
	}
	if err := report.Environment(pkg); err != nil {
		b.Fatal(err)
	}
	for run := range 2 * runs {
		subcommand := []string{"render", "check"}[run%2]
		process := exec.CommandContext(b.Context(), command, subcommand, "-f", file)
		start := time.Now()
		if err := process.Run(); err != nil {
			b.Fatal(err)
		}
		figures := map[string]float64{
			"ns/op":     float64(time.Since(start).Nanoseconds()),
			"cpu-ns/op": float64((process.ProcessState.UserTime() + process.ProcessState.SystemTime()).Nanoseconds()),
		}
		name := fmt.Sprintf("BenchmarkCommand/%s/deployments=%d", subcommand, deployments)
		if err := report.Line(name, 1, figures); err != nil {
			b.Fatal(err)
		}
	}
	reported(b)
}

func manifests(count int) []byte {
	var text bytes.Buffer
	for n := range count {
		fmt.Fprintf(&text, `---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop-%[1]d
  namespace: project
  annotations:
    mtls.egress/target: host-%[1]d.example
spec:
  replicas: 2
  selector:
    matchLabels: {app: shop-%[1]d}
  template:
    metadata:
      labels: {app: shop-%[1]d}
    spec:
      containers:
      - name: app
        image: registry.example/shop:1.0
        ports: [{name: http, containerPort: 8080}]
        env: [{name: PARTNER, value: "http://host-%[1]d.example"}]
`, n)
	}
	return text.Bytes()
}
