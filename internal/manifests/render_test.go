package manifests_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/test/golden"
	"mtls.egress/webhook/test/pki"
)

const corpus = "../../test/testdata/render"

// now is a time at which the certificates of package pki are valid.
func now() time.Time {
	return pki.Epoch().AddDate(1, 0, 0)
}

// outcome is the content of a golden file.
type outcome struct {
	Problems     []string         `json:"problems,omitempty"`
	Warnings     []string         `json:"warnings,omitempty"`
	Explanations []string         `json:"explanations,omitempty"`
	Documents    []map[string]any `json:"documents,omitempty"`
	Pods         []map[string]any `json:"pods,omitempty"`
	Objects      []map[string]any `json:"objects,omitempty"`
}

func TestCorpus(t *testing.T) {
	inputs := golden.Inputs(t, corpus)
	for _, name := range golden.Names(inputs) {
		t.Run(name, func(t *testing.T) {
			output, problems := manifests.Render(read(t, inputs[name]),
				manifests.Options{Policy: everyHost(), RootNamespace: "istio-system", Now: now()})
			var got outcome
			for _, problem := range problems {
				got.Problems = append(got.Problems, problem.String())
			}
			if output != nil {
				got.Warnings, got.Explanations = texts(output.Warnings), output.Explanations
				got.Documents, got.Pods, got.Objects = output.Documents, output.Pods, output.Objects
			}
			encoded, err := yaml.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, golden.File(inputs[name]), encoded)
		})
	}
}

func texts(problems []manifests.Problem) []string {
	var texts []string
	for _, problem := range problems {
		texts = append(texts, problem.String())
	}
	return texts
}

func TestRenderingTheOutputAgainChangesNothing(t *testing.T) {
	inputs := golden.Inputs(t, corpus)
	for _, name := range golden.Names(inputs) {
		t.Run(name, func(t *testing.T) {
			output, problems := manifests.Render(read(t, inputs[name]), manifests.Options{Policy: everyHost(), Now: now()})
			if len(problems) > 0 {
				t.Skip("refused")
			}
			documents := read(t, inputs[name])
			for n := range documents {
				documents[n].Object = output.Documents[n]
			}
			again, problems := manifests.Render(documents, manifests.Options{Policy: everyHost(), Now: now()})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if diff := cmp.Diff(output, again); diff != "" {
				t.Errorf("the second time (-first +second):\n%s", diff)
			}
		})
	}
}

func TestRenderLeavesItsInputAlone(t *testing.T) {
	for _, path := range golden.Inputs(t, corpus) {
		documents, before := read(t, path), read(t, path)
		manifests.Render(documents, manifests.Options{Policy: everyHost(), Now: now()})
		if diff := cmp.Diff(before, documents, cmpopts.IgnoreUnexported(manifests.Document{})); diff != "" {
			t.Errorf("%s (-before +after):\n%s", path, diff)
		}
	}
}

func TestSecretsOfTheInputAreJudged(t *testing.T) {
	ca := pki.NewCA(t, "partner CA")
	client := ca.Issue(t, pki.Client("orders"))
	other := ca.Issue(t, pki.Client("another client"))
	server := ca.Issue(t, pki.Server("external.system.com"))
	expired := pki.Client("orders")
	expired.NotAfter = now().AddDate(0, 0, -1)
	old := ca.Issue(t, expired)
	future := pki.Client("orders")
	future.NotBefore = now().AddDate(0, 0, 1)
	early := ca.Issue(t, future)
	caPEM := string(ca.CertPEM)
	tests := map[string]struct {
		data map[string]string
		// want is part of the only problem, or "" if there is none.
		want string
		// file is the certificate file in the DestinationRule.
		file string
	}{
		"the layout cert, key, cacert": {
			data: map[string]string{"cert": string(client.CertPEM), "key": string(client.KeyPEM), "cacert": caPEM},
			file: "/etc/mtls-egress/external.system.com/cert",
		},
		"the layout tls.crt, tls.key, ca.crt": {
			data: map[string]string{
				"tls.crt": string(client.CertPEM),
				"tls.key": string(client.KeyPEM),
				"ca.crt":  caPEM,
			},
			file: "/etc/mtls-egress/external.system.com/tls.crt",
		},
		"a Secret without a key": {
			data: map[string]string{"cert": string(client.CertPEM), "cacert": caPEM},
			want: `"key" (private key) is missing; the Secret has the keys "cacert", "cert"`,
		},
		"a Secret of neither layout": {
			data: map[string]string{"certificate.pem": "x"},
			want: `the Secret has only the key "certificate.pem"`,
		},
		"an empty Secret": {data: map[string]string{}, want: "; the Secret has no keys"},
		"the key of another certificate": {
			data: map[string]string{"cert": string(client.CertPEM), "key": string(other.KeyPEM), "cacert": caPEM},
			want: "does not match",
		},
		"an expired certificate": {
			data: map[string]string{"cert": string(old.CertPEM), "key": string(old.KeyPEM), "cacert": caPEM},
			want: "expired",
		},
		"a certificate that is not yet valid": {
			data: map[string]string{"cert": string(early.CertPEM), "key": string(early.KeyPEM), "cacert": caPEM},
			want: "is valid only from 2021-01-02",
		},
		"a server's certificate": {
			data: map[string]string{"cert": string(server.CertPEM), "key": string(server.KeyPEM), "cacert": caPEM},
			want: "serverAuth",
		},
		"a CA that is not a certificate": {
			data: map[string]string{"cert": string(client.CertPEM), "key": string(client.KeyPEM), "cacert": "none"},
			want: `"cacert"`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			documents := number([]map[string]any{pod("probe", "external.system.com"), secretObject(test.data)})
			output, problems := manifests.Render(documents, manifests.Options{Policy: everyHost(), Now: now()})
			if test.want != "" {
				if len(problems) != 1 || !strings.Contains(problems[0].Message, test.want) ||
					problems[0].Location.String() != "input.yaml, document 2, line 1, Secret external-system-mtls-data" {
					t.Fatalf("problems: %v, want one with %q", problems, test.want)
				}
				for _, value := range test.data {
					if len(value) > 100 && strings.Contains(problems[0].Message, value[40:80]) {
						t.Error("the message contains the Secret")
					}
				}
				return
			}
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if got := certificateFile(t, output.Objects); got != test.file {
				t.Errorf("the DestinationRule presents %s, want %s", got, test.file)
			}
			if !strings.Contains(output.Explanations[0], "the client certificate CN=orders in key ") {
				t.Errorf("explanation: %s", output.Explanations[0])
			}
		})
	}
}

