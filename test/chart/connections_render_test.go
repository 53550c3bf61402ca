package chart

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// selectorOf returns the labels by which the objects of a process select its Pods.
func selectorOf(component string) map[string]any {
	return map[string]any{"matchLabels": map[string]any{
		"app.kubernetes.io/component": component,
		"app.kubernetes.io/instance":  "mtls-egress-webhook",
		"app.kubernetes.io/name":      "mtls-egress-webhook",
	}}
}

// By default all clients reach the webhook: API servers are not Pods, and the chart doesn't know
// their addresses.
func TestNetworkPoliciesFollowTheValues(t *testing.T) {
	port := func(name string) []any { return []any{map[string]any{"port": name, "protocol": "TCP"}} }
	everywhere := []any{map[string]any{"namespaceSelector": map[string]any{}}}
	servers := []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0/28"}}}
	partners := []any{map[string]any{"ipBlock": map[string]any{"cidr": "192.0.2.0/24"}}}
	tests := map[string]struct {
		set                 string
		webhook, controller map[string]any
	}{
		"by default": {
			set: `log={}`,
			webhook: map[string]any{
				"policyTypes": []any{"Ingress"},
				"ingress": []any{
					map[string]any{"ports": port("webhook")},
					map[string]any{"ports": port("metrics"), "from": everywhere},
				},
			},
			controller: map[string]any{
				"policyTypes": []any{"Ingress"}, "ingress": []any{map[string]any{"ports": port("metrics"), "from": everywhere}},
			},
		},
		"peers, and egress of each": {
			set: `networkPolicy={"webhookFrom": [{"ipBlock": {"cidr": "10.0.0.0/28"}}], "metricsFrom": [],
				"webhookEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/28"}}], "ports": [{"port": 6443}]}],
				"controllerEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]}`,
			webhook: map[string]any{
				"policyTypes": []any{"Ingress", "Egress"},
				"ingress": []any{
					map[string]any{"ports": port("webhook"), "from": servers},
					map[string]any{"ports": port("metrics")},
				},
				"egress": []any{map[string]any{"to": servers, "ports": []any{map[string]any{"port": 6443.0}}}},
			},
			controller: map[string]any{
				"policyTypes": []any{
					"Ingress",
					"Egress",
				}, "ingress": []any{map[string]any{"ports": port("metrics")}}, "egress": []any{map[string]any{"to": partners}},
			},
		},
		"egress of the controller alone": {
			set: `networkPolicy.controllerEgress=[{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]`,
			webhook: map[string]any{
				"policyTypes": []any{"Ingress"},
				"ingress": []any{
					map[string]any{"ports": port("webhook")},
					map[string]any{"ports": port("metrics"), "from": everywhere},
				},
			},
			controller: map[string]any{
				"policyTypes": []any{
					"Ingress",
					"Egress",
				}, "ingress": []any{map[string]any{"ports": port("metrics"), "from": everywhere}},
				"egress": []any{map[string]any{"to": partners}},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, "--set-json", test.set)
			for name, want := range map[string]map[string]any{release: test.webhook, controllerName: test.controller} {
				component, openPorts := "webhook", []any{"webhook", "metrics", "health"}
				if name == controllerName {
					component, openPorts = "controller", []any{"metrics", "health"}
				}
				want["podSelector"] = selectorOf(component)
				if diff := cmp.Diff(any(want), rendered["NetworkPolicy "+name].Object["spec"]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
				deployment := rendered["Deployment "+name]
				if diff := cmp.Diff(any(selectorOf(component)), at(t, deployment, "spec", "selector")); diff != "" {
					t.Errorf("%s: the NetworkPolicy doesn't select the Pods of the Deployment (-NetworkPolicy +Deployment):\n%s",
						name, diff)
				}
				var ports []any
				for _, port := range at(t, deployment, "spec", "template", "spec", "containers", 0, "ports").([]any) {
					ports = append(ports, port.(map[string]any)["name"])
				}
				if diff := cmp.Diff(openPorts, ports); diff != "" {
					t.Errorf("%s: the Pods have other ports than the NetworkPolicy has rules for (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

func TestServiceMonitorFollowsTheValues(t *testing.T) {
	selector := map[string]any{
		"matchLabels": map[string]any{
			"app.kubernetes.io/instance": "mtls-egress-webhook",
			"app.kubernetes.io/name":     "mtls-egress-webhook",
		},
	}
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
			set: `serviceMonitor={"enabled": true, "namespace": "monitoring",
				"labels": {"release": "prometheus", "app.kubernetes.io/name": "other"},
				"interval": "30s", "scrapeTimeout": "5s",
				"relabelings": [{"action": "labeldrop", "regex": "pod"}],
				"metricRelabelings": [{"action": "labeldrop", "regex": "pod"}]}`,
			want: map[string]any{
				"namespace": "monitoring", "release": "prometheus", "name": "mtls-egress-webhook",
				"spec": map[string]any{
					"namespaceSelector": map[string]any{"matchNames": []any{"mtls-egress"}}, "selector": selector,
					"endpoints": []any{map[string]any{
						"port":              "metrics",
						"honorLabels":       true,
						"interval":          "30s",
						"scrapeTimeout":     "5s",
						"relabelings":       relabeling,
						"metricRelabelings": relabeling,
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
				"release": at(t, monitor, "metadata", "labels",
					"release"), "name": at(t, monitor, "metadata", "labels", "app.kubernetes.io/name"),
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for name, component := range map[string]string{release: "webhook", controllerName: "controller"} {
				service := rendered["Service "+name]
				ports := at(t, service, "spec", "ports").([]any)
				if diff := cmp.Diff("metrics", ports[len(ports)-1].(map[string]any)["name"]); diff != "" {
					t.Errorf("%s: port of the Service (-want +got):\n%s", name, diff)
				}
				if diff := cmp.Diff(selectorOf(component)["matchLabels"], at(t, service, "spec", "selector")); diff != "" {
					t.Errorf("%s: Pods of the Service (-want +got):\n%s", name, diff)
				}
				for label, value := range selector["matchLabels"].(map[string]any) {
					if got := service.GetLabels()[label]; got != value {
						t.Errorf("the Service %s has the label %s=%s, want %s", name, label, got, value)
					}
				}
			}
		})
	}
}

func TestDisruptionBudgetsFollowTheValues(t *testing.T) {
	tests := map[string]struct {
		set          string
		atLeast, may any
	}{
		"by default":          {set: `{}`, atLeast: 1.0},
		"another number":      {set: `{"minAvailable": "50%"}`, atLeast: "50%"},
		"how many may go":     {set: `{"maxUnavailable": 1}`, may: 1.0},
		"none may go":         {set: `{"minAvailable": 2, "maxUnavailable": 0}`, may: 0.0},
		"none have to remain": {set: `{"minAvailable": 0}`, atLeast: 0.0},
	}
	names := map[string]string{"webhook": release, "controller": controllerName}
	for name, test := range tests {
		for component, budgetName := range names {
			t.Run(component+": "+name, func(t *testing.T) {
				rendered := render(t, "--set-json", component+".podDisruptionBudget="+test.set)
				for other, name := range names {
					want := map[string]any{"minAvailable": 1.0, "maxUnavailable": nil, "selector": selectorOf(other)}
					if name == budgetName {
						want["minAvailable"], want["maxUnavailable"] = test.atLeast, test.may
					}
					budget := rendered["PodDisruptionBudget "+name]
					got := map[string]any{
						"minAvailable": at(
							t,
							budget,
							"spec",
							"minAvailable",
						), "maxUnavailable": at(t, budget, "spec", "maxUnavailable"), "selector": at(t, budget, "spec", "selector"),
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s (-want +got):\n%s", name, diff)
					}
				}
			})
		}
	}
}

// Clusters that limit the system- priority classes admit only those that the ResourceQuota names.
func TestTheResourceQuotaNamesTheClassesOfBothProcesses(t *testing.T) {
	tests := map[string]struct {
		set  string
		want []any
	}{
		"by default": {set: "log.level=info", want: []any{"system-cluster-critical"}},
		"another class of each": {
			set:  "controller.deployment.priorityClassName=system-node-critical",
			want: []any{"system-cluster-critical", "system-node-critical"},
		},
		"of the webhook alone": {
			set:  "controller.deployment.priorityClassName=important",
			want: []any{"system-cluster-critical"},
		},
		"no controller": {
			set:  "controller.deployment.enabled=false,controller.deployment.priorityClassName=system-node-critical",
			want: []any{"system-cluster-critical"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			quota := render(t, "--set", test.set).one(t, "ResourceQuota")
			if diff := cmp.Diff(
				any(test.want), at(t, quota, "spec", "scopeSelector", "matchExpressions", 0, "values"),
			); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// commonLabels add to every object, and to the Pods, and change none of the chart's own labels.
func TestCommonLabelsAreOnEveryObject(t *testing.T) {
	args := []string{"--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true"}
	plain := render(t, args...)
	labeled := render(
		t,
		append(args,
			"--set-json", `commonLabels={"team": "shop", "app.kubernetes.io/name": "other", "helm.sh/chart": "other"}`)...)
	for name, object := range labeled {
		want := plain[name].GetLabels()
		want["team"] = "shop"
		if diff := cmp.Diff(want, object.GetLabels()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"Deployment " + release, "Deployment " + controllerName, "Job " + checkName} {
		if got := at(t, labeled[name], "spec", "template", "metadata", "labels", "team"); got != "shop" {
			t.Errorf("the Pods of %s have the label team=%v", name, got)
		}
	}
	for _, name := range []string{"Deployment " + release, "Deployment " + controllerName} {
		if diff := cmp.Diff(at(t, plain[name], "spec", "selector"), at(t, labeled[name], "spec", "selector")); diff != "" {
			t.Errorf("the selector of %s, which no upgrade can change (-without +with labels):\n%s", name, diff)
		}
	}
}

func TestFurtherEnvironmentComesAfterTheCharts(t *testing.T) {
	rendered := render(
		t,
		"--set-json",
		`webhook.deployment={"extraEnv": [{"name": "GODEBUG", "value": "madvdontneed=1"}], "revisionHistoryLimit": 3}`,
		"--set-json",
		`controller.deployment={"extraEnv": [{"name": "GOGC", "value": "50"}], "revisionHistoryLimit": 4}`,
	)
	got := map[string]any{"Job": at(t, rendered["Job "+checkName], "spec", "template", "spec", "containers", 0, "env")}
	for _, name := range []string{release, controllerName} {
		deployment := rendered["Deployment "+name]
		var names []any
		for _, variable := range at(t, deployment, "spec", "template", "spec", "containers", 0, "env").([]any) {
			names = append(names, variable.(map[string]any)["name"])
		}
		got[name], got["history of "+name] = names, at(t, deployment, "spec", "revisionHistoryLimit")
	}
	want := map[string]any{
		release:                 []any{"POD_NAMESPACE", "POD_IPS", "GOMEMLIMIT", "GODEBUG"},
		controllerName:          []any{"POD_NAMESPACE", "POD_IPS", "GOMEMLIMIT", "GOGC"},
		"history of " + release: 3.0, "history of " + controllerName: 4.0,
		"Job": []any{map[string]any{"name": "GODEBUG", "value": "madvdontneed=1"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
