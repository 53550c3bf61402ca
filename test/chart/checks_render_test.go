package chart

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/workload"
)

// testName is the name of what helm test runs.
const testName = "mtls-egress-webhook-test"

// The rights of the check are to list what it looks at, and nothing else; they are bound to it
// alone.
func TestUninstallCheckHasOnlyItsRights(t *testing.T) {
	rendered := render(t, "--set", "webhook.serviceAccount.name=runner")
	list := func(group string, resources ...any) map[string]any {
		return map[string]any{"apiGroups": []any{group}, "resources": resources, "verbs": []any{"list"}}
	}
	got := map[string]any{
		"rules":   at(t, rendered["ClusterRole "+checkName], "rules"),
		"role":    at(t, rendered["ClusterRoleBinding "+checkName], "roleRef"),
		"bound":   at(t, rendered["ClusterRoleBinding "+checkName], "subjects"),
		"account": at(t, rendered["Job "+checkName], "spec", "template", "spec", "serviceAccountName"),
	}
	rules := []any{list("", "pods")}
	for _, kind := range slices.Sorted(maps.Keys(workload.Known())) {
		resource, group, _ := strings.Cut(kind, ".")
		rules = append(rules, list(group, resource))
	}
	want := map[string]any{
		"rules":   rules,
		"role":    map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": checkName},
		"bound":   []any{map[string]any{"kind": "ServiceAccount", "name": checkName, "namespace": namespace}},
		"account": checkName,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// With their definition all EgressTargets go: only then may the check delete them.
func TestUninstallCheckDeletesEgressTargetsWithTheirDefinition(t *testing.T) {
	tests := map[string]struct {
		values  string
		deletes bool
	}{
		"the definition is kept":       {values: "crds.keep=true"},
		"the definition is somebody's": {values: "crds.keep=false,crds.enabled=false"},
		"the definition goes":          {values: "crds.keep=false", deletes: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, "--set", test.values)
			args := at(t, rendered["Job "+checkName], "spec", "template", "spec", "containers", 0, "args").([]any)
			if got := slices.Contains(args, any("--delete-targets")); got != test.deletes {
				t.Errorf("arguments %v: delete targets is %v, want %v", args, got, test.deletes)
			}
			rules := at(t, rendered["ClusterRole "+checkName], "rules").([]any)
			right := map[string]any{
				"apiGroups": []any{"mtls.egress"},
				"resources": []any{"egresstargets"},
				"verbs":     []any{"list", "delete"},
			}
			if got := cmp.Equal(right, rules[len(rules)-1]); got != test.deletes {
				t.Errorf("the right to delete them: %v, want %v", got, test.deletes)
			}
		})
	}
}

