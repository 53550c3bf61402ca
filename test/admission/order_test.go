package admission_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// secretVolume and secretMount are what a Pod gets, in the API server's form.
func secretVolume() corev1.Volume {
	return corev1.Volume{
		Name: volume,
		VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: secret, DefaultMode: ptr.To[int32](0o644)},
		},
	}
}

func secretMount() corev1.VolumeMount {
	return corev1.VolumeMount{Name: volume, MountPath: "/etc/mtls-egress/" + host, ReadOnly: true}
}

func TestOursIsCalledBeforeIstios(t *testing.T) {
	for _, name := range []string{"istio-sidecar-injector", "istio-revision-tag-default"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			istio := w.inject(name, nil)
			w.create(annotated("shop"))
			var seen []map[string]any
			for _, pod := range istio.pods() {
				seen = append(seen,
					map[string]any{"annotations": pod.Annotations, "labels": pod.Labels, "hostAliases": pod.Spec.HostAliases})
			}
			want := []map[string]any{{
				"annotations": map[string]string{
					"mtls.egress/target":          host,
					"sidecar.istio.io/userVolume": `[{"name":"` + volume + `","secret":{"secretName":"` + secret + `"}}]`,
					"sidecar.istio.io/userVolumeMount": `[{"name":"` + volume +
						`","mountPath":"/etc/mtls-egress/` + host + `","readOnly":true}]`,
				},
				"labels":      map[string]string{"mtls.egress/injected": "true", "to.mtls.egress/" + host: "true"},
				"hostAliases": []corev1.HostAlias{{IP: address, Hostnames: []string{host}}},
			}}
			if diff := cmp.Diff(want, seen); diff != "" {
				t.Errorf("Istio's webhook sees (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPodWithASidecarIsPatchedDirectly(t *testing.T) {
	tests := map[string]struct{ native bool }{
		"as a container":      {native: false},
		"as a native sidecar": {native: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.inject("0-early-injector", asIstio(test.native))
			pod := annotated("shop")
			injected := w.admissions("kind=Pod", "decision=injected")
			w.create(pod)
			if got := w.admissions("kind=Pod", "decision=injected") - injected; got != 1 {
				t.Errorf("the webhook injected %v times, want once", got)
			}
			w.mountedOnce(pod)
		})
	}
}

func TestWhatIsInjectedAfterUsStaysWhenWeAreCalledAgain(t *testing.T) {
	tests := map[string]struct {
		change func(*corev1.Pod)
		// again is what the second call decides.
		again string
	}{
		"an injector that follows the annotations":          {change: asIstio(false), again: "unchanged"},
		"one that follows them and makes a native sidecar":  {change: asIstio(true), again: "unchanged"},
		"one that knows nothing of Istio's two annotations": {change: withSidecar, again: "injected"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			istio := w.inject("istio-sidecar-injector", test.change)
			pod := annotated("shop")
			all, again := w.admissions("kind=Pod"), w.admissions("kind=Pod", "decision="+test.again)
			w.create(pod)
			if got := w.admissions("kind=Pod") - all; got != 2 {
				t.Errorf("the webhook was called %v times, want twice", got)
			}
			want := map[string]float64{"unchanged": 1, "injected": 2}[test.again]
			if got := w.admissions("kind=Pod", "decision="+test.again) - again; got != want {
				t.Errorf("%v calls were decided as %s, want %v", got, test.again, want)
			}
			if got := len(istio.pods()); got != 1 {
				t.Errorf("Istio's webhook was called %d times, want once", got)
			}
			w.mountedOnce(pod)
		})
	}
}

// mountedOnce fails when the Pod doesn't have exactly one sidecar, with exactly our volume and
// mount, or when the app has them too.
func (w *world) mountedOnce(pod *corev1.Pod) {
	w.Helper()
	if diff := cmp.Diff([]corev1.Volume{secretVolume()}, pod.Spec.Volumes); diff != "" {
		w.Errorf("volumes (-want +got):\n%s", diff)
	}
	var sidecars [][]corev1.VolumeMount
	for _, container := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		if container.Name == "istio-proxy" {
			sidecars = append(sidecars, container.VolumeMounts)
		} else if len(container.VolumeMounts) > 0 {
			w.Errorf("the container %s has mounts: %v", container.Name, container.VolumeMounts)
		}
	}
	if diff := cmp.Diff([][]corev1.VolumeMount{{secretMount()}}, sidecars); diff != "" {
		w.Errorf("mounts of the sidecars (-want +got):\n%s", diff)
	}
}
