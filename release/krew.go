package main

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// krewFile is the manifest of the kubectl plugin. krew wants the file to have the name of the
// plugin.
// https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/
const krewFile = "mtls-egress.yaml"

// plugin is the part of krew's Plugin (krew.googlecontainertools.github.com/v1alpha2) that we use.
type plugin struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       pluginSpec        `json:"spec"`
}

type pluginSpec struct {
	Version          string           `json:"version"`
	Homepage         string           `json:"homepage"`
	ShortDescription string           `json:"shortDescription"`
	Description      string           `json:"description"`
	Platforms        []pluginPlatform `json:"platforms"`
}

type pluginPlatform struct {
	URI      string         `json:"uri"`
	SHA256   string         `json:"sha256"`
	Bin      string         `json:"bin"`
	Selector pluginSelector `json:"selector"`
}

type pluginSelector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

// writeKrew writes the manifest of the kubectl plugin, if the URL of the sources is known: the
// archives are downloaded from its release.
func (r release) writeKrew(folder string, archives map[platform]artifact) error {
	if r.source == "" {
		return nil
	}
	manifest := plugin{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2",
		Kind:       "Plugin",
		Metadata:   map[string]string{"name": "mtls-egress"},
		Spec: pluginSpec{
			Version:          "v" + chartVersion(r.version),
			Homepage:         r.source,
			ShortDescription: "Check and explain mutual TLS to external hosts",
			Description: "Checks manifests for mutual TLS from an Istio mesh to external hosts, takes over\n" +
				"hand-written configuration, finds the cause of failing calls, and handles\nclient certificates.\n",
		},
	}
	for _, p := range r.platforms() {
		manifest.Spec.Platforms = append(manifest.Spec.Platforms, pluginPlatform{
			URI:      fmt.Sprintf("%s/releases/download/%s/%s", r.source, r.version, archives[p].name),
			SHA256:   archives[p].sha256,
			Bin:      p.program(),
			Selector: pluginSelector{MatchLabels: map[string]string{"os": p.system, "arch": p.architecture}},
		})
	}
	content, err := yaml.Marshal(manifest)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, krewFile), content, 0o644)
}
