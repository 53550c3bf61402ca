package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/egress"
)

// pod is a Pod for tests.
type pod struct{ corev1.Pod }

func (p pod) Ended() bool          { return p.Status.Phase == corev1.PodSucceeded }
func (p pod) HasSidecar() bool     { return egress.HasSidecar(&p.Pod) }
func (p pod) ProxyVersion() string { return egress.ProxyVersion(&p.Pod) }
func (p pod) Owner() metav1.OwnerReference {
	if len(p.OwnerReferences) == 0 {
		return metav1.OwnerReference{}
	}
	return p.OwnerReferences[0]
}

// SinkholeAddress returns the address in the Pod's annotation, because the informer decides which
// addresses are unusual.
func (p pod) SinkholeAddress(string) string { return p.Annotations["address"] }

// Content is nil: the Pods of the tests have nothing in common.
func (p pod) Content() any { return nil }

func testPod(name string, created int64, annotations map[string]string) pod {
	return pod{corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(created, 0), Annotations: annotations},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy", Image: "proxyv2"}}},
	}}
}

func pointers(pods []pod) []*pod {
	var all []*pod
	for i := range pods {
		all = append(all, &pods[i])
	}
	return all
}

func TestDemandsOf(t *testing.T) {
	list := `[{"name":"mine","emptyDir":{}},{"name":"mtls-egress-external-system-com","secret":{"secretName":"mounted"}}]`
	asMap := `{"mtls-egress-external-system-com":{"Secret":{"secretname":"mounted"}},` +
		`"mtls-ca-external-system-com":{"configMap":{"name":"partner-ca"}}}`
	ended := testPod("ended", 1, map[string]string{egress.AnnotationTarget: host})
	ended.Status.Phase = corev1.PodSucceeded
	terminating := testPod("terminating", 1, map[string]string{egress.AnnotationTarget: host})
	terminating.DeletionTimestamp = &metav1.Time{Time: time.Unix(2, 0)}

	tests := map[string]struct {
		pods []pod
		want []Demand
	}{
		"a Pod that names nothing gets the target's Secret": {
			[]pod{testPod("a", 1, map[string]string{egress.AnnotationTarget: host})},
			[]Demand{{Pod: "a", Asks: true, SecretName: "default", WantedSecret: "default"}},
		},
		"a port and a Secret in the annotations": {
			[]pod{
				testPod(
					"a",
					1,
					map[string]string{egress.AnnotationTarget: "other.com," + host + ":8443", egress.AnnotationSecret: host + "=own"},
				),
			},
			[]Demand{{Pod: "a", Asks: true, Port: 8443, SecretName: "own", WantedSecret: "own"}},
		},
		"a mounted Secret, as a list, wins over the requested one": {
			[]pod{
				testPod("a", 1, map[string]string{
					egress.AnnotationTarget:           host,
					egress.AnnotationSecret:           "own",
					annotation.SidecarUserVolume.Name: list,
				}),
			},
			[]Demand{{Pod: "a", Asks: true, SecretName: "mounted", WantedSecret: "own"}},
		},
		"a map with keys in mixed case, and a CA": {
			[]pod{testPod("a", 1, map[string]string{egress.AnnotationTarget: host, annotation.SidecarUserVolume.Name: asMap})},
			[]Demand{{Pod: "a", Asks: true, SecretName: "mounted", WantedSecret: "default", CAConfigMap: "partner-ca"}},
		},
		"volumes that can't be read": {
			[]pod{testPod("a", 1, map[string]string{egress.AnnotationTarget: host, annotation.SidecarUserVolume.Name: "{{"})},
			[]Demand{{Pod: "a", Asks: true, SecretName: "default", WantedSecret: "default"}},
		},
		"a Pod without annotations still counts": {
			[]pod{testPod("a", 1, nil)},
			[]Demand{{Pod: "a", SecretName: "default", WantedSecret: "default"}},
		},
		"ended Pods don't count, terminating ones do": {
			[]pod{ended, terminating},
			[]Demand{{Pod: "terminating", Asks: true, SecretName: "default", WantedSecret: "default"}},
		},
		"the oldest first, then by name": {
			[]pod{testPod("c", 2, nil), testPod("b", 1, nil), testPod("a", 2, nil)},
			[]Demand{
				{Pod: "b", SecretName: "default", WantedSecret: "default"},
				{Pod: "a", SecretName: "default", WantedSecret: "default"},
				{Pod: "c", SecretName: "default", WantedSecret: "default"},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := DemandsOf(egress.Target{Host: host, SecretName: "default"}, pointers(test.pods))
			if diff := cmp.Diff(test.want, got); diff != "" {
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
		demands []Demand
		want    result
	}{
		"no Pods":        {nil, result{}},
		"none that asks": {[]Demand{{Port: 8443}}, result{}},
		"none names one": {[]Demand{{Asks: true}}, result{Asked: true}},
		"the first that names one": {
			[]Demand{{Asks: true}, {Asks: true, Port: 8443}, {Asks: true, Port: 9443}}, result{8443, true},
		},
		"not one that no longer asks": {[]Demand{{Port: 8443}, {Asks: true, Port: 9443}}, result{9443, true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			port, asked := WantedPort(test.demands)
			if diff := cmp.Diff(test.want, result{port, asked}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretsInUse(t *testing.T) {
	own := egress.Target{SecretName: "own"}
	if diff := cmp.Diff(map[string]int32{"own": 0}, SecretsInUse(own, nil)); diff != "" {
		t.Errorf("without Pods (-want +got):\n%s", diff)
	}
	demands := []Demand{{SecretName: "a"}, {SecretName: "b"}, {SecretName: "a"}}
	if diff := cmp.Diff(map[string]int32{"a": 2, "b": 1}, SecretsInUse(own, demands)); diff != "" {
		t.Errorf("with Pods (-want +got):\n%s", diff)
	}
}

// FuzzSidecarVolumes checks that a Pod with any text in the annotation asks for its target.
func FuzzSidecarVolumes(f *testing.F) {
	for _, text := range []string{
		"", "[]", "{}", "null", "[null]", `[{"name":"a","secret":{"secretName":"s"}}]`, `{"a":{"configMap":{"name":"c"}}}`,
		`{"a":null}`, `[{"Name":"a"}]`, `[{"name":1}]`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		annotations := map[string]string{annotation.SidecarUserVolume.Name: text, egress.AnnotationTarget: host}
		wanted := egress.FromEgressTarget("project", host, nil, egress.Sinkhole{})
		d := demandOf(wanted, new(testPod("p", 0, annotations)))
		if !d.Asks || d.SecretName == "" || d.WantedSecret != wanted.SecretName {
			t.Errorf("%+v", d)
		}
	})
}
