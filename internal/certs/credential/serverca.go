package credential

import (
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
)

// CheckConfigMap validates the CA of the server under key in a ConfigMap, at the time now, and
// describes it. The error is a [*RefusedError]. The ServerCA is not nil if the CA is readable.
func CheckConfigMap(configMap *corev1.ConfigMap, key string, now time.Time) (*ServerCA, error) {
	data := ConfigMapData(configMap)
	described, problems := checkServerCA(part{serverCAPart, key}, data, now)
	return described, refuseKeys("the ConfigMap "+configMap.Name, data, problems...)
}

// ConfigMapData returns the text and binary data of a ConfigMap by key, like the files in a volume.
func ConfigMapData(configMap *corev1.ConfigMap) map[string][]byte {
	data := map[string][]byte{}
	maps.Copy(data, configMap.BinaryData)
	for name, text := range configMap.Data {
		data[name] = []byte(text)
	}
	return data
}

func checkServerCA(p part, data map[string][]byte, now time.Time) (*ServerCA, []Problem) {
	if why, absent := p.absence(data); absent {
		return nil, []Problem{{ServerCAMissing, p.key, why + "; without it the sidecar can't authenticate the server"}}
	}
	authorities, problem := readAuthorities(p, data[p.key])
	if problem != "" {
		return nil, []Problem{{ServerCAUnreadable, p.key, problem}}
	}
	described := authorities.describe()
	var latest time.Time
	for _, authority := range authorities.Certificates {
		if !now.Before(authority.NotBefore) && !now.After(authority.NotAfter) {
			return described, nil
		}
		if authority.NotAfter.After(latest) {
			latest = authority.NotAfter
		}
	}
	return described, []Problem{
		{
			ServerCAExpired,
			p.key,
			fmt.Sprintf(
				"%s holds no certificate that is valid now (the last one expires on %s): ask the partner for the "+
					"current CA of the server's certificate", p, date(latest)),
		},
	}
}

// checkServerCAChosen refuses the ca.crt of a Secret that cert-manager wrote, unless the
// EgressTarget selects it: it is the CA of the client certificate, which need not be the CA of the
// server. https://cert-manager.io/docs/faq/#when-to-use-ca-crt,
// https://github.com/cert-manager/cert-manager/issues/1571
func checkServerCAChosen(t egress.Target, secret *corev1.Secret, layout egress.Layout) error {
	certificate, issued := IssuedFor(secret.Annotations)
	if !issued || layout.ServerCA != TLSLayout().ServerCA || t.ServerCA.SecretKey != "" {
		return nil
	}
	return refuse(Problem{
		ServerCANotChosen,
		layout.ServerCA,
		fmt.Sprintf(
			"%q was written by cert-manager for the Certificate %s: it is the CA of the client certificate, which "+
				"need not be the CA of the server; set spec.serverCA of the EgressTarget to the CA of the server: "+
				"configMap, system: true, or secretKey: %s if the same CA signs the server's certificate",
			layout.ServerCA,
			Printable(certificate),
			layout.ServerCA,
		),
	})
}
