package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	spdxjson "github.com/spdx/tools-golang/json"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
	"sigs.k8s.io/yaml"
)

const (
	testVersion = "v1.2.3"
	testCommit  = "0123456789abcdef0123456789abcdef01234567"
)

// TestRelease assembles a release with the real program for this architecture. For the others, it
// uses programs that do nothing, because the real one would take minutes to compile.
func TestRelease(t *testing.T) {
	t.Chdir("..")
	own := platform{"linux", runtime.GOARCH}
	other := platform{"linux", map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]}
	windows := platform{"windows", "amd64"}
	r := release{
		version:    testVersion,
		commit:     testCommit,
		created:    time.Date(2026, 11, 25, 7, 0, 0, 0, time.UTC),
		repository: "registry.example/team/" + product,
		source:     "https://forge.example/team/" + product,
		helm:       helm(t),
		binaries: map[platform]string{
			own:     build(t, ".", own),
			other:   buildNothing(t, other),
			windows: buildNothing(t, windows),
		},
	}

	t.Run("the same sources in another folder give the same binary", func(t *testing.T) {
		folder := filepath.Join(t.TempDir(), "somewhere", "else")
		for _, name := range []string{"api", "charts", "cmd", "internal"} {
			if err := os.CopyFS(filepath.Join(folder, name), os.DirFS(name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"go.mod", "go.sum", "Makefile"} {
			write(t, filepath.Join(folder, name), read(t, name))
		}
		if !bytes.Equal(read(t, build(t, folder, own)), read(t, r.binaries[own])) {
			t.Error("the binaries differ")
		}
	})

	folders := []string{filepath.Join(t.TempDir(), "dist"), filepath.Join(t.TempDir(), "dist")}
	for _, folder := range folders {
		if err := r.assemble(t.Context(), folder); err != nil {
			t.Fatal(err)
		}
	}
	dist := folders[0]
	files := filesOf(t, dist)

	t.Run("all files are there", func(t *testing.T) {
		want := []string{
			"LICENSE",
			"SHA256SUMS",
			"THIRD_PARTY_LICENSES",
			"image.digest",
			"mtls-egress-webhook-1.2.3.tgz",
			"mtls-egress-webhook_v1.2.3.spdx.json",
			"mtls-egress-webhook_v1.2.3_image.tar",
			"mtls-egress-webhook_v1.2.3_linux_amd64.tar.gz",
			"mtls-egress-webhook_v1.2.3_linux_arm64.tar.gz",
			"mtls-egress-webhook_v1.2.3_windows_amd64.tar.gz",
			"mtls-egress.yaml",
		}
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})

	t.Run("a second time gives the same bytes", func(t *testing.T) {
		for name, content := range filesOf(t, folders[1]) {
			if !bytes.Equal(content, files[name]) {
				t.Errorf("%s differs", name)
			}
		}
	})

	t.Run("the checksums are right", func(t *testing.T) {
		check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", checksumsFile)
		check.Dir = dist
		got, err := output(check)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(got, ": OK\n"); lines != len(files)-1 {
			t.Errorf("%d checksums for %d files besides:\n%s", lines, len(files)-1, got)
		}
	})

	t.Run("the program says its version", func(t *testing.T) {
		inside := unpacked(t, files["mtls-egress-webhook_v1.2.3_linux_"+own.architecture+".tar.gz"])
		if diff := cmp.Diff([]string{licenseFile, thirdPartyFile, product},
			slices.Sorted(maps.Keys(inside))); diff != "" {
			t.Errorf("files of the archive (-want +got):\n%s", diff)
		}
		if runtime.GOOS != "linux" {
			t.Skip("it is a program for Linux")
		}
		binary := filepath.Join(t.TempDir(), product)
		write(t, binary, inside[product])
		if err := os.Chmod(binary, 0o700); err != nil {
			t.Fatal(err)
		}
		got, err := output(exec.CommandContext(t.Context(), binary, "version"))
		if want := product + " " + testVersion + " (commit " + testCommit + ", " + runtime.Version() +
			")\n"; err != nil ||
			got != want {
			t.Errorf("got %q, error %v, want %q", got, err, want)
		}
	})

	t.Run("an archive for Windows has an exe", func(t *testing.T) {
		inside := unpacked(t, files["mtls-egress-webhook_v1.2.3_windows_amd64.tar.gz"])
		if diff := cmp.Diff([]string{licenseFile, thirdPartyFile, product + ".exe"},
			slices.Sorted(maps.Keys(inside))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})

	t.Run("the chart", func(t *testing.T) { checkChart(t, r, filepath.Join(dist, r.chartName()), files) })

	t.Run("the bill of materials", func(t *testing.T) { checkBill(t, files) })

	t.Run("a registry gets the image and the chart", func(t *testing.T) { checkPublished(t, r, dist, files) })
}

func checkImage(t *testing.T, index v1.ImageIndex, files map[string][]byte) {
	t.Helper()
	labels := map[string]string{
		"org.opencontainers.image.title": product,
		"org.opencontainers.image.description": "Mutual TLS to hosts outside the Istio mesh, with one " +
			"annotation on a workload.",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version":  testVersion,
		"org.opencontainers.image.revision": testCommit,
		"org.opencontainers.image.created":  "2026-11-25T07:00:00Z",
		"org.opencontainers.image.source":   "https://forge.example/team/" + product,
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(labels, manifest.Annotations); diff != "" {
		t.Errorf("annotations of the index (-want +got):\n%s", diff)
	}
	digest, err := index.Digest()
	if err != nil || digest.String()+"\n" != string(files[imageDigestFile]) {
		t.Errorf("digest %s, error %v; %s says %s", digest, err, imageDigestFile, files[imageDigestFile])
	}
	var platforms []string
	for _, entry := range manifest.Manifests {
		platforms = append(platforms, entry.Platform.String())
		image, err := index.Image(entry.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Platform().String() != entry.Platform.String() {
			t.Errorf("an image for %s stands in the index as one for %s", config.Platform(), entry.Platform)
		}
		if diff := cmp.Diff(v1.Config{User: "65532:65532", Entrypoint: []string{"/" + product}, Labels: labels},
			config.Config); diff != "" {
			t.Errorf("%s: configuration (-want +got):\n%s", entry.Platform, diff)
		}
		layers, err := image.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%d layers, error %v", len(layers), err)
		}
		layer, err := layers[0].Compressed()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(layer)
		if err != nil {
			t.Fatal(err)
		}
		inside := unpacked(t, content)
		archive := unpacked(t, files[product+"_"+testVersion+"_linux_"+entry.Platform.Architecture+".tar.gz"])
		want := map[string][]byte{
			product:                      archive[product],
			"licenses/" + licenseFile:    files[licenseFile],
			"licenses/" + thirdPartyFile: files[thirdPartyFile],
		}
		if !maps.EqualFunc(want, inside, bytes.Equal) {
			t.Errorf("%s: the image has %q: want the program of the archive and the licenses", entry.Platform,
				slices.Sorted(maps.Keys(inside)))
		}
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}

func checkChart(t *testing.T, r release, path string, files map[string][]byte) {
	t.Helper()
	inside := unpacked(t, files[r.chartName()])
	if !bytes.Equal(inside[product+"/"+licenseFile], files[licenseFile]) {
		t.Error("the chart doesn't have the license")
	}
	var got struct {
		Version, AppVersion, Home string
		Sources                   []string
		Annotations               map[string]string
	}
	if err := yaml.Unmarshal(inside[product+"/Chart.yaml"], &got); err != nil {
		t.Fatal(err)
	}
	want := got
	want.Version, want.AppVersion, want.Home, want.Sources = "1.2.3", testVersion, r.source, []string{r.source}
	want.Annotations = maps.Clone(got.Annotations) // the chart may have others
	want.Annotations["artifacthub.io/license"] = "Apache-2.0"
	want.Annotations["artifacthub.io/prerelease"] = "false"
	want.Annotations["artifacthub.io/images"] = "- name: mtls-egress-webhook\n  image: " +
		"registry.example/team/mtls-egress-webhook:v1.2.3@" + string(
		files[imageDigestFile],
	)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Chart.yaml (-want +got):\n%s", diff)
	}
	rendered, err := output(
		exec.CommandContext(t.Context(), r.helm, "template", product, path, "--show-only", "templates/deployment.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if image := `image: "` + r.reference() + `"`; strings.Count(rendered, image) != 2 {
		t.Errorf("the two Deployments don't have %s:\n%s", image, rendered)
	}
	rendered, err = output(exec.CommandContext(t.Context(), r.helm, "template", product, path,
		"--set", "prometheusRule.enabled=true", "--show-only", "templates/prometheusrule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	runbook := "runbook_url: " + r.source + "/blob/" + testVersion + "/docs/reference/alerts.md#mtlsegressconflict\n"
	if !strings.Contains(rendered, runbook) {
		t.Errorf("the alerts don't have %s:\n%s", runbook, rendered)
	}
	for name := range inside {
		// The generator of the schema, the README and the icon need them, and nobody else.
		for _, source := range []string{"values.constraints.yaml", "README.md.gotmpl", "icon.svg"} {
			if name == product+"/"+source {
				t.Errorf("the chart has %s", name)
			}
		}
	}
}

func checkBill(t *testing.T, files map[string][]byte) {
	t.Helper()
	var document spdx.Document
	if err := spdxjson.ReadInto(bytes.NewReader(files[product+"_"+testVersion+".spdx.json"]), &document); err != nil {
		t.Fatal(err)
	}
	modules, sums := map[string]string{}, map[string]string{}
	for _, p := range document.Packages {
		switch p.PrimaryPackagePurpose {
		case "LIBRARY":
			modules[p.PackageName] = p.PackageVersion
			if p.PackageLicenseConcluded == noAssertion {
				t.Errorf("%s has no license", p.PackageName)
			}
		case "ARCHIVE", "INSTALL":
			sums[p.PackageFileName] = p.PackageChecksums[0].Value
		}
	}
	// Compare the output of the go command for the sources with the build information of the binary.
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		"{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", program)
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	listed, err := output(list)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{standardLibrary: runtime.Version()}
	for line := range strings.Lines(listed) {
		path, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		want[path] = version
	}
	if diff := cmp.Diff(want, modules); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
	wantSums := map[string]string{}
	for line := range strings.Lines(string(files[checksumsFile])) {
		if sum, name, _ := strings.Cut(strings.TrimSpace(line), "  "); strings.HasSuffix(name, "gz") {
			wantSums[name] = sum
		}
	}
	if diff := cmp.Diff(wantSums, sums); diff != "" {
		t.Errorf("artifacts (-want +got):\n%s", diff)
	}
}

func checkPublished(t *testing.T, r release, dist string, files map[string][]byte) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("HELM_REGISTRY_CONFIG", filepath.Join(t.TempDir(), "config.json"))
	subjects := filepath.Join(t.TempDir(), "subjects")
	push := exec.CommandContext(t.Context(), "make", "--no-print-directory", "publish", "VERSION="+testVersion,
		"DIST="+dist, "REGISTRY="+host+"/team", "SUBJECTS="+subjects)
	if _, err := output(push); err != nil {
		t.Fatal(err)
	}
	digest, _ := strings.CutPrefix(strings.TrimSpace(string(files[imageDigestFile])), "sha256:")
	want := string(files[checksumsFile]) + digest + "  " + host + "/team/" + product + "\n"
	if diff := cmp.Diff(want, string(read(t, subjects))); diff != "" {
		t.Errorf("subjects of the provenance (-want +got):\n%s", diff)
	}
	reference, err := name.ParseReference(host + "/team/" + product + ":" + testVersion)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(reference)
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, index, files)
	folder := t.TempDir()
	pull := exec.CommandContext(t.Context(), r.helm, "pull", "oci://"+host+"/team/charts/"+product, "--version",
		"1.2.3", "--plain-http", "--destination", folder)
	if _, err := output(pull); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, filepath.Join(folder, r.chartName())), files[r.chartName()]) {
		t.Error("the chart in the registry is another")
	}
}

func TestWhatCannotBeReleasedIsToldAtOnce(t *testing.T) {
	t.Chdir("..")
	r := release{version: "v1/2", commit: "HEAD", binaries: map[platform]string{{"darwin", "arm64"}: "program"}}
	folder := t.TempDir()
	kept := filepath.Join(folder, "kept")
	write(t, kept, nil)
	err := r.assemble(t.Context(), folder)
	if err == nil {
		t.Fatal("it was released")
	}
	want := []string{
		`-version "v1/2": want a valid image tag, as in v1.2.3`,
		`-commit "HEAD": want the 40 digits of a commit`,
		`-created: want the time of the commit in seconds since 1970`,
		`-binary: want at least one for Linux, for the image`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the folder was emptied for nothing: %v", err)
	}
}

func TestChartVersion(t *testing.T) {
	tests := map[string]struct{ version, want string }{
		"a tag":                              {"v1.2.3", "1.2.3"},
		"a release candidate":                {"v1.2.3-rc.1", "1.2.3-rc.1"},
		"commits after a tag":                {"v1.2.3-4-g0123abc", "1.2.3-4-g0123abc"},
		"a commit without a tag":             {"0123456", "0.0.0-g0123456"},
		"a tag that is no version of Helm's": {"v1.2", "0.0.0-gv1.2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := chartVersion(test.version); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestContainerdKnowsTheImageByItsFullName(t *testing.T) {
	tests := map[string]struct{ reference, want string }{
		"without a registry": {"mtls-egress-webhook:v1.2.3", "docker.io/library/mtls-egress-webhook:v1.2.3"},
		"with a registry":    {"ghcr.io/team/mtls-egress-webhook:v1.2.3", "ghcr.io/team/mtls-egress-webhook:v1.2.3"},
		"with a port": {
			"registry.example:5000/mtls-egress-webhook:v1.2.3",
			"registry.example:5000/mtls-egress-webhook:v1.2.3",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := fullReference(test.reference); err != nil || got != test.want {
				t.Errorf("got %q, error %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestLicensesAreJudged(t *testing.T) {
	tests := map[string]struct {
		licenses []string
		want     string
	}{
		"an allowed one":       {licenses: []string{"MIT"}},
		"two that are allowed": {licenses: []string{"Apache-2.0", "BSD-3-Clause"}},
		"none that is known":   {want: "example.com/a v1.0.0: no license found"},
		"one that asks for sources": {
			licenses: []string{"GPL-3.0"},
			want: "example.com/a v1.0.0 has the license GPL-3.0: want one of Apache-2.0, " +
				"BSD-2-Clause, BSD-3-Clause, ISC, MIT",
		},
		"one of two is not allowed": {
			licenses: []string{"MIT", "AGPL-3.0"},
			want: "example.com/a v1.0.0 has the license AGPL-3.0: want one of Apache-2.0, " +
				"BSD-2-Clause, BSD-3-Clause, ISC, MIT",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := checkLicenses(
				[]library{{name: "example.com/a", version: "v1.0.0", licenses: test.licenses}}); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// build builds the webhook from a folder with its sources, like `make release`.
func build(t *testing.T, folder string, p platform) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), product)
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "build", "VERSION="+testVersion,
		"COMMIT="+testCommit, "BINARY="+binary)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOOS="+p.system, "GOARCH="+p.architecture)
	if _, err := output(cmd); err != nil {
		t.Fatal(err)
	}
	return binary
}

// buildNothing builds a program that does nothing.
func buildNothing(t *testing.T, p platform) string {
	t.Helper()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "main.go"), []byte("package main\n\nfunc main() {}\n"))
	binary := filepath.Join(folder, "nothing")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, filepath.Join(folder, "main.go"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.system, "GOARCH="+p.architecture)
	if _, err := output(cmd); err != nil {
		t.Fatal(err)
	}
	return binary
}

// helm returns the path of the Helm that `make release` uses.
func helm(t *testing.T) string {
	t.Helper()
	path, err := output(exec.CommandContext(t.Context(), "make", "--no-print-directory", "helm"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(path[strings.LastIndex(strings.TrimSpace(path), "\n")+1:])
}

func filesOf(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files[entry.Name()] = read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// unpacked returns the files of a compressed archive.
func unpacked(t *testing.T, content []byte) map[string][]byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(reader); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
