package mutate

import (
	"iter"
	"net/url"
	"slices"
	"strconv"

	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// proxyWarnings warns of containers whose environment sends plain HTTP calls to a forward proxy
// without an exception for a target. Such a call goes to the proxy in plain text, and the sidecar
// sees the proxy's host instead of the target's. Variables without a literal value are ignored.
func proxyWarnings(pod *corev1.Pod, targets []egress.Target, spec *field.Path) []Warning {
	var warnings []Warning
	for container, at := range containersOf(pod, spec) {
		if !egress.IsProxy(*container) {
			warnings = append(warnings, containerProxyWarnings(container, targets, at)...)
		}
	}
	return warnings
}

// containersOf yields the init containers and the containers of the Pod, each with a function that
// returns its path. Most containers don't need it.
func containersOf(pod *corev1.Pod, spec *field.Path) iter.Seq2[*corev1.Container, func() *field.Path] {
	return func(yield func(*corev1.Container, func() *field.Path) bool) {
		for i := range pod.Spec.InitContainers {
			if !yield(&pod.Spec.InitContainers[i], func() *field.Path { return spec.Child("initContainers").Index(i) }) {
				return
			}
		}
		for i := range pod.Spec.Containers {
			if !yield(&pod.Spec.Containers[i], func() *field.Path { return spec.Child("containers").Index(i) }) {
				return
			}
		}
	}
}

func containerProxyWarnings(container *corev1.Container, targets []egress.Target, at func() *field.Path) []Warning {
	config, variable := proxyConfig(container.Env)
	if config.HTTPProxy == "" {
		return nil
	}
	proxyFor := config.ProxyFunc()
	index := slices.IndexFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == variable })
	var warnings []Warning
	for _, t := range targets {
		call := &url.URL{Scheme: "http", Host: t.Host + ":" + strconv.Itoa(int(t.AppPort))}
		if proxy, err := proxyFor(call); err == nil && proxy == nil {
			continue
		}
		warnings = append(warnings, warningf(
			ReasonForwardProxy, at().Child("env").Index(index),
			"container %s: %s sends the calls to http://%s to a proxy in plain text and without the client "+
				"certificate; add %s to NO_PROXY", container.Name, variable, t.Host, t.Host))
	}
	return warnings
}

// proxyConfig reads the variables that curl, Go, Python and others support. For http:// URLs the
// lowercase variable takes precedence, as in curl. ALL_PROXY applies if neither is set.
func proxyConfig(env []corev1.EnvVar) (httpproxy.Config, string) {
	values := map[string]string{}
	for i := range env {
		switch env[i].Name {
		case "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY":
			values[env[i].Name] = env[i].Value
		}
	}
	config := httpproxy.Config{NoProxy: values["no_proxy"]}
	if config.NoProxy == "" {
		config.NoProxy = values["NO_PROXY"]
	}
	for _, variable := range []string{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"} {
		if values[variable] != "" {
			config.HTTPProxy = values[variable]
			return config, variable
		}
	}
	return config, ""
}
