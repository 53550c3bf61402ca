package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"mtls.egress/webhook/internal/workload"
	"mtls.egress/webhook/test/golden"
)

const privilegedPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"probe",` +
	`"annotations":{"mtls.egress/target":"external.system.com"}},` +
	`"spec":{"containers":[{"name":"app","image":"probe:1","securityContext":{"privileged":true}}]}}`

// executeCheck runs check. stderr includes the error, which main prints there.
func executeCheck(stdin string, args ...string) (stdout, stderr string, code int) {
	stdout, stderr, err := executeWith(stdin, append([]string{"check"}, args...)...)
	if err != nil {
		stderr += withoutUsage(err.Error())
	}
	return stdout, stderr, ExitCode(err)
}

func TestCheckExitCodes(t *testing.T) {
	const failed = "the check failed: 1 finding"
	tests := map[string]struct {
		stdin string
		args  []string
		code  int
		want  string
	}{
		"nothing to find":      {annotatedPod, []string{"-f", "-"}, 0, ""},
		"nothing to read":      {"", []string{"-f", "-"}, 0, ""},
		"an error":             {badPod, []string{"-f", "-"}, 1, failed},
		"a warning":            {privilegedPod, []string{"-f", "-"}, 0, ""},
		"a warning that fails": {privilegedPod, []string{"-f", "-", "--fail-on=warning"}, 1, failed},
		"an error next to a warning": {badPod + "\n---\n" + privilegedPod, []string{"-f", "-"}, 1,
			"the check failed: 1 of 2 findings"},
		"an error that doesn't":               {badPod, []string{"-f", "-", "--fail-on=none"}, 0, ""},
		"an error of a rule that is left out": {badPod, []string{"-f", "-", "--disable=MTE101"}, 0, ""},
		"a namespace's policy":                {annotatedPod, []string{"-f", "-", "--other-targets=Deny"}, 1, failed},
		"as many targets as expected":         {annotatedPod, []string{"-f", "-", "--expect-targets=1"}, 0, ""},
		"an annotation that was lost": {plainService, []string{"-f", "-", "--expect-targets=1"}, 1,
			"--expect-targets: the workloads ask for 0 targets, want 1: check that the annotation mtls.egress/target is in " +
				"the output of your templates"},
		"a document that isn't an object": {"a: 1\n---\n" + annotatedPod, []string{"-f", "-"}, 0,
			"Note: STDIN, document 1, line 1: has no kind, so it is not a manifest; it is skipped\n"},
		"a document that isn't an object, strictly": {"a: 1\n---\n" + annotatedPod, []string{"-f", "-", "--strict-files"}, 2,
			"STDIN, document 1, line 1: has no kind, so it is not a manifest"},
		"a damaged stream": {"apiVersion: v1\nkind: [", []string{"-f", "-"}, 2,
			"STDIN, document 1, line 2: is not valid YAML: did not find expected node content"},
		"no input":       {"", nil, 2, "no input: pass -f FILE|DIR|-, -k DIR or --live"},
		"a missing file": {"", []string{"-f", "/nowhere"}, 2, `the path "/nowhere" does not exist`},
		"flags that can't be": {"", []string{
			"-f", "-", "-k", ".", "-A", "--fail-on=info", "--disable=MTE999",
		}, 2, "-f, -k and --live are mutually exclusive\n-A: is for --live\n" +
			"--fail-on info: the severities are error, warning and none\n" +
			"--disable MTE999: no rule has this ID; see --list-rules"},
		"a cluster without a namespace": {"", []string{"--live"}, 2, "--live: pass either -n NAMESPACE or -A"},
		"a baseline that isn't there": {annotatedPod, []string{"-f", "-", "--baseline=/nowhere"}, 2,
			"--baseline: open /nowhere: no such file or directory"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, stderr, code := executeCheck(test.stdin, test.args...)
			if diff := cmp.Diff(test.want, stderr); diff != "" || code != test.code {
				t.Errorf("exit code %d, want %d; standard error (-want +got):\n%s", code, test.code, diff)
			}
		})
	}
}

// Files of other programs lie next to manifests.
func TestCheckSkipsFilesThatAreNotManifests(t *testing.T) {
	folder := t.TempDir()
	for name, content := range map[string]string{
		"pod.yaml":           badPod,
		"values.yaml":        "image: orders:1\nkind: ClusterIP\n",
		"kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
		"package.json":       `["a"]`,
		"tsconfig.json":      "{ // a comment\n}",
		"template.yaml":      "apiVersion: v1\nkind: {{ .Values.kind }}\n{{- end }}\n",
		"empty.yaml":         "# nothing\n",
	} {
		write(t, filepath.Join(folder, name), content)
	}
	stdout, _, code := executeCheck("", "-f", folder)
	want := "1 error, 0 warnings in 1 object of 1 file; 6 files are not Kubernetes manifests\n"
	if !strings.HasSuffix(stdout, want) || code != 1 {
		t.Errorf("exit code %d, output %q, want the end %q", code, stdout, want)
	}
	_, stderr, code := executeCheck("", "-f", folder, "--strict-files")
	if lines := strings.Count(stderr, "\n") + 1; lines != 6 || code != 2 {
		t.Errorf("exit code %d, %d lines of problems, want 6:\n%s", code, lines, stderr)
	}
}

// Sources of tools lie next to manifests, too. What such a file alone says is not what is applied.
func TestCheckLeavesSourcesOfOtherToolsAlone(t *testing.T) {
	const deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: orders\n  annotations:\n" +
		"    mtls.egress/target: "
	tests := map[string]struct{ content, note, end string }{
		"a template with one document that can be read": {
			annotatedPod + "\n---\napiVersion: v1\nkind: Service\nmetadata:\n  labels:\n    {{- include \"shop\" . }}\n",
			"Note: FILE is a template; it is skipped: check what is made of it\n",
			"in 0 objects; 1 file is not a Kubernetes manifest\n",
		},
		"a template in a value": {
			deployment + "\"{{ .Values.host }}\"\nspec: {template: {spec: {containers: []}}}\n",
			"Note: FILE is a template; it is skipped: check what is made of it\n",
			"in 0 objects; 1 file is not a Kubernetes manifest\n",
		},
		"a template in a field that is text": {
			"apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Values.host }}\n", "",
			"in 0 objects; 1 file is not a Kubernetes manifest\n",
		},
		"a manifest with the template of another tool": {
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: alerts}\ndata: {text: \"{{ $labels.pod }} {{ .Value }}\"}\n",
			"", "in 1 object of 1 file\n",
		},
		"a patch that adds the annotation": {
			deployment + "external.system.com\n", "", "0 errors, 0 warnings in 1 object of 1 file\n",
		},
		"a patch that adds the annotation to the template": {
			"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: orders}\n" +
				"spec: {template: {metadata: {annotations: {mtls.egress/target: external.system.com}}}}\n",
			"", "0 errors, 0 warnings in 1 object of 1 file\n",
		},
		"a patch with a mistake in the annotation": {
			deployment + "a b\n", "the check failed: 1 finding", "1 error, 0 warnings in 1 object of 1 file\n",
		},
		"a Secret that is encrypted": {
			"apiVersion: v1\nkind: Secret\nmetadata: {name: db}\ndata: {key: \"ENC[AES256_GCM,data:abc]\"}\n" +
				"sops: {version: 3.7.1}\n",
			"Note: FILE, document 1, line 1, Secret db: is encrypted with SOPS; it is skipped\n",
			"in 0 objects of 1 file\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "file.yaml")
			write(t, file, test.content)
			stdout, stderr, _ := executeCheck("", "-f", file)
			if diff := cmp.Diff(strings.ReplaceAll(test.note, "FILE", file), stderr); diff != "" {
				t.Errorf("standard error (-want +got):\n%s", diff)
			}
			if !strings.HasSuffix(stdout, test.end) {
				t.Errorf("output %q, want the end %q", stdout, test.end)
			}
		})
	}
}

// A pull request shows only what is in the report.
func TestUnreadableInputIsInTheReport(t *testing.T) {
	want, err := filepath.Abs("testdata/check-unreadable.golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	write(t, "bad.yaml", badPod)
	write(t, "damaged.yaml",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {a: 1}}\n---\napiVersion: v1\nkind: [\n")
	message := "damaged.yaml, document 1, line 3, Pod a: metadata.labels.a: is a number, want text: write it in quotes\n" +
		"damaged.yaml, document 2, line 6: is not valid YAML: did not find expected node content\n" +
		`the path "gone.yaml" does not exist`
	var text strings.Builder
	for _, format := range []string{"text", "json", "github", "gitlab", "junit", "sarif"} {
		stdout, stderr, code := executeCheck("", "-f", "bad.yaml", "-f", "damaged.yaml", "-f", "gone.yaml", "-o", format,
			"--fail-on=none")
		if stderr != message || code != ExitUnable {
			t.Errorf("-o %s: exit code %d, standard error %q, want %q", format, code, stderr, message)
		}
		if format == "sarif" { // without the rules and the version, which come first
			_, stdout, _ = strings.Cut(stdout, `"columnKind"`)
		}
		fmt.Fprintf(&text, "### %s\n%s\n", format, stdout)
	}
	golden.Compare(t, want, []byte(text.String()))
}

func TestABaselineIsWrittenAndAccepted(t *testing.T) {
	baseline := filepath.Join(t.TempDir(), "baseline.json")
	if _, stderr, code := executeCheck(badPod, "-f", "-", "--write-baseline", baseline); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	stdout, stderr, code := executeCheck(badPod, "-f", "-", "--baseline", baseline)
	want := "0 errors, 0 warnings in 1 object of 1 file; 1 finding accepted\n"
	if code != 0 || stdout != want || stderr != "" {
		t.Errorf("exit code %d, output %q, want %q; standard error %q", code, stdout, want, stderr)
	}
	if _, stderr, _ := executeCheck(badPod, "-f", "-", "--baseline", baseline, "--disable=MTE101"); stderr != "" {
		t.Errorf("a rule that is left out: standard error %q", stderr)
	}
	want = "Note: " + baseline + ": this finding is gone; remove it with --write-baseline " + baseline +
		": MTE101 Pod bad metadata.annotations[mtls.egress/target]\n"
	if _, stderr, code := executeCheck(annotatedPod, "-f", "-", "--baseline", baseline); code != 0 || stderr != want {
		t.Errorf("exit code %d, standard error %q, want %q", code, stderr, want)
	}
}

func TestANameCannotWriteToTheTerminal(t *testing.T) {
	input := strings.ReplaceAll(badPod, `"bad"`, `"a\u001b[2J\u202eb"`)
	for _, format := range []string{"text", "json", "sarif", "junit", "github", "gitlab"} {
		if stdout, _, _ := executeCheck(input, "-f", "-", "-o", format); strings.ContainsAny(stdout, "\x1b\u202e") {
			t.Errorf("-o %s has an escape character:\n%q", format, stdout)
		}
	}
}

func TestCheckReadsWhatTheUserMay(t *testing.T) {
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Version: "v1"}})
	for _, kind := range []string{"Pod", "Service", "Secret", "ConfigMap", "Namespace"} {
		scope := meta.RESTScopeNamespace
		if kind == "Namespace" {
			scope = meta.RESTScopeRoot
		}
		mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: kind}, scope)
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	pod := func(name string, owners ...metav1.OwnerReference) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "project", OwnerReferences: owners,
			Annotations: map[string]string{"mtls.egress/target": "localhost"},
		}}
	}
	yes := true
	owner := metav1.OwnerReference{Kind: "ReplicaSet", Name: "x", UID: "1", Controller: &yes}
	c := fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithObjects(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "project"}}, pod("mine"),
		pod("of-a-workload", owner),
	).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			if strings.HasPrefix(list.GetObjectKind().GroupVersionKind().Kind, "Secret") {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", nil)
			}
			return c.List(ctx, list, options...)
		},
	}).Build()
	flags := &checkFlags{live: true, namespace: "project", rootNamespace: "istio-system"}
	input, err := flags.readFrom(t.Context(), c, workload.Known())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, document := range input.documents {
		metadata, _ := document.Object["metadata"].(map[string]any)
		names = append(names, document.Source+" "+metadata["name"].(string))
	}
	if diff := cmp.Diff([]string{"cluster project", "cluster mine"}, names); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	const note = "Note: you may not read the secrets, so they are not checked: "
	if len(input.notes) != 1 || !strings.HasPrefix(input.notes[0], note) {
		t.Errorf("notes %q", input.notes)
	}
}
