package chart

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The rights of the check are to list what it looks at, and nothing else; they are bound to it alone.
func TestUninstallCheckHasOnlyItsRights(t *testing.T) {
	rendered := render(t, "--set", "serviceAccount.name=runner")
	list := func(group string, resources ...any) map[string]any {
		return map[string]any{"apiGroups": []any{group}, "resources": resources, "verbs": []any{"list"}}
	}
	got := map[string]any{
		"rules":   at(t, rendered["ClusterRole "+checkName], "rules"),
		"role":    at(t, rendered["ClusterRoleBinding "+checkName], "roleRef"),
		"bound":   at(t, rendered["ClusterRoleBinding "+checkName], "subjects"),
		"account": at(t, rendered["Job "+checkName], "spec", "template", "spec", "serviceAccountName"),
	}
	want := map[string]any{
		"rules":   []any{list("", "pods"), list("apps", "deployments", "statefulsets", "daemonsets", "replicasets"), list("batch", "jobs", "cronjobs")},
		"role":    map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": checkName},
		"bound":   []any{map[string]any{"kind": "ServiceAccount", "name": checkName, "namespace": namespace}},
		"account": checkName,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The account and its rights are there before the Job, and all of them only for as long as it takes. The Job alone stays when it
// fails, for its log.
func TestUninstallCheckIsAHook(t *testing.T) {
	rendered := render(t)
	hook := func(weight string, further map[string]string) map[string]string {
		annotations := map[string]string{
			"helm.sh/hook": "pre-delete", "helm.sh/hook-weight": weight, "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
		}
		maps.Copy(annotations, further)
		return annotations
	}
	want := map[string]map[string]string{
		"ServiceAccount":     hook("-3", nil),
		"ClusterRole":        hook("-2", nil),
		"ClusterRoleBinding": hook("-1", nil),
		"Job":                hook("0", map[string]string{"helm.sh/hook-output-log-policy": "hook-failed"}),
	}
	for kind, annotations := range want {
		if diff := cmp.Diff(annotations, rendered[kind+" "+checkName].GetAnnotations()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

// The Job runs where and as the Deployment does, once, and is none of those that the Service and the PodDisruptionBudget select.
func TestUninstallCheckRunsAsTheDeploymentDoes(t *testing.T) {
	rendered := render(t, "--set-json", `deployment={
		"podAnnotations": {"team": "a"}, "podLabels": {"team": "a", "app.kubernetes.io/name": "mtls-egress-webhook"}, "priorityClassName": "important",
		"nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "only", "operator": "Exists"}],
		"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}, "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}}`,
		"--set-json", `imagePullSecrets=[{"name": "registry"}]`, "--set", "image.tag=v2,image.pullPolicy=Always")
	deployment, job := rendered.one(t, "Deployment"), rendered["Job "+checkName]
	for _, field := range []string{
		"securityContext", "automountServiceAccountToken", "volumes", "nodeSelector", "tolerations", "priorityClassName", "imagePullSecrets",
	} {
		if diff := cmp.Diff(at(t, deployment, "spec", "template", "spec", field), at(t, job, "spec", "template", "spec", field)); diff != "" {
			t.Errorf("%s (-Deployment +Job):\n%s", field, diff)
		}
	}
	for _, field := range []string{"image", "imagePullPolicy", "resources", "securityContext", "volumeMounts"} {
		path := []any{"spec", "template", "spec", "containers", 0, field}
		if diff := cmp.Diff(at(t, deployment, path...), at(t, job, path...)); diff != "" {
			t.Errorf("the container's %s (-Deployment +Job):\n%s", field, diff)
		}
	}
	got := map[string]any{
		"tries": at(t, job, "spec", "backoffLimit"), "deadline": at(t, job, "spec", "activeDeadlineSeconds"),
		"restart": at(t, job, "spec", "template", "spec", "restartPolicy"), "args": at(t, job, "spec", "template", "spec", "containers", 0, "args"),
		// What keeps the webhook's Pods apart would keep this one from their nodes.
		"affinity":    at(t, job, "spec", "template", "spec", "affinity"),
		"annotations": at(t, job, "spec", "template", "metadata", "annotations"),
		"name label":  at(t, job, "spec", "template", "metadata", "labels", "app.kubernetes.io/name"),
		"team label":  at(t, job, "spec", "template", "metadata", "labels", "team"),
		"sidecar":     at(t, job, "spec", "template", "metadata", "labels", "sidecar.istio.io/inject"),
	}
	want := map[string]any{
		"tries": 0.0, "deadline": 120.0, "restart": "Never", "args": []any{"uninstall-check"},
		"affinity":    map[string]any{"nodeAffinity": map[string]any{"preferredDuringSchedulingIgnoredDuringExecution": []any{}}},
		"annotations": map[string]any{"team": "a"},
		"name label":  checkName,
		"team label":  "a",
		"sidecar":     "false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
