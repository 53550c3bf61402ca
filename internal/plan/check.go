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

// CredentialCheck is what is known of one credential.
type CredentialCheck struct {
	SecretName string
	// Pods is how many present it.
	Pods int32
	// Layout is the zero value if it could not be found out.
	Layout egress.Layout
	// Credential is nil if the certificate was not or could not be read.
	Credential *credential.Credential
	// Reason and Message say why it can't be used; empty if it can.
	Reason, Message string
	// Err is what the content of the Secret is refused with; nil if that is not the reason.
	Err error

	// longestWarning bounds how long before its end the certificate is warned of.
	longestWarning time.Duration
	// endsWithin is the shortest warning period within which the certificate ends, 0 while it is far
	// from that.
	endsWithin time.Duration
}

// Usable reports whether Pods can call with the credential.
func (c CredentialCheck) Usable() bool { return c.Reason == "" }

// AssumedCredential is for a Secret that nobody has to look at: it is taken to have the keys that t
// expects, and to be valid.
func AssumedCredential(t egress.Target, secretName string, pods int32) CredentialCheck {
	return CredentialCheck{SecretName: secretName, Pods: pods, Layout: credential.ExpectedLayout(t)}
}

// usable returns the credentials that can be used, without those that are assumed.
func usable(checks []CredentialCheck) []*credential.Credential {
	var found []*credential.Credential
	for _, c := range checks {
		if c.Usable() && c.Credential != nil {
			found = append(found, c.Credential)
		}
	}
	return found
}

// The reasons of a credential that could not be read; all others are credential.Reasons.
const (
	reasonSecretMissing    = "SecretMissing"
	reasonConfigMapMissing = "ConfigMapMissing"
	reasonReadFailed       = "ReadFailed"
)

// Unreadable is for a credential whose Secret or ConfigMap the API server did not answer with.
func Unreadable(secretName string, pods int32, err error) CredentialCheck {
	return CredentialCheck{SecretName: secretName, Pods: pods, Reason: reasonReadFailed, Message: err.Error()}
}

// CheckCredential reports whether the Secret can be used as the credential of t at the time now.
// secret is nil if it doesn't exist.
func CheckCredential(t egress.Target, secretName string, pods int32, secret *corev1.Secret, now time.Time) CredentialCheck {
	c := CredentialCheck{SecretName: secretName, Pods: pods}
	if secret == nil {
		c.Reason = reasonSecretMissing
		c.Message = fmt.Sprintf("the Secret %s doesn't exist in the namespace %s; create it with: %s",
			secretName, t.Namespace, createCommand(t, secretName))
		if t.Issuer != nil && secretName == t.SecretName {
			c.Message = fmt.Sprintf("the Secret %s doesn't exist yet in the namespace %s; cert-manager is asked to issue it, "+
				"see the condition CertificateIssued", secretName, t.Namespace)
		}
		return c
	}
	if c.Layout, c.Credential, c.Err = credential.CheckSecret(t, secret, now); c.Err != nil {
		c.Reason, c.Message = refusal("Secret "+secretName, c.Err)
	}
	if c.Credential != nil {
		_, byCertManager := credential.IssuedFor(secret.Annotations)
		c.longestWarning = longestWarning(t, secretName, byCertManager, c.Credential)
	}
	return c
}

// WithServerCA adds what is wrong with the ConfigMap that has the CA of t's server; nil is one that
// doesn't exist. Without the CA no credential can be used, and what is wrong with the credential
// itself goes before.
func (c CredentialCheck) WithServerCA(t egress.Target, configMap *corev1.ConfigMap, now time.Time) CredentialCheck {
	if !c.Usable() {
		return c
	}
	source := t.ServerCA.ConfigMap
	if configMap == nil {
		c.Reason = reasonConfigMapMissing
		c.Message = fmt.Sprintf("the ConfigMap %s, which has the CA of the server, doesn't exist in the namespace %s; create it "+
			"with: kubectl create configmap %s -n %s --from-file=%s=server-ca.crt",
			source.Name, t.Namespace, source.Name, t.Namespace, source.Key)
		return c
	}
	if err := credential.CheckConfigMap(configMap, source.Key, now); err != nil {
		c.Reason, c.Message = refusal("ConfigMap "+source.Name, err)
	}
	return c
}

// refusal is the reason and the message for an object that can't be used.
func refusal(object string, err error) (reason, message string) {
	reason = "Unusable"
	if refused, ok := errors.AsType[*credential.RefusedError](err); ok {
		reason = string(refused.Reason())
	}
	return reason, fmt.Sprintf("the %s can't be used: %s", object, err)
}

// createCommand is the command that makes the Secret, with the keys that t expects in it.
func createCommand(t egress.Target, secretName string) string {
	layout := credential.ExpectedLayout(t)
	files := []string{layout.Certificate + "=client.crt", layout.PrivateKey + "=client.key"}
	if layout.ServerCA != "" {
		files = append(files, layout.ServerCA+"=server-ca.crt")
	}
	return fmt.Sprintf("kubectl create secret generic %s -n %s --from-file=%s", secretName, t.Namespace, strings.Join(files, " --from-file="))
}
