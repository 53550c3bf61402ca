package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/target"
)

func testPod(name string, created int64, annotations map[string]string) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(created, 0), Annotations: annotations}}
}

// kept are Pods as the cache holds them.
func kept(all ...corev1.Pod) []*pod {
	var found []*pod
	for i := range all {
		found = append(found, keptPod(&all[i], nil))
	}
	return found
}

func TestDemandOf(t *testing.T) {
	list := `[{"name":"mine","emptyDir":{}},{"name":"mtls-egress-external-system-com","secret":{"secretName":"mounted"}}]`
	asMap := `{"mtls-egress-external-system-com":{"Secret":{"secretname":"mounted"}},"mtls-ca-external-system-com":{"configMap":{"name":"partner-ca"}}}`
	ended := testPod("ended", 1, map[string]string{target.AnnotationTarget: host})
	ended.Status.Phase = corev1.PodSucceeded
	terminating := testPod("terminating", 1, map[string]string{target.AnnotationTarget: host})
	terminating.DeletionTimestamp = &metav1.Time{Time: time.Unix(2, 0)}

	tests := map[string]struct {
		pods []corev1.Pod
		want []demand
	}{
		"a Pod that names nothing gets the target's Secret": {
			[]corev1.Pod{testPod("a", 1, map[string]string{target.AnnotationTarget: host})},
			[]demand{{pod: "a", asks: true, secretName: "default", wantedSecret: "default"}},
		},
		"a port and a Secret in the annotations": {
			[]corev1.Pod{testPod("a", 1, map[string]string{target.AnnotationTarget: "other.com," + host + ":8443", target.AnnotationSecret: host + "=own"})},
			[]demand{{pod: "a", asks: true, port: 8443, secretName: "own", wantedSecret: "own"}},
		},
		"what is mounted, as a list, wins over what is asked for": {
			[]corev1.Pod{testPod("a", 1, map[string]string{target.AnnotationTarget: host, target.AnnotationSecret: "own", annotationUserVolume: list})},
			[]demand{{pod: "a", asks: true, secretName: "mounted", wantedSecret: "own"}},
		},
		"the same as a map with keys in odd case, and a CA": {
			[]corev1.Pod{testPod("a", 1, map[string]string{target.AnnotationTarget: host, annotationUserVolume: asMap})},
			[]demand{{pod: "a", asks: true, secretName: "mounted", wantedSecret: "default", caConfigMap: "partner-ca"}},
		},
		"volumes that can't be read": {
			[]corev1.Pod{testPod("a", 1, map[string]string{target.AnnotationTarget: host, annotationUserVolume: "{{"})},
			[]demand{{pod: "a", asks: true, secretName: "default", wantedSecret: "default"}},
		},
		"annotations that somebody took away still count as a Pod": {
			[]corev1.Pod{testPod("a", 1, nil)},
			[]demand{{pod: "a", secretName: "default", wantedSecret: "default"}},
		},
		"ended Pods don't count, terminating ones do": {
			[]corev1.Pod{ended, terminating},
			[]demand{{pod: "terminating", asks: true, secretName: "default", wantedSecret: "default"}},
		},
		"the oldest first, then by name": {
			[]corev1.Pod{testPod("c", 2, nil), testPod("b", 1, nil), testPod("a", 2, nil)},
			[]demand{{pod: "b", secretName: "default", wantedSecret: "default"}, {pod: "a", secretName: "default", wantedSecret: "default"}, {pod: "c", secretName: "default", wantedSecret: "default"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := demandOf(target.Target{Host: host, SecretName: "default"}, kept(test.pods...))
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(demand{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWantedPort(t *testing.T) {
	type result struct {
		Port  int32
		Asked bool
	}
	tests := map[string]struct {
		demands []demand
		want    result
	}{
		"no Pods":                     {nil, result{}},
		"none that asks":              {[]demand{{port: 8443}}, result{}},
		"none that says":              {[]demand{{asks: true}}, result{Asked: true}},
		"the first that says":         {[]demand{{asks: true}, {asks: true, port: 8443}, {asks: true, port: 9443}}, result{8443, true}},
		"not one that no longer asks": {[]demand{{port: 8443}, {asks: true, port: 9443}}, result{9443, true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			port, asked := wantedPort(test.demands)
			if diff := cmp.Diff(test.want, result{port, asked}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretsInUse(t *testing.T) {
	own := target.Target{SecretName: "own"}
	if diff := cmp.Diff(map[string]int32{"own": 0}, secretsInUse(own, nil)); diff != "" {
		t.Errorf("without Pods (-want +got):\n%s", diff)
	}
	demands := []demand{{secretName: "a"}, {secretName: "b"}, {secretName: "a"}}
	if diff := cmp.Diff(map[string]int32{"a": 2, "b": 1}, secretsInUse(own, demands)); diff != "" {
		t.Errorf("with Pods (-want +got):\n%s", diff)
	}
}

// FuzzSidecarVolumes: whatever somebody wrote into the annotation of a Pod, reading it ends well, and a name that is found is the one asked for.
func FuzzSidecarVolumes(f *testing.F) {
	for _, text := range []string{"", "[]", "{}", "null", "[null]", `[{"name":"a","secret":{"secretName":"s"}}]`, `{"a":{"configMap":{"name":"c"}}}`, `{"a":null}`, `[{"Name":"a"}]`, `[{"name":1}]`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{annotationUserVolume: text, target.AnnotationTarget: host}}}
		wanted := target.FromEgressTarget("project", host, nil)
		d := demandOfPod(wanted, keptPod(pod, nil))
		if !d.asks || d.secretName == "" || d.wantedSecret != wanted.SecretName {
			t.Errorf("%+v", d)
		}
		for name, volume := range sidecarVolumes(text) {
			if volume.Name != "" && volume.Name != name && !strings.HasPrefix(strings.TrimSpace(text), "{") {
				t.Errorf("%q stands for %+v", name, volume)
			}
		}
	})
}
