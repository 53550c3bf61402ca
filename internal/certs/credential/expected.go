package credential

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
)

// CheckSecret is [Check] for a Secret as the credential of t, whose layout it finds out. The layout
// is the zero value when that can't be done, and the error is then a [*RefusedError] about that
// alone. Judged with it is whether the CA of the server was chosen.
func CheckSecret(t egress.Target, secret *corev1.Secret, now time.Time) (egress.Layout, *Credential, error) {
	layout, err := LayoutOf(t, secret)
	if layout == (egress.Layout{}) {
		return layout, nil, err
	}
	credential, judged := Check(secret.Data, layout, now)
	return layout, credential, refuseKeys("the Secret", secret.Data, append(problemsOf(err), problemsOf(judged)...)...)
}

func problemsOf(err error) []Problem {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return refused.Problems
	}
	return nil
}

// LayoutOf says which keys of a Secret hold the credential of t: those that the EgressTarget names,
// else those of the known layout that it has; the CA of the server only where it is expected in
// this Secret. The error is a [*RefusedError]; the layout is known next to one with the reason
// [ServerCANotChosen].
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

// ExpectedLayout is the layout that a Secret for t should have when nobody has seen it yet: cert,
// key and cacert, unless the EgressTarget names other keys or an issuer.
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

// serverCAKey is the key of the CA of the server for t where known is the layout's own.
func serverCAKey(t egress.Target, known string) string {
	switch {
	case !t.ServerCA.InSecret():
		return ""
	case t.ServerCA.SecretKey != "":
		return t.ServerCA.SecretKey
	}
	return known
}

// knownCA is the key under which a known layout has the CA, for Secrets whose other keys follow
// none.
func knownCA(data map[string][]byte) string {
	_, generic := data[CertKeyLayout().ServerCA]
	if _, found := data[TLSLayout().ServerCA]; found && !generic {
		return TLSLayout().ServerCA
	}
	return CertKeyLayout().ServerCA
}
