package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// program is one binary that is built from source.
type program struct {
	name  string   // file name of the binary
	path  string   // its main package
	names []string // the names that it is run by
}

// programs is everything that can be built, the quickest first.
func programs() []program {
	return []program{
		{name: "etcd", path: "go.etcd.io/etcd/server/v3", names: []string{"etcd"}},
		{name: "helm", path: "helm.sh/helm/v3/cmd/helm", names: []string{"helm"}},
		{name: "kube", path: "./cmd/kube", names: []string{"kube-apiserver", "kubectl"}},
	}
}

// versions are those of the modules in go.mod, such as v1.36.3.
type versions struct{ kubernetes, helm string }

func pinned(ctx context.Context) (versions, error) {
	list, err := runGo(ctx, ".", func(int) {}, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes", "helm.sh/helm/v3")
	if err != nil {
		return versions{}, err
	}
	kubernetes, helm, _ := strings.Cut(list, "\n")
	return versions{kubernetes: kubernetes, helm: helm}, nil
}

// minor is the Kubernetes release series, such as 1 and 36.
func (v versions) minor() (major, minor string, err error) {
	parts := strings.Split(strings.TrimPrefix(v.kubernetes, "v"), ".")
	if len(parts) != 3 {
		return "", "", fmt.Errorf("go.mod has k8s.io/kubernetes %q: want a release, v<major>.<minor>.<patch>", v.kubernetes)
	}
	return parts[0], parts[1], nil
}

// linkFlags are the go command's -ldflags for all programs: no symbol tables, and the versions that a release carries, which kubectl, the API server and Helm's
// templates (.Capabilities.KubeVersion) report. The linker passes over a variable that a program doesn't have.
func linkFlags(v versions) (string, error) {
	major, minor, err := v.minor()
	if err != nil {
		return "", err
	}
	flags := []string{"-s", "-w", "-X helm.sh/helm/v3/internal/version.version=" + v.helm}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags, "-X "+pkg+".gitVersion="+v.kubernetes, "-X "+pkg+".gitMajor="+major, "-X "+pkg+".gitMinor="+minor)
	}
	for _, pkg := range []string{"helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules"} {
		flags = append(flags, "-X "+pkg+".k8sVersionMajor="+major, "-X "+pkg+".k8sVersionMinor="+minor)
	}
	return strings.Join(flags, " "), nil
}

// recipe tells apart two ways to build from the same sources. The versions are no part of it: they come from go.mod.
func recipe() (string, error) {
	flags, err := linkFlags(versions{kubernetes: "v1.0.0", helm: "v3.0.0"})
	return fmt.Sprintf("%q %q", programs(), flags), err
}

// Measured on two cores, to tell the reader what to expect.
const (
	packagesPerCoreSecond = 5
	linking               = 10 * time.Second
)

// expectation is how long it takes to compile this many packages on this many cores and to link a program.
func expectation(packages, cores int) time.Duration {
	return linking + time.Duration(packages)*time.Second/time.Duration(packagesPerCoreSecond*cores)
}

// build compiles the programs into the folder. Each has a temporary name until it is complete.
func build(ctx context.Context, folder string, missing []program, progress io.Writer) error {
	if len(missing) == 0 {
		return nil
	}
	v, err := pinned(ctx)
	if err != nil {
		return err
	}
	flags, err := linkFlags(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	begin := time.Now()
	for i, p := range missing {
		step := fmt.Sprintf("[%d/%d] %s", i+1, len(missing), p.name)
		if err := compile(ctx, folder, p, flags, step, progress); err != nil {
			return err
		}
	}
	fmt.Fprintf(progress, "built in %s; kept in %s\n", since(begin), folder)
	return nil
}

func compile(ctx context.Context, folder string, p program, flags, step string, progress io.Writer) error {
	begin := time.Now()
	fmt.Fprintf(progress, "%s: collecting the sources of %s\n", step, p.path)
	list, err := runGo(ctx, ".", func(modules int) {
		fmt.Fprintf(progress, "%s: %d modules downloaded, %s\n", step, modules, since(begin))
	}, "list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", p.path)
	if err != nil {
		return err
	}
	stale := len(strings.Fields(list))
	fmt.Fprintf(progress, "%s: %d packages to compile, then linking: about %s with %d cores\n",
		step, stale, expectation(stale, runtime.NumCPU()).Round(time.Second), runtime.NumCPU())

	unfinished, err := os.MkdirTemp(filepath.Dir(folder), temporary)
	if err != nil {
		return err
	}
	defer os.RemoveAll(unfinished)
	binary := filepath.Join(unfinished, p.name)
	_, err = runGo(ctx, ".", func(packages int) {
		fmt.Fprintf(progress, "%s: %d of %d packages, %s\n", step, packages, stale, since(begin))
	}, "build", "-v", "-buildvcs=false", "-ldflags", flags, "-o", binary, p.path)
	if err != nil {
		return err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	fmt.Fprintf(progress, "%s: done in %s, %d MB\n", step, since(begin), info.Size()/1e6)
	return os.Rename(binary, filepath.Join(folder, p.name))
}

func since(begin time.Time) time.Duration { return time.Since(begin).Round(time.Second) }
