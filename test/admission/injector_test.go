package admission_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"

	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/await"
)

// injector is a webhook for the Pods of one namespace that remembers the Pods that it sees and may
// change them.
type injector struct {
	mutex sync.Mutex
	seen  []corev1.Pod
	// change is what it does to a Pod; it can be called at any time.
	change func(*corev1.Pod)
}

// inject starts an injector with a MutatingWebhookConfiguration of that name, and returns when the
// API server asks it.
func (w *world) inject(configuration string, change func(*corev1.Pod)) *injector {
	w.Helper()
	i := &injector{change: change}
	server := httptest.NewTLSServer(http.HandlerFunc(i.serve))
	w.Cleanup(server.Close)
	object := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: configuration},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    "injector.test.mtls.egress",
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: new(
					server.URL,
				), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule: admissionregistrationv1.Rule{
					APIGroups:   []string{""},
					APIVersions: []string{"v1"},
					Resources:   []string{"pods"},
				},
			}},
		}},
	}
	if err := w.Create(w.Context(), object); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := w.Delete(context.WithoutCancel(w.Context()), object); err != nil {
			w.Error(err)
		}
	})
	await.Eventually(w, "the API server asks the injector", func() error {
		probe := plain("probe")
		probe.Namespace = w.namespace
		if err := w.Create(w.Context(), probe, client.DryRunAll); err != nil {
			return err
		}
		if len(i.pods()) == 0 {
			return errors.New("it was not asked")
		}
		return nil
	})
	i.forget()
	return i
}

func (i *injector) serve(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	var pod corev1.Pod
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil ||
		json.Unmarshal(review.Request.Object.Raw, &pod) != nil {
		http.Error(w, "this is no Pod", http.StatusBadRequest)
		return
	}
	i.mutex.Lock()
	i.seen = append(i.seen, *pod.DeepCopy())
	i.mutex.Unlock()
	if i.change != nil {
		i.change(&pod)
	}
	response := &admissionv1.AdmissionResponse{
		UID:       review.Request.UID,
		Allowed:   true,
		PatchType: ptr.To(admissionv1.PatchTypeJSONPatch),
	}
	changed, err := json.Marshal(pod)
	if err == nil {
		response.Patch, err = patchOf(review.Request.Object.Raw, changed)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	review.Request, review.Response = nil, response
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func patchOf(before, after []byte) ([]byte, error) {
	operations, err := jsonpatch.CreatePatch(before, after)
	if err != nil {
		return nil, err
	}
	return json.Marshal(operations)
}

// pods are those that the injector was asked about, in order.
func (i *injector) pods() []corev1.Pod {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return slices.Clone(i.seen)
}

func (i *injector) forget() {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.seen = nil
}

// asIstio injects as Istio does, with the volumes and mounts of its two annotations; as a native
// sidecar where native says so.
func asIstio(native bool) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		sidecar := corev1.Container{Name: "istio-proxy", Image: "proxy"}
		var volumes []corev1.Volume
		// Istio, too, ignores volumes that it can't read.
		_ = json.Unmarshal([]byte(pod.Annotations["sidecar.istio.io/userVolume"]), &volumes)
		_ = json.Unmarshal([]byte(pod.Annotations["sidecar.istio.io/userVolumeMount"]), &sidecar.VolumeMounts)
		pod.Spec.Volumes = append(pod.Spec.Volumes, volumes...)
		if native {
			sidecar.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, sidecar)
			return
		}
		pod.Spec.Containers = append(pod.Spec.Containers, sidecar)
	}
}
