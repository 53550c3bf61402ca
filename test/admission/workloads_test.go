package admission_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kind is a kind of workload.
type kind struct {
	resource, apiVersion, name string
	// template leads to its Pod template.
	template []string
	// spec is JSON with the Pod template in the place of %s.
	spec string
}

// kinds are those of workloads.
func kinds() []kind {
	const selector = `"selector":{"matchLabels":{"app":"shop"}}`
	template := []string{"spec", "template"}
	return []kind{
		{"deployment", "apps/v1", "Deployment", template, `{` + selector + `,"template":%s}`},
		{"statefulset", "apps/v1", "StatefulSet", template, `{` + selector + `,"serviceName":"shop","template":%s}`},
		{"daemonset", "apps/v1", "DaemonSet", template, `{` + selector + `,"template":%s}`},
		{"replicaset", "apps/v1", "ReplicaSet", template, `{` + selector + `,"template":%s}`},
		{"job", "batch/v1", "Job", template, `{"suspend":true,"template":%s}`},
		{
			"cronjob",
			"batch/v1",
			"CronJob",
			[]string{"spec", "jobTemplate", "spec", "template"},
			`{"schedule":"0 0 1 1 *","jobTemplate":{"spec":{"template":%s}}}`,
		},
	}
}

// manifest is a workload called shop as JSON, with annotations as name=value. Its template has an
// annotation of the user's.
func (k kind) manifest(annotations ...string) string {
	pairs := make([]string, len(annotations))
	for n, annotation := range annotations {
		name, value, _ := strings.Cut(annotation, "=")
		pairs[n] = fmt.Sprintf("%q:%q", name, value)
	}
	restart := "Always"
	if strings.HasPrefix(k.apiVersion, "batch") {
		restart = "Never"
	}
	template := `{"metadata":{"labels":{"app":"shop"},"annotations":{"note":"the user's"}},"spec":{"restartPolicy":"` +
		restart + `","containers":[{"name":"app","image":"app"}]}}`
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":"shop","annotations":{%s}},"spec":`+k.spec+`}`,
		k.apiVersion, k.name, strings.Join(pairs, ","), template)
}

// templateAnnotations are those of the Pod template in the cluster.
func (w *world) templateAnnotations(k kind) map[string]string {
	w.Helper()
	object := &unstructured.Unstructured{}
	object.SetAPIVersion(k.apiVersion)
	object.SetKind(k.name)
	w.read(object, "shop")
	annotations, _, err := unstructured.NestedStringMap(object.Object,
		append(append([]string{}, k.template...), "metadata", "annotations")...)
	if err != nil {
		w.Fatal(err)
	}
	return annotations
}

// TestTheTemplateFollowsTheWorkload annotates, changes and removes as people and GitOps do, and
// sees after each step that nothing is left to be applied.
func TestTheTemplateFollowsTheWorkload(t *testing.T) {
	const target = "mtls.egress/target"
	own := map[string]string{"note": "the user's"}
	first := map[string]string{
		"note":                   "the user's",
		target:                   host,
		"mtls.egress/propagated": `{"mtls.egress/target":"external.system.com"}`,
	}
	second := map[string]string{
		"note": "the user's", target: "api.partner.example", "mtls.egress/secret": "partner",
		"mtls.egress/propagated": `{"mtls.egress/secret":"partner","mtls.egress/target":"api.partner.example"}`,
	}
	for _, k := range kinds() {
		for way, flags := range map[string][]string{"client-side apply": nil, "server-side apply": {"--server-side"}} {
			t.Run(k.name+" by "+way, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				apply := func(manifest string) {
					t.Helper()
					w.kubectlWith(manifest, append([]string{"apply", "--filename=-"}, flags...)...)
				}
				wantTemplate := func(step string, want map[string]string) {
					t.Helper()
					if diff := cmp.Diff(want, w.templateAnnotations(k)); diff != "" {
						t.Errorf("%s: the template's annotations (-want +got):\n%s", step, diff)
					}
				}
				wantClean := func(step, manifest string) {
					t.Helper()
					if diff, err := installed.KubectlWith(
						t.Context(), manifest, append([]string{"diff", "--filename=-", "--namespace", w.namespace}, flags...)...,
					); err != nil {
						t.Errorf("%s: kubectl diff: %v\n%s", step, err, diff)
					}
				}
				steps := []struct {
					name, manifest string
					want           map[string]string
				}{
					{"without annotation", k.manifest(), own},
					{"annotated", k.manifest(target + "=" + host), first},
					{"annotated once more", k.manifest(target + "=" + host), first},
					{"changed", k.manifest(target+"=api.partner.example", "mtls.egress/secret=partner"), second},
					{"changed back", k.manifest(target + "=" + host), first},
					{"removed", k.manifest(), own},
				}
				for _, step := range steps {
					apply(step.manifest)
					wantTemplate(step.name, step.want)
					wantClean(step.name, step.manifest)
				}

				w.kubectl("annotate", k.resource+"/shop", target+"="+host)
				wantTemplate("by kubectl annotate", first)
				if k.name != "DaemonSet" && k.name != "CronJob" && k.name != "Job" {
					w.kubectl("scale", k.resource+"/shop", "--replicas=3")
					wantTemplate("scaled", first)
					if got := w.kubectl("get", k.resource+"/shop", "--output=jsonpath={.spec.replicas}"); got != "3" {
						t.Errorf("%s replicas, want 3", got)
					}
				}
				w.kubectl("annotate", k.resource+"/shop", target+"-")
				wantTemplate("by kubectl annotate, away", own)
			})
		}
	}
}

