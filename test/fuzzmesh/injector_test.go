package fuzzmesh

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"istio.io/istio/manifests"
	istiomesh "istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/kube/inject"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// chart is the directory of istiod's chart in Istio's module.
const chart = "charts/istio-control/istio-discovery/"

// injected returns what Istio's injector makes of a Deployment, in words: what the sidecar mounts,
// and which calls reach it.
func injected(t *testing.T, deployment []byte) string {
	t.Helper()
	var output bytes.Buffer
	var warnings []string
	err := inject.IntoResourceFile(nil, templates(t), values(t), "", istiomesh.DefaultMeshConfig(),
		bytes.NewReader(deployment), &output, func(text string) { warnings = append(warnings, text) })
	if err != nil {
		text := err.Error()
		if at := strings.LastIndex(text, "<"); at >= 0 {
			text = text[at:]
		}
		return "Istio's injector fails: " + text
	}
	var result appsv1.Deployment
	decode(t, output.Bytes(), &result)
	return describe(result.Spec.Template.Spec)
}

func describe(spec corev1.PodSpec) string {
	proxy := container(append(spec.InitContainers, spec.Containers...), "istio-proxy")
	if proxy == nil {
		return "there is no sidecar"
	}
	var mounts []string
	for _, mount := range proxy.VolumeMounts {
		if strings.HasPrefix(mount.MountPath, "/etc/partner") || mount.MountPath == "/etc/certs" {
			mounts = append(mounts, mountWords(spec, mount))
		}
	}
	text := "the sidecar mounts " + cmp.Or(strings.Join(mounts, " and "), "no files of the partner")
	if first := container(spec.InitContainers, "istio-init"); first != nil {
		if at := slices.Index(first.Args, "-o"); at >= 0 && first.Args[at+1] != "" {
			text += ", calls to port " + first.Args[at+1] + " don't reach it"
		}
	}
	return text
}

func mountWords(spec corev1.PodSpec, mount corev1.VolumeMount) string {
	text := mount.MountPath
	if mount.SubPath != "" {
		text += " (subPath)"
	}
	if !slices.ContainsFunc(spec.Volumes, func(volume corev1.Volume) bool { return volume.Name == mount.Name }) {
		text += fmt.Sprintf(" from the volume %s, which the Pod doesn't have", mount.Name)
	}
	return text
}

func container(containers []corev1.Container, name string) *corev1.Container {
	index := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == name })
	if index < 0 {
		return nil
	}
	return &containers[index]
}

// templates are those of the injector's configuration, as the chart installs them.
func templates(t *testing.T) inject.Templates {
	t.Helper()
	parsed, err := inject.ParseTemplates(map[string]string{
		inject.SidecarTemplateName: string(chartFile(t, "files/injection-template.yaml")),
	})
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// values are the defaults of the chart.
func values(t *testing.T) inject.ValuesConfig {
	t.Helper()
	var defaults struct {
		Values map[string]any `json:"_internal_defaults_do_not_set"`
	}
	decode(t, chartFile(t, "values.yaml"), &defaults)
	encoded, err := yaml.Marshal(map[string]any{
		"global": defaults.Values["global"], "sidecarInjectorWebhook": defaults.Values["sidecarInjectorWebhook"],
		"revision": "", "pilot": map[string]any{"cni": defaults.Values["cni"], "env": defaults.Values["env"]},
	})
	if err != nil {
		t.Fatal(err)
	}
	config, err := inject.NewValuesConfig(string(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func chartFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := manifests.FS.ReadFile(chart + name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
