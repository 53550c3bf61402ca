package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/certmanager"
)

// TestServerTakesEveryObject has the API server validate what the chart renders in every state,
// with unknown fields refused, and its Pods with Pod security restricted enforced on the namespace
// that it is installed in.
func TestServerTakesEveryObject(t *testing.T) {
	c := startCluster(t)
	c.prometheus(t)
	if err := certmanager.InstallTypes(t.Context(), certmanager.Beside(c.Server)); err != nil {
		t.Fatal(err)
	}
	c.namespace(t, namespace, map[string]string{
		"pod-security.kubernetes.io/enforce":         "restricted",
		"pod-security.kubernetes.io/enforce-version": "latest",
	})
	// everything.yaml puts all objects there. Its Pods use the network of the node, which no Pod
	// Security Standard but privileged allows.
	c.namespace(t, "elsewhere", nil)
	c.kubectl(t, "apply", "--filename", writeFile(t, "class.yaml",
		"{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: sandboxed}, handler: sandboxed}"))
	c.namespace(t, "monitoring", nil)
	c.namespace(t, "project", nil)

	apply := func(t *testing.T, manifests string) error {
		t.Helper()
		_, _, err := c.Kubectl(t.Context(), "apply", "--server-side", "--dry-run=server", "--validate=strict",
			"--filename", writeFile(t, "chart.yaml", manifests))
		return err
	}
	for name, values := range states(t) {
		t.Run(name, func(t *testing.T) {
			manifests, problems, err := template(t, release, values...)
			if err != nil {
				t.Fatalf("%v\n%s", err, problems)
			}
			if err := apply(t, manifests); err != nil {
				t.Error(err)
			}
		})
		t.Run("Pods, "+name, func(t *testing.T) {
			for name, pod := range podsOf(t, render(t, values...)) {
				if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	// None of this says anything unless the API server does refuse.
	t.Run("an unknown field is refused", func(t *testing.T) {
		for _, kind := range []string{"ServiceMonitor", "PrometheusRule", "NetworkPolicy", "PodDisruptionBudget"} {
			object := render(t, "--values", "testdata/values/everything.yaml").any(t, kind).DeepCopy()
			set(t, object, "a", "spec", "unknown")
			encoded, err := object.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if err := apply(t, string(encoded)); err == nil || !strings.Contains(err.Error(), "unknown") {
				t.Errorf("%s with a field that there isn't: %v", kind, err)
			}
		}
	})
	t.Run("a Pod is refused without any of the lines that make it restricted", func(t *testing.T) {
		for name, pod := range podsOf(t, render(t)) {
			for line, loosen := range map[string]func(*corev1.Pod){
				"runAsNonRoot":   func(pod *corev1.Pod) { pod.Spec.SecurityContext.RunAsNonRoot = nil },
				"seccompProfile": func(pod *corev1.Pod) { pod.Spec.SecurityContext.SeccompProfile = nil },
				"allowPrivilegeEscalation": func(pod *corev1.Pod) {
					pod.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil
				},
				"capabilities": func(pod *corev1.Pod) { pod.Spec.Containers[0].SecurityContext.Capabilities = nil },
			} {
				loose := pod.DeepCopy()
				loosen(loose)
				if err := c.Create(t.Context(), loose, client.DryRunAll); !apierrors.IsForbidden(err) ||
					!strings.Contains(err.Error(), "violates PodSecurity") {
					t.Errorf("%s without %s: %v", name, line, err)
				}
			}
		}
	})
	// Pod security has no rule for it.
	t.Run("no Pod can write into its image", func(t *testing.T) {
		for name, pod := range podsOf(t, render(t)) {
			if readOnly := pod.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
				t.Errorf("%s: readOnlyRootFilesystem is not true", name)
			}
		}
	})
}

// podsOf are the Pods that the chart makes itself, in a hook, or through a workload.
func podsOf(t *testing.T, rendered objects) map[string]*corev1.Pod {
	t.Helper()
	pods := map[string]*corev1.Pod{}
	for name, object := range rendered {
		made := map[string]any{}
		switch object.GetKind() {
		case "Deployment", "Job":
			maps.Copy(made, at(t, object, "spec", "template").(map[string]any))
		case "Pod":
			maps.Copy(made, object.Object)
		default:
			continue
		}
		pod := &corev1.Pod{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(made, pod); err != nil {
			t.Fatal(err)
		}
		pod.Namespace, pod.Name = object.GetNamespace(), "probe"
		pods[name] = pod
	}
	return pods
}

// TestPodsOfTheChart: none is left out of what is tried with podsOf.
func TestPodsOfTheChart(t *testing.T) {
	rendered := render(t)
	pods := podsOf(t, rendered)
	for name, object := range rendered {
		if _, found := pods[name]; !found && hasContainers(object) {
			t.Errorf("%s makes Pods", name)
		}
	}
	if len(pods) != 5 {
		t.Errorf("Pods of %q, want 5", slices.Sorted(maps.Keys(pods)))
	}
}

func hasContainers(object *unstructured.Unstructured) bool {
	var has func(value any) bool
	has = func(value any) bool {
		switch value := value.(type) {
		case map[string]any:
			_, found := value["containers"].([]any)
			return found || slices.ContainsFunc(slices.Collect(maps.Values(value)), has)
		case []any:
			return slices.ContainsFunc(value, has)
		}
		return false
	}
	return has(object.Object)
}
