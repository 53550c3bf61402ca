package egress_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
)

func TestProxyVersion(t *testing.T) {
	for image, want := range map[string]string{
		"docker.io/istio/proxyv2:1.30.2":                      "1.30.2",
		"gcr.io/istio-release/proxyv2:1.29.1-distroless":      "1.29.1",
		"localhost:5000/proxyv2:1.31.0-debug@sha256:00112233": "1.31.0",
		"registry:5000/proxyv2":                               "",
		"proxyv2@sha256:00112233":                             "",
		"proxyv2:latest":                                      "",
		"proxyv2:1.30":                                        "",
		"auto":                                                "",
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: "app:1.2.3"}, {Name: "istio-proxy", Image: image}},
		}}
		if got := egress.ProxyVersion(pod); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}
