package credential_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/pki"
)

// TestTheCAThatCertManagerWritesIsNotTakenForTheServers uses Secrets of cert-manager. They contain
// the CA of the client certificate under the key where others contain the CA of the server.
func TestTheCAThatCertManagerWritesIsNotTakenForTheServers(t *testing.T) {
	ca := pki.NewCA(t, "Issuer of clients")
	client := ca.Issue(t, orders())
	data := map[string][]byte{"tls.crt": client.CertPEM, "tls.key": client.KeyPEM, "ca.crt": ca.CertPEM}
	const refusal = `"ca.crt" was written by cert-manager for the Certificate orders: it is the CA of the client ` +
		`certificate, which need not be the CA of the ` +
		"server; set spec.serverCA of the EgressTarget to the CA of the server: configMap, system: true, or " +
		"secretKey: ca.crt if the same CA signs the server's certificate"
	byCertManager := map[string]string{"cert-manager.io/certificate-name": "orders"}
	tests := map[string]struct {
		annotations map[string]string
		change      func(*egress.Target)
		layout      egress.Layout
		problems    []credential.Problem
	}{
		"nobody said where the CA is": {
			byCertManager,
			func(*egress.Target) {},
			credential.TLSLayout(),
			[]credential.Problem{{Reason: credential.ServerCANotChosen, Key: "ca.crt", Message: refusal}},
		},
		"the same with keys that the EgressTarget names": {byCertManager, func(t *egress.Target) {
			t.Keys = &v1alpha1.CredentialKeys{Certificate: "tls.crt", PrivateKey: "tls.key"}
		}, credential.TLSLayout(), []credential.Problem{{Reason: credential.ServerCANotChosen, Key: "ca.crt",
			Message: refusal}}},
		"the EgressTarget asks for this key": {
			byCertManager,
			func(t *egress.Target) { t.ServerCA.SecretKey = "ca.crt" },
			credential.TLSLayout(),
			nil,
		},
		"it asks for the CAs of the system": {byCertManager, func(t *egress.Target) { t.ServerCA.System = true },
			egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key"}, nil},
		"it asks for a ConfigMap": {byCertManager, func(t *egress.Target) {
			t.ServerCA.ConfigMap = v1alpha1.ConfigMapKey{Name: "partner-ca", Key: "ca.pem"}
		},
			egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key"}, nil},
		"somebody else wrote the Secret": {nil, func(*egress.Target) {}, credential.TLSLayout(), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wanted := egress.FromEgressTarget("project", "external.system.com", nil, egress.Sinkhole{})
			test.change(&wanted)
			layout, judged, err := credential.CheckSecret(wanted,
				&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: test.annotations}, Data: data}, now())
			if diff := cmp.Diff(test.problems, problemsOf(t, err)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.layout, layout); diff != "" {
				t.Errorf("layout (-want +got):\n%s", diff)
			}
			if judged == nil || judged.Subject == "" {
				t.Errorf("nothing is told of the certificate: %+v", judged)
			}
		})
	}
}

func TestJudgeConfigMap(t *testing.T) {
	good := string(pki.NewCA(t, "Partner CA").CertPEM)
	const without = "; without it the sidecar can't authenticate the server"
	tests := map[string]struct {
		text     map[string]string
		binary   map[string][]byte
		problems []credential.Problem
	}{
		"text":        {text: map[string]string{"ca.pem": good}},
		"binary data": {binary: map[string][]byte{"ca.pem": []byte(good)}},
		"another key": {
			text: map[string]string{"bundle.pem": good},
			problems: []credential.Problem{{Reason: credential.ServerCAMissing, Key: "ca.pem",
				Message: `"ca.pem" (CA of the server) is missing` + without}},
		},
		"nothing": {problems: []credential.Problem{{Reason: credential.ServerCAMissing, Key: "ca.pem",
			Message: `"ca.pem" (CA of the server) is missing` + without}}},
		"no certificate": {
			text: map[string]string{"ca.pem": "CA"},
			problems: []credential.Problem{{Reason: credential.ServerCAUnreadable, Key: "ca.pem",
				Message: `"ca.pem" (CA of the server) is not PEM: it has no BEGIN line`}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			configMap := &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: "partner-ca"},
				Data:       test.text,
				BinaryData: test.binary,
			}
			described, err := credential.CheckConfigMap(configMap, "ca.pem", now())
			if (described == nil) != (err != nil) {
				t.Errorf("described as %+v, error %v", described, err)
			}
			if diff := cmp.Diff(test.problems, problemsOf(t, err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
