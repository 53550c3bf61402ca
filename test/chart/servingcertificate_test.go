package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCertManagerTakesThePlaceOfTheCA(t *testing.T) {
	const certManager = "servingCertificate.provider=cert-manager"
	for name, test := range map[string]struct {
		set  string
		want []string // of cert-manager
		san  []any    // DNS names and addresses of the leaf
	}{
		"embedded": {set: "servingCertificate.provider=embedded"},
		"a CA of the chart's": {
			set: certManager,
			want: []string{
				"Certificate mtls-egress-webhook-serving", "Certificate mtls-egress-webhook-serving-ca",
				"Issuer mtls-egress-webhook-serving-ca", "Issuer mtls-egress-webhook-serving-selfsigned",
			},
			san: []any{[]any{"mtls-egress-webhook.mtls-egress.svc"}, nil},
		},
		"an issuer that is there": {
			set:  certManager + ",servingCertificate.issuerRef.name=corporate,servingCertificate.issuerRef.kind=ClusterIssuer",
			want: []string{"Certificate mtls-egress-webhook-serving"},
			san:  []any{[]any{"mtls-egress-webhook.mtls-egress.svc"}, nil},
		},
		"an address elsewhere": {
			set:  certManager + ",servingCertificate.issuerRef.name=corporate,webhook.url=https://192.0.2.1:9443",
			want: []string{"Certificate mtls-egress-webhook-serving"},
			san:  []any{[]any{"mtls-egress-webhook.mtls-egress.svc"}, []any{"192.0.2.1"}},
		},
		"a name elsewhere": {
			set:  certManager + ",servingCertificate.issuerRef.name=corporate,webhook.url=https://example.com:9443",
			want: []string{"Certificate mtls-egress-webhook-serving"},
			san:  []any{[]any{"mtls-egress-webhook.mtls-egress.svc", "example.com"}, nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, "--set", test.set)
			var got []string
			for _, object := range rendered.names() {
				if strings.HasPrefix(rendered[object].GetAPIVersion(), "cert-manager.io/") {
					got = append(got, object)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("objects of cert-manager (-want +got):\n%s", diff)
			}
			if leaf := rendered["Certificate mtls-egress-webhook-serving"]; leaf != nil {
				if diff := cmp.Diff(
					test.san, []any{at(t, leaf, "spec", "dnsNames"), at(t, leaf, "spec", "ipAddresses")},
				); diff != "" {
					t.Errorf("names of the leaf (-want +got):\n%s", diff)
				}
			}
			embedded := len(test.want) == 0
			args := serveArgs(t, release, "--set", test.set)
			if slices.Contains(args, "--ca-secret=mtls-egress-webhook-ca") != embedded ||
				slices.Contains(args, "--serving-certificate-dir=/var/run/secrets/serving-certificate") == embedded {
				t.Errorf("arguments %q", args)
			}
			if role := rendered["Role mtls-egress-webhook"]; (role != nil) != embedded {
				t.Errorf("the Role with the rules about Secrets: %v", role)
			}
			mounted := false
			volumes, _ := at(t, rendered["Deployment mtls-egress-webhook"], "spec", "template", "spec", "volumes").([]any)
			for _, volume := range volumes {
				mounted = mounted || volume.(map[string]any)["name"] == "serving-certificate"
			}
			if mounted == embedded {
				t.Errorf("the Secret is mounted: %t", mounted)
			}
		})
	}
}
