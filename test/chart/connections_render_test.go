package chart

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Without a peer in the values everybody reaches the webhook: API servers are no Pods, and where they are the chart can't know.
func TestNetworkPolicyFollowsTheValues(t *testing.T) {
	selector := map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/instance": "mtls-egress-webhook", "app.kubernetes.io/name": "mtls-egress-webhook"}}
	port := func(name string) []any { return []any{map[string]any{"port": name, "protocol": "TCP"}} }
	everywhere := []any{map[string]any{"namespaceSelector": map[string]any{}}}
	servers := []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0/28"}}}
	tests := map[string]struct {
		set  string
		want map[string]any
	}{
		"by default": {
			set: `log={}`,
			want: map[string]any{
				"podSelector": selector, "policyTypes": []any{"Ingress"},
				"ingress": []any{map[string]any{"ports": port("webhook")}, map[string]any{"ports": port("metrics"), "from": everywhere}},
			},
		},
		"peers and egress": {
			set: `networkPolicy={"webhookFrom": [{"ipBlock": {"cidr": "10.0.0.0/28"}}], "metricsFrom": [],
				"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/28"}}], "ports": [{"port": 6443}]}]}`,
			want: map[string]any{
				"podSelector": selector, "policyTypes": []any{"Ingress", "Egress"},
				"ingress": []any{map[string]any{"ports": port("webhook"), "from": servers}, map[string]any{"ports": port("metrics")}},
				"egress":  []any{map[string]any{"to": servers, "ports": []any{map[string]any{"port": 6443.0}}}},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, "--set-json", test.set)
			if diff := cmp.Diff(any(test.want), rendered.one(t, "NetworkPolicy").Object["spec"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			deployment := rendered.one(t, "Deployment")
			if diff := cmp.Diff(any(selector), at(t, deployment, "spec", "selector")); diff != "" {
				t.Errorf("the Pods that it is about are not those of the Deployment (-NetworkPolicy +Deployment):\n%s", diff)
			}
			ports := map[any]bool{}
			for _, port := range at(t, deployment, "spec", "template", "spec", "containers", 0, "ports").([]any) {
				ports[port.(map[string]any)["name"]] = true
			}
			if diff := cmp.Diff(map[any]bool{"webhook": true, "metrics": true, "health": true}, ports); diff != "" {
				t.Errorf("the Pods have other ports than it has rules for (-want +got):\n%s", diff)
			}
		})
	}
}

func TestServiceMonitorFollowsTheValues(t *testing.T) {
	selector := map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/instance": "mtls-egress-webhook", "app.kubernetes.io/name": "mtls-egress-webhook"}}
	relabeling := []any{map[string]any{"action": "labeldrop", "regex": "pod"}}
	tests := map[string]struct {
		set  string
		want map[string]any
	}{
		"switched on and nothing else": {
			set: `serviceMonitor={"enabled": true}`,
			want: map[string]any{
				"namespace": "mtls-egress", "release": nil, "name": "mtls-egress-webhook",
				"spec": map[string]any{
					"namespaceSelector": map[string]any{"matchNames": []any{"mtls-egress"}}, "selector": selector,
					"endpoints": []any{map[string]any{"port": "metrics", "honorLabels": true}},
				},
			},
		},
		"everything": {
			set: `serviceMonitor={"enabled": true, "namespace": "monitoring", "labels": {"release": "prometheus", "app.kubernetes.io/name": "other"}, "interval": "30s", "scrapeTimeout": "5s",
				"relabelings": [{"action": "labeldrop", "regex": "pod"}], "metricRelabelings": [{"action": "labeldrop", "regex": "pod"}]}`,
			want: map[string]any{
				"namespace": "monitoring", "release": "prometheus", "name": "mtls-egress-webhook",
				"spec": map[string]any{
					"namespaceSelector": map[string]any{"matchNames": []any{"mtls-egress"}}, "selector": selector,
					"endpoints": []any{map[string]any{
						"port": "metrics", "honorLabels": true, "interval": "30s", "scrapeTimeout": "5s", "relabelings": relabeling, "metricRelabelings": relabeling,
					}},
				},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, "--set-json", test.set)
			monitor := rendered.one(t, "ServiceMonitor")
			got := map[string]any{
				"namespace": monitor.GetNamespace(), "spec": monitor.Object["spec"],
				"release": at(t, monitor, "metadata", "labels", "release"), "name": at(t, monitor, "metadata", "labels", "app.kubernetes.io/name"),
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			service := rendered.one(t, "Service")
			if diff := cmp.Diff("metrics", at(t, service, "spec", "ports", 1, "name")); diff != "" {
				t.Errorf("port of the Service (-want +got):\n%s", diff)
			}
			for label, value := range selector["matchLabels"].(map[string]any) {
				if got := service.GetLabels()[label]; got != value {
					t.Errorf("the Service has the label %s=%s, want %s", label, got, value)
				}
			}
		})
	}
}

func TestDisruptionBudgetFollowsTheValues(t *testing.T) {
	tests := map[string]struct {
		set          string
		atLeast, may any
	}{
		"by default":          {set: `log={}`, atLeast: 1.0},
		"another number":      {set: `podDisruptionBudget.minAvailable="50%"`, atLeast: "50%"},
		"how many may go":     {set: `podDisruptionBudget.maxUnavailable=1`, may: 1.0},
		"none may go":         {set: `podDisruptionBudget={"minAvailable": 2, "maxUnavailable": 0}`, may: 0.0},
		"none have to remain": {set: `podDisruptionBudget.minAvailable=0`, atLeast: 0.0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			budget := render(t, "--set-json", test.set).one(t, "PodDisruptionBudget")
			want := map[string]any{"minAvailable": test.atLeast, "maxUnavailable": test.may}
			got := map[string]any{"minAvailable": at(t, budget, "spec", "minAvailable"), "maxUnavailable": at(t, budget, "spec", "maxUnavailable")}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// commonLabels add to every object, and to the Pods, and change none of the chart's own labels.
func TestCommonLabelsAreOnEveryObject(t *testing.T) {
	args := []string{"--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true"}
	plain := render(t, args...)
	labelled := render(t, append(args, "--set-json", `commonLabels={"team": "shop", "app.kubernetes.io/name": "other", "helm.sh/chart": "other"}`)...)
	for name, object := range labelled {
		want := plain[name].GetLabels()
		want["team"] = "shop"
		if diff := cmp.Diff(want, object.GetLabels()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"Deployment mtls-egress-webhook", "Job " + checkName} {
		if got := at(t, labelled[name], "spec", "template", "metadata", "labels", "team"); got != "shop" {
			t.Errorf("the Pods of %s have the label team=%v", name, got)
		}
	}
	if diff := cmp.Diff(at(t, plain.one(t, "Deployment"), "spec", "selector"), at(t, labelled.one(t, "Deployment"), "spec", "selector")); diff != "" {
		t.Errorf("the selector, which no upgrade can change (-without +with labels):\n%s", diff)
	}
}

func TestFurtherEnvironmentComesAfterTheCharts(t *testing.T) {
	rendered := render(t, "--set-json", `deployment={"extraEnv": [{"name": "GODEBUG", "value": "madvdontneed=1"}], "revisionHistoryLimit": 3}`)
	var names []any
	for _, variable := range at(t, rendered.one(t, "Deployment"), "spec", "template", "spec", "containers", 0, "env").([]any) {
		names = append(names, variable.(map[string]any)["name"])
	}
	got := map[string]any{
		"Deployment": names,
		"history":    at(t, rendered.one(t, "Deployment"), "spec", "revisionHistoryLimit"),
		"Job":        at(t, rendered["Job "+checkName], "spec", "template", "spec", "containers", 0, "env"),
	}
	want := map[string]any{
		"Deployment": []any{"POD_NAMESPACE", "POD_NAME", "GOMEMLIMIT", "GODEBUG"},
		"history":    3.0,
		"Job":        []any{map[string]any{"name": "GODEBUG", "value": "madvdontneed=1"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
