package certmanager

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/cli"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
	"mtls.egress/webhook/test/pki"
)

// TestTheExampleIsIssued does what the README of examples/cert-manager says, and gives cert-manager
// the Certificate that render shows, which is the controller's. What it issues has to be a
// credential that the EgressTarget of the example can use.
func TestTheExampleIsIssued(t *testing.T) {
	const project = "project"
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/cert-manager")); err != nil {
		t.Fatal(err)
	}
	issuer := pki.NewCA(t, "Example CA")
	for name, content := range map[string][]byte{"issuer.crt": issuer.CertPEM, "issuer.key": issuer.KeyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: project}})
	kubectlIn(t, dir, "apply", "--server-side", "--filename", absolute(t, "../../charts/mtls-egress-webhook/files/crds"))
	kubectlIn(t, dir, "wait", "--for=condition=Established", "--timeout="+await.Patience.String(),
		"customresourcedefinition/egresstargets.mtls.egress")

	commands, err := installation.DocumentedCommands(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(commands) != 3 {
		t.Fatalf("the README has the commands %q, want Secret, manifests and a look at the outcome", commands)
	}
	kubectlIn(t, dir, commands[0]...)
	kubectlIn(t, dir, append(commands[1], "--validate=strict")...)
	certificate := rendered(t, dir, "Certificate")
	create(t, certificate)
	ready(t, project, "certificate/"+certificate.GetName())
	shown := kubectlIn(t, dir, commands[2]...)
	if !strings.Contains(shown, "egresstarget.mtls.egress/external.system.com") ||
		!strings.Contains(shown, "external-system-mtls-data") {
		t.Errorf("the README shows\n%s", shown)
	}

	var egressTarget v1alpha1.EgressTarget
	content, err := os.ReadFile(filepath.Join(dir, "egresstarget.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(content, &egressTarget); err != nil {
		t.Fatal(err)
	}
	wanted := egress.FromEgressTarget(project, egressTarget.Name, &egressTarget, egress.Sinkhole{})
	layout, judged, err := credential.CheckSecret(wanted, secret(t, project, wanted.SecretName), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got := []string{
		layout.Certificate,
		layout.PrivateKey,
		judged.Subject,
		judged.Issuer,
		judged.NotAfter.Sub(judged.NotBefore).String(),
	}
	if diff := cmp.Diff(
		[]string{"tls.crt", "tls.key", "CN=orders,O=Example,C=DE", "CN=Example CA", "720h0m0s"}, got,
	); diff != "" {
		t.Errorf("the credential (-want +got):\n%s", diff)
	}
	var configMap corev1.ConfigMap
	if err := yaml.Unmarshal([]byte(
		kubectlIn(t, dir, "get", "configmap", wanted.ServerCA.ConfigMap.Name, "--namespace", project, "--output=yaml"),
	), &configMap); err != nil {
		t.Fatal(err)
	}
	if _, err := credential.CheckConfigMap(&configMap, wanted.ServerCA.ConfigMap.Key, time.Now()); err != nil {
		t.Error(err)
	}

	t.Run("it sets everything that can be asked for", func(t *testing.T) {
		encoded, err := json.Marshal(egressTarget.Spec.Credential.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		set := map[string]any{"commonName": "which the subject excludes"}
		if err := json.Unmarshal(encoded, &set); err != nil {
			t.Fatal(err)
		}
		for _, field := range reflect.VisibleFields(reflect.TypeFor[v1alpha1.IssuedCertificate]()) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if _, there := set[name]; !there {
				t.Errorf("credential.certificate.%s is not in the example", name)
			}
		}
	})
}

// rendered is the object of a kind among those that the command render makes of the manifests in
// dir.
func rendered(t *testing.T, dir, kind string) *unstructured.Unstructured {
	t.Helper()
	var stdout, stderr strings.Builder
	command := cli.NewRootCommand()
	command.SetArgs([]string{"render", "--filename", dir, "--show", "objects", "--output", "json"})
	command.SetOut(&stdout)
	command.SetErr(&stderr)
	if err := command.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("render: %v\n%s", err, stderr.String())
	}
	var list unstructured.UnstructuredList
	if err := list.UnmarshalJSON([]byte(stdout.String())); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(list.Items, func(object unstructured.Unstructured) bool { return object.GetKind() == kind })
	if at < 0 {
		t.Fatalf("render makes no %s:\n%s", kind, stdout.String())
	}
	return &list.Items[at]
}

func kubectlIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := server.Command(t.Context(), "kubectl", args...)
	cmd.Dir = dir
	stdout, _, err := apiserver.Output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return stdout
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	absolute, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}
