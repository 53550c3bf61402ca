package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/check"
)

const (
	annotatedPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"probe",` +
		`"annotations":{"mtls.egress/target":"external.system.com"}},` +
		`"spec":{"containers":[{"name":"app","image":"probe:1"}]}}`
	badPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad",` +
		`"annotations":{"mtls.egress/target":"localhost"}},"spec":{"containers":[{"name":"app","image":"probe:1"}]}}`
	plainService = "apiVersion: v1\nkind: Service\nmetadata:\n  name: shop\nspec:\n  ports:\n  - port: 80\n"
)

// executeRender runs render. stderr includes the error, which main prints there.
func executeRender(stdin string, args ...string) (stdout, stderr string, code int) {
	stdout, stderr, err := executeWith(stdin, append([]string{"render"}, args...)...)
	if err != nil {
		stderr += err.Error()
	}
	return stdout, stderr, ExitCode(err)
}

func TestRenderExitCodes(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	write(t, broken, "a: [")
	tests := map[string]struct {
		stdin  string
		args   []string
		code   int
		stderr string
	}{
		"done":            {annotatedPod, []string{"-f", "-"}, 0, ""},
		"nothing to read": {"", []string{"-f", "-"}, 0, ""},
		"refused by a rule": {
			badPod,
			[]string{"-f", "-"},
			1,
			`STDIN, document 1, line 1, Pod bad: metadata.annotations[mtls.egress/target]: Invalid value: ` +
				`"localhost": has only one label`,
		},
		"a workload without a template": {
			`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x",` +
				`"annotations":{"mtls.egress/target":"a.example"}},"spec":{}}`,
			[]string{"-f", "-"},
			1,
			"STDIN, document 1, line 1, Deployment x: metadata.annotations[mtls.egress/target]: Forbidden: the Deployment " +
				"has no Pod template (spec.template)",
		},
		"a name that would write to the terminal": {
			strings.ReplaceAll(badPod, `"bad"`, `"a\u001b[2Jb"`),
			[]string{"-f", "-"},
			1,
			"STDIN, document 1, line 1, Pod a�[2Jb: ",
		},
		"neither -f nor -k": {"", nil, 2, "no input: pass -f FILE|DIR|- or -k DIR"},
		"-f and -k": {
			"",
			[]string{"-f", "-", "-k", "."},
			2,
			"-f and -k are mutually exclusive",
		},
		"an unknown output": {
			"",
			[]string{"-f", "-", "-o", "xml"},
			2,
			"-o xml: the output is yaml or json",
		},
		"an unknown part": {
			"",
			[]string{"-f", "-", "--show", "secrets"},
			2,
			"--show secrets: the parts are manifests, pods and objects",
		},
		"all wrong flags at once": {
			"",
			[]string{"--show", "x"},
			2,
			"no input: pass -f FILE|DIR|- or -k DIR\n--show x: the parts are manifests, pods and objects",
		},
		"an unknown flag": {
			"", []string{"--filenames", "x"}, 2,
			"mtls-egress-webhook render has no flag --filenames; did you mean --filename?",
		},
		"an argument": {
			"", []string{"file.yaml"}, 2,
			`takes no arguments: remove "file.yaml", or write -f file.yaml to read it`,
		},
		"a file that isn't there": {
			"",
			[]string{"-f", "missing.yaml"},
			2,
			`the path "missing.yaml" does not exist`,
		},
		"invalid YAML": {
			"", []string{"-f", broken}, 2,
			broken + ", document 1, line 1: is not valid YAML: did not find expected node content",
		},
		"a document without a kind": {
			`{"data":{"key":"c2VjcmV0"}}`,
			[]string{"-f", "-"},
			2,
			`STDIN, document 1, line 1: has no kind, so it is not a manifest`,
		},
		"a kustomization without one": {
			"",
			[]string{"-k", t.TempDir()},
			2,
			"unable to find one of 'kustomization.yaml'",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeRender(test.stdin, test.args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d; %s", code, test.code, stderr)
			}
			if !strings.Contains(stderr, test.stderr) || strings.Contains(stderr, "c2VjcmV0") {
				t.Errorf("standard error %q, want %q", stderr, test.stderr)
			}
			if code != 0 && stdout != "" {
				t.Errorf("the failed command printed %q", stdout)
			}
		})
	}
}

func TestRenderRefusesWithAllProblemsAndPrintsNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), plainService+"---\n"+badPod)
	write(t, filepath.Join(dir, "b.yaml"), annotatedPod+"\n---\n"+badPod)
	stdout, stderr, code := executeRender("", "-f", dir)
	if code != 1 || stdout != "" {
		t.Fatalf("exit code %d, standard output %q", code, stdout)
	}
	for _, want := range []string{
		filepath.Join(dir, "a.yaml") + ", document 2, line 9, Pod bad",
		filepath.Join(dir, "b.yaml") + ", document 2, line 3, Pod bad",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error %q lacks %q", stderr, want)
		}
	}
}

