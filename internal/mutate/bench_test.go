package mutate_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/mutate"
)

func BenchmarkInject(b *testing.B) {
	facts := mutate.Facts{Namespace: "project", Rules: everyHost}
	sizes := map[string]func(*corev1.Pod){
		"10 containers": func(pod *corev1.Pod) {
			pod.Spec.Containers = nil
			for n := range 10 {
				pod.Spec.Containers = append(pod.Spec.Containers,
					corev1.Container{Name: fmt.Sprintf("app-%d", n), Image: "shop:1"})
			}
		},
		"2000 env vars": func(pod *corev1.Pod) {
			for n := range 2000 {
				pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env,
					corev1.EnvVar{Name: fmt.Sprintf("NAME_%d", n), Value: "value"})
			}
		},
	}
	for _, mounts := range []int{1000, 4000} {
		sizes[fmt.Sprintf("%d mounts of the user's", mounts)] = func(pod *corev1.Pod) {
			entries := make([]string, mounts)
			for n := range entries {
				entries[n] = fmt.Sprintf(`{"name":"a","mountPath":"/a%d"}`, n)
			}
			pod.Annotations["sidecar.istio.io/userVolumeMount"] = "[" + strings.Join(entries, ",") + "]"
		}
	}
	for name, change := range sizes {
		object := encode(b, annotated(change))
		b.Run(name+"/inject", func(b *testing.B) {
			subject, err := decodeSubject(b, object)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if result := subject.Mutate(facts); len(result.Operations) == 0 {
					b.Fatal(result.Errors)
				}
			}
		})
		b.Run(name+"/decode and inject", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				subject, err := decodeSubject(b, object)
				if err != nil {
					b.Fatal(err)
				}
				if result := subject.Mutate(facts); len(result.Operations) == 0 {
					b.Fatal(result.Errors)
				}
			}
		})
	}
}
