package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

func TestCreateCommand(t *testing.T) {
	const start = "kubectl create secret generic s -n project --from-file="
	const imported = "mtls-egress-webhook credential import FILE.p12 --target external.system.com"
	const end = " --secret-name s --server-ca server-ca.crt -n project | kubectl apply -f -"
	tests := map[string]struct {
		change func(*egress.Target)
		want   string
		// imported is the command for a PKCS#12 file.
		imported string
	}{
		"the first layout": {
			func(*egress.Target) {},
			start + "cert=client.crt --from-file=key=client.key --from-file=cacert=server-ca.crt",
			imported + end,
		},
		"the keys of kubernetes.io/tls": {func(t *egress.Target) {
			t.Keys = &v1alpha1.CredentialKeys{Certificate: "tls.crt", PrivateKey: "tls.key"}
			t.ServerCA.SecretKey = "ca.crt"
		}, start + "tls.crt=client.crt --from-file=tls.key=client.key --from-file=ca.crt=server-ca.crt",
			imported + " --layout tls" + end},
		"custom keys": {func(t *egress.Target) {
			t.Keys = &v1alpha1.CredentialKeys{Certificate: "c", PrivateKey: "k"}
			t.ServerCA.SecretKey = "ca"
		}, start + "c=client.crt --from-file=k=client.key --from-file=ca=server-ca.crt", ""},
		"a CA from elsewhere": {
			func(t *egress.Target) { t.ServerCA.System = true }, start + "cert=client.crt --from-file=key=client.key", "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wanted := egress.FromEgressTarget("project", host, nil, egress.Sinkhole{})
			test.change(&wanted)
			if diff := cmp.Diff(test.want, createCommand(wanted, "s")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.imported, importCommand(wanted, "s")); diff != "" {
				t.Errorf("from PKCS#12 (-want +got):\n%s", diff)
			}
		})
	}
}
