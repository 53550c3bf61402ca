// Package integrations_test runs the examples of check with the tools that they are for.
package integrations_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/test/apiserver"
)

const (
	root     = "../.."
	examples = root + "/examples/check"
	// fault is what check says of the bad manifests.
	fault = "error MTE101 invalid-annotation"
)

// command builds the program, and puts it into PATH.
func command(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	run(t, ".", true, "go", "build", "-buildvcs=false", "-o", filepath.Join(bin, "mtls-egress-webhook"),
		"mtls.egress/webhook/cmd/webhook")
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// run runs a program in a folder, and returns its outputs. succeeds is what is expected of it.
func run(t *testing.T, dir string, succeeds bool, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	stdout, stderr, err := apiserver.Output(cmd)
	if (err == nil) != succeeds {
		t.Fatalf("error %v, want none: %t\n%s", err, succeeds, stdout)
	}
	return stdout, stderr
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// manifest is a Deployment with a target.
func manifest(target string) string {
	return "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: orders\n  annotations:\n    mtls.egress/target: " +
		target + "\nspec:\n  selector:\n    matchLabels: {app: orders}\n  template:\n" +
		"    metadata:\n      labels: {app: orders}\n" +
		"    spec:\n      containers:\n      - {name: orders, image: \"registry.example/orders:1\"}\n"
}

func TestHelmPostRenderer(t *testing.T) {
	command(t)
	chart := t.TempDir()
	write(t, filepath.Join(chart, "Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 1.0.0\n")
	write(t, filepath.Join(chart, "values.yaml"), "target: external.system.com\n")
	write(t, filepath.Join(chart, "templates", "deployment.yaml"), manifest("{{ .Values.target | quote }}"))
	for _, folder := range []string{"CACHE", "CONFIG", "DATA"} {
		t.Setenv("HELM_"+folder+"_HOME", t.TempDir())
	}
	helm4, _ := run(t, root, true, "make", "--no-print-directory", "helm")
	for name, helm := range map[string]struct {
		program  func() string
		install  []string
		renderer string
	}{
		"Helm 3": {program: helm3(t), renderer: absolute(t, filepath.Join(examples, "helm", "check-and-pass.sh"))},
		"Helm 4": {
			program:  func() string { return strings.TrimSpace(helm4) },
			install:  []string{"plugin", "install", absolute(t, filepath.Join(examples, "helm"))},
			renderer: "mtls-egress-check",
		},
	} {
		t.Run(name, func(t *testing.T) {
			program := helm.program()
			if helm.install != nil {
				run(t, chart, true, program, helm.install...)
			}
			args := []string{"template", "shop", chart, "--post-renderer", helm.renderer}
			rendered, _ := run(t, chart, true, program, args...)
			plain, _ := run(t, chart, true, program, args[:3]...)
			if diff := cmp.Diff(strings.TrimSpace(plain), strings.TrimSpace(rendered)); diff != "" {
				t.Errorf("the manifests changed (-plain +checked):\n%s", diff)
			}
			_, err := fails(t, chart, program, append(args, "--set", "target=localhost")...)
			if !strings.Contains(err, fault) {
				t.Errorf("the error lacks the finding:\n%s", err)
			}
		})
	}
}

// helm3 returns the Helm with which the tests install the chart.
func helm3(t *testing.T) func() string {
	t.Helper()
	return func() string {
		assets, err := apiserver.Assets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(assets, "helm")
	}
}

// fails runs a program that must fail, and returns its outputs.
func fails(t *testing.T, dir, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	return run(t, dir, false, name, args...)
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}

func TestKustomizeFunction(t *testing.T) {
	command(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(examples, "kustomize"))); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(examples, "helm", "check-and-pass.sh"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "check-and-pass.sh") // the example has a link to it
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, script, 0o700); err != nil {
		t.Fatal(err)
	}
	built, err := kustomize(dir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "plain", "kustomization.yaml"), "resources: [deployment.yaml]\n")
	content, err := os.ReadFile(filepath.Join(dir, "deployment.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "plain", "deployment.yaml"), string(content))
	plain, err := kustomize(filepath.Join(dir, "plain"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(plain), string(built)); diff != "" {
		t.Errorf("the manifests changed (-plain +checked):\n%s", diff)
	}
	write(t, filepath.Join(dir, "deployment.yaml"), manifest("localhost"))
	if built, err := kustomize(dir); err == nil {
		t.Errorf("a manifest with an error is built:\n%s", built)
	}
}

// kustomize builds as kustomize build --enable-alpha-plugins --enable-exec does.
func kustomize(dir string) ([]byte, error) {
	options := krusty.MakeDefaultOptions()
	options.PluginConfig = types.EnabledPluginConfig(types.BploUseStaticallyLinked)
	options.PluginConfig.FnpLoadingOptions.EnableExec = true
	result, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	return result.AsYaml()
}

func TestPreCommitHook(t *testing.T) {
	if _, err := exec.LookPath("pre-commit"); err != nil {
		t.Skip("pre-commit is not installed")
	}
	command(t)
	t.Setenv("PRE_COMMIT_HOME", t.TempDir())
	hooks, repository := t.TempDir(), t.TempDir()
	content, err := os.ReadFile(filepath.Join(root, ".pre-commit-hooks.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(hooks, ".pre-commit-hooks.yaml"), string(content))
	write(t, filepath.Join(repository, "deployment.yaml"), manifest("external.system.com"))
	for _, dir := range []string{hooks, repository} {
		run(t, dir, true, "git", "init", "--quiet")
		run(t, dir, true, "git", "add", ".")
		run(t, dir, true, "git", "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "--quiet", "-m", "x")
	}
	args := []string{"try-repo", hooks, "mtls-egress-check", "--all-files"}
	run(t, repository, true, "pre-commit", args...)
	write(t, filepath.Join(repository, "deployment.yaml"), manifest("localhost"))
	if stdout, _ := fails(t, repository, "pre-commit", args...); !strings.Contains(stdout, fault) {
		t.Errorf("the output lacks the finding:\n%s", stdout)
	}
}

// The commands of the CI systems run in a shell, with a docker that runs the program itself.
func TestScriptsOfCISystems(t *testing.T) {
	command(t)
	bin := t.TempDir()
	docker := "#!/bin/sh\nwhile [ \"$1\" != \"$IMAGE\" ]; do shift; done\nshift\nexec mtls-egress-webhook \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(docker), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	for name, lines := range map[string][]string{
		"GitHub": slices.Concat(gitHubCommands(t, "github-workflow.yaml"), gitHubCommands(t, "github-code-scanning.yaml")),
		"GitLab": gitLabCommands(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("IMAGE", "image")
			for target, succeed := range map[string]bool{"external.system.com": true, "localhost": false} {
				dir := t.TempDir()
				write(t, filepath.Join(dir, "deployment.yaml"), manifest(target))
				passed := true
				for _, line := range lines {
					cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
					cmd.Dir = dir
					if _, problems, err := apiserver.Output(cmd); err != nil {
						passed = false
						if !strings.Contains(problems, "the check failed") {
							t.Errorf("%s: %v", line, err)
						}
					}
				}
				if passed != succeed {
					t.Errorf("target %s: passed %t, want %t", target, passed, succeed)
				}
			}
		})
	}
}

func gitHubCommands(t *testing.T, name string) []string {
	t.Helper()
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct{ Run string }
		}
	}
	decode(t, name, &workflow)
	var lines []string
	for _, step := range workflow.Jobs["mtls-egress"].Steps {
		if step.Run != "" {
			lines = append(lines, step.Run)
		}
	}
	return lines
}

func gitLabCommands(t *testing.T) []string {
	t.Helper()
	var jobs map[string]struct{ Script []string }
	decode(t, "gitlab-ci.yaml", &jobs)
	return jobs["mtls-egress-check"].Script
}

func decode(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(examples, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatal(err)
	}
}
