package mutate

import (
	"fmt"
	"net/url"
	"strconv"

	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
)

// proxyWarnings warns of containers whose environment sends plain HTTP calls to a forward proxy
// without an exception for a target. Such a call goes to the proxy in plain text, and the sidecar
// sees the proxy's host instead of the target's. Variables without a literal value are ignored.
func proxyWarnings(pod *corev1.Pod, targets []egress.Target) []string {
	var warnings []string
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if !egress.IsProxy(containers[i]) {
				warnings = append(warnings, containerProxyWarnings(&containers[i], targets)...)
			}
		}
	}
	return warnings
}

func containerProxyWarnings(container *corev1.Container, targets []egress.Target) []string {
	config, variable := proxyConfig(container.Env)
	if config.HTTPProxy == "" {
		return nil
	}
	proxyFor := config.ProxyFunc()
	var warnings []string
	for _, t := range targets {
		call := &url.URL{Scheme: "http", Host: t.Host + ":" + strconv.Itoa(int(t.AppPort))}
		if proxy, err := proxyFor(call); err == nil && proxy == nil {
			continue
		}
		warnings = append(warnings, fmt.Sprintf(
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
