package credential

import (
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
)

// CheckConfigMap reports whether the CA of the server that a ConfigMap has under key can be used at
// the time now. The error is a [*RefusedError].
func CheckConfigMap(configMap *corev1.ConfigMap, key string, now time.Time) error {
	data := ConfigMapData(configMap)
	return refuseKeys("the ConfigMap "+configMap.Name, data, judgeServerCA(part{serverCAPart, key}, data, now)...)
}

// ConfigMapData is what a ConfigMap has by key, text and binary data alike, as a volume shows it.
func ConfigMapData(configMap *corev1.ConfigMap) map[string][]byte {
	data := map[string][]byte{}
	maps.Copy(data, configMap.BinaryData)
	for name, text := range configMap.Data {
		data[name] = []byte(text)
	}
	return data
}

func judgeServerCA(p part, data map[string][]byte, now time.Time) []Problem {
	if why, absent := p.absence(data); absent {
		return []Problem{{ServerCAMissing, p.key, why + "; without it the server cannot be told from an impostor"}}
	}
	authorities, problem := readCertificates(p, data[p.key])
	if problem != "" {
		return []Problem{{ServerCAUnreadable, p.key, problem}}
	}
	var latest time.Time
	for _, authority := range authorities {
		if !now.Before(authority.NotBefore) && !now.After(authority.NotAfter) {
			return nil
		}
		if authority.NotAfter.After(latest) {
			latest = authority.NotAfter
		}
	}
	return []Problem{{ServerCAExpired, p.key, fmt.Sprintf(
		"%s holds no certificate that is valid now (the last one ends on %s): ask the partner for the CA that signs the server's certificate today", p, date(latest))}}
}

// checkServerCAChosen refuses the ca.crt of a Secret that cert-manager wrote, unless the
// EgressTarget asks for it: there stands the issuer of the client certificate, which says nothing
// about the server. https://cert-manager.io/docs/faq/#when-to-use-ca-crt,
// https://github.com/cert-manager/cert-manager/issues/1571
func checkServerCAChosen(t egress.Target, secret *corev1.Secret, layout egress.Layout) error {
	certificate, issued := IssuedFor(secret.Annotations)
	if !issued || layout.ServerCA != TLSLayout().ServerCA || t.ServerCA.SecretKey != "" {
		return nil
	}
	return refuse(Problem{ServerCANotChosen, layout.ServerCA, fmt.Sprintf(
		"%q was written by cert-manager for the Certificate %s: it is the issuer of the client certificate and says nothing about the server; "+
			"say in spec.serverCA of the EgressTarget where the CA of the server is: configMap, system: true, or secretKey: %s if the same CA signs the server's certificate",
		layout.ServerCA, Printable(certificate), layout.ServerCA)})
}
