package chart

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	sigsyaml "sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/cli"
	"mtls.egress/webhook/test/apiserver"
)

const (
	chartDir  = "../../charts/mtls-egress-webhook"
	release   = "mtls-egress-webhook"
	namespace = "mtls-egress"
	// image is the argument of Helm for an image, without which the chart renders no Pods. Other
	// values win.
	image = "--values=testdata/image.yaml"
)

// template runs helm template and returns what it prints on both outputs.
func template(t *testing.T, name string, args ...string) (manifests, problems string, err error) {
	t.Helper()
	return helm(t, append([]string{"template", name, chartDir, "--namespace", namespace, image}, args...)...)
}

// helm runs Helm without a cluster and returns what it prints on both outputs.
func helm(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	assets, err := apiserver.Assets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out, problems strings.Builder
	command := exec.CommandContext(t.Context(), filepath.Join(assets, "helm"), args...)
	command.Stdout, command.Stderr = &out, &problems
	err = command.Run()
	return out.String(), problems.String(), err
}

// render returns the objects that the chart renders under the usual release name, by kind and name.
func render(t *testing.T, args ...string) objects {
	t.Helper()
	manifests, problems, err := template(t, release, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, problems)
	}
	return read(t, manifests)
}

type objects map[string]*unstructured.Unstructured

func read(t *testing.T, manifests string) objects {
	t.Helper()
	found := objects{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) == 0 {
			continue
		}
		key := object.GetKind() + " " + object.GetName()
		if found[key] != nil {
			t.Errorf("%s is rendered twice", key)
		}
		found[key] = object
	}
}

