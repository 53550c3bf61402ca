package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

func TestCreateCommand(t *testing.T) {
	const start = "kubectl create secret generic s -n project --from-file="
	tests := map[string]struct {
		change func(*egress.Target)
		want   string
	}{
		"the first layout": {
			func(*egress.Target) {},
			start + "cert=client.crt --from-file=key=client.key --from-file=cacert=server-ca.crt",
		},
		"custom keys": {func(t *egress.Target) {
			t.Keys = &v1alpha1.CredentialKeys{Certificate: "c", PrivateKey: "k"}
			t.ServerCA.SecretKey = "ca"
		}, start + "c=client.crt --from-file=k=client.key --from-file=ca=server-ca.crt"},
		"a CA from elsewhere": {
			func(t *egress.Target) { t.ServerCA.System = true }, start + "cert=client.crt --from-file=key=client.key",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wanted := egress.FromEgressTarget("project", host, nil, egress.Sinkhole{})
			test.change(&wanted)
			if diff := cmp.Diff(test.want, createCommand(wanted, "s")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
