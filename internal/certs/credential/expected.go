package credential

import "mtls.egress/webhook/internal/target"

// LayoutOf says which keys of a Secret's data hold the credential of t: those that the EgressTarget names, else those of the
// known layout that data has; the CA of the server only where it is expected in this Secret. The error is a [*RefusedError].
func LayoutOf(t target.Target, data map[string][]byte) (target.Layout, error) {
	if t.Keys != nil {
		layout := ExpectedLayout(t)
		if t.ServerCA.InSecret() && t.ServerCA.SecretKey == "" {
			layout.ServerCA = knownCA(data)
		}
		return layout, nil
	}
	layout, err := DetectLayout(data)
	if err != nil {
		return target.Layout{}, err
	}
	layout.ServerCA = serverCAKey(t, layout.ServerCA)
	return layout, nil
}

// ExpectedLayout is the layout that a Secret for t should have when nobody has seen it yet: cert, key and cacert, unless the
// EgressTarget names other keys.
func ExpectedLayout(t target.Target) target.Layout {
	layout := CertKeyLayout()
	if t.Keys != nil {
		layout.Certificate, layout.PrivateKey = t.Keys.Certificate, t.Keys.PrivateKey
	}
	layout.ServerCA = serverCAKey(t, layout.ServerCA)
	return layout
}

// serverCAKey is the key of the CA of the server for t where known is the layout's own.
func serverCAKey(t target.Target, known string) string {
	switch {
	case !t.ServerCA.InSecret():
		return ""
	case t.ServerCA.SecretKey != "":
		return t.ServerCA.SecretKey
	}
	return known
}

// knownCA is the key under which a known layout has the CA, for Secrets whose other keys follow none.
func knownCA(data map[string][]byte) string {
	_, generic := data[CertKeyLayout().ServerCA]
	if _, found := data[TLSLayout().ServerCA]; found && !generic {
		return TLSLayout().ServerCA
	}
	return CertKeyLayout().ServerCA
}
