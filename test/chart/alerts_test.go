package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/test/apiserver"
)

// alertCases holds the cases of the alerts as promtool reads them: a new file is a new test. They
// say when an alert fires. alertTexts says what it says, once for each alert.
// https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
const (
	alertCases = "testdata/alerts"
	alertTexts = "testdata/alert-texts.yaml"
)

// TestAlerts has Prometheus's own rule engine try the alerts of the chart on series over time.
func TestAlerts(t *testing.T) {
	dir := t.TempDir()
	rules := alertRules(t)
	writeRules(t, dir, rules)
	promtool(t, dir, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")
	for _, rule := range eachRule(t, rules) {
		delete(rule, "annotations")
	}
	writeRules(t, dir, rules)
	if err := os.CopyFS(dir, os.DirFS(alertCases)); err != nil {
		t.Fatal(err)
	}
	for _, file := range alertCaseFiles(t) {
		t.Run(strings.TrimSuffix(file, ".yaml"), func(t *testing.T) { promtool(t, dir, "test", "rules", file) })
	}
}

// TestTextsOfAlerts has Prometheus fill in what an alert says, for each alert.
func TestTextsOfAlerts(t *testing.T) {
	dir := t.TempDir()
	rules := alertRules(t, "--set", "docsURL=https://docs.example.com/PAGE.html",
		"--set", "prometheusRule.alertLabels.team=platform")
	writeRules(t, dir, rules)
	content, err := os.ReadFile(alertTexts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "texts.yaml"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, dir, "test", "rules", "texts.yaml")
	var want, got []string
	for _, rule := range eachRule(t, rules) {
		want = append(want, rule["alert"].(string))
	}
	for _, alert := range expectations(t, alertTexts) {
		if len(alert.Expected) > 0 {
			got = append(got, alert.Name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(slices.Compact(want), slices.Compact(got)); diff != "" {
		t.Errorf("the alerts whose texts are in %s (-want +got):\n%s", alertTexts, diff)
	}
}

// TestEveryAlertIsTried: each alert fires in one case and stays silent in another.
func TestEveryAlertIsTried(t *testing.T) {
	var want, fires, silent []string
	for _, rule := range alerts(t, "--set", "prometheusRule.enabled=true") {
		want = append(want, rule.Alert+" "+rule.Labels["severity"])
	}
	for _, file := range alertCaseFiles(t) {
		for _, alert := range expectations(t, filepath.Join(alertCases, file)) {
			if len(alert.Expected) == 0 {
				silent = append(silent, alert.Name)
			}
			for _, expected := range alert.Expected {
				fires = append(fires, alert.Name+" "+expected.Labels["severity"])
			}
		}
	}
	slices.Sort(want)
	slices.Sort(fires)
	if diff := cmp.Diff(want, slices.Compact(fires)); diff != "" {
		t.Errorf("the alerts that fire in %s (-want +got):\n%s", alertCases, diff)
	}
	for _, alert := range want {
		if name, _, _ := strings.Cut(alert, " "); !slices.Contains(silent, name) {
			t.Errorf("no case in %s says when %s stays silent", alertCases, name)
		}
	}
}

func TestAlertsFollowTheValues(t *testing.T) {
	rendered := render(
		t, "--set-json",
		`prometheusRule={"enabled": true, "namespace": "monitoring",
		"labels": {"release": "prometheus", "app.kubernetes.io/name": "other"},
		"alertLabels": {"team": "shop", "severity": "none"}, "runbookURL": "https://example.com/alerts.html",
		"expiresWarningDays": 14, "expiresCriticalDays": 0.5, "invalidFor": "1h30m", "notVerifiedFor": "0",
		"notProgrammedSeconds": 1.5, "conflictFor": "1m", "withoutSidecarFor": "2m", "notInjectedFor": "3m",
		"notPropagatedFor": "5m",
		"rateWindow": "4m", "slowSeconds": 0.25, "slowFor": "6m", "absentFor": "7m", "reconcileErrors": 8,
		"reconcileErrorsFor": "9m", "servingCertificateHours": 10, "servingCertificateFor": "11m"}`,
	).one(t, "PrometheusRule")
	labels := rendered.GetLabels()
	got := map[string]any{
		"namespace": rendered.GetNamespace(),
		"release":   labels["release"],
		"name":      labels["app.kubernetes.io/name"],
	}
	for _, rule := range alertsOf(t, rendered.Object) {
		got[rule.Alert+" "+rule.Labels["severity"]] = map[string]any{
			"team": rule.Labels["team"], "for": rule.For, "runbook": rule.Annotations["runbook_url"], "expression": rule.Expr,
		}
	}
	const runbook = "https://example.com/alerts.html#"
	other := func(name, wait, expression string) map[string]any {
		return map[string]any{
			"team":       "shop",
			"for":        wait,
			"runbook":    runbook + strings.ToLower(name),
			"expression": expression,
		}
	}
	// ofTarget is an alert whose label team is the one of the target, if it has one.
	ofTarget := func(name, wait, labels, expression string) map[string]any {
		alert := other(name, wait, "("+expression+")\n"+
			"  * on (namespace, host) group_left (team) topk by (namespace, host) (1, mtls_egress_target_owner)\n"+
			"or on ("+labels+")\n("+expression+")")
		alert["team"] = `{{ if $labels.team }}{{ $labels.team }}{{ else }}shop{{ end }}`
		return alert
	}
	const ofCredential = "namespace, host, secret"
	expires := func(days string) map[string]any {
		return ofTarget("MTLSEgressCredentialExpires", "", ofCredential, "(min by (namespace, host, secret) "+
			"(mtls_egress_credential_not_after_timestamp_seconds) - time()) / 86400 < "+days+"\n"+
			"and max by (namespace, host, secret) (mtls_egress_credential_ends_within_seconds)")
	}
	serverCAExpires := func(days string) map[string]any {
		alert := expires(days)
		alert["runbook"] = runbook + "mtlsegressservercaexpires"
		alert["expression"] = strings.ReplaceAll(alert["expression"].(string), "credential_", "credential_server_ca_")
		return alert
	}
	want := map[string]any{
		"MTLSEgressTargetNotProgrammed critical": ofTarget("MTLSEgressTargetNotProgrammed", "", "namespace, host",
			"time() - min by (namespace, host) (mtls_egress_pods_not_programmed_since_timestamp_seconds) > 1.5"),
		"MTLSEgressConflict warning": ofTarget("MTLSEgressConflict", "1m", "namespace, host",
			"max by (namespace, host) (mtls_egress_target_conflicted) == 1"),
		"MTLSEgressPodsWithoutSidecar warning": other("MTLSEgressPodsWithoutSidecar", "2m",
			"max by (namespace) (mtls_egress_pods_without_sidecar) > 0"),
		"MTLSEgressPodsNotInjected critical": other("MTLSEgressPodsNotInjected", "3m",
			"max by (namespace) (mtls_egress_pods_not_injected) > 0"),
		"MTLSEgressPodsNotPropagated critical": other("MTLSEgressPodsNotPropagated", "5m",
			"max by (namespace) (mtls_egress_pods_not_propagated) > 0"),
		"MTLSEgressWebhookFailing critical": other(
			"MTLSEgressWebhookFailing", "",
			`sum(increase(apiserver_admission_webhook_rejection_count{name=~"(pods|workloads).mtls.egress", `+
				`error_type!="no_error"}[4m]) or `+
				`increase(apiserver_admission_webhook_fail_open_count{name=~"(pods|workloads).mtls.egress"}[4m])) > 0`,
		),
		"MTLSEgressAdmissionErrors critical": other("MTLSEgressAdmissionErrors", "",
			`sum by (reason) (increase(mtls_egress_admission_requests_total{decision="error", reason!="panic"}[4m])) > 0`),
		"MTLSEgressPanics critical": other(
			"MTLSEgressPanics", "",
			`sum(increase(mtls_egress_admission_requests_total{reason="panic"}[4m]) or vector(0)) + `+
				`sum(increase(controller_runtime_reconcile_panics_total{controller="egresstarget"}[4m]) or vector(0)) > 0`,
		),
		"MTLSEgressAdmissionSlow warning": other("MTLSEgressAdmissionSlow", "6m",
			"histogram_quantile(0.99, sum by (le) (rate(mtls_egress_admission_duration_seconds_bucket[4m]))) > 0.25"),
		"MTLSEgressWebhookAbsent critical": other("MTLSEgressWebhookAbsent", "7m",
			"absent(mtls_egress_serving_certificate_not_after_timestamp_seconds)"),
		"MTLSEgressControllerAbsent critical": other("MTLSEgressControllerAbsent", "7m",
			`absent(leader_election_master_status{name="mtls-egress-webhook-controller"} == 1)`),
		"MTLSEgressReconcileErrors warning": other("MTLSEgressReconcileErrors", "9m",
			`sum(increase(controller_runtime_reconcile_errors_total{controller="egresstarget"}[4m])) > 8`),
		"MTLSEgressServingCertificateExpires critical": other("MTLSEgressServingCertificateExpires", "11m",
			"min(mtls_egress_serving_certificate_not_after_timestamp_seconds) - time() < 10 * 3600"),
		"namespace": "monitoring", "release": "prometheus", "name": "mtls-egress-webhook",
		"MTLSEgressCredentialExpires warning":  expires("14"),
		"MTLSEgressCredentialExpires critical": expires("0.5"),
		"MTLSEgressServerCAExpires warning":    serverCAExpires("14"),
		"MTLSEgressServerCAExpires critical":   serverCAExpires("0.5"),
		"MTLSEgressCredentialInvalid critical": ofTarget("MTLSEgressCredentialInvalid", "1h30m", ofCredential,
			"min by (namespace, host, secret) (mtls_egress_credential_valid) == 0"),
		"MTLSEgressTargetNotVerified warning": ofTarget("MTLSEgressTargetNotVerified", "0", "namespace, host",
			"min by (namespace, host) (mtls_egress_target_verified) == 0"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTeamsOfAlerts has Prometheus fill in the label team of an alert about a target, for a value
// of prometheusRule.alertLabels.team.
func TestTeamsOfAlerts(t *testing.T) {
	const owner = `mtls_egress_target_owner{namespace="project", host="external.system.com", team="shop"}`
	tests := map[string]struct{ team, owner, want string }{
		"the team of the value, without a team of the target": {"platform", "", "platform"},
		"the team of the target":                              {"platform", owner, "shop"},
		"a template without a team of the target":             {"{{ $labels.namespace }}", "", "project"},
		"a template with a team of the target":                {"{{ $labels.namespace }}", owner, "shop"},
		"quotation marks":                                     {`"platform"`, "", `"platform"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			labels, err := json.Marshal(map[string]string{"team": test.team})
			if err != nil {
				t.Fatal(err)
			}
			rules := alertRules(t, "--set-json", "prometheusRule.alertLabels="+string(labels))
			for _, rule := range eachRule(t, rules) {
				delete(rule, "annotations")
			}
			series := []any{sample(`mtls_egress_target_conflicted{namespace="project", host="external.system.com"}`, "1x20")}
			if test.owner != "" {
				series = append(series, sample(test.owner, "1x20"))
			}
			testRules(t, rules, map[string]any{
				"interval": "1m", "input_series": series,
				"alert_rule_test": []any{map[string]any{
					"eval_time": "20m", "alertname": "MTLSEgressConflict",
					"exp_alerts": []any{map[string]any{"exp_labels": map[string]string{
						"severity": "warning", "namespace": "project", "host": "external.system.com", "team": test.want,
					}}},
				}},
			})
		})
	}
}

// sample is a series with its values as promtool reads it.
func sample(series, values string) any { return map[string]any{"series": series, "values": values} }

// testRules has promtool try a test on rules.
// https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/#test_group
func testRules(t *testing.T, rules any, test map[string]any) {
	t.Helper()
	dir := t.TempDir()
	writeRules(t, dir, rules)
	content, err := yaml.Marshal(map[string]any{
		"rule_files": []string{"rules.yaml"}, "evaluation_interval": "1m", "tests": []any{test},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "test.yaml"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, dir, "test", "rules", "test.yaml")
}

// alert is an alerting rule of Prometheus's.
type alert struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// alerts are those that the chart renders.
func alerts(t *testing.T, args ...string) []alert {
	t.Helper()
	return alertsOf(t, render(t, args...).one(t, "PrometheusRule").Object)
}

// alertsOf reads a PrometheusRule as the API server does, which takes no number for a text.
func alertsOf(t *testing.T, rule map[string]any) []alert {
	t.Helper()
	encoded, err := json.Marshal(rule)
	if err != nil {
		t.Fatal(err)
	}
	var content struct {
		Spec struct {
			Groups []struct {
				Rules []alert `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(encoded, &content); err != nil {
		t.Fatal(err)
	}
	var found []alert
	for _, group := range content.Spec.Groups {
		found = append(found, group.Rules...)
	}
	if len(found) == 0 {
		t.Fatal("the chart renders no alert")
	}
	return found
}

// alertRules returns the rules of the chart as Prometheus reads them: the spec of a PrometheusRule
// is such a file.
func alertRules(t *testing.T, args ...string) any {
	t.Helper()
	args = append(args, "--set", "prometheusRule.enabled=true")
	return render(t, args...).one(t, "PrometheusRule").Object["spec"]
}

// eachRule returns the rules of all groups. A change of one is a change of rules.
func eachRule(t *testing.T, rules any) (found []map[string]any) {
	t.Helper()
	for _, group := range rules.(map[string]any)["groups"].([]any) {
		for _, rule := range group.(map[string]any)["rules"].([]any) {
			found = append(found, rule.(map[string]any))
		}
	}
	if len(found) == 0 {
		t.Fatal("the chart renders no rule")
	}
	return found
}

func writeRules(t *testing.T, dir string, rules any) {
	t.Helper()
	content, err := yaml.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func alertCaseFiles(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(alertCases)
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d files in %s, error %v", len(entries), alertCases, err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// expectation is what a case says of an alert at one time.
type expectation struct {
	Name     string `json:"alertname"`
	Expected []struct {
		Labels map[string]string `json:"exp_labels"`
	} `json:"exp_alerts"`
}

func expectations(t *testing.T, file string) []expectation {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases struct {
		Tests []struct {
			Alerts []expectation `json:"alert_rule_test"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal(content, &cases); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var found []expectation
	for _, test := range cases.Tests {
		found = append(found, test.Alerts...)
	}
	return found
}

func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	if err := apiserver.Promtool(t.Context(), dir, args...); err != nil {
		t.Error(err)
	}
}