func TestSecretsOfOneTargetWithOtherKeysGetAWarning(t *testing.T) {
	ca := pki.NewCA(t, "partner CA")
	client := ca.Issue(t, pki.Client("orders"))
	first := secretObject(
		map[string]string{"cert": string(client.CertPEM), "key": string(client.KeyPEM), "cacert": string(ca.CertPEM)})
	second := secretObject(
		map[string]string{
			"tls.crt": string(client.CertPEM),
			"tls.key": string(client.KeyPEM),
			"ca.crt":  string(ca.CertPEM),
		},
	)
	second["metadata"] = map[string]any{"name": "zweites"}
	other := pod("other", "external.system.com")
	annotationsOf(other)["mtls.egress/secret"] = "zweites"
	input := number([]map[string]any{first, second, pod("probe", "external.system.com"), other})
	output, problems := manifests.Render(input, manifests.Options{Policy: everyHost(), Now: now()})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := []string{
		"input.yaml, document 3, line 1, Pod probe: external.system.com: the Secrets of this host have " +
			"different keys, and one set of objects serves " +
			"all Pods of the namespace, " +
			"so Pods with another layout can't call: external-system-mtls-data has cert, key; zweites has tls.crt, " +
			"tls.key; give all of them the keys cert and key",
	}
	if diff := cmp.Diff(want, texts(output.Warnings)); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if got, file := certificateFile(t, output.Objects), "/etc/mtls-egress/external.system.com/cert"; got != file {
		t.Errorf("the DestinationRule presents %s, want %s", got, file)
	}
}

func TestTheNamespaceIsThatOfObjectsThatNameNone(t *testing.T) {
	output, problems := manifests.Render(number([]map[string]any{pod("probe", "external.system.com")}),
		manifests.Options{Policy: everyHost(), Namespace: "given", Now: now()})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, object := range output.Objects {
		metadata, _ := object["metadata"].(map[string]any)
		if metadata["namespace"] != "given" {
			t.Errorf("%s is in namespace %v", object["kind"], metadata["namespace"])
		}
	}
	if _, named := output.Documents[0]["metadata"].(map[string]any)["namespace"]; named {
		t.Error("the input got a namespace")
	}
}

func BenchmarkRender(b *testing.B) {
	var documents []map[string]any
	for n := range 1000 {
		documents = append(documents, map[string]any{
			"apiVersion": "apps/v1",
			"kind":       "Deployment",
			"metadata": map[string]any{
				"name":        fmt.Sprintf("shop-%d", n),
				"namespace":   "project",
				"annotations": map[string]any{"mtls.egress/target": fmt.Sprintf("host-%d.example", n)},
			},
			"spec": map[string]any{
				"template": map[string]any{
					"metadata": map[string]any{},
					"spec":     map[string]any{"containers": []any{map[string]any{"name": "app", "image": "shop:1"}}},
				},
			},
		})
	}
	input := number(documents)
	b.ReportAllocs()
	for b.Loop() {
		if _, problems := manifests.Render(input, manifests.Options{Policy: everyHost(), Now: now()}); len(problems) > 0 {
			b.Fatal(problems[0])
		}
	}
}

func read(t *testing.T, path string) []manifests.Document {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	documents, problems := manifests.Read("input.yaml", content)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return documents
}

func number(objects []map[string]any) []manifests.Document {
	documents := make([]manifests.Document, len(objects))
	for n, object := range objects {
		documents[n] = manifests.Document{Source: "input.yaml", Number: n + 1, Line: 1, Object: object}
	}
	return documents
}

func pod(name, hosts string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": name, "annotations": map[string]any{"mtls.egress/target": hosts}},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "app", "image": "probe:1"}}},
	}
}

func annotationsOf(object map[string]any) map[string]any {
	return object["metadata"].(map[string]any)["annotations"].(map[string]any)
}

func secretObject(text map[string]string) map[string]any {
	data := map[string]any{}
	for name, value := range text {
		data[name] = value
	}
	return map[string]any{
		"apiVersion": "v1",
		"kind":       "Secret",
		"metadata":   map[string]any{"name": "external-system-mtls-data"},
		"stringData": data,
	}
}

func certificateFile(t *testing.T, objects []map[string]any) string {
	t.Helper()
	at := slices.IndexFunc(objects, func(object map[string]any) bool { return object["kind"] == "DestinationRule" })
	if at < 0 {
		t.Fatal("no DestinationRule")
	}
	spec := objects[at]["spec"].(map[string]any)
	subset := spec["subsets"].([]any)[0].(map[string]any)
	return subset["trafficPolicy"].(map[string]any)["tls"].(map[string]any)["clientCertificate"].(string)
}

// everyHost is the chart's default policy.
func everyHost() policy.Cluster { return policy.Cluster{Other: policy.OtherAllow} }
