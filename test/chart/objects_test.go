package chart

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// denied reports whether this policy refused a request.
func denied(err error, policy string) bool {
	return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+policy+"'")
}

// failed reports whether a request was refused because this webhook could not be called.
func failed(err error, webhook string) bool {
	return err != nil && strings.Contains(err.Error(), `failed calling webhook "`+webhook+`"`)
}

func newPod(namespace, name string, annotations map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
}

// injectedPod is a Pod as the webhook leaves it, as far as the policy looks.
func injectedPod(namespace, name string) *corev1.Pod {
	pod := newPod(namespace, name, map[string]string{egress.AnnotationTarget: "external.system.com"})
	pod.Labels = labelsFor("external.system.com")
	pod.Spec.HostAliases = []corev1.HostAlias{alias("external.system.com")}
	return pod
}

// labelsFor are the labels that the webhook gives a Pod for hosts.
func labelsFor(hosts ...string) map[string]string {
	labels := map[string]string{egress.LabelInjected: egress.LabelValue}
	for _, host := range hosts {
		labels[egress.HostLabel(host)] = egress.LabelValue
	}
	return labels
}

// mount mounts the volume that volume adds.
func mount(container *corev1.Container, paths ...string) {
	for _, path := range paths {
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "files", MountPath: path})
	}
}

func volume(pod *corev1.Pod) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: "files", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
}

func alias(host string) corev1.HostAlias {
	return corev1.HostAlias{IP: egress.Sinkhole{}.Address(host).String(), Hostnames: []string{host}}
}

// newWorkload is a workload of one of the six kinds, whose Pod template has no annotations.
func newWorkload(kind, namespace, name string) *unstructured.Unstructured {
	labels := map[string]any{"app": name}
	template := map[string]any{
		"metadata": map[string]any{"labels": labels},
		"spec": map[string]any{
			"containers": []any{map[string]any{"name": "app", "image": "app"}},
		},
	}
	spec := map[string]any{"template": template}
	apiVersion := "apps/v1"
	switch kind {
	case "Job", "CronJob":
		apiVersion = "batch/v1"
		template["spec"].(map[string]any)["restartPolicy"] = "Never"
	case "StatefulSet":
		spec["serviceName"] = name
		fallthrough
	default:
		spec["selector"] = map[string]any{"matchLabels": labels}
	}
	if kind == "CronJob" {
		spec = map[string]any{"schedule": "@daily", "jobTemplate": map[string]any{"spec": spec}}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": apiVersion,
		"kind":       kind,
		"metadata":   map[string]any{"namespace": namespace, "name": name},
		"spec":       spec,
	}}
}

// annotateTemplate sets an annotation of a workload's Pod template.
func annotateTemplate(t *testing.T, workload *unstructured.Unstructured, name, value string) {
	t.Helper()
	set(t, workload, value, append(templateAnnotations(workload), name)...)
}

// unannotateTemplate removes all of them.
func unannotateTemplate(workload *unstructured.Unstructured) {
	unstructured.RemoveNestedField(workload.Object, templateAnnotations(workload)...)
}

func templateAnnotations(workload *unstructured.Unstructured) []string {
	if workload.GetKind() == "CronJob" {
		return []string{"spec", "jobTemplate", "spec", "template", "metadata", "annotations"}
	}
	return []string{"spec", "template", "metadata", "annotations"}
}

// set sets the value of a field.
func set(t *testing.T, object *unstructured.Unstructured, value any, path ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
		t.Fatal(err)
	}
}

func controlledBy(apiVersion, kind string) []metav1.OwnerReference {
	owners := ownedBy(apiVersion, kind)
	controller := true
	owners[0].Controller = &controller
	return owners
}

// ownedBy is an owner that isn't the controller.
func ownedBy(apiVersion, kind string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{
		APIVersion: apiVersion, Kind: kind, Name: "owner", UID: types.UID("6f1f5cb5-3f4e-4a24-9b5c-1d3f63d5e8a1"),
	}}
}

// generated is an Istio object as the controller writes it, as far as the policy looks.
func generated(namespace, kind string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": mesh.GroupVersion().String(),
		"kind":       kind,
		"metadata":   map[string]any{"namespace": namespace, "name": egress.ObjectName("external.system.com")},
		"spec":       istioSpec(kind, "external.system.com"),
	}}
	object.SetLabels(map[string]string{egress.LabelManagedBy: egress.ValueManagedBy})
	object.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: "mtls.egress/v1alpha1",
		Kind:       "EgressTarget",
		Name:       "external.system.com",
		UID:        types.UID("0c4f9bb0-57a8-4d3b-8a4c-4d3c8d1c6b52"),
	}})
	return object
}

func istioSpec(kind, host string) map[string]any {
	switch kind {
	case mesh.KindVirtualService:
		return map[string]any{
			"hosts": []any{host},
			"http":  []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": host}}}}},
		}
	case mesh.KindDestinationRule:
		return map[string]any{
			"host": host,
			"trafficPolicy": map[string]any{
				"tls": map[string]any{"mode": "MUTUAL", "clientCertificate": "cert", "privateKey": "key"},
			},
		}
	default:
		return map[string]any{
			"hosts": []any{host}, "resolution": "DNS", "location": "MESH_EXTERNAL",
			"ports": []any{map[string]any{"number": int64(443), "name": "https", "protocol": "HTTPS"}},
		}
	}
}
