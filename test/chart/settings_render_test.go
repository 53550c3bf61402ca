package chart

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestSettingsOfBothProcesses has one row per value in webhook.deployment and controller.deployment
// that Kubernetes knows. set is the value there, and want what the Deployment gets at each path.
func TestSettingsOfBothProcesses(t *testing.T) {
	pod := "spec.template.spec."
	container := pod + "containers.0."
	tests := map[string]struct {
		set string
		// common are commonLabels.
		common string
		want   map[string]any
	}{
		"by default, no Pod goes before its successor is ready": {
			want: map[string]any{"spec.strategy": map[string]any{
				"type": "RollingUpdate", "rollingUpdate": map[string]any{"maxUnavailable": 0.0, "maxSurge": 1.0},
			}},
		},
		"a Pod may go first": {
			set: `{"strategy": {"rollingUpdate": {"maxUnavailable": "50%", "maxSurge": 0}}}`,
			want: map[string]any{"spec.strategy": map[string]any{
				"type": "RollingUpdate", "rollingUpdate": map[string]any{"maxUnavailable": "50%", "maxSurge": 0.0},
			}},
		},
		"all Pods go first, without the settings of the other strategy, which the API server refuses": {
			set:  `{"strategy": {"type": "Recreate"}}`,
			want: map[string]any{"spec.strategy": map[string]any{"type": "Recreate"}},
		},
		"null is Kubernetes' default": {
			set: `{"strategy": null, "livenessProbe": null, "readinessProbe": null}`,
			want: map[string]any{
				"spec.strategy":              nil,
				container + "livenessProbe":  map[string]any{"httpGet": map[string]any{"path": "/healthz", "port": "health"}},
				container + "readinessProbe": map[string]any{"httpGet": map[string]any{"path": "/readyz", "port": "health"}},
			},
		},
		"labels of the Pods win over those of all objects, but not over the chart's": {
			set:    `{"podLabels": {"team": "b", "app.kubernetes.io/name": "other"}}`,
			common: `{"team": "a", "all": "yes"}`,
			want: map[string]any{
				"spec.template.metadata.labels.team": "b", "spec.template.metadata.labels.all": "yes",
			},
		},
		"another memory limit of Go": {
			set: `{"extraEnv": [{"name": "GOMEMLIMIT", "value": "100MiB"}]}`,
			want: map[string]any{
				container + "env.2": map[string]any{"name": "GOMEMLIMIT", "value": "100MiB"},
			},
		},
		"by default, nothing of the node's": {
			want: map[string]any{
				pod + "hostNetwork": nil, pod + "dnsPolicy": nil, pod + "dnsConfig": nil, pod + "runtimeClassName": nil,
				pod + "imagePullSecrets": nil, pod + "automountServiceAccountToken": false, pod + "enableServiceLinks": false,
			},
		},
		"DNS": {
			set: `{"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"]}}`,
			want: map[string]any{
				pod + "dnsPolicy": "None", pod + "dnsConfig": map[string]any{"nameservers": []any{"192.0.2.53"}},
			},
		},
		"another runtime": {
			set:  `{"runtimeClassName": "sandboxed"}`,
			want: map[string]any{pod + "runtimeClassName": "sandboxed"},
		},
		"by default, restricted security contexts": {
			want: map[string]any{
				pod + "securityContext": map[string]any{
					"runAsNonRoot": true, "seccompProfile": map[string]any{"type": "RuntimeDefault"},
				},
				container + "securityContext": map[string]any{
					"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
					"capabilities": map[string]any{"drop": []any{"ALL"}},
				},
			},
		},
		"security contexts add to the restricted ones": {
			set: `{"podSecurityContext": {"fsGroup": 1000}, "containerSecurityContext": {"runAsUser": 65533}}`,
			want: map[string]any{
				pod + "securityContext": map[string]any{
					"runAsNonRoot": true, "seccompProfile": map[string]any{"type": "RuntimeDefault"}, "fsGroup": 1000.0,
				},
				container + "securityContext": map[string]any{
					"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
					"capabilities": map[string]any{"drop": []any{"ALL"}}, "runAsUser": 65533.0,
				},
			},
		},
		"by default, quick probes": {
			want: map[string]any{
				container + "livenessProbe": map[string]any{
					"httpGet":       map[string]any{"path": "/healthz", "port": "health"},
					"periodSeconds": 10.0, "timeoutSeconds": 5.0, "failureThreshold": 3.0,
				},
				container + "readinessProbe": map[string]any{
					"httpGet":       map[string]any{"path": "/readyz", "port": "health"},
					"periodSeconds": 3.0, "timeoutSeconds": 2.0, "failureThreshold": 1.0,
				},
			},
		},
		"slower probes": {
			set: `{"livenessProbe": {"initialDelaySeconds": 9}, "readinessProbe": {"periodSeconds": 5}}`,
			want: map[string]any{
				container + "livenessProbe": map[string]any{
					"httpGet":             map[string]any{"path": "/healthz", "port": "health"},
					"initialDelaySeconds": 9.0, "periodSeconds": 10.0, "timeoutSeconds": 5.0, "failureThreshold": 3.0,
				},
				container + "readinessProbe": map[string]any{
					"httpGet":       map[string]any{"path": "/readyz", "port": "health"},
					"periodSeconds": 5.0, "timeoutSeconds": 2.0, "failureThreshold": 1.0,
				},
			},
		},
		"nodes": {
			set: `{"nodeSelector": {"pool": "infra"}, "tolerations": [{"key": "infra", "operator": "Exists"}],
				"affinity": {"nodeAffinity": {}}, "priorityClassName": "important"}`,
			want: map[string]any{
				pod + "nodeSelector":      map[string]any{"kubernetes.io/os": "linux", "pool": "infra"},
				pod + "tolerations":       []any{map[string]any{"key": "infra", "operator": "Exists"}},
				pod + "affinity":          map[string]any{"nodeAffinity": map[string]any{}},
				pod + "priorityClassName": "important",
			},
		},
		"no topology spread constraints": {
			set:  `{"topologySpreadConstraints": []}`,
			want: map[string]any{pod + "topologySpreadConstraints": []any{}},
		},
		"annotations": {
			set: `{"annotations": {"a": "b"}, "podAnnotations": {"c": "d"}}`,
			want: map[string]any{
				"metadata.annotations": map[string]any{"a": "b"}, "spec.template.metadata.annotations": map[string]any{"c": "d"},
			},
		},
	}
	for name, test := range tests {
		for deployment, process := range map[string]string{release: "webhook", controllerName: "controller"} {
			t.Run(process+": "+name, func(t *testing.T) {
				set := "log={}"
				if test.set != "" {
					set = process + ".deployment=" + test.set
				}
				if test.common != "" {
					set += ",commonLabels=" + test.common
				}
				object := render(t, "--set-json", set)["Deployment "+deployment]
				got := map[string]any{}
				for path := range test.want {
					got[path] = at(t, object, steps(path)...)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// steps returns the steps of a path, as in spec.containers.0.image.
func steps(path string) []any {
	var found []any
	for step := range strings.SplitSeq(path, ".") {
		if number, err := strconv.Atoi(step); err == nil {
			found = append(found, number)
			continue
		}
		found = append(found, step)
	}
	return found
}

func TestExtraVolumesComeAfterTheCharts(t *testing.T) {
	set := `.deployment={"extraVolumes": [{"name": "cloud-ca", "configMap": {"name": "cloud-ca"}}],
		"extraVolumeMounts": [{"name": "cloud-ca", "mountPath": "/etc/ssl/certs"}]}`
	rendered := render(t, "--set-json", "webhook"+set, "--set-json", "controller"+set,
		"--set", "servingCertificate.provider=cert-manager")
	want := map[string][]any{
		release: {"token", "serving-certificate", "cloud-ca"}, controllerName: {"token", "cloud-ca"},
	}
	for name, volumes := range want {
		spec := podSpec(t, rendered["Deployment "+name])
		mounts := spec["containers"].([]any)[0].(map[string]any)["volumeMounts"]
		for _, list := range []any{spec["volumes"], mounts} {
			var got []any
			for _, item := range list.([]any) {
				got = append(got, item.(map[string]any)["name"])
			}
			if diff := cmp.Diff(volumes, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// The arguments, the ports of the container and the probes agree. Services, NetworkPolicies and
// ServiceMonitors use the names of the ports.
func TestPortsOfTheWebhook(t *testing.T) {
	port := func(name string, number float64) any {
		return map[string]any{"name": name, "containerPort": number, "protocol": "TCP"}
	}
	tests := map[string]struct {
		set   string
		ports []any
		args  []string
	}{
		"by default": {
			set:   "log.level=info",
			ports: []any{port("webhook", 9443), port("metrics", 8080), port("health", 8081)},
			args:  []string{"--webhook-port=9443", "--metrics-address=:8080", "--health-address=:8081"},
		},
		"the port that private GKE clusters leave open": {
			set:   "webhook.port=10250",
			ports: []any{port("webhook", 10250), port("metrics", 8080), port("health", 8081)},
			args:  []string{"--webhook-port=10250", "--metrics-address=:8080", "--health-address=:8081"},
		},
		"ports that are free on the nodes": {
			set: "webhook.deployment.hostNetwork=true," +
				"webhook.port=20000,webhook.metricsPort=20001,webhook.healthPort=20002",
			ports: []any{port("webhook", 20000), port("metrics", 20001), port("health", 20002)},
			args:  []string{"--webhook-port=20000", "--metrics-address=:20001", "--health-address=:20002"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, "--set", test.set)
			got := at(t, rendered["Deployment "+release], "spec", "template", "spec", "containers", 0, "ports")
			if diff := cmp.Diff(any(test.ports), got); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
			args := serveArgs(t, release, "--set", test.set)
			for _, arg := range test.args {
				if !slices.Contains(args, arg) {
					t.Errorf("arguments %q, want %s", args, arg)
				}
			}
			service := []any{
				map[string]any{"name": "https", "port": 443.0, "targetPort": "webhook", "protocol": "TCP"},
				map[string]any{"name": "metrics", "port": 8080.0, "targetPort": "metrics", "protocol": "TCP"},
			}
			if diff := cmp.Diff(any(service), at(t, rendered["Service "+release], "spec", "ports")); diff != "" {
				t.Errorf("Service (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheNetworkOfTheNode(t *testing.T) {
	tests := map[string]struct {
		set  string
		want map[string]any
	}{
		"names of the cluster are still known": {
			set:  "webhook.deployment.hostNetwork=true",
			want: map[string]any{"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"},
		},
		"unless another DNS policy is set": {
			set:  "webhook.deployment.hostNetwork=true,webhook.deployment.dnsPolicy=Default",
			want: map[string]any{"hostNetwork": true, "dnsPolicy": "Default"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, "--set", test.set)
			spec := podSpec(t, rendered["Deployment "+release])
			got := map[string]any{"hostNetwork": spec["hostNetwork"], "dnsPolicy": spec["dnsPolicy"]}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, other := range []string{"Deployment " + controllerName, "Job " + checkName, "Pod " + testName} {
				if host := podSpec(t, rendered[other])["hostNetwork"]; host != nil {
					t.Errorf("%s has hostNetwork: %v", other, host)
				}
			}
		})
	}
}

func TestServicesFollowTheValues(t *testing.T) {
	set := `.service={"annotations": {"a": "b"}, "labels": {"c": "d", "app.kubernetes.io/name": "other"},
		"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}`
	for name, process := range map[string]string{release: "webhook", controllerName: "controller"} {
		service := render(t, "--set-json", process+set)["Service "+name]
		got := map[string]any{
			"a": service.GetAnnotations()["a"], "c": service.GetLabels()["c"],
			"name":   service.GetLabels()["app.kubernetes.io/name"],
			"policy": at(t, service, "spec", "ipFamilyPolicy"), "families": at(t, service, "spec", "ipFamilies"),
		}
		want := map[string]any{
			"a": "b", "c": "d", "name": "mtls-egress-webhook",
			"policy": "PreferDualStack", "families": []any{"IPv6", "IPv4"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		plain := at(t, render(t)["Service "+name], "spec").(map[string]any)
		if plain["ipFamilyPolicy"] != nil || plain["ipFamilies"] != nil {
			t.Errorf("%s: by default, the cluster doesn't decide on the IP families: %v", name, plain)
		}
	}
}

func TestPullSecretsOfTheChartAndOfAllCharts(t *testing.T) {
	rendered := render(t, "--set-json", `imagePullSecrets=[{"name": "own"}, {"name": "both"}]`,
		"--set-json", `global.imagePullSecrets=["all", {"name": "both"}]`)
	want := []any{map[string]any{"name": "own"}, map[string]any{"name": "both"}, map[string]any{"name": "all"}}
	for _, name := range []string{
		"Deployment " + release, "Deployment " + controllerName, "Job " + checkName, "Job " + cleanupName, "Pod " + testName,
	} {
		if diff := cmp.Diff(any(want), podSpec(t, rendered[name])["imagePullSecrets"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// commonAnnotations add to every object, change none of the chart's own annotations, and don't
// reach the Pods.
func TestCommonAnnotationsAreOnEveryObject(t *testing.T) {
	args := []string{"--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true," +
		"servingCertificate.provider=cert-manager"}
	plain := render(t, args...)
	for name, object := range render(t, append(args, "--set-json", `commonAnnotations={"team": "shop"}`)...) {
		want := map[string]string{"team": "shop"}
		maps.Copy(want, plain[name].GetAnnotations())
		if diff := cmp.Diff(want, object.GetAnnotations()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if kind := object.GetKind(); kind == "Deployment" || kind == "Job" {
			if template := at(t, object, "spec", "template", "metadata", "annotations"); template != nil {
				t.Errorf("%s: the Pods have %v", name, template)
			}
		}
	}
}

// A value for one object takes precedence over that for all.
func TestAnnotationsOfOneObjectWin(t *testing.T) {
	rendered := render(t, "--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true",
		"--set", "commonAnnotations.a=all,commonLabels.a=all",
		"--set", "serviceMonitor.annotations.a=one,serviceMonitor.labels.a=one",
		"--set", "prometheusRule.annotations.a=one,prometheusRule.labels.a=one",
		"--set", "dashboard.annotations.a=one,dashboard.labels.a=one",
		"--set", "webhook.service.annotations.a=one,webhook.service.labels.a=one",
		"--set", "webhook.serviceAccount.annotations.a=one,webhook.deployment.annotations.a=one",
		"--set", "webhook.configurationAnnotations.a=one")
	for name, label := range map[string]string{
		"ServiceMonitor " + release: "one", "PrometheusRule " + release: "one", "Service " + release: "one",
		"ConfigMap " + release + "-dashboard": "one", "ServiceAccount " + release: "all", "Deployment " + release: "all",
		"MutatingWebhookConfiguration " + configurationName: "all",
	} {
		object := rendered[name]
		got := []string{object.GetAnnotations()["a"], object.GetLabels()["a"]}
		if diff := cmp.Diff([]string{"one", label}, got); diff != "" {
			t.Errorf("%s: annotation and label (-want +got):\n%s", name, diff)
		}
	}
}

// namespaceOverride moves everything that is in the namespace of the release, also in arguments,
// names of users and selectors.
func TestAnotherNamespaceIsEverywhere(t *testing.T) {
	manifests := func(args ...string) string {
		rendered, problems, err := template(t, release, append(args,
			"--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true,servingCertificate.provider=cert-manager")...)
		if err != nil {
			t.Fatalf("%v\n%s", err, problems)
		}
		return rendered
	}
	want := manifests("--namespace", "elsewhere")
	if diff := cmp.Diff(want, manifests("--set", "namespaceOverride=elsewhere")); diff != "" {
		t.Errorf("(-release in the namespace +namespaceOverride):\n%s", diff)
	}
	if strings.Contains(want, "namespace: "+namespace+"\n") || !strings.Contains(want, "namespace: elsewhere\n") {
		t.Error("the objects are not in the namespace elsewhere")
	}
}

func TestExtraObjectsAreTemplates(t *testing.T) {
	rendered := render(t, "--set-json", `extraObjects=[
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-object"}},
		"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n"]`)
	for _, name := range []string{"ConfigMap " + release + "-object", "ConfigMap " + release + "-text"} {
		if rendered[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	if got := len(rendered) - len(render(t)); got != 2 {
		t.Errorf("%d more objects, want 2", got)
	}
}

// An alert that is left out leaves no empty group.
func TestAlertsThatAreLeftOut(t *testing.T) {
	names := func(set string) (found []string, groups int) {
		rule := render(t, "--set-json", "prometheusRule="+set).one(t, "PrometheusRule")
		for _, alert := range alertsOf(t, rule.Object) {
			found = append(found, alert.Alert)
			if alert.Annotations["runbook_url"] != "" {
				t.Errorf("%s has the runbook %s, although its URL is not known", alert.Alert, alert.Annotations["runbook_url"])
			}
		}
		slices.Sort(found)
		return slices.Compact(found), len(at(t, rule, "spec", "groups").([]any))
	}
	all, groups := names(`{"enabled": true}`)
	out := []string{"MTLSEgressConflict", "MTLSEgressCredentialExpires", "MTLSEgressTargetNotProgrammed"}
	rest, fewer := names(`{"enabled": true, "disabledAlerts": ["` + strings.Join(out, `", "`) + `"]}`)
	got := slices.Concat(rest, out)
	slices.Sort(got)
	if diff := cmp.Diff(all, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if fewer != groups-1 {
		t.Errorf("%d groups, want %d without the one whose alerts are all left out", fewer, groups-1)
	}
	schema := fromFile(t, "values.schema.json")
	var allowed []string
	for _, name := range at(t, schema, "properties", "prometheusRule", "properties", "disabledAlerts", "items",
		"enum").([]any) {
		allowed = append(allowed, name.(string))
	}
	slices.Sort(allowed)
	if diff := cmp.Diff(all, allowed); diff != "" {
		t.Errorf("alerts that prometheusRule.disabledAlerts can have (-want +got):\n%s", diff)
	}
}

// TestHints sets each name that users know from other charts. Helm fails with the name to write,
// which the chart has.
func TestHints(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chartDir, "files", "hints.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	hints := map[string]string{}
	if err := yaml.Unmarshal(content, &hints); err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	var want []string
	for pattern, hint := range hints {
		for _, process := range []string{"webhook", "controller"} {
			path := strings.ReplaceAll(pattern, "*", process)
			line := fmt.Sprintf("%s is not a value of this chart: %s", path, strings.ReplaceAll(hint, "*", process))
			if !slices.Contains(want, line) {
				want = append(want, line)
				place(values, strings.Split(path, "."), "x")
			}
		}
	}
	encoded, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	_, problems, err := template(t, release, "--values", writeFile(t, "values.yaml", string(encoded)))
	if err == nil {
		t.Fatal("the chart takes all of them")
	}
	var got []string
	for line := range strings.Lines(problems) {
		if strings.Contains(line, " is not a value of this chart: ") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	defaults := defaultValues(t)
	for _, line := range want {
		_, hint, found := strings.Cut(line, ": write ")
		for word := range strings.FieldsSeq(strings.TrimSuffix(hint, ",")) {
			path := strings.Split(word, ".")
			if section, ok := defaults[path[0]]; found && (len(path) > 1 || ok) && !has(map[string]any{path[0]: section}, path) {
				t.Errorf("%s: the chart has no value %s", line, word)
			}
		}
	}
}

// TestNullIsTheSameAsAnEmptyDefault: a name without a value is null in YAML, and Helm then removes
// the default.
func TestNullIsTheSameAsAnEmptyDefault(t *testing.T) {
	nulls := defaultValues(t)
	if !onlyEmpty(nulls) {
		t.Fatal("no default is empty")
	}
	delete(nulls["image"].(map[string]any), "repository") // a release needs one
	encoded, err := yaml.Marshal(nulls)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--set", "prometheusRule.enabled=true,dashboard.enabled=true,serviceMonitor.enabled=true"}
	want := render(t, args...)
	got := render(t, append(args, "--values", writeFile(t, "values.yaml", string(encoded)))...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-with the defaults +with null in place of %s):\n%s", encoded, diff)
	}
}

// onlyEmpty sets the empty ones of the values to null, removes the others, and reports whether any
// is left.
func onlyEmpty(values map[string]any) bool {
	maps.DeleteFunc(values, func(_ string, value any) bool {
		switch value := value.(type) {
		case map[string]any:
			return len(value) > 0 && !onlyEmpty(value)
		case []any:
			return len(value) > 0
		default:
			return value != ""
		}
	})
	for name, value := range values {
		if section, ok := value.(map[string]any); !ok || len(section) == 0 {
			values[name] = nil
		}
	}
	return len(values) > 0
}

// defaultValues returns the content of the chart's values.yaml.
func defaultValues(t *testing.T) map[string]any {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defaults := map[string]any{}
	if err := yaml.Unmarshal(content, &defaults); err != nil {
		t.Fatal(err)
	}
	return defaults
}

// place sets the value at a path.
func place(values map[string]any, path []string, value any) {
	if len(path) == 1 {
		values[path[0]] = value
		return
	}
	section, ok := values[path[0]].(map[string]any)
	if !ok {
		section = map[string]any{}
		values[path[0]] = section
	}
	place(section, path[1:], value)
}

// has reports whether there is a value at a path.
func has(values map[string]any, path []string) bool {
	value, ok := values[path[0]]
	if len(path) == 1 || !ok {
		return ok
	}
	section, _ := value.(map[string]any)
	return has(section, path[1:])
}

// What the schema can't say, Helm says with all problems at once.
func TestValuesThatContradictEachOther(t *testing.T) {
	const noImage = "image.repository is empty, and no image of this project is published yet, so build one with make " +
		"image, push it to your registry, and set image.repository to its name there and image.tag to its tag"
	tests := map[string]struct {
		set  string
		want []string
	}{
		"no image": {set: `image.repository=""`, want: []string{noImage}},
		"no image for the controller alone": {
			set:  `image.repository="",webhook.deployment.enabled=false,webhook.url="https://127.0.0.1:9443"`,
			want: []string{noImage},
		},
		"no image, and nothing that runs it": {
			set: `image.repository="",webhook.deployment.enabled=false,controller.deployment.enabled=false,` +
				`webhook.url="https://127.0.0.1:9443"`,
		},
		"annotations with a meaning for Helm or the webhook": {
			set: `commonAnnotations={"helm.sh/hook": "test", "mtls.egress/target": "a.example", "helm.sh": "fine"}`,
			want: []string{
				"commonAnnotations has helm.sh/hook, which would change what the objects do: remove it",
				"commonAnnotations has mtls.egress/target, which would change what the objects do: remove it",
			},
		},
		"a label that would give the controller's rights to users": {
			set: `commonLabels={"rbac.authorization.k8s.io/aggregate-to-edit": "true", "to.mtls.egress/a.example": "true"}`,
			want: []string{
				"commonLabels has rbac.authorization.k8s.io/aggregate-to-edit, which would change what the objects do: remove it",
				"commonLabels has to.mtls.egress/a.example, which would change what the objects do: remove it",
			},
		},
		"two ports that are the same": {
			set: `webhook.port=8081`,
			want: []string{
				"webhook.port, webhook.metricsPort and webhook.healthPort are 8081, 8080 and 8081: write three different ports",
			},
		},
		"the port of the kubelet": {
			set: `webhook.deployment.hostNetwork=true,webhook.port=10250`,
			want: []string{
				"webhook.deployment.hostNetwork is true, and a port of the webhook is 10250, one of those that Kubernetes " +
					"itself uses on nodes (10248 to 10259): write another port",
			},
		},
		"values of an older chart, without the ports": {
			set: `webhook.port=null`,
			want: []string{
				"webhook.port, webhook.metricsPort or webhook.healthPort is missing: write a port, or, if an upgrade with " +
					"--reuse-values has kept the values of an older version of the chart, write --reset-then-reuse-values",
			},
		},
		"no Pod may go, and none may come": {
			set: `controller.deployment.strategy={"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}}`,
			want: []string{
				"controller.deployment.strategy.rollingUpdate has maxSurge and maxUnavailable 0, with which no Pod can be " +
					"replaced: write 1 for one of them",
			},
		},
		"a volume with the name of one of the chart": {
			set: `webhook.deployment.extraVolumes=[{"name": "token", "emptyDir": {}}]`,
			want: []string{
				"webhook.deployment.extraVolumes has token, which is the name of a volume of the chart: write another name",
			},
		},
		"arguments that contradict a policy of the chart": {
			set: `webhook.deployment.extraArgs=["--sinkhole-ranges=10.0.0.0/8", "--allowed-targets", "*"],` +
				`controller.deployment.extraArgs=["--other-targets=Allow"]`,
			want: []string{
				"webhook.deployment.extraArgs has --sinkhole-ranges, which the chart sets from its values: change the value, " +
					"and remove the argument",
				"webhook.deployment.extraArgs has --allowed-targets, which the chart sets from its values: change the value, " +
					"and remove the argument",
				"controller.deployment.extraArgs has --other-targets, which the chart sets from its values: change the value, " +
					"and remove the argument",
			},
		},
		"a variable that the chart sets": {
			set:  `webhook.deployment.extraEnv=[{"name": "POD_IPS", "value": "10.0.0.1"}]`,
			want: []string{"webhook.deployment.extraEnv has POD_IPS, which the chart sets: remove it"},
		},
		"a limit that the chart sets, which may be another": {
			set: `webhook.deployment.extraEnv=[{"name": "GOMEMLIMIT", "value": "100MiB"}]`,
		},
		"a chart that is off": {
			set: `enabled=false`,
			want: []string{
				"enabled is false, which has an effect only as the condition of a dependency: write condition: " +
					"mtls-egress-webhook.enabled in the Chart.yaml of the parent chart, or run helm uninstall, which first " +
					"checks that no workload needs the webhook",
			},
		},
		"several at once": {
			set: `image.repository="",resources={},webhook.port=8080`,
			want: []string{
				"resources is not a value of this chart: write webhook.deployment.resources and controller.deployment.resources",
				noImage,
				"webhook.port, webhook.metricsPort and webhook.healthPort are 8080, 8080 and 8081: write three different ports",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, problems, err := template(t, release, "--set-json", test.set)
			var got []string
			if err != nil {
				lines := strings.Split(strings.TrimSpace(problems), "\n")
				// The first line has the template, and the last two are a hint of Helm's.
				got = lines[1 : len(lines)-2]
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSubchart renders the chart as a dependency of another.
func TestSubchart(t *testing.T) {
	parent := t.TempDir()
	if err := os.CopyFS(filepath.Join(parent, "charts", release), os.DirFS(chartDir)); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"Chart.yaml": `{apiVersion: v2, name: platform, version: 1.0.0, dependencies: [
			{name: mtls-egress-webhook, version: "*", condition: mtls-egress-webhook.enabled}]}`,
		"values.yaml": `{global: {imageRegistry: mirror.example.com, another: 1}, mtls-egress-webhook: {
			image: {repository: registry.example.com/team/webhook}, namespaceOverride: mtls-egress}}`,
	} {
		if err := os.WriteFile(filepath.Join(parent, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	manifests, problems, err := helm(t, "template", "platform", parent, "--namespace", "platform")
	if err != nil {
		t.Fatalf("%v\n%s", err, problems)
	}
	deployment := read(t, manifests)["Deployment platform-mtls-egress-webhook"]
	got := []any{deployment.GetNamespace(), at(t, deployment, steps("spec.template.spec.containers.0.image")...)}
	if diff := cmp.Diff([]any{namespace, "mirror.example.com/team/webhook:0.1.0"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	manifests, problems, err = helm(t, "template", "platform", parent, "--set", "mtls-egress-webhook.enabled=false")
	if err != nil || len(read(t, manifests)) > 0 {
		t.Errorf("with the condition false: error %v\n%s%s", err, problems, manifests)
	}
}
