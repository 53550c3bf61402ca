package cli

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/golden"
)

const (
	statusHost  = "external.system.com"
	statusOther = "other.example.com"
)

// surveyed is what status finds in a namespace with one target that works, one that doesn't, and
// one that isn't processed.
func surveyed(t *testing.T) survey {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	notAfter := metav1.NewTime(time.Date(2027, time.January, 9, 12, 0, 0, 0, time.UTC))
	target := func(host string, ready metav1.ConditionStatus, reason, message string) *v1alpha1.EgressTarget {
		return &v1alpha1.EgressTarget{
			ObjectMeta: metav1.ObjectMeta{Name: host, Namespace: "project"},
			Status: v1alpha1.EgressTargetStatus{
				NotAfter: &notAfter, Credentials: []v1alpha1.CredentialStatus{{SecretName: egress.DefaultSecretName(host)}},
				Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Reason: reason, Message: message}},
			},
		}
	}
	pod := func(name, owner, targets string, injected bool) *corev1.Pod {
		created := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "project", Annotations: map[string]string{egress.AnnotationTarget: targets},
			Labels: map[string]string{},
		}}
		if owner != "" {
			created.OwnerReferences = []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "StatefulSet", Name: owner, Controller: new(true),
			}}
		}
		if injected {
			created.Labels = map[string]string{egress.LabelInjected: "true", egress.HostLabel(statusHost): "true"}
			created.Spec.Containers = []corev1.Container{{Name: "istio-proxy", Image: "proxyv2:1.30.3"}}
			created.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		return created
	}
	ended := pod("ended", "shop", statusHost, true)
	ended.Status.Phase = corev1.PodSucceeded
	plain := pod("plain", "", "", false)
	plain.Annotations = nil
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		target(statusHost, metav1.ConditionTrue, "Ready", "calls to the host use mutual TLS"),
		target(statusOther, metav1.ConditionFalse, "SecretMissing", "the Secret doesn't exist\x1b[31m"),
		pod("shop-0", "shop", statusHost, true), pod("shop-1", "shop", statusHost, true),
		pod("job", "", statusHost+", "+statusOther+",new.example.com", false), ended, plain,
	).Build()
	found, err := readSurvey(t.Context(), c, []client.ListOption{client.InNamespace("project")})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestStatus(t *testing.T) {
	now := time.Date(2026, time.November, 30, 12, 0, 0, 0, time.UTC)
	for _, output := range []string{outputText, outputWide, outputYAML, outputJSON} {
		t.Run(output, func(t *testing.T) {
			var out bytes.Buffer
			found := surveyed(t)
			if err := found.write(&out, &statusFlags{output: output}, now); err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, filepath.Join("..", "..", "test", "testdata", "cli", "status-"+output+".txt"), out.Bytes())
			if err := found.err(); err == nil || ExitCode(err) != ExitNotFine {
				t.Errorf("error %v, exit code %d", err, ExitCode(err))
			}
		})
	}
}

func TestStatusOfNothing(t *testing.T) {
	var out bytes.Buffer
	if err := (survey{Targets: []targetLine{}, Workloads: []workloadLine{}}).write(
		&out, &statusFlags{output: outputJSON}, time.Now()); err != nil {
		t.Fatal(err)
	}
	var read map[string][]any
	if err := json.Unmarshal(out.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]any{"targets": {}, "workloads": {}}, read); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := (survey{}).err(); err != nil {
		t.Error(err)
	}
}