// The cleanup may take down what the controller makes, and nothing else.
func TestCleanupHasOnlyItsRights(t *testing.T) {
	rendered := render(t, "--set", "webhook.serviceAccount.name=runner")
	rule := func(group string, resources []any, verbs ...any) map[string]any {
		return map[string]any{"apiGroups": []any{group}, "resources": resources, "verbs": verbs}
	}
	got := map[string]any{
		"rules":    at(t, rendered["ClusterRole "+cleanupName], "rules"),
		"role":     at(t, rendered["ClusterRoleBinding "+cleanupName], "roleRef"),
		"bound":    at(t, rendered["ClusterRoleBinding "+cleanupName], "subjects"),
		"account":  at(t, rendered["Job "+cleanupName], "spec", "template", "spec", "serviceAccountName"),
		"args":     at(t, rendered["Job "+cleanupName], "spec", "template", "spec", "containers", 0, "args"),
		"priority": podSpec(t, rendered["Job "+cleanupName])["priorityClassName"],
	}
	want := map[string]any{
		"rules": []any{
			rule("", []any{"pods"}, "list"),
			rule("mtls.egress", []any{"egresstargets"}, "get", "list", "delete", "patch"),
			rule("mtls.egress", []any{"egresstargets/status"}, "update"),
			rule("networking.istio.io", []any{"serviceentries", "virtualservices", "destinationrules"}, "get", "list", "delete"),
		},
		"role":    map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": cleanupName},
		"bound":   []any{map[string]any{"kind": "ServiceAccount", "name": cleanupName, "namespace": namespace}},
		"account": cleanupName,
		"args":    []any{"uninstall-cleanup"},
		// The ResourceQuota that would admit it in some clusters is gone by then.
		"priority": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	without := render(t, "--set", "uninstall.cleanUp=false")
	if without["Job "+cleanupName] != nil || without["ServiceAccount "+cleanupName] != nil {
		t.Error("uninstall.cleanUp: false leaves it in")
	}
}

// What cert-manager made for the webhook's own certificate goes by name, and only with
// cert-manager.
func TestCleanupDeletesTheSecretsOfCertManager(t *testing.T) {
	const certManager = "servingCertificate.provider=cert-manager"
	tests := map[string]struct {
		set     string
		secrets []any
	}{
		"the webhook's own CA": {set: ""},
		"cert-manager with a CA of the chart": {
			set:     certManager,
			secrets: []any{"mtls-egress-webhook-serving", "mtls-egress-webhook-serving-ca"},
		},
		"cert-manager with an issuer of the user, which may have had the chart's CA before": {
			set:     certManager + ",servingCertificate.issuerRef.name=corporate",
			secrets: []any{"mtls-egress-webhook-serving", "mtls-egress-webhook-serving-ca"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, "--set", test.set)
			args := []any{"uninstall-cleanup"}
			for _, secret := range test.secrets {
				args = append(args, fmt.Sprintf("--delete-secret=%s/%s", namespace, secret))
			}
			if diff := cmp.Diff(
				args, at(t, rendered["Job "+cleanupName], "spec", "template", "spec", "containers", 0, "args"),
			); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			role, binding := rendered["Role "+cleanupName], rendered["RoleBinding "+cleanupName]
			if test.secrets == nil {
				if role != nil || binding != nil {
					t.Error("there is a right to delete Secrets")
				}
				return
			}
			got := map[string]any{
				"rules":  at(t, role, "rules"),
				"role":   at(t, binding, "roleRef"),
				"bound":  at(t, binding, "subjects"),
				"places": []string{role.GetNamespace(), binding.GetNamespace()},
			}
			want := map[string]any{
				"rules": []any{
					map[string]any{
						"apiGroups":     []any{""},
						"resources":     []any{"secrets"},
						"resourceNames": test.secrets,
						"verbs":         []any{"delete"},
					},
				},
				"role":   map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": cleanupName},
				"bound":  []any{map[string]any{"kind": "ServiceAccount", "name": cleanupName, "namespace": namespace}},
				"places": []string{namespace, namespace},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rights (-want +got):\n%s", diff)
			}
		})
	}
}

