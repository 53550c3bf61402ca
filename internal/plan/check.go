package plan

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

// CredentialCheck is the result of checking one credential.
type CredentialCheck struct {
	SecretName string
	// Pods is the number of Pods that present the credential.
	Pods int32
	// Layout is the zero value if it is unknown.
	Layout egress.Layout
	// Credential is nil if the certificate was not read or could not be parsed.
	Credential *credential.Credential
	// ServerCA is nil if it was not read, could not be parsed, or is that of the system.
	ServerCA *credential.ServerCA
	// Reason and Message explain why the credential can't be used. Empty for a usable credential.
	Reason, Message string
	// Err is the validation error of the Secret's content, or nil if the content is not the problem.
	Err error

	// longestWarning caps the warning periods of the certificate.
	longestWarning time.Duration
	// endsWithin is the shortest warning period that has begun for the certificate, or 0. caEndsWithin
	// is that of the CA of the server.
	endsWithin, caEndsWithin time.Duration
}

// Usable reports whether Pods can call with the credential.
func (c CredentialCheck) Usable() bool { return c.Reason == "" }

// AssumedCredential returns the check of a Secret that isn't read. It assumes a valid certificate
// under the keys that t expects.
func AssumedCredential(t egress.Target, secretName string, pods int32) CredentialCheck {
	return CredentialCheck{SecretName: secretName, Pods: pods, Layout: credential.ExpectedLayout(t)}
}

// usable returns the credentials that can be used, without the assumed ones.
func usable(checks []CredentialCheck) []*credential.Credential {
	var found []*credential.Credential
	for _, c := range checks {
		if c.Usable() && c.Credential != nil {
			found = append(found, c.Credential)
		}
	}
	return found
}

// The reasons for a credential that could not be read. All other reasons are credential.Reasons.
const (
	reasonSecretMissing    = "SecretMissing"
	reasonConfigMapMissing = "ConfigMapMissing"
	reasonReadFailed       = "ReadFailed"
)

// Unreadable returns the check of a credential whose Secret or ConfigMap could not be read from the
// API server.
func Unreadable(secretName string, pods int32, err error) CredentialCheck {
	return CredentialCheck{SecretName: secretName, Pods: pods, Reason: reasonReadFailed, Message: err.Error()}
}

// CheckCredential reports whether the Secret can be used as the credential of t at the time now.
// secret is nil if it doesn't exist.
func CheckCredential(
	t egress.Target, secretName string, pods int32, secret *corev1.Secret, now time.Time,
) CredentialCheck {
	c := CredentialCheck{SecretName: secretName, Pods: pods}
	if secret == nil {
		c.Reason = reasonSecretMissing
		c.Message = fmt.Sprintf("the Secret %s doesn't exist in the namespace %s; create it with: %s",
			secretName, t.Namespace, createCommand(t, secretName))
		if command := importCommand(t, secretName); command != "" {
			c.Message += "; or from a .p12 file with: " + command
		}
		if t.Issuer != nil && secretName == t.SecretName {
			c.Message = fmt.Sprintf("the Secret %s doesn't exist yet in the namespace %s; "+
				"waiting for cert-manager to issue it, see the condition CertificateIssued", secretName, t.Namespace)
		}
		return c
	}
	if c.Layout, c.Credential, c.Err = credential.CheckSecret(t, secret, now); c.Err != nil {
		c.Reason, c.Message = refusal("Secret "+secretName, c.Err)
	}
	if c.Credential != nil {
		c.ServerCA = c.Credential.ServerCA
		_, byCertManager := credential.IssuedFor(secret.Annotations)
		c.longestWarning = longestWarning(t, secretName, byCertManager, c.Credential)
	}
	return c
}

// WithServerCA adds the check of the ConfigMap that holds the CA of t's server. configMap is nil if
// it doesn't exist. Without the CA, no credential can be used. A problem with the credential itself
// takes precedence.
func (c CredentialCheck) WithServerCA(t egress.Target, configMap *corev1.ConfigMap, now time.Time) CredentialCheck {
	if !c.Usable() {
		return c
	}
	source := t.ServerCA.ConfigMap
	if configMap == nil {
		c.Reason = reasonConfigMapMissing
		c.Message = fmt.Sprintf(
			"the ConfigMap %s, which holds the server's CA, doesn't exist in the namespace %s; create it "+
				"with: kubectl create configmap %s -n %s --from-file=%s=server-ca.crt",
			source.Name, t.Namespace, source.Name, t.Namespace, source.Key,
		)
		return c
	}
	var err error
	if c.ServerCA, err = credential.CheckConfigMap(configMap, source.Key, now); err != nil {
		c.Reason, c.Message = refusal("ConfigMap "+source.Name, err)
	}
	return c
}

// refusal returns the reason and the message for an object that can't be used.
func refusal(object string, err error) (reason, message string) {
	reason = "Unusable"
	if refused, ok := errors.AsType[*credential.RefusedError](err); ok {
		reason = string(refused.Reason())
	}
	return reason, fmt.Sprintf("the %s can't be used: %s", object, err)
}

// createCommand returns the kubectl command that creates the Secret with the keys that t expects.
func createCommand(t egress.Target, secretName string) string {
	layout := credential.ExpectedLayout(t)
	files := []string{layout.Certificate + "=client.crt", layout.PrivateKey + "=client.key"}
	if layout.ServerCA != "" {
		files = append(files, layout.ServerCA+"=server-ca.crt")
	}
	return fmt.Sprintf(
		"kubectl create secret generic %s -n %s --from-file=%s",
		secretName, t.Namespace, strings.Join(files, " --from-file="),
	)
}

// importCommand returns the command that creates the Secret from a PKCS#12 file, or "" if its keys
// are the user's, or the CA of the server is not in it: the command would also write the
// EgressTarget.
func importCommand(t egress.Target, secretName string) string {
	command := "mtls-egress-webhook credential import FILE.p12 --target " + t.Host
	switch credential.ExpectedLayout(t) {
	case credential.CertKeyLayout():
	case credential.TLSLayout():
		command += " --layout tls"
	default:
		return ""
	}
	if secretName != egress.DefaultSecretName(t.Host) {
		command += " --secret-name " + secretName
	}
	return command + fmt.Sprintf(" --server-ca server-ca.crt -n %s | kubectl apply -f -", t.Namespace)
}