func (o objects) names() []string {
	names := make([]string, 0, len(o))
	for name := range o {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// one returns the object of a kind that is there once.
func (o objects) one(t *testing.T, kind string) *unstructured.Unstructured {
	t.Helper()
	var found []*unstructured.Unstructured
	for _, object := range o {
		if object.GetKind() == kind {
			found = append(found, object)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of kind %s: want one", len(found), kind)
	}
	return found[0]
}

// any returns one of the objects of a kind.
func (o objects) any(t *testing.T, kind string) *unstructured.Unstructured {
	t.Helper()
	for _, object := range o {
		if object.GetKind() == kind {
			return object
		}
	}
	t.Fatalf("no object of kind %s", kind)
	return nil
}

// at returns the value at a path of field names and list indices.
func at(t *testing.T, object *unstructured.Unstructured, path ...any) any {
	t.Helper()
	var value any = object.Object
	for _, step := range path {
		switch step := step.(type) {
		case string:
			fields, ok := value.(map[string]any)
			if !ok {
				t.Fatalf("no field %q on the path %v of %s", step, path, object.GetName())
			}
			value = fields[step]
		case int:
			items, ok := value.([]any)
			if !ok || step >= len(items) {
				t.Fatalf("no item %d on the path %v of %s", step, path, object.GetName())
			}
			value = items[step]
		}
	}
	return value
}

func TestRenderedObjects(t *testing.T) {
	everywhere := []string{
		"ClusterRole mtls-egress-webhook-admission",
		"ClusterRole mtls-egress-webhook-controller",
		"ClusterRoleBinding mtls-egress-webhook-admission",
		"ClusterRoleBinding mtls-egress-webhook-controller",
		"MutatingWebhookConfiguration 0-mtls-egress-webhook",
		"Role mtls-egress-webhook", "Role mtls-egress-webhook-controller",
		"RoleBinding mtls-egress-webhook", "RoleBinding mtls-egress-webhook-controller",
		"Secret mtls-egress-webhook-ca", "Lease mtls-egress-webhook-controller",
	}
	accounts := []string{"ServiceAccount mtls-egress-webhook", "ServiceAccount mtls-egress-webhook-controller"}
	crd := []string{"CustomResourceDefinition egresstargets.mtls.egress"}
	users := []string{"ClusterRole mtls-egress-webhook-edit", "ClusterRole mtls-egress-webhook-view"}
	injected := []string{
		"ValidatingAdmissionPolicy mtls-egress-webhook-injected", "ValidatingAdmissionPolicyBinding " +
			"mtls-egress-webhook-injected",
	}
	propagated := []string{
		"ValidatingAdmissionPolicy mtls-egress-webhook-propagated", "ValidatingAdmissionPolicyBinding " +
			"mtls-egress-webhook-propagated",
	}
	generated := []string{
		"ValidatingAdmissionPolicy mtls-egress-webhook-attached", "ValidatingAdmissionPolicyBinding " +
			"mtls-egress-webhook-attached",
		"ValidatingAdmissionPolicy mtls-egress-webhook-generated-objects", "ValidatingAdmissionPolicyBinding " +
			"mtls-egress-webhook-generated-objects",
		"ValidatingAdmissionPolicy mtls-egress-webhook-sinkhole", "ValidatingAdmissionPolicyBinding " +
			"mtls-egress-webhook-sinkhole",
		"ValidatingAdmissionPolicy mtls-egress-webhook-issuance", "ValidatingAdmissionPolicyBinding " +
			"mtls-egress-webhook-issuance",
	}
	nearMisses := []string{
		"ValidatingAdmissionPolicy mtls-egress-webhook-lookalike", "ValidatingAdmissionPolicyBinding " +
			"mtls-egress-webhook-lookalike", "ValidatingAdmissionPolicyBinding mtls-egress-webhook-lookalike-pods",
		"ValidatingAdmissionPolicy mtls-egress-webhook-misplaced", "ValidatingAdmissionPolicyBinding " +
			"mtls-egress-webhook-misplaced", "ValidatingAdmissionPolicyBinding mtls-egress-webhook-misplaced-pods-secret",
		"ValidatingAdmissionPolicyBinding mtls-egress-webhook-misplaced-pods-target",
	}
	webhook := []string{
		"Deployment mtls-egress-webhook", "Service mtls-egress-webhook", "Pod mtls-egress-webhook-test",
		"Role mtls-egress-webhook-test", "RoleBinding mtls-egress-webhook-test",
		"ServiceAccount mtls-egress-webhook-test",
	}
	controller := []string{"Deployment mtls-egress-webhook-controller", "Service mtls-egress-webhook-controller"}
	deployed := slices.Concat(webhook, controller)
	webhookRestricted := []string{"NetworkPolicy mtls-egress-webhook"}
	controllerRestricted := []string{"NetworkPolicy mtls-egress-webhook-controller"}
	restricted := slices.Concat(webhookRestricted, controllerRestricted)
	webhookBudget := []string{"PodDisruptionBudget mtls-egress-webhook"}
	controllerBudget := []string{"PodDisruptionBudget mtls-egress-webhook-controller"}
	budget := slices.Concat(webhookBudget, controllerBudget)
	quota := []string{"ResourceQuota mtls-egress-webhook"}
	check := []string{
		"ClusterRole mtls-egress-webhook-uninstall", "ClusterRoleBinding mtls-egress-webhook-uninstall",
		"Job mtls-egress-webhook-uninstall", "ServiceAccount mtls-egress-webhook-uninstall",
	}
	cleanup := []string{
		"ClusterRole mtls-egress-webhook-cleanup", "ClusterRoleBinding mtls-egress-webhook-cleanup",
		"Job mtls-egress-webhook-cleanup", "ServiceAccount mtls-egress-webhook-cleanup",
	}

	policies := slices.Concat(injected, propagated, generated, nearMisses)
	owners := []string{"ClusterRoleBinding mtls-egress-webhook-controller-owners"}

	tests := map[string]struct {
		args []string
		want [][]string
	}{
		"by default": {
			want: [][]string{
				everywhere, owners, accounts, crd, users, policies, deployed, restricted, check, cleanup,
				budget, quota,
			},
		},
		"a single replica has no PodDisruptionBudget": {
			args: []string{"--set", "webhook.deployment.replicas=1,controller.deployment.replicas=1"},
			want: [][]string{
				everywhere, owners, accounts, crd, users, policies, deployed, restricted, check, cleanup,
				quota,
			},
		},
		"a single replica of the webhook": {
			args: []string{"--set", "webhook.deployment.replicas=1"},
			want: [][]string{
				everywhere, owners, accounts, crd, users, policies, deployed, restricted, check, cleanup,
				controllerBudget, quota,
			},
		},
		"an ordinary priority needs no ResourceQuota": {
			args: []string{
				"--set",
				"webhook.deployment.priorityClassName=important,controller.deployment.priorityClassName=important",
			},
			want: [][]string{
				everywhere, owners, accounts, crd, users, policies, deployed, restricted, check, cleanup,
				budget,
			},
		},
		"an uninstallation that asks nobody": {
			args: []string{"--set", "uninstall.refuseWhileInUse=false"},
			want: [][]string{
				everywhere, owners, accounts, crd, users, policies, deployed, restricted, cleanup, budget,
				quota,
			},
		},
		"an uninstallation that leaves what the controller made": {
			args: []string{"--set", "uninstall.cleanUp=false"},
			want: [][]string{
				everywhere, owners, accounts, crd, users, policies, deployed, restricted, check, budget,
				quota,
			},
		},
		"alerts": {
			args: []string{"--set", "prometheusRule.enabled=true"},
			want: [][]string{
				everywhere,
				owners,
				accounts,
				crd,
				users,
				policies,
				deployed,
				restricted,
				check,
				cleanup,
				budget,
				quota,
				{"PrometheusRule mtls-egress-webhook"},
			},
		},
		"what finds the metrics": {
			args: []string{"--set", "serviceMonitor.enabled=true"},
			want: [][]string{
				everywhere,
				owners,
				accounts,
				crd,
				users,
				policies,
				deployed,
				restricted,
				check,
				cleanup,
				budget,
				quota,
				{"ServiceMonitor mtls-egress-webhook"},
			},
		},
		"nothing that keeps others off": {
			args: []string{
				"--set",
				"networkPolicy.enabled=false,webhook.podDisruptionBudget.enabled=false," +
					"controller.podDisruptionBudget.enabled=false",
			},
			want: [][]string{everywhere, owners, accounts, crd, users, policies, deployed, check, cleanup, quota},
		},
		"both processes outside the cluster": {
			args: []string{
				"--set",
				"webhook.deployment.enabled=false,controller.deployment.enabled=false,webhook.url=https://127.0.0.1:9443",
			},
			want: [][]string{everywhere, owners, accounts, crd, users, policies},
		},
		"the webhook outside the cluster": {
			args: []string{"--set", "webhook.deployment.enabled=false,webhook.url=https://127.0.0.1:9443"},
			want: [][]string{
				everywhere, owners, accounts, crd, users, policies, controller, controllerRestricted,
				controllerBudget, quota,
			},
		},
		"the controller outside the cluster": {
			args: []string{"--set", "controller.deployment.enabled=false"},
			want: [][]string{
				everywhere, owners, accounts, crd, users, policies, webhook, webhookRestricted, check,
				cleanup, webhookBudget, quota,
			},
		},
		"everything that can be left out is left out": {
			args: []string{
				"--set", "webhook.deployment.enabled=false,controller.deployment.enabled=false," +
					"webhook.url=https://127.0.0.1:9443,serviceMonitor.enabled=true",
				"--set", "webhook.serviceAccount.create=false,webhook.serviceAccount.name=somebody," +
					"controller.serviceAccount.create=false,controller.serviceAccount.name=else",
				"--set", "crds.enabled=false,rbac.aggregate=false",
				"--set", "policy.requireInjected=false,policy.requirePropagated=false,policy.protectGenerated=false," +
					"policy.protectSinkhole=false,policy.checkIssuance=false,policy.nearMisses=false,controller.readOwners=false",
			},
			want: [][]string{everywhere},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := slices.Concat(test.want...)
			slices.Sort(want)
			if diff := cmp.Diff(want, render(t, test.args...).names()); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

// The API server calls webhook configurations in the order of their names, and Istio's has to come
// after ours.
func TestWebhookConfigurationSortsBeforeIstio(t *testing.T) {
	for _, name := range []string{
		"mtls-egress-webhook", "0", "a", "istio", "istio-sidecar-injector", "zz", strings.Repeat("z", 53),
	} {
		manifests, problems, err := template(t, name)
		if err != nil {
			t.Fatalf("%v\n%s", err, problems)
		}
		ours := read(t, manifests).one(t, "MutatingWebhookConfiguration").GetName()
		for _, theirs := range []string{
			"istio-revision-tag-default", "istio-revision-tag-0", "istio-sidecar-injector", "istio-sidecar-injector-0",
		} {
			if ours >= theirs {
				t.Errorf("release %s: %s is called after %s", name, ours, theirs)
			}
		}
	}
}

// Everything that contains the name of the release has the same one, whatever the release is
// called.
func TestNamesAgree(t *testing.T) {
	manifests, problems, err := template(t, "team-a",
		"--set", "webhook.serviceAccount.name=answerer,controller.serviceAccount.name=programmer")
	if err != nil {
		t.Fatalf("%v\n%s", err, problems)
	}
	rendered := read(t, manifests)
	webhook, controller := rendered["Deployment team-a-mtls-egress-webhook"], rendered["Deployment "+
		"team-a-mtls-egress-webhook-controller"]
	got := map[string]any{
		"arguments":        withoutWorkloads(at(t, webhook, "spec", "template", "spec", "containers", 0, "args")),
		"controller's":     withoutWorkloads(at(t, controller, "spec", "template", "spec", "containers", 0, "args")),
		"account":          at(t, webhook, "spec", "template", "spec", "serviceAccountName"),
		"controller's own": at(t, controller, "spec", "template", "spec", "serviceAccountName"),
		"service":          at(t, rendered.one(t, "MutatingWebhookConfiguration"), "webhooks", 1, "clientConfig"),
		"selected":         at(t, rendered["Service team-a-mtls-egress-webhook"], "spec", "selector"),
		"configuration":    rendered.one(t, "MutatingWebhookConfiguration").GetName(),
		"named in RBAC":    at(t, rendered["ClusterRole team-a-mtls-egress-webhook-admission"], "rules", 4, "resourceNames"),
		"CA in RBAC":       at(t, rendered["Role team-a-mtls-egress-webhook"], "rules", 1, "resourceNames"),
		"bound":            subjects(t, rendered),
		"named in a refusal": at(t, rendered["ValidatingAdmissionPolicy team-a-mtls-egress-webhook-propagated"], "spec",
			"validations", 0, "message"),
		"free to change": at(t, rendered["ValidatingAdmissionPolicy team-a-mtls-egress-webhook-generated-objects"], "spec",
			"matchConditions", 0, "expression"),
		"free to take": at(t, rendered["ValidatingAdmissionPolicy team-a-mtls-egress-webhook-sinkhole"], "spec",
			"matchConditions", 0, "expression"),
	}
	want := map[string]any{
		"arguments": []any{
			"serve",
			"webhook",
			"--webhook-port=9443",
			"--service-name=team-a-mtls-egress-webhook",
			"--ca-secret=team-a-mtls-egress-webhook-ca",
			"--injector-config=istio-sidecar-injector",
			"--require-injection=false",
			"--webhook-configuration=0-team-a-mtls-egress-webhook",
			"--shutdown-delay=10s",
			"--metrics-address=:8080",
			"--health-address=:8081",
			"--namespace=$(POD_NAMESPACE)",
			"--other-targets=Allow",
			"--cluster-domain=cluster.local",
			"--sinkhole-ranges=240.0.0.0/4",
			"--pod-ips=$(POD_IPS)",
			"--mesh-config=istio",
			"--root-namespace=istio-system",
			"--log-format=json",
			"--log-level=info",
		},
		"controller's": []any{
			"serve",
			"controller",
			"--leader-elect",
			"--target-retention=10m",
			"--expiry-warnings=720h,168h,24h",
			"--verify-targets=off",
			"--verify-interval=1h",
			"--read-owners=true",
			"--team-labels=team",
			"--metrics-address=:8080",
			"--health-address=:8081",
			"--namespace=$(POD_NAMESPACE)",
			"--other-targets=Allow",
			"--cluster-domain=cluster.local",
			"--sinkhole-ranges=240.0.0.0/4",
			"--pod-ips=$(POD_IPS)",
			"--mesh-config=istio",
			"--root-namespace=istio-system",
			"--log-format=json",
			"--log-level=info",
		},
		"account":          "answerer",
		"controller's own": "programmer",
		"service": map[string]any{"service": map[string]any{
			"name": "team-a-mtls-egress-webhook", "namespace": "mtls-egress", "path": "/mutate", "port": 443.0,
		}},
		"selected": map[string]any{
			"app.kubernetes.io/component": "webhook",
			"app.kubernetes.io/instance":  "team-a",
			"app.kubernetes.io/name":      "mtls-egress-webhook",
		},
		"configuration": "0-team-a-mtls-egress-webhook",
		"named in RBAC": []any{"0-team-a-mtls-egress-webhook"},
		"CA in RBAC":    []any{"team-a-mtls-egress-webhook-ca"},
		"bound": map[string]any{
			"ClusterRoleBinding team-a-mtls-egress-webhook-admission":         "answerer",
			"ClusterRoleBinding team-a-mtls-egress-webhook-controller":        "programmer",
			"ClusterRoleBinding team-a-mtls-egress-webhook-controller-owners": "programmer",
			"RoleBinding team-a-mtls-egress-webhook":                          "answerer",
			"RoleBinding team-a-mtls-egress-webhook-controller":               "programmer",
		},
		"named in a refusal": "the workload asks for mutual TLS (annotation mtls.egress/target), but the webhook " +
			"0-team-a-mtls-egress-webhook has not propagated the " +
			"annotation to its Pod template, so its Pods would call in plain text",
		"free to change": "request.userInfo.username != 'system:serviceaccount:mtls-egress:programmer'",
		"free to take":   "request.userInfo.username != 'system:serviceaccount:mtls-egress:programmer'",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// withoutWorkloads returns arguments without the long table of workloads.
func withoutWorkloads(arguments any) []any {
	list, _ := arguments.([]any)
	return slices.DeleteFunc(slices.Clone(list), func(argument any) bool {
		return strings.HasPrefix(argument.(string), "--workloads=")
	})
}

// subjects returns the names of the ServiceAccounts that the roles of the two processes are bound
// to. Each binding has one subject.
func subjects(t *testing.T, rendered objects) map[string]any {
	t.Helper()
	found := map[string]any{}
	for name, object := range rendered {
		if strings.HasSuffix(object.GetKind(), "RoleBinding") && object.GetAnnotations()["helm.sh/hook"] == "" {
			found[name] = at(t, object, "subjects", 0, "name")
			if subjects := at(t, object, "subjects").([]any); len(subjects) != 1 {
				t.Errorf("%s has the subjects %v, want one", name, subjects)
			}
		}
	}
	return found
}

// The commands take every argument that the Deployments give them.
func TestServeKnowsItsArguments(t *testing.T) {
	for deployment, set := range map[string]string{
		release:        "webhook.deployment.extraArgs={--tls-dns-names=example.com}",
		controllerName: "controller.deployment.extraArgs={--survey-interval=1h}",
	} {
		t.Run(deployment, func(t *testing.T) {
			serve, flags, err := cli.NewRootCommand().Find(serveArgs(t, deployment, "--set", set))
			if err != nil {
				t.Fatal(err)
			}
			if err := serve.ParseFlags(flags); err != nil {
				t.Error(err)
			}
			if rest := serve.Flags().Args(); len(rest) > 0 {
				t.Errorf("arguments %q are not flags", rest)
			}
		})
	}
}

// A bare off is false in YAML.
func TestVerificationReachesTheCommand(t *testing.T) {
	tests := map[string]struct {
		set  string
		want []string
	}{
		"by default": {set: `log={}`, want: []string{"--verify-targets=off", "--verify-interval=1h"}},
		"off as a bool": {
			set:  `controller.verifyTargets=false`,
			want: []string{"--verify-targets=off", "--verify-interval=1h"},
		},
		"marked": {
			set:  `controller.verifyTargets="marked"`,
			want: []string{"--verify-targets=marked", "--verify-interval=1h"},
		},
		"all, every day": {
			set:  `controller={"verifyTargets": "all", "verifyInterval": "24h"}`,
			want: []string{"--verify-targets=all", "--verify-interval=24h"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := slices.DeleteFunc(serveArgs(t, controllerName, "--set-json", test.set),
				func(arg string) bool { return !strings.HasPrefix(arg, "--verify-") })
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// serveArgs returns the arguments of the container of a Deployment.
func serveArgs(t *testing.T, deployment string, helmArgs ...string) []string {
	t.Helper()
	var args []string
	for _, arg := range at(
		t, render(t, helmArgs...)["Deployment "+deployment], "spec", "template", "spec", "containers", 0, "args",
	).([]any) {
		args = append(args, strings.ReplaceAll(arg.(string), "$(POD_IPS)", "10.0.0.1,fd00::1"))
	}
	return args
}

// A user's selector only narrows: the namespaces that have to start without the webhook stay out of
// it.
func TestNamespaceSelectorCannotBeWidened(t *testing.T) {
	ours := map[string]any{
		"key":      "kubernetes.io/metadata.name",
		"operator": "NotIn",
		"values":   []any{"mtls-egress", "kube-system", "kube-node-lease"},
	}
	tests := map[string]struct {
		selector string
		want     map[string]any
	}{
		"no selector": {selector: `{}`, want: map[string]any{"matchExpressions": []any{ours}}},
		"labels and expressions": {
			selector: `{"matchLabels": {"mesh": "on"}, "matchExpressions": [{"key": "kubernetes.io/metadata.name", ` +
				`"operator": "In", "values": ["kube-system"]}]}`,
			want: map[string]any{
				"matchLabels": map[string]any{"mesh": "on"},
				"matchExpressions": []any{ours, map[string]any{
					"key": "kubernetes.io/metadata.name", "operator": "In", "values": []any{"kube-system"},
				}},
			},
		},
		"an empty list of expressions": {
			selector: `{"matchExpressions": []}`,
			want:     map[string]any{"matchExpressions": []any{ours}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			configuration := render(t,
				"--set-json", "webhook.namespaceSelector="+test.selector).one(t, "MutatingWebhookConfiguration")
			for i := range 2 {
				if diff := cmp.Diff(test.want, at(t, configuration, "webhooks", i, "namespaceSelector")); diff != "" {
					t.Errorf("webhook %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

func TestReleaseNamespaceIsLeftOutOnce(t *testing.T) {
	manifests, problems, err := template(t, release, "--namespace", "kube-system")
	if err != nil {
		t.Fatalf("%v\n%s", err, problems)
	}
	got := at(t, read(t, manifests).one(t, "MutatingWebhookConfiguration"), "webhooks", 0, "namespaceSelector",
		"matchExpressions", 0, "values")
	if diff := cmp.Diff([]any{"kube-system", "kube-node-lease"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	tests := map[string]struct {
		args []string
		want string
	}{
		"the appVersion by default": {want: "mtls-egress-webhook:0.1.0"},
		"a tag": {
			args: []string{"--set", "image.repository=example.com/webhook,image.tag=v2"},
			want: "example.com/webhook:v2",
		},
		"a digest wins over a tag": {
			args: []string{"--set", "image.tag=v2,image.digest=" + digest},
			want: "mtls-egress-webhook@" + digest,
		},
		"a registry before a name without one": {
			args: []string{"--set", "image.registry=mirror.example.com/cache"},
			want: "mirror.example.com/cache/mtls-egress-webhook:0.1.0",
		},
		"a registry in place of another": {
			args: []string{"--set", "image.registry=mirror.example.com,image.repository=registry.example.com:5000/team/webhook"},
			want: "mirror.example.com/team/webhook:0.1.0",
		},
		"a registry in place of that of the machine": {
			args: []string{"--set", "image.registry=mirror.example.com,image.repository=localhost/webhook"},
			want: "mirror.example.com/webhook:0.1.0",
		},
		"a registry before a path": {
			args: []string{"--set", "image.registry=mirror.example.com,image.repository=team/webhook,image.digest=" + digest},
			want: "mirror.example.com/team/webhook@" + digest,
		},
		"the registry of all charts": {
			args: []string{"--set", "global.imageRegistry=mirror.example.com,image.repository=ghcr.io/team/webhook"},
			want: "mirror.example.com/team/webhook:0.1.0",
		},
		"the chart's own registry wins over that of all charts": {
			args: []string{"--set", "global.imageRegistry=mirror.example.com,image.registry=registry.example.com"},
			want: "registry.example.com/mtls-egress-webhook:0.1.0",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, test.args...)
			for _, name := range []string{release, controllerName} {
				got := at(t, rendered["Deployment "+name], "spec", "template", "spec", "containers", 0, "image")
				if got != test.want {
					t.Errorf("%s: image %v, want %s", name, got, test.want)
				}
			}
		})
	}
}

// A user can't change the labels by which the Services and the PodDisruptionBudgets select the
// Pods, or the label that disables sidecar injection.
func TestPodLabelsAreKept(t *testing.T) {
	const podLabels = `={"app.kubernetes.io/name": "other", "app.kubernetes.io/component": "other", ` +
		`"sidecar.istio.io/inject": "true", "team": "a"}`
	rendered := render(t, "--set-json", "webhook.deployment.podLabels"+podLabels,
		"--set-json", "controller.deployment.podLabels"+podLabels)
	for name, component := range map[string]string{release: "webhook", controllerName: "controller"} {
		got := at(t, rendered["Deployment "+name], "spec", "template", "metadata", "labels")
		want := map[string]any{
			"app.kubernetes.io/component":  component,
			"app.kubernetes.io/instance":   "mtls-egress-webhook",
			"app.kubernetes.io/managed-by": "Helm",
			"app.kubernetes.io/name":       "mtls-egress-webhook",
			"app.kubernetes.io/part-of":    "mtls-egress-webhook",
			"app.kubernetes.io/version":    "0.1.0",
			"helm.sh/chart":                "mtls-egress-webhook-0.1.0",
			"sidecar.istio.io/inject":      "false",
			"team":                         "a",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The chart repeats nothing of the generated files: their content arrives whole.
func TestGeneratedFilesArriveWhole(t *testing.T) {
	rendered := render(t)
	crd := fromFile(t, "files/crds/mtls.egress_egresstargets.yaml")
	got := rendered.one(t, "CustomResourceDefinition")
	if diff := cmp.Diff(crd.Object["spec"], got.Object["spec"]); diff != "" {
		t.Errorf("spec of the CustomResourceDefinition (-file +rendered):\n%s", diff)
	}
	wantAnnotations := crd.GetAnnotations()
	wantAnnotations["helm.sh/resource-policy"] = "keep"
	if diff := cmp.Diff(wantAnnotations, got.GetAnnotations()); diff != "" {
		t.Errorf("annotations of the CustomResourceDefinition (-want +got):\n%s", diff)
	}
	role := fromFile(t, "files/rbac/role.yaml").Object["rules"].([]any)
	rules := at(t, rendered["ClusterRole mtls-egress-webhook-controller"], "rules").([]any)
	// The chart adds the rule for the mesh configuration, whose name is a value.
	if diff := cmp.Diff(role, rules[:min(len(role), len(rules))]); diff != "" {
		t.Errorf("rules of the ClusterRole (-file +rendered):\n%s", diff)
	}

	got = render(t, "--set", "crds.keep=false").one(t, "CustomResourceDefinition")
	if diff := cmp.Diff(crd.GetAnnotations(), got.GetAnnotations()); diff != "" {
		t.Errorf("annotations with crds.keep=false (-want +got):\n%s", diff)
	}
}

// The ConfigMaps of the mesh and of its injector are those that the commands read, and those that
// their accounts can read. The injector's is the webhook's business alone.
func TestTheConfigurationsOfTheMeshAreReadByTheirNames(t *testing.T) {
	for setting, names := range map[string]struct{ mesh, injector string }{
		"log.level=info":                 {"istio", "istio-sidecar-injector"},
		"istio.meshConfigMap=istio-1-31": {"istio-1-31", "istio-sidecar-injector"},
		"istio.meshConfigMap=true":       {"true", "istio-sidecar-injector"},
		"istio.injectorConfigMap=theirs": {"istio", "theirs"},
	} {
		rendered := render(t, "--set-string", setting)
		for process, test := range map[string]struct {
			role, deployment string
			named            []any
			args             []string
		}{
			"the webhook": {
				"admission", release, []any{names.mesh, names.injector},
				[]string{"--mesh-config=" + names.mesh, "--injector-config=" + names.injector},
			},
			"the controller": {
				"controller", controllerName, []any{names.mesh}, []string{"--mesh-config=" + names.mesh},
			},
		} {
			want := map[string]any{
				"apiGroups":     []any{""},
				"resources":     []any{"configmaps"},
				"resourceNames": test.named,
				"verbs":         []any{"list", "watch"},
			}
			rules, _ := rendered["ClusterRole mtls-egress-webhook-"+test.role].Object["rules"].([]any)
			if !slices.ContainsFunc(rules, func(rule any) bool { return cmp.Equal(rule, any(want)) }) {
				t.Errorf("with %s no rule of %s is %v", setting, process, want)
			}
			args := serveArgs(t, test.deployment, "--set-string", setting)
			for _, arg := range test.args {
				if !slices.Contains(args, arg) {
					t.Errorf("with %s the arguments of %s are %v, want %s", setting, process, args, arg)
				}
			}
		}
	}
}

func fromFile(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, path))
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := sigsyaml.Unmarshal(content, &object.Object); err != nil {
		t.Fatal(err)
	}
	return object
}

// The chart promises Kubernetes 1.31. An API server of that version compiles new expressions as
// 1.30 did, so that it can be rolled back.
func TestExpressionsCompileOnTheOldestKubernetes(t *testing.T) {
	environments := oldest(t)
	compiled := 0
	for _, exempt := range []string{`[]`, `["shop", "project"]`} {
		for name, object := range render(t, "--set-json", "policy.exemptNamespaces="+exempt) {
			for _, expression := range expressions(object.Object) {
				compiled++
				if _, issues := environments.NewExpressionsEnv().Compile(expression); issues.Err() != nil {
					t.Errorf("%s: %v", name, issues.Err())
				}
			}
		}
	}
	if compiled == 0 {
		t.Error("no expression found")
	}
	if _, issues := environments.NewExpressionsEnv().Compile("isSemver('1.0.0')"); issues.Err() == nil {
		t.Error("this is not the environment of Kubernetes 1.30: it knows isSemver")
	}
}

// oldest returns the environments of expressions in the oldest Kubernetes.
func oldest(t *testing.T) *environment.EnvSet {
	t.Helper()
	environments := environment.MustBaseEnvSet(version.MajorMinor(1, 30))
	environments, err := environments.Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions: []cel.EnvOption{
			cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType), cel.Variable("request", cel.DynType),
			cel.Variable("namespaceObject",
				cel.DynType), cel.Variable("variables", cel.DynType), cel.Variable("self", cel.DynType),
			cel.Variable("authorizer", library.AuthorizerType),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return environments
}

// kube-proxy reads more notations of addresses than CEL. API servers before Kubernetes 1.36 accept
// them for Services, so the one of the tests doesn't let them through.
func TestEveryNotationOfASinkholeAddressIsFound(t *testing.T) {
	rendered := render(t, "--set-json", `sinkholeRanges=["240.0.0.0/4", "100::/64"]`)
	policy := rendered["ValidatingAdmissionPolicy "+release+"-sinkhole"]
	var taken string
	for _, variable := range at(t, policy, "spec", "variables").([]any) {
		if variable.(map[string]any)["name"] == "taken" {
			taken = variable.(map[string]any)["expression"].(string)
		}
	}
	env := oldest(t).NewExpressionsEnv()
	compiled, issues := env.Compile(taken)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	program, err := env.Program(compiled)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]map[string]bool{
		"240.0.0.1": {"Service": true, "ServiceEntry": true}, "0240.0.0.1": {"Service": true, "ServiceEntry": true},
		"100::1": {"Service": true, "ServiceEntry": true}, "100::00001": {"Service": true}, "00100::1": {"Service": true},
		"100:0:0:0:0:0:1.2.3.04": {"Service": true}, "::0ffff:f000:1": {"Service": true}, "::ffff:0f000:1": {"Service": true},
		"10.0.0.1": {}, "::ffff:10.0.0.1": {}, "2001:db8::1": {}, "": {}, "unix:///run/socket": {}, "example.com": {},
		"10.0.0.0/33": {}, "1.2.3.4/": {}, "240.0.0.0/4": {"Service": true, "ServiceEntry": true},
	} {
		for _, kind := range []string{"Service", "ServiceEntry"} {
			if address == "unix:///run/socket" && kind == "Service" {
				continue // only a WorkloadEntry or a ServiceEntry has it
			}
			got, _, err := program.Eval(map[string]any{
				"variables": map[string]any{"addresses": [][]string{{address}, {}}},
				"request":   map[string]any{"kind": map[string]any{"kind": kind}},
			})
			if err != nil {
				t.Errorf("%s %q: %v", kind, address, err)
				continue
			}
			if found := got.(traits.Sizer).Size().Value().(int64) > 0; found != want[kind] {
				t.Errorf("%s %q: taken is %t", kind, address, found)
			}
		}
	}
}

// expressions returns all CEL expressions of an object, wherever they stand.
func expressions(value any) []string {
	var found []string
	switch value := value.(type) {
	case map[string]any:
		for name, field := range value {
			text, isText := field.(string)
			if isText && (name == "expression" || name == "messageExpression" || name == "rule") {
				found = append(found, text)
			}
			found = append(found, expressions(field)...)
		}
	case []any:
		for _, item := range value {
			found = append(found, expressions(item)...)
		}
	}
	return found
}