// The right of helm test is to ask for Pods in the one namespace.
func TestAdmissionCheckHasOnlyItsRights(t *testing.T) {
	rendered := render(t,
		"--set", "webhook.serviceAccount.name=runner,test.namespace=project,test.target=b.example.com,image.tag=v2")
	got := map[string]any{
		"rules":           at(t, rendered["Role "+testName], "rules"),
		"role":            at(t, rendered["RoleBinding "+testName], "roleRef"),
		"bound":           at(t, rendered["RoleBinding "+testName], "subjects"),
		"role's place":    rendered["Role "+testName].GetNamespace(),
		"binding's place": rendered["RoleBinding "+testName].GetNamespace(),
		"account":         at(t, rendered["Pod "+testName], "spec", "serviceAccountName"),
		"arguments":       at(t, rendered["Pod "+testName], "spec", "containers", 0, "args"),
		"place":           rendered["Pod "+testName].GetNamespace(),
	}
	want := map[string]any{
		"rules": []any{
			map[string]any{"apiGroups": []any{""}, "resources": []any{"pods"}, "verbs": []any{"create"}},
		},
		"role":            map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": testName},
		"bound":           []any{map[string]any{"kind": "ServiceAccount", "name": testName, "namespace": namespace}},
		"role's place":    "project",
		"binding's place": "project",
		"account":         testName,
		"arguments": []any{
			"admission-check", "--namespace=project", "--target=b.example.com", "--image=mtls-egress-webhook:v2",
		},
		"place": namespace,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The account and its rights are there before what runs the check, and all of them only for as long
// as it takes. What ran a check that fails stays alone, for its log.
func TestChecksAreHooks(t *testing.T) {
	rendered := render(t, "--set", "servingCertificate.provider=cert-manager")
	hook := func(event, weight string, further map[string]string) map[string]string {
		annotations := map[string]string{
			"helm.sh/hook":               event,
			"helm.sh/hook-weight":        weight,
			"helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
		}
		maps.Copy(annotations, further)
		return annotations
	}
	log := map[string]string{"helm.sh/hook-output-log-policy": "hook-failed"}
	want := map[string]map[string]string{
		"ServiceAccount " + checkName:       hook("pre-delete", "-3", nil),
		"ClusterRole " + checkName:          hook("pre-delete", "-2", nil),
		"ClusterRoleBinding " + checkName:   hook("pre-delete", "-1", nil),
		"Job " + checkName:                  hook("pre-delete", "0", log),
		"ServiceAccount " + cleanupName:     hook("post-delete", "-3", nil),
		"ClusterRole " + cleanupName:        hook("post-delete", "-2", nil),
		"ClusterRoleBinding " + cleanupName: hook("post-delete", "-1", nil),
		"Role " + cleanupName:               hook("post-delete", "-2", nil),
		"RoleBinding " + cleanupName:        hook("post-delete", "-1", nil),
		"Job " + cleanupName:                hook("post-delete", "0", log),
		"ServiceAccount " + testName:        hook("test", "-3", nil),
		"Role " + testName:                  hook("test", "-2", nil),
		"RoleBinding " + testName:           hook("test", "-1", nil),
		"Pod " + testName:                   hook("test", "0", log),
	}
	got := map[string]map[string]string{}
	for name, object := range rendered {
		if object.GetAnnotations()["helm.sh/hook"] != "" {
			got[name] = object.GetAnnotations()
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
}

// Argo CD ignores hooks for helm test, but not those that are also for installations and upgrades.
func TestTheTestAfterAnInstallation(t *testing.T) {
	rendered := render(t, "--set", "test.afterInstall=true")
	for _, name := range []string{
		"ServiceAccount " + testName, "Role " + testName, "RoleBinding " + testName, "Pod " + testName,
	} {
		if got := rendered[name].GetAnnotations()["helm.sh/hook"]; got != "test,post-install,post-upgrade" {
			t.Errorf("%s is a hook for %s", name, got)
		}
	}
	// The webhook starts at the same time.
	args := at(t, rendered["Pod "+testName], "spec", "containers", 0, "args").([]any)
	if !slices.Contains(args, any("--timeout=4m")) {
		t.Errorf("arguments %q, want --timeout=4m", args)
	}
}

// No account mounts its token into every Pod that runs under it: the chart's Pods mount one
// themselves.
func TestTokensAreMountedNowhereByThemselves(t *testing.T) {
	accounts, pods := 0, 0
	for name, object := range render(t) {
		switch object.GetKind() {
		case "ServiceAccount":
			accounts++
			if got := at(t, object, "automountServiceAccountToken"); got != false {
				t.Errorf("%s: automountServiceAccountToken: %v", name, got)
			}
		case "Deployment", "Job", "Pod":
			pods++
			if got := podSpec(t, object)["automountServiceAccountToken"]; got != false {
				t.Errorf("%s: automountServiceAccountToken: %v", name, got)
			}
		}
	}
	if accounts != 5 || pods != 5 {
		t.Errorf("%d accounts and %d Pods, want 5 and 5", accounts, pods)
	}
}

// podSpec is the spec of a Pod, or of the Pods that a workload makes.
func podSpec(t *testing.T, object *unstructured.Unstructured) map[string]any {
	t.Helper()
	path := []any{"spec", "template", "spec"}
	if object.GetKind() == "Pod" {
		path = []any{"spec"}
	}
	spec, ok := at(t, object, path...).(map[string]any)
	if !ok {
		t.Fatalf("%s %s has no spec of Pods", object.GetKind(), object.GetName())
	}
	return spec
}

// The checks run once, with the settings of the webhook's Deployment. No Service or
// PodDisruptionBudget selects their Pods.
func TestChecksRunAsTheWebhookDoes(t *testing.T) {
	rendered := render(t, "--set-json", `webhook.deployment={
		"podAnnotations": {"team": "a"}, "priorityClassName": "important",
		"podLabels": {"team": "a", "app.kubernetes.io/name": "mtls-egress-webhook"},
		"nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "only", "operator": "Exists"}],
		"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
			"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}}`,
		"--set-json", `imagePullSecrets=[{"name": "registry"}]`, "--set", "image.tag=v2,image.pullPolicy=Always")
	deployment, job, pod := rendered["Deployment "+release], rendered["Job "+checkName], rendered["Pod "+testName]
	for _, check := range []*unstructured.Unstructured{job, pod} {
		for _, field := range []string{
			"securityContext", "automountServiceAccountToken", "volumes", "nodeSelector", "tolerations",
			"priorityClassName", "imagePullSecrets",
		} {
			if diff := cmp.Diff(podSpec(t, deployment)[field], podSpec(t, check)[field]); diff != "" {
				t.Errorf("%s (-Deployment +%s):\n%s", field, check.GetKind(), diff)
			}
		}
		container := func(object *unstructured.Unstructured) map[string]any {
			return podSpec(t, object)["containers"].([]any)[0].(map[string]any)
		}
		for _, field := range []string{"image", "imagePullPolicy", "resources", "securityContext", "volumeMounts"} {
			if diff := cmp.Diff(container(deployment)[field], container(check)[field]); diff != "" {
				t.Errorf("the container's %s (-Deployment +%s):\n%s", field, check.GetKind(), diff)
			}
		}
		got := map[string]any{
			"restart": podSpec(t, check)["restartPolicy"],
			// What keeps the webhook's Pods apart would keep this one from their nodes.
			"affinity": podSpec(t, check)["affinity"],
		}
		want := map[string]any{
			"restart": "Never",
			"affinity": map[string]any{
				"nodeAffinity": map[string]any{"preferredDuringSchedulingIgnoredDuringExecution": []any{}},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", check.GetKind(), diff)
		}
	}
	labels := func(name string, labels any) map[string]any {
		all := labels.(map[string]any)
		return map[string]any{name: []any{all["app.kubernetes.io/name"], all["team"], all["sidecar.istio.io/inject"]}}
	}
	got := map[string]any{
		"tries": at(t, job, "spec", "backoffLimit"), "deadline": at(t, job, "spec", "activeDeadlineSeconds"),
		"command":     at(t, job, "spec", "template", "spec", "containers", 0, "args", 0),
		"annotations": at(t, job, "spec", "template", "metadata", "annotations"),
		"of the Pod":  at(t, pod, "metadata", "annotations", "team"),
	}
	maps.Copy(got, labels("labels of the Job's", at(t, job, "spec", "template", "metadata", "labels")))
	maps.Copy(got, labels("labels of the Pod", at(t, pod, "metadata", "labels")))
	want := map[string]any{
		"tries": 0.0, "deadline": 120.0, "command": "uninstall-check",
		"annotations":         map[string]any{"team": "a"},
		"of the Pod":          "a",
		"labels of the Job's": []any{checkName, "a", "false"},
		"labels of the Pod":   []any{testName, "a", "false"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
