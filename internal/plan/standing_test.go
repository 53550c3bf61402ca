package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// ReadStanding parses what mesh writes for every source of the CA.
func TestReadStandingReadsBackWhatMeshWrites(t *testing.T) {
	noCA := egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key"}
	tests := map[string]struct {
		serverCA egress.ServerCA
		layout   egress.Layout
		want     Standing
	}{
		"the CA of the layout": {egress.ServerCA{}, first(), Standing{first(), egress.ServerCA{SecretKey: "cacert"}}},
		"a key of the Secret": {
			egress.ServerCA{SecretKey: "partner.pem"},
			first(),
			Standing{
				egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "partner.pem"},
				egress.ServerCA{SecretKey: "partner.pem"},
			},
		},
		"the CAs of the system": {egress.ServerCA{System: true}, noCA, Standing{noCA, egress.ServerCA{System: true}}},
		"a key of some ConfigMap": {
			egress.ServerCA{ConfigMap: v1alpha1.ConfigMapKey{Name: "partner-ca", Key: "ca.pem"}},
			noCA,
			Standing{noCA, egress.ServerCA{ConfigMap: v1alpha1.ConfigMapKey{Name: "mounted", Key: "ca.pem"}}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wanted := egress.FromEgressTarget("project", host, nil, egress.Sinkhole{})
			wanted.ServerCA = test.serverCA
			content, err := mesh.Unstructured(mesh.DestinationRule(wanted, test.layout))
			if err != nil {
				t.Fatal(err)
			}
			got, ok := ReadStanding(content, host)
			if !ok {
				t.Fatal("nothing was found")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			wanted.ServerCA = got.ServerCA
			again, err := mesh.Unstructured(mesh.DestinationRule(wanted, got.Layout))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(content.Object, again.Object); diff != "" {
				t.Errorf("the parsed credential gives another DestinationRule (-written +again):\n%s", diff)
			}
		})
	}
}

func TestReadStandingKnowsWhatItDidNotWrite(t *testing.T) {
	subset := func(tls map[string]any) map[string]any {
		return map[string]any{
			"spec": map[string]any{
				"subsets": []any{map[string]any{"name": mesh.SubsetName, "trafficPolicy": map[string]any{"tls": tls}}},
			},
		}
	}
	mount := egress.MountPath(host)
	tests := map[string]map[string]any{
		"no spec":                     {},
		"no subset of ours":           {"spec": map[string]any{"subsets": []any{map[string]any{"name": "v1"}}}},
		"subsets that are not a list": {"spec": map[string]any{"subsets": "mtls"}},
		"no TLS":                      subset(nil),
		"files outside our mount": subset(
			map[string]any{"clientCertificate": "/etc/cert", "privateKey": "/etc/key", "caCertificates": "system"},
		),
		"a number for a file": subset(
			map[string]any{"clientCertificate": int64(1), "privateKey": mount + "/key", "caCertificates": "system"},
		),
		"no CA": subset(map[string]any{"clientCertificate": mount + "/cert", "privateKey": mount + "/key"}),
	}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := ReadStanding(&unstructured.Unstructured{Object: content}, host); ok {
				t.Errorf("read %+v", got)
			}
		})
	}
	if _, ok := ReadStanding(nil, host); ok {
		t.Error("read a credential from nil")
	}
}
