// Package issuance requests the credentials of targets that name an issuer from cert-manager. It
// writes their Certificates, and reads the results that cert-manager reports.
package issuance

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/apply"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
)

// The reasons of the condition CertificateIssued.
const (
	reasonIssued               = "Issued"
	reasonIssuing              = "Issuing"
	reasonIssuanceFailed       = "IssuanceFailed"
	reasonCertManagerMissing   = "CertManagerMissing"
	reasonCertificateRefused   = "CertificateRefused"
	reasonCertificateNameTaken = "CertificateNameTaken"
	reasonSecretTaken          = "SecretTaken"
)

// issueLimit limits the wait for cert-manager's webhook, which may take up to 30 seconds to fail
// (webhook.timeoutSeconds of its chart).
const issueLimit = 5 * time.Second

// Issuer writes the Certificates of targets.
type Issuer struct {
	// Live reads from the API server, without a cache.
	Live client.Reader
	// Client writes to the API server.
	Client client.Client
}

// Issue writes the Certificate of t if t names an issuer, and deletes it if t no longer does. It
// returns the condition CertificateIssued, nil for no condition, and whether it can change without
// a watch event. Problems of cert-manager or its webhook don't prevent programming, and the next
// scheduled reconciliation retries. The only error is a stale cache.
func (i Issuer) Issue(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, t egress.Target,
) (issued *plan.Condition, changesUnseen bool, err error) {
	limited, cancel := context.WithTimeout(ctx, issueLimit)
	defer cancel()
	issued, err = i.issue(limited, egressTarget, t)
	switch {
	case err != nil && issued == nil && apply.Stale(err):
		return nil, false, err
	case err != nil:
		log.FromContext(ctx).Error(err, "the certificate of a target can't be issued now")
		if issued == nil {
			issued = new(plan.False(reasonIssuanceFailed, err.Error()))
		}
	case issued == nil:
		return nil, false, nil
	}
	return issued, changes(*issued), nil
}

// changes reports whether a condition can change without a watch event.
func changes(issued plan.Condition) bool {
	return issued.Status != metav1.ConditionTrue && issued.Reason != reasonIssuing &&
		issued.Reason != reasonCertManagerMissing
}

// issue is Issue without the time limit. If it returns an error with a condition, the caller should
// retry.
func (i Issuer) issue(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, t egress.Target,
) (*plan.Condition, error) {
	desired := credential.Issuance(t)
	if desired == nil {
		if meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionCertificateIssued) == nil {
			return nil, nil //nolint:nilnil // no condition
		}
		return nil, i.withdraw(ctx, egressTarget)
	}
	desired.OwnerReferences = []metav1.OwnerReference{mesh.OwnerReference(egressTarget, true)}
	present, err := i.certificate(ctx, client.ObjectKeyFromObject(desired))
	switch {
	case withoutCertManager(err):
		return new(plan.False(reasonCertManagerMissing, fmt.Sprintf(
			"credential.issuerRef requires cert-manager, but it is not installed (no kind Certificate in %s); install it, or "+
				"put the credential into the Secret %s yourself and remove issuerRef",
			certmanagerv1.SchemeGroupVersion, t.SecretName))), nil
	case err != nil:
		return nil, err
	case present != nil && !mesh.Owned(present):
		return new(plan.False(reasonCertificateNameTaken,
			fmt.Sprintf("the Certificate %s exists and does not belong to this EgressTarget; rename it", desired.Name))), nil
	}
	if taken, err := i.secretTaken(ctx, desired); err != nil || taken != nil {
		return taken, err
	}
	if present == nil || !credential.SameIssuance(present, desired) || !apply.OwnedAsDesired(present, desired) {
		applied, err := i.writeCertificate(ctx, present, desired)
		switch {
		case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
			return new(plan.False(reasonCertificateRefused, "the Certificate was rejected: "+err.Error())), nil
		case apply.Stale(err):
			return nil, err
		case err != nil:
			err = fmt.Errorf("write the Certificate %s: %w", desired.Name, err)
			return new(plan.False(reasonIssuanceFailed, err.Error())), err
		}
		present = applied
	}
	return new(issuanceCondition(present)), nil
}

