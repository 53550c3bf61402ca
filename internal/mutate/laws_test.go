package mutate_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/workload"
	"mtls.egress/webhook/test/golden"
)

// ownAnnotations are the template annotations that belong to the webhook. Propagation may change or
// remove them.
var ownAnnotations = map[string]bool{
	"mtls.egress/target":     true,
	"mtls.egress/secret":     true,
	"mtls.egress/propagated": true,
}

// checkLaws checks the invariants of every object. The patch applies and removes only propagated
// annotations. It neither removes nor reorders what the user wrote. A second mutation changes
// nothing.
func checkLaws(t testing.TB, input corpusCase) {
	t.Helper()
	result := input.mutate(t)
	operations := result.Operations
	for _, pod := range result.Pods {
		operations = append(operations, pod.Operations...)
	}
	for _, operation := range operations {
		if operation.Operation != "add" && !isOwnRemoval(operation.Operation, operation.Path) {
			t.Errorf("operation %s %s", operation.Operation, operation.Path)
		}
	}
	patched := apply(t, input.object, result.Operations)
	checkKept(t, "", decode(t, input.object), decode(t, patched))

	again := input
	again.object = patched
	if second := again.mutate(t); len(result.Errors) == 0 && (len(second.Operations) > 0 || len(second.Errors) > 0) {
		t.Errorf("the second time: operations %v, errors %v", second.Operations, second.Errors)
	}
	for _, pod := range result.Pods {
		if len(pod.Operations) > 0 {
			checkPodLaws(t, input, decode(t, patched), pod)
		}
	}
}

// checkPodLaws checks that admission changes the Pods of a workload as predicted.
func checkPodLaws(t testing.TB, input corpusCase, workload map[string]any, predicted mutate.PodResult) {
	t.Helper()
	template := at(t, workload, predicted.Template)
	pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]}
	asPod := input
	asPod.object, asPod.previous = encode(t, pod), nil
	got := asPod.mutate(t)
	if !reflect.DeepEqual(got.Operations, predicted.Operations) {
		t.Errorf("operations on the Pod: %v, predicted: %v", got.Operations, predicted.Operations)
	}
	checkLaws(t, asPod)
}

func isOwnRemoval(operation, path string) bool {
	key := strings.ReplaceAll(path[strings.LastIndexByte(path, '/')+1:], "~1", "/")
	return operation == "remove" && strings.Contains(path, "emplate/") &&
		strings.Contains(path, "/metadata/annotations/") &&
		ownAnnotations[key]
}

// checkKept walks through the user's fields. Every value is unchanged, lists have grown only at the
// end, and Istio's two annotations have exactly one insertion each.
func checkKept(t testing.TB, path string, before, after any) {
	t.Helper()
	switch before := before.(type) {
	case map[string]any:
		after, _ := after.(map[string]any)
		for key, value := range before {
			if kept, found := after[key]; found {
				checkKept(t, path+"/"+key, value, kept)
			} else if !ownAnnotations[key] || !strings.Contains(path, "emplate") {
				t.Errorf("%s/%s is gone", path, key)
			}
		}
	case []any:
		after, _ := after.([]any)
		if len(after) < len(before) {
			t.Errorf("%s is shorter than before", path)
			return
		}
		for i := range before {
			checkKept(t, path, before[i], after[i])
		}
	case string:
		after, _ := after.(string)
		key := strings.TrimPrefix(path[strings.LastIndex(path, "/annotations/")+1:], "annotations/")
		switch {
		case before == after, ownAnnotations[key] && strings.Contains(path, "emplate"):
		case strings.HasPrefix(key, "sidecar.istio.io/userVolume"):
			checkInsertedOnce(t, path, before, after)
		default:
			t.Errorf("%s was %q and is %q", path, before, after)
		}
	case nil: // as if it were missing
	default:
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%s was %v and is %v", path, before, after)
		}
	}
}

func checkInsertedOnce(t testing.TB, path, before, after string) {
	t.Helper()
	if strings.TrimSpace(before) == "" {
		return
	}
	start := 0
	for start < len(before) && start < len(after) && before[start] == after[start] {
		start++
	}
	if !strings.HasSuffix(after, before[start:]) {
		t.Errorf("%s was %q and is %q, which is more than one insertion", path, before, after)
	}
}

// FuzzMutate checks the invariants for generated Pods and Deployments. The corpus is the seed.
func FuzzMutate(f *testing.F) {
	inputs := golden.Inputs(f, corpus)
	for _, path := range inputs {
		for _, document := range golden.Documents(f, path) {
			var object struct {
				Metadata metav1.ObjectMeta `json:"metadata"`
			}
			if err := json.Unmarshal(document, &object); err != nil {
				f.Fatal(err)
			}
			annotations := object.Metadata.Annotations
			kind := workload.Known().ByKind()[kindOf(f, document).GroupVersionKind().GroupKind()]
			for _, place := range kind.PodAnnotations(document) {
				var metadata metav1.ObjectMeta
				if place.JSON != nil {
					if err := json.Unmarshal(place.JSON, &metadata.Annotations); err != nil {
						f.Fatal(err)
					}
				}
				f.Add(annotations["mtls.egress/target"], annotations["mtls.egress/secret"],
					metadata.Annotations["mtls.egress/target"], metadata.Annotations["mtls.egress/propagated"], "", "",
					"", document)
			}
			if kind.Kind != "" {
				continue
			}
			f.Add(annotations["mtls.egress/target"], annotations["mtls.egress/secret"], "", "",
				annotations["sidecar.istio.io/userVolume"], annotations["sidecar.istio.io/userVolumeMount"],
				annotations["traffic.sidecar.istio.io/excludeOutboundIPRanges"], document)
		}
	}
	f.Fuzz(func(t *testing.T, hosts, secrets, templateHosts, marker, volumes, mounts, ranges string, document []byte) {
		var pod corev1.Pod
		// Input that is not a Pod stays an empty Pod, because the strings alone are sufficient
		// input.
		if err := json.Unmarshal(document, &pod); err != nil {
			pod = corev1.Pod{}
		}
		pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
		pod.DeletionTimestamp = nil
		annotate(&pod.ObjectMeta, "mtls.egress/target", hosts)
		annotate(&pod.ObjectMeta, "mtls.egress/secret", secrets)
		annotate(&pod.ObjectMeta, "sidecar.istio.io/userVolume", volumes)
		annotate(&pod.ObjectMeta, "sidecar.istio.io/userVolumeMount", mounts)
		annotate(&pod.ObjectMeta, "traffic.sidecar.istio.io/excludeOutboundIPRanges", ranges)
		if object, err := json.Marshal(pod); err == nil {
			checkLaws(t, corpusCase{rules: everyHost, object: object})
		}

		template := metav1.ObjectMeta{}
		annotate(&template, "mtls.egress/target", templateHosts)
		annotate(&template, "mtls.egress/propagated", marker)
		annotate(&template, "sidecar.istio.io/userVolume", volumes)
		workload := metav1.ObjectMeta{}
		annotate(&workload, "mtls.egress/target", hosts)
		annotate(&workload, "mtls.egress/secret", secrets)
		object, err := json.Marshal(map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": workload,
			"spec": map[string]any{"template": map[string]any{"metadata": template, "spec": pod.Spec}},
		})
		if err == nil {
			checkLaws(t, corpusCase{rules: everyHost, object: object})
		}
	})
}

func annotate(metadata *metav1.ObjectMeta, key, value string) {
	if value != "" {
		metav1.SetMetaDataAnnotation(metadata, key, value)
	}
}
