package serving

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// TestBundlePatch applies the patch with the library of the API server. Only the bundles change.
func TestBundlePatch(t *testing.T) {
	now := moment()
	ca, older := ourCA(t, now), ourCA(t, now.Add(-time.Hour))
	both := slices.Concat(ca.CertPEM, older.CertPEM)
	path := "/mutate"
	configuration := func(bundles ...[]byte) *admissionregistrationv1.MutatingWebhookConfiguration {
		config := &admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{
				Name:            "0-mtls-egress-webhook",
				ResourceVersion: "7",
				Labels:          map[string]string{"team": "platform"},
			},
		}
		for _, bundle := range bundles {
			config.Webhooks = append(config.Webhooks, admissionregistrationv1.MutatingWebhook{
				Name: "pods.mtls.egress",
				ClientConfig: admissionregistrationv1.WebhookClientConfig{
					Service: &admissionregistrationv1.ServiceReference{
						Namespace: "mtls-egress",
						Name:      "webhook",
						Path:      &path,
					},
					CABundle: bundle,
				},
			})
		}
		return config
	}
	tests := map[string]struct {
		current, want [][]byte
		operations    int
	}{
		"no webhooks, nothing to write":   {},
		"all are right, nothing to write": {current: [][]byte{ca.CertPEM, both}, want: [][]byte{ca.CertPEM, both}},
		"an empty one is filled":          {current: [][]byte{nil}, want: [][]byte{ca.CertPEM}, operations: 2},
		"a wrong one is put right alone": {
			current:    [][]byte{ca.CertPEM, older.CertPEM, nil},
			want:       [][]byte{ca.CertPEM, both, ca.CertPEM},
			operations: 3,
		},
		"order and rubbish are put right": {
			current:    [][]byte{slices.Concat(older.CertPEM, []byte("rubbish\n"), ca.CertPEM)},
			want:       [][]byte{both},
			operations: 2,
		},
		"every webhook gets its own bundle": {
			current:    [][]byte{older.CertPEM, nil},
			want:       [][]byte{both, ca.CertPEM},
			operations: 3,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := configuration(test.current...)
			operations, err := bundlePatch(config, ca.CertPEM, now)
			if err != nil {
				t.Fatal(err)
			}
			if len(operations) != test.operations {
				t.Fatalf("%d operations, want %d: %v", len(operations), test.operations, operations)
			}
			document, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			if len(operations) > 0 {
				body, err := json.Marshal(operations)
				if err != nil {
					t.Fatal(err)
				}
				patch, err := jsonpatch.DecodePatch(body)
				if err != nil {
					t.Fatal(err)
				}
				if document, err = patch.Apply(document); err != nil {
					t.Fatal(err)
				}
				config.ResourceVersion = "8"
				changed, err := json.Marshal(config)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := patch.Apply(changed); err == nil {
					t.Error("the patch applies to another version of the object")
				}
			}
			var got admissionregistrationv1.MutatingWebhookConfiguration
			if err := json.Unmarshal(document, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(configuration(test.want...), &got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBundlePatchRefusesAnUnusableCA(t *testing.T) {
	config := &admissionregistrationv1.MutatingWebhookConfiguration{
		Webhooks: make([]admissionregistrationv1.MutatingWebhook, 1),
	}
	if operations, err := bundlePatch(config, nil, moment()); err == nil || operations != nil {
		t.Errorf("got %v, %v", operations, err)
	}
}

func TestNewNamesEveryWrongOption(t *testing.T) {
	_, err := New(&rest.Config{}, Options{LeafDuration: 48 * time.Hour, CADuration: 72 * time.Hour, AdoptionDelay: -1})
	want := `serving certificate: the DNS names of the serving certificate are missing
the name of the MutatingWebhookConfiguration is missing
the adoption delay is -1ns, it must be positive
the namespace of the CA's Secret is missing
the name of the CA's Secret is missing
the duration of the serving certificate is 48h0m0s, it must be less than a third of the CA's, which is 72h0m0s`
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheckBeforeStartSaysWhatIsMissing(t *testing.T) {
	source, err := New(&rest.Config{Host: "https://192.0.2.1"}, Options{
		Namespace:                "mtls-egress",
		SecretName:               "ca",
		DNSNames:                 []string{"webhook.mtls-egress.svc"},
		WebhookConfigurationName: "0-mtls-egress-webhook",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "serving certificate: not signed yet: waiting for the CA's Secret; if " +
		"this persists, see the log for the reason"
	if err := source.Check(nil); err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	if certificate, err := source.GetCertificate(nil); certificate != nil || err == nil {
		t.Errorf("a certificate before Start: %v, %v", certificate, err)
	}
	if source.NeedLeaderElection() {
		t.Error("only the leader would serve")
	}
	if !source.NotAfter().IsZero() {
		t.Errorf("a certificate until %s before Start", source.NotAfter())
	}
}