func TestRenderReads(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "pod.json"), annotatedPod)
	write(t, filepath.Join(dir, "kustomization.yaml"), "resources: [pod.json]\nnamePrefix: kustomized-\n")
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(below, "pod.yml"), strings.ReplaceAll(annotatedPod, "probe", "deeper"))
	tests := map[string]struct {
		stdin string
		args  []string
		want  []string
	}{
		"standard input": {annotatedPod, []string{"-f", "-"}, []string{"probe"}},
		"a file":         {"", []string{"-f", filepath.Join(dir, "pod.json")}, []string{"probe"}},
		"two files, in their order": {
			"",
			[]string{"-f", filepath.Join(below, "pod.yml"), "-f", filepath.Join(dir, "pod.json")},
			[]string{"deeper", "probe"},
		},
		"a file and standard input": {
			strings.ReplaceAll(annotatedPod, "probe", "streamed"),
			[]string{"-f", "-," + filepath.Join(dir, "pod.json")},
			[]string{"streamed", "probe"},
		},
		"a directory and those below it": {"", []string{"-R", "-f", below}, []string{"deeper"}},
		"a kustomization":                {"", []string{"-k", dir}, []string{"kustomized-probe"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeRender(
				test.stdin,
				append([]string{"--show", "manifests", "-o", "json"}, test.args...)...)
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			var list struct {
				Kind  string `json:"kind"`
				Items []struct {
					Metadata struct {
						Name   string            `json:"name"`
						Labels map[string]string `json:"labels"`
					} `json:"metadata"`
				} `json:"items"`
			}
			if err := json.Unmarshal([]byte(stdout), &list); err != nil || list.Kind != "List" {
				t.Fatalf("%v: %s", err, stdout)
			}
			var names []string
			for _, item := range list.Items {
				names = append(names, item.Metadata.Name)
				if item.Metadata.Labels["mtls.egress/injected"] != "true" {
					t.Errorf("%s is not injected", item.Metadata.Name)
				}
			}
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

// Helm passes its manifests to a post-renderer on standard input and installs the output.
func TestRenderPassesWhatAsksForNothingThroughInOrder(t *testing.T) {
	input := plainService + "---\n# only a comment\n---\n" + annotatedPod + "\n---\n" + strings.ReplaceAll(plainService,
		"shop", "last")
	stdout, stderr, code := executeRender(input, "-f", "-", "--show", "manifests")
	if code != 0 {
		t.Fatal(stderr)
	}
	documents := strings.Split(stdout, "---\n")
	if len(documents) != 3 {
		t.Fatalf("%d documents: %s", len(documents), stdout)
	}
	for at, want := range map[int]string{0: plainService, 2: strings.ReplaceAll(plainService, "shop", "last")} {
		if diff := cmp.Diff(parsed(t, want), parsed(t, documents[at])); diff != "" {
			t.Errorf("document %d (-want +got):\n%s", at, diff)
		}
	}
}

func TestRenderExplains(t *testing.T) {
	_, stderr, code := executeRender(annotatedPod, "-f", "-", "-n", "project", "--explain")
	want := "Namespace project: http://external.system.com leaves the Pods of Pod probe as TLS to " +
		"external.system.com:443 (server name external.system.com), " +
		"with the client certificate in key cert of the Secret external-system-mtls-data, which " +
		"is not part of the input; " +
		"the server certificate must be for external.system.com and signed by a CA in " +
		"key cacert of that Secret; " +
		"if any part is missing, the call is dropped at 254.110.240.171, which is not routed.\n"
	if diff := cmp.Diff(want, stderr); diff != "" || code != 0 {
		t.Errorf("exit code %d, standard error (-want +got):\n%s", code, diff)
	}
}

func parsed(t *testing.T, document string) map[string]any {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(document), &content); err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRenderNamesTheFlagsOfThePolicy(t *testing.T) {
	inCluster := "apiVersion: mtls.egress/v1alpha1\nkind: EgressTarget\nmetadata: {name: external.system.com}\n" +
		"spec: {endpoints: [{address: gateway.egress.svc.cluster.local}]}\n---\n" + annotatedPod
	tests := map[string]struct {
		stdin string
		args  []string
		code  int
		want  bool
	}{
		"a host that is not allowed": {annotatedPod, []string{"--other-targets", "Deny"}, 1, true},
		"an endpoint in the cluster": {inCluster, nil, 0, true},
		"an endpoint that is allowed": {
			inCluster, []string{"--allowed-endpoints", "gateway.egress.svc.cluster.local"}, 0, false,
		},
		"another mistake": {badPod, nil, 1, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, stderr, code := executeRender(test.stdin, append([]string{"-f", "-"}, test.args...)...)
			if got := strings.Contains(stderr, "\n"+check.PassPolicy); got != test.want || code != test.code {
				t.Errorf("hint %t, exit code %d; want %t, %d:\n%s", got, code, test.want, test.code, stderr)
			}
		})
	}
}
