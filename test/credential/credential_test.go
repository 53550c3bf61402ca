// Package credential_test runs the credential commands against a real API server: with the rights
// that they say are enough, and with less.
package credential_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"mtls.egress/webhook/charts"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/cli"
	"mtls.egress/webhook/test/apiserver"
)

const (
	examples = "../../examples/credential/"
	secret   = "external-system-mtls-data"
)

// rights are those of the user reader: to get one Secret.
const rights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: project}
rules: [{apiGroups: [""], resources: [secrets], resourceNames: [` + secret + `], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: project}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: User, name: reader, apiGroup: rbac.authorization.k8s.io}]
---
apiVersion: v1
kind: Secret
metadata: {name: other, namespace: project}
stringData: {password: c2VjcmV0}
`

// run runs a credential command; stderr holds the error too, as main prints it there, and lacks the
// next steps of import.
func run(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, problems bytes.Buffer
	root := cli.NewRootCommand()
	root.SetArgs(append([]string{"credential"}, args...))
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&problems)
	err := root.ExecuteContext(t.Context())
	stderr, _, _ = strings.Cut(problems.String(), "Next steps:\n")
	if err != nil {
		stderr += err.Error()
	}
	return out.String(), stderr, cli.ExitCode(err)
}

// succeed is what a command prints that has to succeed without a word on standard error.
func succeed(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, code := run(t, stdin, args...)
	if code != cli.ExitFine || stderr != "" {
		t.Fatalf("%s: exit code %d, standard error %q", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func apply(t *testing.T, server *apiserver.Server, manifests string) {
	t.Helper()
	cmd := server.Command(t.Context(), "kubectl", "apply", "--filename", "-")
	cmd.Stdin = strings.NewReader(manifests)
	if _, _, err := apiserver.Output(cmd); err != nil {
		t.Fatal(err)
	}
}

func kubectl(t *testing.T, server *apiserver.Server, args ...string) {
	t.Helper()
	if _, _, err := server.Kubectl(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

// kubeconfig is that of the administrator after a change, in a file of its own.
func kubeconfig(t *testing.T, server *apiserver.Server, change func(*api.Config)) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	change(config)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// inProject makes project the namespace of the context.
func inProject(config *api.Config) {
	for _, context := range config.Contexts {
		context.Namespace = "project"
	}
}

func asReader(config *api.Config) {
	inProject(config)
	for _, user := range config.AuthInfos {
		user.Impersonate = "reader"
	}
}

func TestCredentialsAreReadFromTheCluster(t *testing.T) {
	t.Setenv("KUBECONFIG", os.DevNull)
	server := apiserver.ForTest(t)
	kubectl(t, server, "create", "namespace", "project")
	manifest := succeed(t, "", "import", examples+"keystore.p12", "--password-file", examples+"password.txt",
		"--target", "external.system.com", "--server-ca", examples+"server-ca.pem", "-n", "project")
	apply(t, server, manifest)
	apply(t, server, rights)
	reader, admin := kubeconfig(t, server, asReader), kubeconfig(t, server, inProject)

	t.Run("inspect sees what is in the manifest", func(t *testing.T) {
		want := inspection(t, succeed(t, manifest, "inspect", "-", "-o", "json"))
		for name, args := range map[string][]string{
			"the namespace of the context, and the right to get this Secret alone": {"--kubeconfig", reader},
			"the namespace of the flag": {"--kubeconfig", server.Kubeconfig, "-n", "project"},
		} {
			t.Run(name, func(t *testing.T) {
				got := inspection(t, succeed(t, "", append([]string{"inspect", "secret/" + secret, "-o", "json"}, args...)...))
				if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(credential.Details{}, "DaysLeft")); diff != "" ||
					len(got.Chain) != 2 {
					t.Errorf("%d certificates (-manifest +cluster):\n%s", len(got.Chain), diff)
				}
			})
		}
	})
	t.Run("describe sees what is in the manifest, and Kubernetes takes what it prints", func(t *testing.T) {
		crds, err := apiserver.IstioCRDs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		kubectl(t, server, "apply", "--server-side", "--filename", crds)
		kubectl(t, server, "wait", "--for=condition=Established", "--timeout=3m", "--filename", crds)
		kubectl(t, server, "create", "namespace", "istio-system")
		options := []string{"--for-partner", "--target", "external.system.com", "-o", "yaml"}
		got := succeed(t, "", append([]string{"describe", "secret/" + secret, "--kubeconfig", reader}, options...)...)
		if diff := cmp.Diff(succeed(t, manifest, append([]string{"describe", "-"}, options...)...), got); diff != "" {
			t.Errorf("(-manifest +cluster):\n%s", diff)
		}
		apply(t, server, got)
		kubectl(t, server, "get", "--namespace", "istio-system", "secret/external-system-com-cacert",
			"gateways.networking.istio.io/external-system-com", "authorizationpolicies.security.istio.io/external-system-com")
	})
	t.Run("what can't be read is told in one sentence", func(t *testing.T) { refusals(t, server, reader, admin) })
	t.Run("no output has the key", func(t *testing.T) {
		key, err := os.ReadFile(examples + "client.key")
		if err != nil {
			t.Fatal(err)
		}
		// Beyond the line that every key begins with.
		encoded, body := base64.StdEncoding.EncodeToString(key)[60:100], string(key[45:75])
		if !strings.Contains(manifest, encoded) {
			t.Fatal("the example's key isn't that of the key store, so that nothing would be found")
		}
		for _, args := range [][]string{{"inspect"}, {"describe", "--for-partner"}} {
			for _, output := range []string{"text", "json"} {
				stdout := succeed(t, "", append(args, "secret/"+secret, "--kubeconfig", reader, "-o", output)...)
				if strings.Contains(stdout, body) || strings.Contains(stdout, encoded) || strings.Contains(stdout, "PRIVATE") {
					t.Errorf("the key is in the output of %s -o %s", args[0], output)
				}
			}
		}
	})
}

// TestImportOverwritesNoOtherCredential: a Secret that is there for another host is refused before
// kubectl could overwrite it, and one whose name another host has by default.
func TestImportOverwritesNoOtherCredential(t *testing.T) {
	server := apiserver.ForTest(t)
	kubectl(t, server, "create", "namespace", "project")
	admin := kubeconfig(t, server, inProject)
	imported := func(target string) []string {
		return []string{
			"import", examples + "keystore.p12", "--password-file", examples + "password.txt", "--target", target,
			"--server-ca", examples + "server-ca.pem", "--kubeconfig", admin, "-n", "project",
		}
	}
	// Without the API of this project installed.
	apply(t, server, succeed(t, "", imported("api.bank.com")...))
	succeed(t, "", imported("api.bank.com")...)
	refuse := func(target, want string) {
		t.Helper()
		stdout, stderr, code := run(t, "", imported(target)...)
		if code != cli.ExitNotFine || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, standard error %q, want %q", target, code, stderr, want)
		}
	}
	refuse("api.bank.de", "the Secret api-bank-mtls-data holds the credential for api.bank.com")

	apply(t, server, charts.EgressTargetCRD())
	kubectl(t, server, "wait", "--for=condition=Established", "--timeout=1m", "crd/egresstargets.mtls.egress")
	apply(
		t, server,
		"{apiVersion: mtls.egress/v1alpha1, kind: EgressTarget, metadata: {name: "+
			"orders.partner.com, namespace: project}, spec: {}}",
	)
	refuse("orders.partner.org",
		"the Secret orders-partner-mtls-data is also the default Secret of the EgressTarget orders.partner.com")
	succeed(t, "", append(imported("orders.partner.org"), "--secret-name", "partner-org")...)
}

func inspection(t *testing.T, printed string) credential.Inspection {
	t.Helper()
	var parsed credential.Inspection
	if err := json.Unmarshal([]byte(printed), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func refusals(t *testing.T, server *apiserver.Server, reader, admin string) {
	nobody := kubeconfig(t, server, func(config *api.Config) {
		inProject(config)
		for name := range config.AuthInfos {
			config.AuthInfos[name] = &api.AuthInfo{Token: "expired"}
		}
	})
	impostor := kubeconfig(t, server, func(config *api.Config) {
		ca, err := os.ReadFile(examples + "server-ca.pem")
		if err != nil {
			t.Fatal(err)
		}
		for _, cluster := range config.Clusters {
			cluster.CertificateAuthority, cluster.CertificateAuthorityData = "", ca
		}
	})
	config, err := clientcmd.LoadFromFile(server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	host := config.Clusters[config.Contexts[config.CurrentContext].Cluster].Server
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a Secret that isn't there": {
			[]string{"secret/none", "--kubeconfig", admin}, cli.ExitUnable, "the namespace project has no Secret none; set -n " +
				"for another namespace",
		},
		"a namespace that isn't there": {
			[]string{"secret/" + secret, "--kubeconfig", admin, "-n", "none"}, cli.ExitUnable,
			"the namespace none has no Secret " + secret + "; set -n for another namespace",
		},
		"a Secret that the user may not read": {
			[]string{"secret/other", "--kubeconfig", reader}, cli.ExitUnable,
			"you are not allowed to get the Secret other in the namespace project: " + `secrets "other" is forbidden: User ` +
				`"reader" cannot get resource "secrets" in API group "" in the namespace "project"`,
		},
		"a user whom the server doesn't know": {
			[]string{"secret/" + secret, "--kubeconfig", nobody}, cli.ExitUnable,
			"the API server " + host + " doesn't accept the credentials in the kubeconfig; log in again: Unauthorized",
		},
		"a server that isn't the one": {
			[]string{"secret/" + secret, "--kubeconfig", impostor}, cli.ExitUnable,
			"the API server " + host + " can't be reached: tls: failed to verify certificate: x509: " +
				"certificate signed by unknown authority",
		},
		"a Secret that is no credential": {
			[]string{"secret/other", "--kubeconfig", admin}, cli.ExitNotFine,
			`secret/other: the Secret has neither the keys "cert" and "key" (with the CA in "cacert") nor "tls.crt" and ` +
				`"tls.key" (with the CA in "ca.crt"): rename its keys, or name the keys to use in spec.credential.keys of the ` +
				`EgressTarget; the Secret has only the key "password"`,
		},
	} {
		for command, args := range map[string][]string{"inspect": {"inspect"}, "describe": {"describe", "--for-partner"}} {
			t.Run(name+", "+command, func(t *testing.T) {
				stdout, stderr, code := run(t, "", append(args, test.args...)...)
				if diff := cmp.Diff(test.want, stderr); diff != "" || stdout != "" || code != test.code {
					t.Errorf("exit code %d, want %d, standard output %q, standard error (-want +got):\n%s",
						code, test.code, stdout, diff)
				}
			})
		}
	}
}
