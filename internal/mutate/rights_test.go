package mutate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/mutate"
)

// A container with such privileges can remove the redirection of its calls to the sidecar.
func TestRightsOverTheNetworkAreWarnedOf(t *testing.T) {
	const ending = " it can change or bypass the redirection of calls to the sidecar; a call that bypasses the " +
		"sidecar has no mutual TLS. Remove the privilege if the container doesn't need it"
	adds := func(capabilities ...corev1.Capability) *corev1.SecurityContext {
		return &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: capabilities}}
	}
	yes := true
	tests := map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"other rights": {
			func(pod *corev1.Pod) { pod.Spec.Containers[0].SecurityContext = adds("SYS_PTRACE", "NET_BIND_SERVICE") },
			nil,
		},
		"rights that are dropped": {func(pod *corev1.Pod) {
			pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"NET_ADMIN"}},
			}
		}, nil},
		"a privileged container": {func(pod *corev1.Pod) {
			pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		}, []string{"container app: is privileged, so" + ending}},
		"NET_ADMIN, in the runtime's spelling": {
			func(pod *corev1.Pod) { pod.Spec.Containers[0].SecurityContext = adds("CAP_NET_ADMIN") },
			[]string{
				"container app: has NET_ADMIN, so" + ending},
		},
		"all rights, and NET_RAW in an init container": {func(pod *corev1.Pod) {
			pod.Spec.Containers[0].SecurityContext = adds("all")
			pod.Spec.InitContainers = []corev1.Container{{Name: "setup", SecurityContext: adds("net_raw")}}
		}, []string{"container app: has ALL, so" + ending, "container setup: has NET_RAW, so" + ending}},
		"Istio's own containers": {func(pod *corev1.Pod) {
			pod.Annotations["sidecar.istio.io/status"] = "{}"
			pod.Spec.InitContainers = []corev1.Container{
				{Name: "istio-init", Image: "proxyv2:1", SecurityContext: adds("NET_ADMIN", "NET_RAW")},
			}
			pod.Spec.Containers = append(
				pod.Spec.Containers,
				corev1.Container{
					Name:            "istio-proxy",
					Image:           "proxyv2:1",
					SecurityContext: &corev1.SecurityContext{Privileged: &yes},
				},
			)
		}, nil},
		"a container of the user's that is named like Istio's": {func(pod *corev1.Pod) {
			pod.Spec.InitContainers = []corev1.Container{
				{Name: "istio-init", Image: "mine:1", SecurityContext: adds("NET_ADMIN")},
			}
		}, []string{"container istio-init: has NET_ADMIN, so" + ending}},
		"a name that turns the message around": {func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Name, pod.Spec.Containers[0].SecurityContext = "\u202eppa\x1b[2J", &corev1.SecurityContext{
				Privileged: &yes,
			}
		}, []string{"container �ppa�[2J: is privileged, so" + ending}},
		"a Pod that may run on Windows or Linux": {osAffinity("windows", "linux"), nil},
		"a sidecar in a Pod that is labeled for the ambient mode": {func(pod *corev1.Pod) {
			pod.Labels["istio.io/dataplane-mode"], pod.Labels["sidecar.istio.io/inject"] = "ambient", "true"
		}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result := corpusCase{rules: everyHost, object: encode(t, annotated(test.change))}.mutate(t)
			if len(result.Errors) > 0 {
				t.Errorf("unexpected errors: %v", result.Errors)
			}
			if diff := cmp.Diff(test.want, mutate.Texts(result.Warnings), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
