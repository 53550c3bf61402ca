package controller

import (
	"errors"
	"fmt"
	"strings"
	"time"

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
	// reason and message say why it can't be used; empty when it can.
	reason  string
	message string
}

func (f finding) usable() bool {
	return f.reason == ""
}

// reasonSecretMissing is the reason of a credential whose Secret doesn't exist; all others are credential.Reasons.
const reasonSecretMissing = "SecretMissing"

// judge says whether the Secret can be used as the credential of t at the time now. A Secret that doesn't exist has nil data.
func judge(t target.Target, secretName string, pods int32, data map[string][]byte, now time.Time) finding {
	f := finding{secretName: secretName, pods: pods}
	if data == nil {
		f.reason = reasonSecretMissing
		f.message = fmt.Sprintf("the Secret %s doesn't exist in the namespace %s; create it with: %s",
			secretName, t.Namespace, createCommand(t, secretName))
		return f
	}
	var err error
	if f.layout, err = credential.LayoutOf(t, data); err != nil {
		return f.refused(err)
	}
	if f.credential, err = credential.Judge(data, f.layout, now); err != nil {
		return f.refused(err)
	}
	return f
}

func (f finding) refused(err error) finding {
	f.reason = "Unusable"
	if refused, ok := errors.AsType[*credential.RefusedError](err); ok {
		f.reason = string(refused.Reason())
	}
	f.message = fmt.Sprintf("the Secret %s can't be used: %s", f.secretName, err)
	return f
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

// expiresSoon says whether a certificate is near its end: less than a fifth of its life is left, and less than 14 days. The
// first lets short-lived certificates be renewed at two thirds of their life, as cert-manager does, without a word.
func expiresSoon(c *credential.Credential, now time.Time) bool {
	return !now.Before(soon(c))
}

// soon is when expiresSoon begins.
func soon(c *credential.Credential) time.Time {
	const longest = 14 * 24 * time.Hour
	return c.NotAfter.Add(-min(longest, c.NotAfter.Sub(c.NotBefore)/5))
}
