package perf_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
)

// kyvernoDirectory is what `go -C test/tools run . kyverno` prints, or empty.
func kyvernoDirectory() string { return os.Getenv("MTLS_EGRESS_KYVERNO") }

// The names in Kyverno's manifests, and in what it writes.
const (
	kyvernoNamespace     = "kyverno"
	kyvernoDeployment    = "kyverno-admission-controller"
	kyvernoLease         = "kyverno"
	kyvernoConfiguration = "kyverno-resource-mutating-webhook-cfg"
	kyvernoManaged       = "webhook.kyverno.io/managed-by"
)

// kyvernoPolicyOf returns a MutatingPolicy that gives the Pods for which the chart's webhook is
// called the annotations of the injected one. Its constraints and conditions become those of
// Kyverno's webhook. It's the kind that replaces ClusterPolicy, which is deprecated.
func kyvernoPolicyOf(
	chart *admissionv1.MutatingWebhookConfiguration,
	injected *corev1.Pod,
) (*unstructured.Unstructured, error) {
	annotations := mountsOf(injected)
	annotations[annotationBy] = kyverno
	annotate, err := annotating(annotations)
	if err != nil {
		return nil, err
	}
	webhook := &chart.Webhooks[0]
	constraints := &admissionv1.MatchResources{
		MatchPolicy: webhook.MatchPolicy, NamespaceSelector: webhook.NamespaceSelector,
	}
	for _, rule := range webhook.Rules {
		constraints.ResourceRules = append(constraints.ResourceRules,
			admissionv1.NamedRuleWithOperations{RuleWithOperations: rule})
	}
	var conditions []admissionv1.MatchCondition
	for _, condition := range webhook.MatchConditions {
		// The API server also takes an expression of the type dyn, Kyverno only bool.
		condition.Expression = "(" + condition.Expression + ") == true"
		conditions = append(conditions, condition)
	}
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&admissionv1.MutatingAdmissionPolicySpec{
		MatchConstraints: constraints, MatchConditions: conditions, FailurePolicy: webhook.FailurePolicy,
		Mutations: []admissionv1.Mutation{{
			PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: annotate},
		}},
	})
	if err != nil {
		return nil, err
	}
	// Without this, Kyverno is also called for Deployments and the like.
	spec["autogen"] = map[string]any{"podControllers": map[string]any{"controllers": []any{}}}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policies.kyverno.io/v1", "kind": "MutatingPolicy",
		"metadata": map[string]any{"name": "mounts"}, "spec": spec,
	}}, nil
}

// startKyverno installs Kyverno and the policy and returns a running replica, with the
// configuration by which it is called for Pods. That isn't on the API server then.
//
// Kyverno's leader writes its configurations again whenever one is missing. So a leader runs only
// until it has written that of the policy, and the replica that is measured never leads.
func startKyverno(
	ctx context.Context,
	s *stage,
	ours *installation.Installation,
	directory string,
	policy client.Object,
) (_ *admissionv1.MutatingWebhookConfiguration, replica *apiserver.Process, err error) {
	for _, args := range [][]string{
		{"apply", "--server-side", "--filename", filepath.Join(directory, "install.yaml")},
		{"wait", "--for=condition=Established", "--timeout=" + await.Patience.String(), "customresourcedefinitions", "--all"},
	} {
		if _, _, err := ours.Kubectl(ctx, args...); err != nil {
			return nil, nil, err
		}
	}
	command, err := kyvernoCommand(ctx, s.api, ours, directory)
	if err != nil {
		return nil, nil, err
	}
	configuration, err := configurationOfLeader(ctx, s.api, ours, command, policy)
	if err != nil {
		return nil, nil, err
	}
	if replica, err = startOf(command, ours); err != nil {
		return nil, nil, err
	}
	if err = s.change(ctx, configuration, true); err == nil {
		err = awaitKyverno(ctx, s.api, replica)
	}
	if err == nil {
		err = s.change(ctx, configuration, false)
	}
	if err != nil {
		return nil, nil, errors.Join(err, replica.Kill())
	}
	return configuration, replica, nil
}

// kyvernoCommand returns the program with the arguments and environment of its Deployment, changed
// only where it runs beside the API server, and without reports, which nothing would collect here.
func kyvernoCommand(
	ctx context.Context,
	api client.Client,
	ours *installation.Installation,
	directory string,
) (*exec.Cmd, error) {
	var deployment appsv1.Deployment
	key := client.ObjectKey{Namespace: kyvernoNamespace, Name: kyvernoDeployment}
	if err := api.Get(ctx, key, &deployment); err != nil {
		return nil, err
	}
	addresses, err := apiserver.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return nil, err
	}
	_, metricsPort, err := net.SplitHostPort(addresses[1])
	if err != nil {
		return nil, err
	}
	container := &deployment.Spec.Template.Spec.Containers[0]
	cmd := exec.Command(filepath.Join(directory, "bin", "kyverno"), slices.Concat(container.Args, []string{
		"--kubeconfig=" + ours.Kubeconfig, "--serverIP=" + addresses[0],
		"--webhookServerHost=" + host, "--webhookServerPort=" + port,
		"--metricsHost=" + host, "--metricsPort=" + metricsPort, "--controllerRuntimeMetricsAddress=0",
		"--admissionReports=false",
	})...)
	pod := map[string]string{"metadata.namespace": kyvernoNamespace, "metadata.name": kyvernoDeployment}
	cmd.Env = os.Environ()
	for _, variable := range container.Env {
		if from := variable.ValueFrom; from != nil && from.FieldRef != nil {
			variable.Value = pod[from.FieldRef.FieldPath]
		}
		cmd.Env = append(cmd.Env, variable.Name+"="+variable.Value)
	}
	cmd.Env = append(cmd.Env,
		"TUF_ROOT="+filepath.Join(ours.Dir, "sigstore"),                                  // instead of a volume
		"GOMEMLIMIT="+strconv.FormatInt(container.Resources.Limits.Memory().Value(), 10)) // as for ours
	return cmd, nil
}

