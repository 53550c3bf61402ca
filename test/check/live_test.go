// Package check_test runs check against a real API server, with all rights and with less.
package check_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"

	"mtls.egress/webhook/internal/cli"
	"mtls.egress/webhook/test/apiserver"
)

// objects have a mistake in a workload, one in a Secret, and one in another namespace. The user
// viewer may read all but Secrets.
const objects = `
apiVersion: v1
kind: Namespace
metadata: {name: project}
---
apiVersion: v1
kind: Namespace
metadata: {name: elsewhere}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: project, annotations: {mtls.egress/target: external.system.com}}
spec:
  selector: {matchLabels: {app: orders}}
  template:
    metadata: {labels: {app: orders}}
    spec:
      containers:
      - name: orders
        image: registry.example/orders:1
        securityContext: {privileged: true}
---
apiVersion: v1
kind: Secret
metadata: {name: external-system-mtls-data, namespace: project}
stringData: {cert: none, key: none, cacert: none}
---
apiVersion: v1
kind: Pod
metadata: {name: probe, namespace: elsewhere, annotations: {mtls.egress/target: localhost}}
spec: {containers: [{name: probe, image: "registry.example/probe:1"}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: viewer}
rules:
- {apiGroups: [""], resources: [namespaces, pods, services, configmaps, replicationcontrollers], verbs: [get, list]}
- {apiGroups: [apps, batch], resources: ["*"], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: viewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: viewer}
subjects: [{kind: User, name: viewer, apiGroup: rbac.authorization.k8s.io}]
`

func TestLiveObjectsAreChecked(t *testing.T) {
	t.Setenv("KUBECONFIG", os.DevNull)
	server := apiserver.ForTest(t)
	apply := server.Command(t.Context(), "kubectl", "apply", "--filename", "-")
	apply.Stdin = strings.NewReader(objects)
	if _, _, err := apiserver.Output(apply); err != nil {
		t.Fatal(err)
	}
	unreadable := []string{
		"Secret project/external-system-mtls-data MTE302", "Secret project/external-system-mtls-data MTE303",
		"Secret project/external-system-mtls-data MTE309",
	}
	privileged, elsewhere := "Deployment project/orders MTE128", "Pod elsewhere/probe MTE101"
	secrets := "Note: you may not read the secrets, so they are not checked: "
	for name, test := range map[string]struct {
		kubeconfig string
		args       []string
		want       []string
		note       string
	}{
		"a namespace, by an administrator": {
			kubeconfig: server.Kubeconfig, args: []string{"-n", "project"}, want: append([]string{privileged}, unreadable...),
		},
		"all namespaces, by an administrator": {
			kubeconfig: server.Kubeconfig, args: []string{"-A"},
			want: append([]string{privileged, elsewhere}, unreadable...),
		},
		"a namespace, by a user who may not read Secrets": {
			kubeconfig: viewer(t, server), args: []string{"-n", "project"}, want: []string{privileged}, note: secrets,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out, problems bytes.Buffer
			root := cli.NewRootCommand()
			root.SetArgs(append([]string{
				"check", "--live", "-o", "json", "--fail-on", "none", "--kubeconfig", test.kubeconfig,
			}, test.args...))
			root.SetOut(&out)
			root.SetErr(&problems)
			if err := root.ExecuteContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, findings(t, out.Bytes())); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if got := problems.String(); !strings.HasPrefix(got, test.note) || (got == "") != (test.note == "") ||
				strings.Count(got, "\n") > 1 {
				t.Errorf("standard error %q, want %q", got, test.note)
			}
		})
	}
}

// viewer returns a kubeconfig of the user viewer.
func viewer(t *testing.T, server *apiserver.Server) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "viewer"
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// findings returns the objects and rules of a report, sorted.
func findings(t *testing.T, report []byte) []string {
	t.Helper()
	var decoded struct {
		Findings []struct{ Kind, Namespace, Object, Rule string }
	}
	if err := json.Unmarshal(report, &decoded); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, one := range decoded.Findings {
		found = append(found, one.Kind+" "+one.Namespace+"/"+one.Object+" "+one.Rule)
	}
	slices.Sort(found)
	return found
}
