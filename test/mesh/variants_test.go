package mesh

import (
	"slices"
	"strings"
	"testing"

	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/test/cluster"
)

// onVariants are the tests that are played on a mesh that isn't the default one: the promises that
// its configuration could break, and the control.
func onVariants() []string {
	return []string{
		"TestAMeshThatInterceptsNotEverything",
		"TestANeighborKeepsItsBehavior",
		"TestEveryProtocolOfAnApp",
		"TestEveryStateOfTheObjects",
		"TestOwnHTTPSIsUntouched",
		"TestTheMeshIsTheOneThatIsSelected",
		"TestTheFirstPodOfATarget",
		"TestTheSecretChangesUnderLoad",
		"TestWhoDidNotAskIsSeenInPlainText",
	}
}

// leftOut returns the reason for which a test isn't played on a mesh, or "" if it is.
func leftOut(selected cluster.Mesh, test string) string {
	if selected.Name != "" && !slices.Contains(onVariants(), test) {
		return "isn't played on another mesh than the default one"
	}
	return ""
}

// sign shows in the mesh configuration, and in what the injector makes of a Pod, that a mesh is
// what its name says.
type sign func(config string, pod *corev1.Pod) bool

// signs are those of the meshes, without those that the parts of the node make.
func signs() map[string]sign {
	plain := func(_ string, pod *corev1.Pod) bool { return container(pod.Spec.Containers, "istio-proxy") != nil }
	configured := func(text string) sign {
		return func(config string, _ *corev1.Pod) bool { return strings.Contains(config, text) }
	}
	return map[string]sign{
		"":                   func(_ string, pod *corev1.Pod) bool { return !plain("", pod) },
		"plain-sidecars":     plain,
		"compatibility-1.25": plain,
		"registry-only":      configured("mode: REGISTRY_ONLY"),
		"dynamic-dns":        configured("mode: ALLOW_ANY_DYNAMIC_DNS"),
		"dns-capture":        configured("ISTIO_META_DNS_CAPTURE"),
		"nftables": func(_ string, pod *corev1.Pod) bool {
			redirects := container(pod.Spec.InitContainers, "istio-init")
			return redirects != nil && slices.Contains(redirects.Args, "--native-nftables")
		},
		"istio-cni": func(_ string, pod *corev1.Pod) bool {
			return container(pod.Spec.InitContainers, "istio-init") == nil &&
				container(pod.Spec.InitContainers, "istio-validation") != nil
		},
	}
}

func container(containers []corev1.Container, name string) *corev1.Container {
	if i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
		return &containers[i]
	}
	return nil
}

// TestTheMeshIsTheOneThatIsSelected keeps the other tests from being played on another mesh than
// the rows say.
func TestTheMeshIsTheOneThatIsSelected(t *testing.T) {
	t.Parallel()
	s := play(t)
	if !s.Own {
		t.Skip("nobody selects the mesh of the cluster in KUBECONFIG")
	}
	config, err := s.Client.CoreV1().
		ConfigMaps(cluster.IstioNamespace).
		Get(t.Context(), s.Mesh().MeshConfigMap(), metav1.GetOptions{})
	must(t, err)
	revisions := s.Mesh().Revisions
	if len(revisions) == 0 {
		revisions = []string{"default"}
	}
	for _, revision := range revisions {
		ns := namespace(t, s)
		if len(revisions) > 1 {
			labelNamespace(t, s, ns, label.IoIstioRev.Name+"="+revision)
		}
		pod, err := injectedPod(t.Context(), s, ns, nil)
		must(t, err)
		if got := pod.Annotations[label.IoIstioRev.Name]; got != revision {
			t.Errorf("a Pod has the control plane %q, want %q", got, revision)
		}
		if shows := signs()[s.Mesh().Name]; shows != nil && !shows(config.Data[mesh.MeshConfigKey], pod) {
			t.Errorf("the mesh is not %s: its configuration is\n%s", s.Mesh().Name, config.Data[mesh.MeshConfigKey])
		}
	}
}
