package credential

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
)

// CheckSecret detects the layout of a Secret with the credential of t, and validates it with
// [Check]. It also checks that the CA of the server was chosen. If the layout can't be detected,
// the returned layout is the zero value, and the error is a [*RefusedError] only about the layout.
func CheckSecret(t egress.Target, secret *corev1.Secret, now time.Time) (egress.Layout, *Credential, error) {
	layout, err := LayoutOf(t, secret)
	if layout == (egress.Layout{}) {
		return layout, nil, err
	}
	credential, checkErr := Check(secret.Data, layout, now)
	problems := append(problemsOf(err), problemsOf(checkErr)...)
	return layout, credential, refuseKeys("the Secret", secret.Data, problems...)
}

func problemsOf(err error) []Problem {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return refused.Problems
	}
	return nil
}

// LayoutOf returns the keys of a Secret that hold the credential of t. They are the keys in the
// EgressTarget, or the known layout of the Secret. The layout contains the CA of the server only if
// t expects it in this Secret. The error is a [*RefusedError]. If its reason is
// [ServerCANotChosen], the layout is also returned.
func LayoutOf(t egress.Target, secret *corev1.Secret) (egress.Layout, error) {
	if t.Keys != nil {
		layout := ExpectedLayout(t)
		if t.ServerCA.InSecret() && t.ServerCA.SecretKey == "" {
			layout.ServerCA = knownCA(secret.Data)
		}
		return layout, checkServerCAChosen(t, secret, layout)
	}
	layout, err := DetectLayout(secret.Data)
	if err != nil {
		return egress.Layout{}, err
	}
	layout.ServerCA = serverCAKey(t, layout.ServerCA)
	return layout, checkServerCAChosen(t, secret, layout)
}

// ExpectedLayout returns the layout that a Secret for t should have if it doesn't exist yet: cert,
// key and cacert, unless the EgressTarget sets other keys or an issuer.
func ExpectedLayout(t egress.Target) egress.Layout {
	layout := CertKeyLayout()
	if t.Issuer != nil {
		layout = TLSLayout()
	}
	if t.Keys != nil {
		layout.Certificate, layout.PrivateKey = t.Keys.Certificate, t.Keys.PrivateKey
	}
	layout.ServerCA = serverCAKey(t, layout.ServerCA)
	return layout
}

// serverCAKey returns the key of the CA of the server for t. known is the default of the layout.
func serverCAKey(t egress.Target, known string) string {
	switch {
	case !t.ServerCA.InSecret():
		return ""
	case t.ServerCA.SecretKey != "":
		return t.ServerCA.SecretKey
	}
	return known
}

// knownCA returns the key of the CA in one of the known layouts, for Secrets whose other keys
// follow neither of them.
func knownCA(data map[string][]byte) string {
	_, generic := data[CertKeyLayout().ServerCA]
	if _, found := data[TLSLayout().ServerCA]; found && !generic {
		return TLSLayout().ServerCA
	}
	return CertKeyLayout().ServerCA
}
