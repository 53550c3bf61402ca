package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// chartFolder is the path of the chart in the project.
const chartFolder = "charts/" + product

func (r release) chartName() string {
	return fmt.Sprintf("%s-%s.tgz", product, chartVersion(r.version))
}

// chart packs the chart with the versions, the name of the image and the license.
//
// The digest of the image is only in an annotation, and not the default of image.digest. `helm
// upgrade --reuse-values` uses the defaults of the previous chart, so it would install a new chart
// with the old image. In addition, the digest would override a custom image.tag.
func (r release) chart(ctx context.Context, folder, imageDigest string) (artifact, error) {
	staged, err := os.MkdirTemp("", "mtls-egress-chart-")
	if err != nil {
		return artifact{}, err
	}
	defer func() { _ = os.RemoveAll(staged) }()
	source := filepath.Join(staged, product)
	if err := os.CopyFS(source, os.DirFS(chartFolder)); err != nil {
		return artifact{}, err
	}
	license, err := os.ReadFile(licenseFile)
	if err != nil {
		return artifact{}, err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(source, licenseFile), license, 0o644),
		rewrite(filepath.Join(source, "Chart.yaml"),
			func(text string) (string, error) { return r.annotate(text, imageDigest) }),
		rewrite(filepath.Join(source, "values.yaml"), r.setDefaults),
	)
	if err != nil {
		return artifact{}, err
	}
	pack := exec.CommandContext(ctx, r.helm, "package", source, "--version", chartVersion(r.version), "--app-version",
		r.version, "--destination", folder)
	// Helm 4 writes this time into the archive. Helm 3 writes the current time.
	pack.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.created.Unix()))
	if _, err := output(pack); err != nil {
		return artifact{}, err
	}
	return newArtifact(folder, r.chartName(), "INSTALL")
}

func rewrite(path string, change func(string) (string, error)) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed, err := change(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}

// annotate adds the URL of the sources, and the annotations of
// https://artifacthub.io/docs/topics/annotations/helm/ that depend on the release.
func (r release) annotate(text, imageDigest string) (string, error) {
	chart := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &chart); err != nil {
		return "", err
	}
	annotations, ok := chart["annotations"].(map[string]any)
	if !ok {
		annotations = map[string]any{}
	}
	annotations["artifacthub.io/license"] = ownLicense
	annotations["artifacthub.io/prerelease"] = strconv.FormatBool(strings.Contains(chartVersion(r.version), "-"))
	annotations["artifacthub.io/images"] = fmt.Sprintf("- name: %s\n  image: %s@sha256:%s\n", product, r.reference(),
		imageDigest)
	chart["annotations"] = annotations
	if r.source != "" {
		chart["home"], chart["sources"] = r.source, []string{r.source}
	}
	changed, err := yaml.Marshal(chart)
	return string(changed), err
}

// setDefaults sets the defaults that only a release has, and keeps the comments of the file:
// image.repository, without which the chart renders no Pods, and the URL of the documents, if the
// URL of the sources is known.
func (r release) setDefaults(text string) (string, error) {
	defaults := map[string]string{"  repository": r.repository}
	if r.source != "" {
		defaults["docsURL"] = fmt.Sprintf("%s/blob/%s/docs/PAGE.md", r.source, r.version)
	}
	for name, value := range defaults {
		line := "\n" + name + ": \"\"\n"
		if found := strings.Count(text, line); found != 1 {
			return "", fmt.Errorf("%d lines %q: want exactly one", found, strings.TrimSpace(line))
		}
		text = strings.Replace(text, line, fmt.Sprintf("\n%s: %q\n", name, value), 1)
	}
	return text, nil
}
