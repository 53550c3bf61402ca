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
	tags  string   // build tags
}

// set is programs that are built from the same sources, and are kept and rebuilt together.
type set struct {
	module   string   // directory of the module, relative to this one
	sources  []string // what the programs are made of besides the pinned modules, relative to the module; "." is all of it
	programs []program
}

// The sets, each with its quickest program first. A set of its own is what some callers don't need,
// or what changes at another time.

// assetSet is the API server, its store and its clients.
func assetSet() set {
	return set{module: ".", sources: []string{"cmd/kube"}, programs: []program{
		{name: "etcd", path: "go.etcd.io/etcd/server/v3", names: []string{"etcd"}},
		{name: "helm", path: "helm.sh/helm/v3/cmd/helm", names: []string{"helm"}},
		{name: "kube", path: "./cmd/kube", names: []string{"kube-apiserver", "kubectl"}},
	}}
}

// nodeSet is the rest of Kubernetes, and the program that holds a Pod's namespaces.
func nodeSet() set {
	return set{module: ".", sources: []string{"cmd/node", "cmd/pause"}, programs: []program{
		{name: "pause", path: "./cmd/pause"},
		{
			name:  "node",
			path:  "./cmd/node",
			names: []string{"kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"},
		},
	}}
}

func containerdSet() set {
	const commands = containerdModule + "/cmd/"
	return set{module: "containerd", programs: []program{
		{name: "ctr", path: commands + "ctr", names: []string{"ctr"}},
		{
			name:  "containerd-shim-runc-v2",
			path:  commands + "containerd-shim-runc-v2",
			names: []string{"containerd-shim-runc-v2"},
		},
		{name: "containerd", path: commands + "containerd", names: []string{"containerd"}},
	}}
}

func corednsSet() set {
	return set{module: "coredns", sources: []string{"."}, programs: []program{{name: "coredns", path: "."}}}
}

func istioSet() set {
	return set{module: "istio", sources: []string{"."}, programs: []program{
		{name: "pilot-agent", path: "./pilot-agent", tags: "agent"}, // as upstream's: without the control plane's code
		{name: "pilot-discovery", path: "./pilot-discovery"},
	}}
}

// istio130Set is the same of an earlier Istio.
func istio130Set() set {
	const commands = istioSources + "/pilot/cmd/"
	return set{module: "istio-1.30", programs: []program{
		{name: "pilot-agent", path: commands + "pilot-agent", tags: "agent"},
		{name: "pilot-discovery", path: commands + "pilot-discovery"},
	}}
}

// cniSet is Istio's CNI plugin, and the program that installs it on a node.
func cniSet() set {
	const commands = istioSources + "/cni/cmd/"
	return set{module: "istio-cni", programs: []program{
		{name: "istio-cni", path: commands + "istio-cni"},
		{name: "install-cni", path: commands + "install-cni"},
	}}
}

// certManagerSet is cert-manager, which only the tests of what it is asked for need.
func certManagerSet() set {
	return set{module: "certmanager", sources: []string{"."}, programs: []program{
		{
			name:  "cert-manager",
			path:  ".",
			names: []string{"cert-manager-controller", "cert-manager-webhook", "cert-manager-cainjector"},
		},
	}}
}

// promtoolSet is Prometheus and its checker of rules, without the two dozen ways to discover what
// to scrape (https://github.com/prometheus/prometheus/blob/v0.316.0/plugins/plugin_aws.go).
func promtoolSet() set {
	return set{module: "promtool", programs: []program{
		{name: "promtool", path: "github.com/prometheus/prometheus/cmd/promtool", tags: "remove_all_sd"},
		{name: "prometheus", path: "github.com/prometheus/prometheus/cmd/prometheus", tags: "remove_all_sd"},
	}}
}

// workloadSet is the controllers of workloads that Kubernetes itself doesn't have.
func workloadSet() set {
	return set{module: "workloads", programs: []program{
		{name: "jobset", path: jobSetModule, names: []string{"jobset"}},
		{
			name:  "argo-rollouts",
			path:  argoRolloutsModule + "/cmd/rollouts-controller",
			names: []string{"argo-rollouts"},
		},
	}}
}

// kyvernoSet is the admission controller of Kyverno, which only a benchmark needs.
func kyvernoSet() set {
	return set{module: "kyverno", programs: []program{
		{name: "kyverno", path: kyvernoModule + "/cmd/kyverno", names: []string{"kyverno"}},
	}}
}

// containerdModule is also the start of the names of its packages.
const containerdModule = "github.com/containerd/containerd/v2"

// packerProgram packs images, those of a node as the one that is released.
const packerProgram = "pack"

func packerSet() set {
	return set{
		module:   "../../release",
		sources:  []string{"image", packerProgram},
		programs: []program{{name: packerProgram, path: "./" + packerProgram}},
	}
}

// versions are those of the modules in go.mod, such as v1.36.3.
type versions struct{ kubernetes, helm, containerd string }

