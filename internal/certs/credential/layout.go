// Package credential judges client credentials: the certificate that a workload presents to a
// partner, its private key, and the CA that signs the partner's server certificate, as they lie in
// a Secret.
//
// It is pure: a function of the Secret's data and of a given time. No message of it holds a byte of
// a private key.
package credential

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mtls.egress/webhook/internal/egress"
)

// CertKeyLayout is the layout of Istio's generic Secrets
// (https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings-credential_name).
func CertKeyLayout() egress.Layout {
	return egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
}

// TLSLayout is the layout of Secrets of type kubernetes.io/tls
// (https://kubernetes.io/docs/concepts/configuration/secret/#tls-secrets), with the CA where
// cert-manager puts it.
func TLSLayout() egress.Layout {
	return egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"}
}

// DetectLayout says which known layout the data of a Secret has: the one whose certificate and
// private key are both there. Only names count; what the values hold is [Check]'s business. When
// the server's CA comes from elsewhere, clear ServerCA in the result.
//
// A Secret with both pairs is refused as [LayoutAmbiguous], because nothing says which of two
// certificates is meant; one with half of one pair as [SecretKeyMissing]; any other as
// [LayoutUnknown]. The error is a [*RefusedError].
func DetectLayout(data map[string][]byte) (egress.Layout, error) {
	var whole, half []egress.Layout
	for _, layout := range []egress.Layout{CertKeyLayout(), TLSLayout()} {
		_, certificate := data[layout.Certificate]
		_, privateKey := data[layout.PrivateKey]
		switch {
		case certificate && privateKey:
			whole = append(whole, layout)
		case certificate || privateKey:
			half = append(half, layout)
		}
	}

	switch {
	case len(whole) == 1:
		return whole[0], nil
	case len(whole) > 1:
		return egress.Layout{}, refuse(Problem{Reason: LayoutAmbiguous, Message: fmt.Sprintf(
			"the Secret has two client certificates, one in %q with its key in %q and one in %q with its key in %q: "+
				"remove one pair, or name the keys to use in spec.credential.keys of the EgressTarget",
			whole[0].Certificate, whole[0].PrivateKey, whole[1].Certificate, whole[1].PrivateKey)})
	case len(half) == 1:
		return egress.Layout{}, refuseKeys("the Secret", data, missing(data, half[0])...)
	default:
		return egress.Layout{}, refuseKeys("the Secret", data, Problem{Reason: LayoutUnknown, Message: fmt.Sprintf(
			"the Secret has neither the keys %q and %q (with the CA in %q) nor %q and %q (with the CA in %q): "+
				"rename its keys, or name the keys to use in spec.credential.keys of the EgressTarget",
			CertKeyLayout().Certificate, CertKeyLayout().PrivateKey, CertKeyLayout().ServerCA,
			TLSLayout().Certificate, TLSLayout().PrivateKey, TLSLayout().ServerCA)})
	}
}

// missing is one problem for each of the certificate and the private key that data lacks or has
// empty.
func missing(data map[string][]byte, layout egress.Layout) []Problem {
	var problems []Problem
	for _, p := range []part{{certificatePart, layout.Certificate}, {privateKeyPart, layout.PrivateKey}} {
		if why, absent := p.absence(data); absent {
			problems = append(problems, Problem{Reason: SecretKeyMissing, Key: p.key, Message: why})
		}
	}
	return problems
}

// part is one value of the Secret: what it should be, and under which key it lies.
type part struct {
	role string
	key  string
}

const (
	certificatePart = "client certificate"
	privateKeyPart  = "private key"
	serverCAPart    = "CA of the server"
	issuerPart      = "issuer of the client certificate"
)

func (p part) String() string {
	return strconv.Quote(p.key) + " (" + p.role + ")"
}

// absence says why the part is as good as not there in the data of a Secret or ConfigMap.
func (p part) absence(data map[string][]byte) (why string, absent bool) {
	value, found := data[p.key]
	switch {
	case !found:
		return p.String() + " is missing", true
	case len(strings.TrimSpace(string(value))) == 0:
		return p.String() + " is empty", true
	default:
		return "", false
	}
}

// keysOf lists the keys of data for a message to their owner. A Secret may hold thousands, a person
// reads a few.
func keysOf(data map[string][]byte) string {
	const shown = 10

	keys := make([]string, 0, len(data))
	for key := range data {
		keys = append(keys, strconv.Quote(key))
	}
	slices.Sort(keys)
	switch {
	case len(keys) == 0:
		return "no keys"
	case len(keys) == 1:
		return "only the key " + keys[0]
	case len(keys) > shown:
		return fmt.Sprintf("the keys %s and %d more", strings.Join(keys[:shown], ", "), len(keys)-shown)
	default:
		return "the keys " + strings.Join(keys, ", ")
	}
}
