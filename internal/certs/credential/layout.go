// Package credential validates and creates client credentials: the certificate that a workload
// presents to a partner, its private key, and the CA of the partner's server certificate, as stored
// in a Secret.
//
// The package is pure: results depend only on the input and on the given time. No message contains
// a byte of a private key.
package credential

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mtls.egress/webhook/internal/egress"
)

// CertKeyLayout returns the layout of Istio's generic Secrets
// (https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings-credential_name).
func CertKeyLayout() egress.Layout {
	return egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
}

// TLSLayout returns the layout of Secrets of type kubernetes.io/tls
// (https://kubernetes.io/docs/concepts/configuration/secret/#tls-secrets), with the CA under the
// key that cert-manager uses.
func TLSLayout() egress.Layout {
	return egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"}
}

// DetectLayout returns the known layout of the data of a Secret: the one whose certificate and
// private key both exist. It checks only the names of the keys. [Check] validates the values. If
// the CA of the server has another source, clear ServerCA in the result.
//
// The error is a [*RefusedError]. Its reason is [LayoutAmbiguous] if the Secret has both pairs,
// [SecretKeyMissing] if it has half of one pair, and otherwise [LayoutUnknown].
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

// missing returns a problem for each of the certificate and the private key that is missing or
// empty in data.
func missing(data map[string][]byte, layout egress.Layout) []Problem {
	var problems []Problem
	for _, p := range []part{{certificatePart, layout.Certificate}, {privateKeyPart, layout.PrivateKey}} {
		if why, absent := p.absence(data); absent {
			problems = append(problems, Problem{Reason: SecretKeyMissing, Key: p.key, Message: why})
		}
	}
	return problems
}

// part is one value of a credential: its role and its key in the Secret or ConfigMap.
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

// absence reports whether the part is missing or empty in data, and describes which.
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

// keysOf lists the keys of data for a message to their owner. A Secret can have thousands, so the
// list is truncated.
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
