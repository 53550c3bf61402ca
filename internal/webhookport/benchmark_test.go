package webhookport_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/webhookport"
	"mtls.egress/webhook/internal/workload"
)

// BenchmarkAdmission answers the request for a Pod as a ReplicaSet creates it, from the body to the
// answer, without the connection.
func BenchmarkAdmission(b *testing.B) {
	logf.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(io.Discard, nil)))
	egressTarget := v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "external.system.com"}}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		b.Fatal(err)
	}
	// The cache as it is without its copies: the fake one would take most of the time.
	cached := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build(), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return nil
		},
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
			if found, ok := list.(*v1alpha1.EgressTargetList); ok {
				found.Items = []v1alpha1.EgressTarget{egressTarget}
			}
			return nil
		},
	})
	registry := prometheus.NewRegistry()
	handler, err := mutate.NewHandler(mutate.Options{
		Cached: cached, Live: cached, Workloads: workload.Known(), Policy: policy.Cluster{Other: policy.OtherAllow},
		DynamicDNS: func() bool { return false },
		Injector:   func() interception.Injector { return interception.Injector{} }, Registry: registry,
	})
	if err != nil {
		b.Fatal(err)
	}
	port, err := webhookport.NewAdmission(&admission.Webhook{Handler: handler}, nil, registry)
	if err != nil {
		b.Fatal(err)
	}
	body := podReview(b)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		request := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/mutate", bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		port.ServeHTTP(answer, request)
		if answer.Code != http.StatusOK || !bytes.Contains(answer.Body.Bytes(), []byte("JSONPatch")) {
			b.Fatal(answer.Code, answer.Body)
		}
	}
}

// podReview is the body of a request for a Pod as the API server sends it.
func podReview(b *testing.B) []byte {
	b.Helper()
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "shop-6d4cf56db6-", Namespace: "project",
			Labels:      map[string]string{"app": "shop", "pod-template-hash": "6d4cf56db6"},
			Annotations: map[string]string{"mtls.egress/target": "external.system.com", "prometheus.io/scrape": "true"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-6d4cf56db6", UID: "5f2f1f6e-7a0b-4c55-9d0e-1a2b3c4d5e6f",
				Controller: new(true), BlockOwnerDeletion: new(true),
			}},
			ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "kube-controller-manager", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1",
				Time: &metav1.Time{Time: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)},
				FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:annotations":{".":{},"f:mtls.egress/target":{}},` +
					`"f:generateName":{},"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{}},"f:ownerReferences":{".":{},` +
					`"k:{\"uid\":\"5f2f1f6e-7a0b-4c55-9d0e-1a2b3c4d5e6f\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"app\"}":` +
					`{".":{},"f:env":{".":{},"k:{\"name\":\"PARTNER\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},` +
					`"f:imagePullPolicy":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":` +
					`{".":{},"f:containerPort":{},"f:name":{},"f:protocol":{}}},"f:resources":{},"f:terminationMessagePath":{},` +
					`"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},` +
					`"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}`)},
			}},
		},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{
				Name: "istio-proxy", Image: "registry.example/proxy:1.0", RestartPolicy: new(corev1.ContainerRestartPolicyAlways),
			}},
			Containers: []corev1.Container{{
				Name: "app", Image: "registry.example/shop:1.0", ImagePullPolicy: corev1.PullIfNotPresent,
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
				Env:   []corev1.EnvVar{{Name: "PARTNER", Value: "http://external.system.com"}},
				VolumeMounts: []corev1.VolumeMount{{
					Name: "kube-api-access-x7k2p", ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount",
				}},
				TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			}},
			Volumes: []corev1.Volume{{Name: "kube-api-access-x7k2p", VolumeSource: corev1.VolumeSource{
				Projected: &corev1.ProjectedVolumeSource{DefaultMode: new(int32(420)), Sources: []corev1.VolumeProjection{
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: new(int64(3607)), Path: "token"}},
				}},
			}}},
			RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: new(int64(30)),
			DNSPolicy: corev1.DNSClusterFirst, ServiceAccountName: "default", SchedulerName: "default-scheduler",
			Tolerations: []corev1.Toleration{
				{Key: "node.kubernetes.io/not-ready", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(300))},
				{Key: "node.kubernetes.io/unreachable", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(300))},
			},
			EnableServiceLinks: new(true), PreemptionPolicy: new(corev1.PreemptLowerPriority),
		},
	}
	object, err := json.Marshal(pod)
	if err != nil {
		b.Fatal(err)
	}
	podKind := metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}
	pods := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "0b4d2c46-3a9f-4bd0-8f0a-0a6f3f2f7a11", Kind: podKind, Resource: pods, RequestKind: &podKind, RequestResource: &pods,
			Namespace: "project", Operation: admissionv1.Create, DryRun: new(false),
			UserInfo: authenticationv1.UserInfo{
				Username: "system:serviceaccount:kube-system:replicaset-controller", UID: "9d7b5c0e-11f0-4c55-9d0e-1a2b3c4d5e6f",
				Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
			},
			Object:  runtime.RawExtension{Raw: object},
			Options: runtime.RawExtension{Raw: []byte(`{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}`)},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	return body
}