// startOf starts a copy of the command.
func startOf(command *exec.Cmd, ours *installation.Installation) (*apiserver.Process, error) {
	cmd := exec.Command(command.Path, command.Args[1:]...)
	cmd.Env = command.Env
	return apiserver.StartProcess(cmd, filepath.Join(ours.Dir, "kyverno.log"), ours.StartGuarded)
}

// configurationOfLeader runs a leader until it has written the configuration for the policy. It
// returns that, removes all that the leader wrote, and holds the Lease for the rest of the
// benchmark.
func configurationOfLeader(
	ctx context.Context,
	api client.Client,
	ours *installation.Installation,
	command *exec.Cmd,
	policy client.Object,
) (*admissionv1.MutatingWebhookConfiguration, error) {
	if err := api.Create(ctx, policy); err != nil {
		return nil, err
	}
	leader, err := startOf(command, ours)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(awaitKyverno(ctx, api, leader), leader.Kill()); err != nil {
		return nil, err
	}
	var configuration admissionv1.MutatingWebhookConfiguration
	if err := api.Get(ctx, client.ObjectKey{Name: kyvernoConfiguration}, &configuration); err != nil {
		return nil, err
	}
	for _, object := range []client.Object{
		&admissionv1.MutatingWebhookConfiguration{}, &admissionv1.ValidatingWebhookConfiguration{},
	} {
		if err := api.DeleteAllOf(ctx, object, client.HasLabels{kyvernoManaged}); err != nil {
			return nil, err
		}
	}
	var lease coordinationv1.Lease
	if err := api.Get(ctx, client.ObjectKey{Namespace: kyvernoNamespace, Name: kyvernoLease}, &lease); err != nil {
		return nil, err
	}
	lease.Spec.HolderIdentity = new("benchmark")
	lease.Spec.LeaseDurationSeconds = new(int32((24 * time.Hour).Seconds()))
	return &configuration, api.Update(ctx, &lease)
}

// awaitKyverno waits until Kyverno changes a Pod that asks.
func awaitKyverno(ctx context.Context, api client.Client, process *apiserver.Process) error {
	err := await.Until(ctx, await.Patience, "Kyverno changes a Pod", func(ctx context.Context) error {
		if !process.Running() {
			return await.Final(errors.New("it ended"))
		}
		pod := contender{asks: true}.pod()
		pod.Namespace = namespace
		if err := api.Create(ctx, pod, client.DryRunAll); err != nil {
			return err
		}
		if by := pod.Annotations[annotationBy]; by != kyverno {
			return fmt.Errorf("the Pod was changed by %q", by)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w; its log ends with:\n%s", err, process.LastWords())
	}
	return nil
}

func TestKyvernoTakesPartWhereItIsProvided(t *testing.T) {
	for name, test := range map[string]struct {
		directory string
		want      bool
	}{
		"nothing was built":          {"", false},
		"its programs are somewhere": {"/built", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("MTLS_EGRESS_KYVERNO", test.directory)
			takesPart := slices.ContainsFunc(contenders(), func(c contender) bool { return c.name == kyverno })
			if takesPart != test.want {
				t.Errorf("takes part: %t, want %t", takesPart, test.want)
			}
		})
	}
}

func TestKyvernoIsCalledForThePodsOfTheChart(t *testing.T) {
	chart := &admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{{
		FailurePolicy: ptr.To(admissionv1.Fail), MatchPolicy: ptr.To(admissionv1.Equivalent),
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		Rules: []admissionv1.RuleWithOperations{{
			Operations: []admissionv1.OperationType{admissionv1.Create},
			Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}},
		MatchConditions: []admissionv1.MatchCondition{{Name: "annotated", Expression: "x || y"}},
	}}}
	injected := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Annotations: map[string]string{annotationVolume: `[{"name":"a"}]`, annotationMount: `[]`},
	}}
	policy, err := kyvernoPolicyOf(chart, injected)
	if err != nil {
		t.Fatal(err)
	}
	const add = `JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey(`
	want := map[string]any{
		"apiVersion": "policies.kyverno.io/v1", "kind": "MutatingPolicy", "metadata": map[string]any{"name": "mounts"},
		"spec": map[string]any{
			"autogen":         map[string]any{"podControllers": map[string]any{"controllers": []any{}}},
			"failurePolicy":   "Fail",
			"matchConditions": []any{map[string]any{"name": "annotated", "expression": "(x || y) == true"}},
			"matchConstraints": map[string]any{
				"matchPolicy":       "Equivalent",
				"namespaceSelector": map[string]any{"matchLabels": map[string]any{"a": "b"}},
				"resourceRules": []any{map[string]any{
					"operations": []any{"CREATE"}, "apiGroups": []any{""}, "apiVersions": []any{"v1"}, "resources": []any{"pods"},
				}},
			},
			"mutations": []any{map[string]any{"patchType": "JSONPatch", "jsonPatch": map[string]any{
				"expression": "[" + add + `"mtls.egress/by"), value: "kyverno"}, ` +
					add + `"sidecar.istio.io/userVolume"), value: "[{\"name\":\"a\"}]"}, ` +
					add + `"sidecar.istio.io/userVolumeMount"), value: "[]"}]`,
			}}},
		},
	}
	if diff := cmp.Diff(want, policy.Object); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
}