// TestTheTemplateOfAJobThatMayHaveStartedStays: Kubernetes lets nobody change it, so a change gets
// a warning.
func TestTheTemplateOfAJobThatMayHaveStartedStays(t *testing.T) {
	w := newWorld(t)
	k := kind{"job", "batch/v1", "Job", []string{"spec", "template"}, `{"template":%s}`}
	w.kubectlWith(k.manifest("mtls.egress/target="+host), "apply", "--filename=-")
	first := w.templateAnnotations(k)
	_, warnings, err := installed.Kubectl(t.Context(), "annotate", "job/shop",
		"--overwrite", "mtls.egress/target=api.partner.example", "--namespace", w.namespace)
	const want = "Warning: the Pod template of a started Job is immutable, so its Pods don't " +
		"change; delete the Job and create it again\n"
	if err != nil || warnings != want {
		t.Errorf("error %v, warnings %q, want %q", err, warnings, want)
	}
	if diff := cmp.Diff(first, w.templateAnnotations(k)); diff != "" || first["mtls.egress/target"] != host {
		t.Errorf("the template's annotations (-first +now):\n%s", diff)
	}
}

func TestAWorkloadIsRefusedWhereTheMistakeIsAndNothingIsWritten(t *testing.T) {
	const denied = `admission webhook "workloads.mtls.egress" denied the request: `
	for _, k := range kinds() {
		at := strings.Join(k.template, ".")
		good := k.manifest("mtls.egress/target=" + host)
		tests := map[string]struct{ manifest, want string }{
			"in its own metadata": {
				k.manifest("mtls.egress/target=" + host + ":0"),
				`metadata.annotations[mtls.egress/target]: Invalid value: "external.system.com:0": has the port "0", which is ` +
					`out of range; write the partner's TLS port, 1 to 65535`,
			},
			"in its template's spec": {
				strings.Replace(good, `"containers"`, `"hostNetwork":true,"containers"`, 1),
				at + `.spec.hostNetwork: Invalid value: "true": a Pod with hostNetwork has no sidecar, which mtls.egress/target ` +
					`needs; remove hostNetwork or the annotation`,
			},
			"in its template's annotations": {
				strings.Replace(good, `"note":"the user's"`, `"mtls.egress/propagated":"by hand"`, 1),
				at + `.metadata.annotations[mtls.egress/propagated]: Invalid value: "by hand": the annotation is reserved ` +
					`for the webhook and its value is invalid; remove it`,
			},
		}
		for name, test := range tests {
			t.Run(k.name+" "+name, func(t *testing.T) {
				w := newWorld(t)
				_, err := installed.KubectlWith(t.Context(), test.manifest, "apply", "--filename=-", "--namespace", w.namespace)
				if err == nil || !strings.Contains(err.Error(), denied+test.want+"\n") {
					t.Errorf("error %v, want %q", err, denied+test.want)
				}
				if found := w.kubectl("get", k.resource, "--output=name"); found != "" {
					t.Errorf("written: %s", found)
				}
			})
		}
		t.Run(k.name+" that runs stays as it was", func(t *testing.T) {
			w := newWorld(t)
			w.kubectlWith(good, "apply", "--filename=-")
			before := w.kubectl("get", k.resource+"/shop", "--output=json")
			_, _, err := installed.Kubectl(t.Context(), "annotate", "--overwrite", k.resource+"/shop",
				"mtls.egress/target=*.system.com", "--namespace", w.namespace)
			if err == nil ||
				!strings.Contains(
					err.Error(), denied+`metadata.annotations[mtls.egress/target]: Invalid value: "*.system.com": is a wildcard`,
				) {
				t.Errorf("error %v, want a refusal", err)
			}
			if diff := cmp.Diff(before, w.kubectl("get", k.resource+"/shop", "--output=json")); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
		})
	}
}

func TestWhatTheUserWroteIntoTheTemplateStays(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			w := newWorld(t)
			manifest := strings.ReplaceAll(k.manifest("mtls.egress/target="+host), `"note":"the user's"`,
				`"mtls.egress/target":"api.partner.example"`)
			cmd := installed.Server.Command(t.Context(), "kubectl", "apply", "--filename=-", "--namespace", w.namespace)
			cmd.Stdin = strings.NewReader(manifest)
			said, err := cmd.CombinedOutput()
			const want = `Warning: the Pod template has its own mtls.egress/target, which takes precedence; the one in the ` +
				`workload's metadata ("external.system.com") has no effect` + "\n"
			if err != nil || !strings.Contains(string(said), want) {
				t.Errorf("error %v, output %q, want the warning %q", err, said, want)
			}
			if diff := cmp.Diff(map[string]string{
				"mtls.egress/target": "api.partner.example",
			}, w.templateAnnotations(k)); diff != "" {
				t.Errorf("the template's annotations (-want +got):\n%s", diff)
			}
		})
	}
}

func metaOf(name, annotation, value string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotation: value}}
}

func labelsOf(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Labels: map[string]string{"app": name}}
}

func selectorOf(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}