// withoutCertManager reports whether err means that cert-manager is not installed. If it was
// uninstalled, the kind is still known here, but the API server has no such path.
func withoutCertManager(err error) bool {
	return meta.IsNoMatchError(err) ||
		apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// secretTaken returns a condition if the Secret of a Certificate exists and was not issued for it,
// because cert-manager would overwrite its content. Otherwise it returns nil.
func (i Issuer) secretTaken(ctx context.Context, desired *certmanagerv1.Certificate) (*plan.Condition, error) {
	secret, err := absent.ReadByName[corev1.Secret](ctx, i.Live, desired.Namespace, desired.Spec.SecretName)
	if err != nil || secret == nil {
		return nil, err
	}
	if certificate, issued := credential.IssuedFor(secret.Annotations); !issued || certificate != desired.Name {
		return new(plan.False(reasonSecretTaken, fmt.Sprintf(
			"the Secret %s exists but was not issued for the Certificate %s, so cert-manager would overwrite its content; "+
				"delete the Secret, or set another name in credential.secretName",
			desired.Spec.SecretName, desired.Name))), nil
	}
	return nil, nil //nolint:nilnil // not taken
}

// issuanceCondition returns the condition CertificateIssued from the status of a Certificate.
func issuanceCondition(certificate *certmanagerv1.Certificate) plan.Condition {
	find := func(kind certmanagerv1.CertificateConditionType) certmanagerv1.CertificateCondition {
		for _, condition := range certificate.Status.Conditions {
			if condition.Type == kind {
				return condition
			}
		}
		return certmanagerv1.CertificateCondition{}
	}
	ready, issuing := find(certmanagerv1.CertificateConditionReady), find(certmanagerv1.CertificateConditionIssuing)
	said := func(condition certmanagerv1.CertificateCondition) string {
		if condition.Message == "" {
			return "cert-manager has not processed the Certificate " + certificate.Name + " yet"
		}
		return "cert-manager reports for the Certificate " + certificate.Name + ": " + condition.Message
	}
	switch {
	case issuing.Status == cmmeta.ConditionFalse && issuing.Reason != certmanagerv1.CertificateRequestReasonIssued:
		// The reason is copied from the condition of the CertificateRequest. For a denied request, it
		// names what denied it, for example a policy.
		// https://github.com/cert-manager/cert-manager/blob/v1.21.2/pkg/controller/certificates/issuing/issuing_controller.go
		tries := ""
		if attempts := certificate.Status.FailedIssuanceAttempts; attempts != nil {
			tries = "; failed attempts: " + strconv.Itoa(*attempts)
		}
		return plan.False(reasonIssuanceFailed, said(issuing)+tries)
	case ready.Status == cmmeta.ConditionTrue && ready.ObservedGeneration == certificate.Generation:
		return plan.True(reasonIssued,
			"cert-manager has issued the certificate into the Secret "+certificate.Spec.SecretName+" and renews it")
	case issuing.Status == cmmeta.ConditionTrue:
		return plan.False(reasonIssuing, said(issuing))
	default:
		return plan.False(reasonIssuing, said(ready))
	}
}

// certificate reads a Certificate from the API server. It returns nil if the Certificate doesn't
// exist. Without cert-manager in the cluster, withoutCertManager is true for the error.
func (i Issuer) certificate(
	ctx context.Context, key types.NamespacedName,
) (found *certmanagerv1.Certificate, err error) {
	object := newCertificateObject()
	err = i.Live.Get(ctx, key, object)
	switch {
	case err == nil:
		return mesh.Typed[certmanagerv1.Certificate](object)
	case withoutCertManager(err), !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("read the Certificate %s: %w", key.Name, err)
	}
	return found, nil
}

// writeCertificate updates present to desired, or creates it, and returns the stored object. It
// doesn't use server-side apply, which would preserve additions of other managers: additional
// names, or fields that cert-manager's webhook rejects in combination with ours.
func (i Issuer) writeCertificate(
	ctx context.Context, present, desired *certmanagerv1.Certificate,
) (*certmanagerv1.Certificate, error) {
	log.FromContext(ctx).Info("writing", "object", "Certificate "+desired.Name)
	if present == nil {
		object, err := mesh.Unstructured(desired)
		if err != nil {
			return nil, err
		}
		if err := i.Client.Create(ctx, object); err != nil {
			return nil, err
		}
		return mesh.Typed[certmanagerv1.Certificate](object)
	}
	changed := credential.Reissuance(present, desired)
	changed.Labels = labels.Merge(present.Labels, desired.Labels)
	changed.OwnerReferences = append(
		slices.DeleteFunc(changed.OwnerReferences, mesh.IsEgressTarget),
		desired.OwnerReferences...)
	before, err := mesh.Unstructured(present)
	if err != nil {
		return nil, err
	}
	object, err := mesh.Unstructured(changed)
	if err != nil {
		return nil, err
	}
	// With the resource version, a change in the meantime is a conflict.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := i.Client.Patch(ctx, object, patch); err != nil {
		return nil, err
	}
	return mesh.Typed[certmanagerv1.Certificate](object)
}

// withdraw deletes the Certificate of a target that no longer names an issuer. The Secret stays,
// because Pods mount it. That is also cert-manager's default for deleted Certificates
// (https://cert-manager.io/docs/usage/certificate/#cleaning-up-secrets-when-certificates-are-deleted).
func (i Issuer) withdraw(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	key := types.NamespacedName{Namespace: egressTarget.Namespace, Name: egress.ObjectName(egressTarget.Name)}
	present, err := i.certificate(ctx, key)
	if withoutCertManager(err) || err == nil && (present == nil || !mesh.Owned(present)) {
		return nil
	}
	if err != nil {
		return err
	}
	object := newCertificateObject()
	object.SetNamespace(present.Namespace)
	object.SetName(present.Name)
	log.FromContext(ctx).Info("deleting", "object", "Certificate "+present.Name)
	err = i.Client.Delete(ctx, object, client.Preconditions{UID: new(present.UID)})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete the Certificate %s: %w", present.Name, err)
	}
	return nil
}

func newCertificateObject() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(certmanagerv1.SchemeGroupVersion.WithKind(certmanagerv1.CertificateKind))
	return object
}
