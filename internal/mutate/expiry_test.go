package mutate_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/workload"
)

func TestACertificateThatEndsSoonIsWarnedOf(t *testing.T) {
	end := metav1.NewTime(time.Date(2026, 5, 8, 12, 0, 0, 0, time.UTC))
	within := &metav1.Duration{Duration: 7 * 24 * time.Hour}
	const secretName = "external-system-mtls-data"
	tests := map[string]struct {
		known []v1alpha1.CredentialStatus
		want  []string
	}{
		"nothing is known": {},
		"far from its end": {known: []v1alpha1.CredentialStatus{{SecretName: secretName, NotAfter: &end}}},
		"another Secret's": {
			known: []v1alpha1.CredentialStatus{{SecretName: "another", NotAfter: &end, EndsWithin: within}},
		},
		"one that this Pod presents": {
			known: []v1alpha1.CredentialStatus{{SecretName: secretName, NotAfter: &end, EndsWithin: within}},
			want: []string{
				"the client certificate for external.system.com in the Secret external-system-mtls-data is valid " +
					"only until 2026-05-08T12:00:00Z; update the Secret with a new one",
			},
		},
		"one that has expired": {
			known: []v1alpha1.CredentialStatus{
				{SecretName: secretName, NotAfter: &end, EndsWithin: within, Reason: "CertificateExpired"},
			},
			want: []string{
				"the client certificate for external.system.com in the Secret external-system-mtls-data is valid " +
					"only until 2026-05-08T12:00:00Z; update the Secret with a new one",
			},
		},
		"its CA of the server ends soon, is no CA and is not all readable": {
			known: []v1alpha1.CredentialStatus{{SecretName: secretName, ServerCA: &v1alpha1.ServerCAStatus{
				Subject: "CN=external.system.com", NotAfter: &end, EndsWithin: within, NotCA: true, Skipped: 2,
			}}},
			want: []string{
				"the CA of the server external.system.com in the Secret external-system-mtls-data has certificates that can't " +
					"be read: 2; the condition ServerCAAtRisk of the EgressTarget names them",
				"the CA of the server external.system.com in the Secret external-system-mtls-data is not a CA but the " +
					"certificate of a server (CN=external.system.com), so calls fail after the partner renews it; ask the " +
					"partner for the CA that issued it",
				"the CA of the server external.system.com in the Secret external-system-mtls-data is valid only until " +
					"2026-05-08T12:00:00Z; ask the partner for the current one, and add it",
			},
		},
		"its CA of the server is far from its end": {
			known: []v1alpha1.CredentialStatus{{SecretName: secretName, ServerCA: &v1alpha1.ServerCAStatus{
				Subject: "CN=Partner CA", NotAfter: &end,
			}}},
		},
		"a Secret that has gone since": {
			known: []v1alpha1.CredentialStatus{{SecretName: secretName, Reason: "SecretMissing"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := annotated(func(*corev1.Pod) {})
			encoded, err := json.Marshal(pod)
			if err != nil {
				t.Fatal(err)
			}
			subject, err := mutate.Decode(workload.Known().ByKind(), schema.GroupKind{Kind: "Pod"}, encoded)
			if err != nil {
				t.Fatal(err)
			}
			egressTarget := &v1alpha1.EgressTarget{
				ObjectMeta: metav1.ObjectMeta{Name: "external.system.com"},
				Status:     v1alpha1.EgressTargetStatus{Credentials: test.known},
			}
			result := subject.Mutate(mutate.Facts{
				Namespace: "project", Rules: everyHost,
				EgressTargets: map[string]*v1alpha1.EgressTarget{"external.system.com": egressTarget},
			})
			if diff := cmp.Diff(test.want, mutate.Texts(result.Warnings)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(result.Errors) > 0 || len(result.Operations) == 0 {
				t.Errorf("the Pod is not injected: %v", result.Errors)
			}
		})
	}
}
