package credential_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/charts"
	"mtls.egress/webhook/internal/cli"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/pki"
)

// readerOfAll may get what verify says that it needs, and nothing else.
const readerOfAll = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: project}
rules:
- {apiGroups: [""], resources: [secrets, configmaps], verbs: [get]}
- {apiGroups: [mtls.egress], resources: [egresstargets], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: project}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: User, name: reader, apiGroup: rbac.authorization.k8s.io}]
`

// partner is a server for a host that requires certificates of clients.
func partner(t *testing.T, server, clients *pki.CA, host string) (address string) {
	t.Helper()
	pair := server.Issue(t, pki.Server(host))
	config := &tls.Config{
		Certificates: []tls.Certificate{{PrivateKey: pair.Key, Certificate: [][]byte{pair.Certificate.Raw}}},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool(), MinVersion: tls.VersionTLS12,
	}
	return pki.Listen(t, config)
}

func manifest(kind, name string, fields map[string]any) string {
	object := map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": name,
		"namespace": "project"}}
	if kind == "EgressTarget" {
		object["apiVersion"] = "mtls.egress/v1alpha1"
	}
	maps.Copy(object, fields)
	encoded, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return string(encoded) + "\n---\n"
}

// TestVerifyReadsTheCluster verifies a Secret, and what EgressTargets make of it.
func TestVerifyReadsTheCluster(t *testing.T) {
	t.Setenv("KUBECONFIG", os.DevNull)
	server := apiserver.ForTest(t)
	kubectl(t, server, "create", "namespace", "project")
	apply(t, server, charts.EgressTargetCRD())
	kubectl(t, server, "wait", "--for=condition=Established", "--timeout=1m", "crd/egresstargets.mtls.egress")
	apply(t, server, readerOfAll)
	clients, servers := pki.NewCA(t, "Client CA"), pki.NewCA(t, "Server CA")
	client := clients.Issue(t, pki.Client("orders"))
	data := func(parts ...[]byte) map[string]any {
		values := map[string]any{}
		for n, key := range []string{"cert", "key", "cacert"}[:len(parts)] {
			values[key] = base64.StdEncoding.EncodeToString(parts[n])
		}
		return map[string]any{"data": values}
	}
	spec := func(text string) map[string]any {
		var parsed map[string]any
		if err := json.Unmarshal([]byte(text), &parsed); err != nil {
			t.Fatal(err)
		}
		return map[string]any{"spec": parsed}
	}
	ca := t.TempDir() + "/ca.pem"
	if err := os.WriteFile(ca, servers.CertPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	apply(t, server, manifest("Secret", "whole", data(client.CertPEM, client.KeyPEM, servers.CertPEM))+
		manifest("Secret", "without-ca", data(client.CertPEM, client.KeyPEM))+
		manifest("ConfigMap", "partner-ca", map[string]any{"data": map[string]any{"ca.crt": string(servers.CertPEM)}})+
		manifest("EgressTarget", "api.partner.example", spec(`{"credential": {"secretName": "whole"}}`))+
		manifest("EgressTarget", "bundle.partner.example", spec(`{"credential": {"secretName": "without-ca"}, "serverCA": `+
			`{"configMap": {"name": "partner-ca", "key": "ca.crt"}}, "subjectAltNames": ["api.partner.example"]}`))+
		manifest("EgressTarget", "without.partner.example", spec(`{"credential": {"secretName": "without-ca"}}`))+
		manifest("EgressTarget", "missing.partner.example", spec(`{"credential": {"secretName": "none"}}`)))
	reader := kubeconfig(t, server, asReader)
	address := partner(t, servers, clients, "api.partner.example")

	tests := map[string]struct {
		args []string
		code int
		// verified and reason are those in the output, and stderr the start of standard error.
		verified bool
		reason   string
		stderr   string
	}{
		"a Secret": {
			args: []string{"secret/whole", "--target", "api.partner.example"}, verified: true, reason: "Verified",
		},
		"a Secret, and a CA in a file": {
			args:     []string{"secret/without-ca", "--target", "api.partner.example", "--server-ca", ca},
			verified: true, reason: "Verified",
		},
		"a Secret without CA, and the CAs of this machine": {
			args: []string{"secret/without-ca", "--target", "api.partner.example"}, code: cli.ExitNotFine,
			reason: "ServerNotTrusted",
		},
		"an EgressTarget": {args: []string{"egt/api.partner.example"}, verified: true, reason: "Verified"},
		"an EgressTarget with its CA in a ConfigMap, and another name": {
			args: []string{"egt/bundle.partner.example"}, verified: true, reason: "Verified",
		},
		"an EgressTarget without CA, as the controller refuses it": {
			args: []string{"egt/without.partner.example"}, code: cli.ExitNotFine, reason: "ServerCAMissing",
		},
		"an EgressTarget without Secret, as the controller reports it": {
			args: []string{"egt/missing.partner.example"}, code: cli.ExitNotFine, reason: "SecretMissing",
		},
		"an EgressTarget that isn't there": {
			args: []string{"egt/none.partner.example"}, code: cli.ExitUnable,
			stderr: "the namespace project has no EgressTarget none.partner.example; set -n for another namespace",
		},
		"a Secret that isn't there": {
			args: []string{"secret/none", "--target", "api.partner.example"}, code: cli.ExitUnable,
			stderr: "the namespace project has no Secret none; set -n for another namespace",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := run(t, "", append([]string{"verify", "--kubeconfig", reader, "--connect", address, "-o",
				"json"}, test.args...)...)
			if code != test.code || !strings.HasPrefix(stderr, test.stderr) {
				t.Fatalf("exit code %d, want %d, standard error %q, standard output %s", code, test.code, stderr, stdout)
			}
			var got struct {
				Verified        bool
				Reason, Message string
			}
			if test.reason == "" {
				if stdout != "" {
					t.Errorf("standard output %q", stdout)
				}
				return
			}
			if err := json.Unmarshal([]byte(stdout), &got); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprint(test.verified, " ", test.reason)
			if diff := cmp.Diff(want, fmt.Sprint(got.Verified, " ", got.Reason)); diff != "" {
				t.Errorf("(-want +got):\n%s%s", diff, got.Message)
			}
			if strings.Contains(stdout, "PRIVATE") {
				t.Error("the key is in the output")
			}
		})
	}
}