func pinned(ctx context.Context) (versions, error) {
	list, err := runGo(ctx, ".", func(int) {}, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes", "helm.sh/helm/v3")
	if err != nil {
		return versions{}, err
	}
	containerd, err := runGo(ctx, "containerd", func(int) {}, "list", "-m", "-f", "{{.Version}}", containerdModule)
	if err != nil {
		return versions{}, err
	}
	kubernetes, helm, _ := strings.Cut(list, "\n")
	return versions{kubernetes: kubernetes, helm: helm, containerd: containerd}, nil
}

// minor is the Kubernetes release series, such as 1 and 36.
func (v versions) minor() (major, minor string, err error) {
	parts := strings.Split(strings.TrimPrefix(v.kubernetes, "v"), ".")
	if len(parts) != 3 {
		return "", "", fmt.Errorf("go.mod has k8s.io/kubernetes %q: want a release, v<major>.<minor>.<patch>", v.kubernetes)
	}
	return parts[0], parts[1], nil
}

// linkFlags are the go command's -ldflags for all programs: no symbol tables, and the versions that
// a release carries, which kubectl, the API server and Helm's templates (.Capabilities.KubeVersion)
// report. The linker passes over a variable that a program doesn't have.
func linkFlags(v versions) (string, error) {
	major, minor, err := v.minor()
	if err != nil {
		return "", err
	}
	flags := []string{
		"-s",
		"-w",
		"-X helm.sh/helm/v3/internal/version.version=" + v.helm,
		"-X " + containerdModule + "/version.Version=" + v.containerd,
	}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags, "-X "+pkg+".gitVersion="+v.kubernetes, "-X "+pkg+".gitMajor="+major,
			"-X "+pkg+".gitMinor="+minor)
	}
	for _, pkg := range []string{"helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules"} {
		flags = append(flags, "-X "+pkg+".k8sVersionMajor="+major, "-X "+pkg+".k8sVersionMinor="+minor)
	}
	return strings.Join(flags, " "), nil
}

// recipe tells apart two ways to build from the same sources. The versions are no part of it: they
// come from go.mod.
func (s set) recipe() (string, error) {
	flags, err := linkFlags(versions{kubernetes: "v1.0.0", helm: "v3.0.0", containerd: "v2.0.0"})
	return fmt.Sprintf("%q %q", s.programs, flags), err
}

// key names the set's entry in the cache.
func (s set) key() (string, error) {
	recipe, err := s.recipe()
	if err != nil {
		return "", err
	}
	key, err := cacheKey(os.DirFS(s.module), s.sources, recipe, runtime.GOOS+"/"+runtime.GOARCH)
	if err != nil {
		return "", fmt.Errorf("%w: run this as `go -C test/tools run .`", err)
	}
	return key, nil
}

// builtFolder is where a cache entry has the programs that were built from source.
func builtFolder(entry string) string { return filepath.Join(entry, "built") }

// missing are the programs that the folder doesn't have.
func (s set) missing(folder string) []program {
	var missing []program
	for _, p := range s.programs {
		if !isProgram(filepath.Join(folder, p.name)) {
			missing = append(missing, p)
		}
	}
	return missing
}

// Measured on two cores, to tell the reader what to expect.
const (
	packagesPerCoreSecond = 5
	linking               = 10 * time.Second
)

// expectation is how long it takes to compile this many packages on this many cores and to link a
// program.
func expectation(packages, cores int) time.Duration {
	return linking + time.Duration(packages)*time.Second/time.Duration(packagesPerCoreSecond*cores)
}

// build compiles the module's programs into the folder. Each has a temporary name until it is
// complete.
func build(ctx context.Context, module, folder string, missing []program, progress io.Writer) error {
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
		if err := compile(ctx, module, folder, p, flags, step, progress); err != nil {
			return err
		}
	}
	tellf(progress, "built in %s; kept in %s\n", since(begin), folder)
	return nil
}

func compile(ctx context.Context, module, folder string, p program, flags, step string, progress io.Writer) error {
	begin := time.Now()
	tellf(progress, "%s: collecting the sources of %s\n", step, p.path)
	list, err := runGo(ctx, module, func(modules int) {
		tellf(progress, "%s: %d modules downloaded, %s\n", step, modules, since(begin))
	}, "list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", "-tags", p.tags, p.path)
	if err != nil {
		return err
	}
	stale := len(strings.Fields(list))
	tellf(progress, "%s: %d packages to compile, then linking: about %s with %d cores\n",
		step, stale, expectation(stale, runtime.NumCPU()).Round(time.Second), runtime.NumCPU())

	unfinished, err := os.MkdirTemp(filepath.Dir(folder), temporary)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(unfinished) }()
	binary := filepath.Join(unfinished, p.name)
	_, err = runGo(ctx, module, func(packages int) {
		tellf(progress, "%s: %d of %d packages, %s\n", step, packages, stale, since(begin))
	}, "build", "-v", "-buildvcs=false", "-ldflags", flags, "-tags", p.tags, "-o", binary, p.path)
	if err != nil {
		return err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	tellf(progress, "%s: done in %s, %d MB\n", step, since(begin), info.Size()/1e6)
	return os.Rename(binary, filepath.Join(folder, p.name))
}

func since(begin time.Time) time.Duration { return time.Since(begin).Round(time.Second) }
