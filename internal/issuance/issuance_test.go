package issuance

import (
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/plan"
)

func TestIssuanceCondition(t *testing.T) {
	condition := func(
		kind certmanagerv1.CertificateConditionType, status cmmeta.ConditionStatus, reason, message string,
	) certmanagerv1.CertificateCondition {
		return certmanagerv1.CertificateCondition{
			Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: 2,
		}
	}
	ready := condition("Ready", "True", "Ready", "Certificate is up to date and has not expired")
	of := func(conditions ...certmanagerv1.CertificateCondition) certmanagerv1.CertificateStatus {
		return certmanagerv1.CertificateStatus{Conditions: conditions}
	}
	failed := of(
		condition("Ready", "False", "DoesNotExist", "no Secret"),
		condition("Issuing", "False", "Failed", "The request was denied"),
	)
	failed.FailedIssuanceAttempts = new(3)
	denied := of(ready, condition("Issuing", "False", "policy.example.com", "No policy allows it"))
	issuedBefore := of(ready, condition("Issuing", "False", "Issued", "The certificate has been successfully issued"))
	const says = "cert-manager reports for the Certificate c: "
	tests := map[string]struct {
		status     certmanagerv1.CertificateStatus
		generation int64
		want       plan.Condition
	}{
		"just created": {
			of(), 2, plan.False("Issuing", "cert-manager has not processed the Certificate c yet"),
		},
		"being issued": {
			of(
				condition("Ready", "False", "DoesNotExist", "no Secret"),
				condition("Issuing", "True", "DoesNotExist", "Issuing certificate as Secret does not exist"),
			),
			2,
			plan.False("Issuing", says+"Issuing certificate as Secret does not exist"),
		},
		"not ready": {
			of(condition("Ready", "False", "DoesNotExist", "no Secret")), 2, plan.False("Issuing", says+"no Secret"),
		},
		"failed": {
			failed, 2, plan.False("IssuanceFailed", says+"The request was denied; failed attempts: 3"),
		},
		"a renewal denied": {denied, 2, plan.False("IssuanceFailed", says+"No policy allows it")},
		"issued, as reported with server-side apply": {
			issuedBefore,
			2,
			plan.True("Issued", "cert-manager has issued the certificate into the Secret s and renews it"),
		},
		"issued": {
			of(ready), 2, plan.True("Issued", "cert-manager has issued the certificate into the Secret s and renews it"),
		},
		"issued, renewing": {
			of(ready, condition("Issuing", "True", "Renewing", "Renewing certificate")),
			2,
			plan.True("Issued", "cert-manager has issued the certificate into the Secret s and renews it"),
		},
		"issued for a previous generation": {
			of(ready), 3, plan.False("Issuing", says+"Certificate is up to date and has not expired"),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			certificate := &certmanagerv1.Certificate{
				ObjectMeta: metav1.ObjectMeta{Name: "c", Generation: test.generation},
				Spec:       certmanagerv1.CertificateSpec{SecretName: "s"},
				Status:     test.status,
			}
			if diff := cmp.Diff(test.want, issuanceCondition(certificate)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
