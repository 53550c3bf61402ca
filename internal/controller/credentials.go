package controller

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/target"
)

// finding is what is known of one credential.
type finding struct {
	secretName string
	pods       int32
	// layout is the zero value when it could not be found out.
	layout target.Layout
	// credential is nil when the certificate could not be read.
	credential *credential.Credential
	// longestWarning bounds how long before its end the certificate is warned of.
	longestWarning time.Duration
	// endsWithin is the shortest warning period within which the certificate ends, 0 while it is far from that.
	endsWithin time.Duration
	// reason and message say why it can't be used; empty when it can.
	reason  string
	message string
}

func (f finding) usable() bool {
	return f.reason == ""
}

// usableCredentials are those of findings.
func usableCredentials(findings []finding) []*credential.Credential {
	var found []*credential.Credential
	for _, f := range findings {
		if f.usable() {
			found = append(found, f.credential)
		}
	}
	return found
}

// The reasons of a credential that could not be read; all others are credential.Reasons.
const (
	reasonSecretMissing    = "SecretMissing"
	reasonConfigMapMissing = "ConfigMapMissing"
	// reasonReadFailed says that the API server did not answer with the Secret or the ConfigMap.
	reasonReadFailed = "ReadFailed"
)

// judge says whether the Secret can be used as the credential of t at the time now; nil is one that doesn't exist.
func judge(t target.Target, secretName string, pods int32, secret *corev1.Secret, now time.Time) finding {
	f := finding{secretName: secretName, pods: pods}
	if secret == nil {
		f.reason = reasonSecretMissing
		f.message = fmt.Sprintf("the Secret %s doesn't exist in the namespace %s; create it with: %s",
			secretName, t.Namespace, createCommand(t, secretName))
		if t.Issuer != nil && secretName == t.SecretName {
			f.message = fmt.Sprintf("the Secret %s doesn't exist yet in the namespace %s; cert-manager is asked to issue it, see the condition CertificateIssued", secretName, t.Namespace)
		}
		return f
	}
	var err error
	if f.layout, f.credential, err = credential.JudgeSecret(t, secret, now); err != nil {
		f.reason, f.message = refusal("Secret "+secretName, err)
	}
	if f.credential != nil {
		_, byCertManager := credential.IssuedFor(secret.Annotations)
		f.longestWarning = longestWarning(t, secretName, byCertManager, f.credential)
	}
	return f
}

// withServerCA adds what is wrong with the ConfigMap that has the CA of t's server; nil is one that doesn't exist. Without the CA no credential can
// be used, and what is wrong with the credential itself goes before.
func (f finding) withServerCA(t target.Target, configMap *corev1.ConfigMap, now time.Time) finding {
	if !f.usable() {
		return f
	}
	source := t.ServerCA.ConfigMap
	if configMap == nil {
		f.reason = reasonConfigMapMissing
		f.message = fmt.Sprintf("the ConfigMap %s, which has the CA of the server, doesn't exist in the namespace %s; create it with: kubectl create configmap %s -n %s --from-file=%s=server-ca.crt",
			source.Name, t.Namespace, source.Name, t.Namespace, source.Key)
		return f
	}
	if err := credential.JudgeConfigMap(configMap, source.Key, now); err != nil {
		f.reason, f.message = refusal("ConfigMap "+source.Name, err)
	}
	return f
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
func createCommand(t target.Target, secretName string) string {
	layout := credential.ExpectedLayout(t)
	files := []string{layout.Certificate + "=client.crt", layout.PrivateKey + "=client.key"}
	if layout.ServerCA != "" {
		files = append(files, layout.ServerCA+"=server-ca.crt")
	}
	return fmt.Sprintf("kubectl create secret generic %s -n %s --from-file=%s", secretName, t.Namespace, strings.Join(files, " --from-file="))
}
