package perf_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
)

const (
	annotationTarget = "mtls.egress/target"
	annotationVolume = "sidecar.istio.io/userVolume"
	annotationMount  = "sidecar.istio.io/userVolumeMount"
	annotationBy     = "mtls.egress/by" // of this benchmark: the contender that wrote it
	labelInjected    = "mtls.egress/injected"
	host             = "external.system.com"
	namespace        = "project"
)

// contender is a kind of Pod and what the API server asks while it creates one.
type contender struct {
	name      string
	asks      bool
	admission admission
}

// admission says which objects the API server has. Whatever is not there costs nothing, not even a
// selector that doesn't match.
type admission struct {
	// webhook is the chart's MutatingWebhookConfiguration.
	webhook bool
	// policies are the chart's ValidatingAdmissionPolicies with their bindings.
	policies bool
	// mutatingPolicy is the MutatingAdmissionPolicy that ours is compared with.
	mutatingPolicy bool
	// noop is the webhook of test/perf/noop, with the rules and conditions of the chart's.
	noop bool
	// kyverno is the webhook of Kyverno, with a MutatingPolicy for the same Pods as the chart's.
	kyverno bool
	// neverMet are a webhook and a policy for Pods that each compare a name. No webhook and
	// policy with match conditions for Pods cost less.
	neverMet bool
}

// The contenders. All figures of "added" are over none.
const (
	none            = "none"
	plain           = "plain"
	asks            = "asks"
	asksWebhookOnly = "asks-webhook-only"
	mutatingPolicy  = "mutating-policy"
	noopWebhook     = "no-op-webhook"
	kyverno         = "kyverno"
	neverMet        = "never-met"
)

// contenders are all of them, Kyverno only where MTLS_EGRESS_KYVERNO is set, as it takes minutes to
// build.
func contenders() []contender {
	ours := admission{webhook: true, policies: true}
	all := []contender{
		{name: none},
		{name: plain, admission: ours},
		{name: asks, asks: true, admission: ours},
		{name: asksWebhookOnly, asks: true, admission: admission{webhook: true}},
		{name: mutatingPolicy, asks: true, admission: admission{mutatingPolicy: true}},
		{name: noopWebhook, asks: true, admission: admission{noop: true}},
		{name: neverMet, admission: admission{neverMet: true}},
	}
	if kyvernoDirectory() != "" {
		all = append(all, contender{name: kyverno, asks: true, admission: admission{kyverno: true}})
	}
	return all
}

// foreign reports whether a webhook that isn't ours is called for Pods that ask.
func (a admission) foreign() bool { return a.noop || a.kyverno }

// pod is one of a workload, as the ReplicaSet controller creates it. It has its sidecar already, as
// there is no Istio here to inject it: the controller would write an event for each Pod that never
// gets one. The webhook has to mount into the sidecar directly in addition to the annotations,
// which the mutating policy does not.
func (c contender) pod() *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "shop-6d4cf56db6-", Labels: map[string]string{"app": "shop", "pod-template-hash": "6d4cf56db6"},
			Annotations: map[string]string{"prometheus.io/scrape": "true"},
		},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{
				{
					Name:          "istio-proxy",
					Image:         "registry.example/proxy:1.0",
					RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
				},
			},
			Containers: []corev1.Container{{
				Name: "app", Image: "registry.example/shop:1.0", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				Env: []corev1.EnvVar{{Name: "PARTNER", Value: "http://" + host}},
			}},
		},
	}
	if c.asks {
		pod.Annotations[annotationTarget] = host
	}
	return pod
}

// check fails when a Pod did not become what the contender makes of it.
func (c contender) check(pod *corev1.Pod) error {
	want := outcome{
		Injected: c.admission.webhook && c.asks,
		Mounted:  c.asks && (c.admission.webhook || c.admission.mutatingPolicy || c.admission.foreign()),
	}
	if c.asks && c.admission.foreign() {
		want.By = c.name
	}
	if got := outcomeOf(pod); got != want {
		return fmt.Errorf("%s: Pod %s is %+v, want %+v", c.name, pod.Name, got, want)
	}
	return nil
}

type outcome struct {
	Injected, Mounted bool
	By                string
}

func outcomeOf(pod *corev1.Pod) outcome {
	return outcome{
		Injected: pod.Labels[labelInjected] == "true" && len(pod.Spec.HostAliases) == 1,
		Mounted:  pod.Annotations[annotationVolume] != "" && pod.Annotations[annotationMount] != "",
		By:       pod.Annotations[annotationBy],
	}
}

// stage puts the objects of the contender whose turn it is on the API server and takes the others
// away.
type stage struct {
	api     client.Client
	objects map[string][]client.Object
	present admission
	// processes are those of the webhooks that aren't ours, by contender.
	processes map[string]procfs.Proc
	// stop ends Kyverno.
	stop func() error
}

// newStage takes the chart's objects from the running installation, the caBundle included.
func newStage(ctx context.Context, ours *installation.Installation) (*stage, error) {
	api, err := client.New(ours.Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		return nil, err
	}
	s := &stage{
		api: api, present: admission{webhook: true, policies: true}, processes: map[string]procfs.Proc{},
		stop: func() error { return nil },
	}
	var webhook admissionv1.MutatingWebhookConfiguration
	var policies admissionv1.ValidatingAdmissionPolicyList
	var bindings admissionv1.ValidatingAdmissionPolicyBindingList
	if err := errors.Join(
		api.Get(ctx, client.ObjectKey{Name: installation.WebhookConfiguration}, &webhook),
		api.List(ctx, &policies), api.List(ctx, &bindings),
	); err != nil {
		return nil, err
	}
	if len(policies.Items) == 0 || len(policies.Items) > len(bindings.Items) {
		return nil, fmt.Errorf("the chart brought %d policies and %d bindings, want some, and a binding for each policy",
			len(policies.Items), len(bindings.Items))
	}
	injected := contender{asks: true}.pod()
	injected.Namespace = namespace
	if err := api.Create(ctx, injected, client.DryRunAll); err != nil {
		return nil, err
	}
	compared, err := mutatingPolicyOf(injected)
	if err != nil {
		return nil, err
	}
	least, process, err := startNoop(ctx, ours, &webhook, injected)
	if err != nil {
		return nil, err
	}
	s.processes[noopWebhook] = process
	s.objects = map[string][]client.Object{
		"webhook": {&webhook}, "mutating policy": compared, "never met": neverMetOf(&webhook), "no-op": {least},
	}
	for n := range policies.Items {
		s.objects["policies"] = append(s.objects["policies"], &policies.Items[n])
	}
	for n := range bindings.Items {
		s.objects["policies"] = append(s.objects["policies"], &bindings.Items[n])
	}
	return s, s.addKyverno(ctx, ours, &webhook, injected)
}

// addKyverno starts Kyverno, and says so where it's left out.
func (s *stage) addKyverno(
	ctx context.Context,
	ours *installation.Installation,
	chart *admissionv1.MutatingWebhookConfiguration,
	injected *corev1.Pod,
) error {
	directory := kyvernoDirectory()
	if directory == "" {
		fmt.Fprintln(os.Stderr,
			"Kyverno is left out: set MTLS_EGRESS_KYVERNO to what `go -C test/tools run . kyverno` prints")
		return nil
	}
	policy, err := kyvernoPolicyOf(chart, injected)
	if err != nil {
		return err
	}
	if err := s.turn(ctx, admission{}); err != nil {
		return err
	}
	configuration, process, err := startKyverno(ctx, s, ours, directory, policy)
	if err != nil {
		return err
	}
	s.objects[kyverno] = []client.Object{configuration}
	s.stop = process.Kill
	s.processes[kyverno], err = procfs.NewProc(process.PID())
	return err
}

// seen is the name of the only Pod that meets the conditions of never-met.
const seen = "seen"

// neverMetOf returns a copy of the chart's webhook for Pods, and a policy for Pods with its
// binding, with a condition that compares the name of the Pod.
func neverMetOf(chart *admissionv1.MutatingWebhookConfiguration) []client.Object {
	const name = "never-met"
	condition := []admissionv1.MatchCondition{{
		Name: name, Expression: "object.metadata.?name.orValue('') == '" + seen + "'",
	}}
	configuration := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionv1.MutatingWebhook{*chart.Webhooks[0].DeepCopy()},
	}
	webhook := &configuration.Webhooks[0]
	webhook.MatchConditions = condition
	var rules []admissionv1.NamedRuleWithOperations
	for _, rule := range webhook.Rules {
		rules = append(rules, admissionv1.NamedRuleWithOperations{RuleWithOperations: rule})
	}
	return []client.Object{
		configuration,
		&admissionv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: admissionv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: &admissionv1.MatchResources{ResourceRules: rules},
				MatchConditions:  condition,
				Validations:      []admissionv1.Validation{{Expression: "false"}},
			},
		},
		&admissionv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			},
		},
	}
}

// mutatingPolicyOf returns a policy, and its binding, that gives every annotated Pod the two
// annotations of one that the webhook has injected. The values are written out, so it is as cheap
// as such a policy can be: one that computes them from the annotation, or sets the label and the
// alias as well, costs more.
func mutatingPolicyOf(injected *corev1.Pod) ([]client.Object, error) {
	const name = "mounts"
	annotate, err := annotating(mountsOf(injected))
	if err != nil {
		return nil, err
	}
	return []client.Object{
		&admissionv1.MutatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: admissionv1.MutatingAdmissionPolicySpec{
				MatchConstraints: &admissionv1.MatchResources{
					MatchPolicy: ptr.To(admissionv1.Equivalent),
					ResourceRules: []admissionv1.NamedRuleWithOperations{{
						RuleWithOperations: admissionv1.RuleWithOperations{
							Operations: []admissionv1.OperationType{admissionv1.Create},
							Rule: admissionv1.Rule{
								APIGroups:   []string{""},
								APIVersions: []string{"v1"},
								Resources:   []string{"pods"},
								Scope:       ptr.To(admissionv1.NamespacedScope),
							},
						},
					}},
				},
				MatchConditions: []admissionv1.MatchCondition{{
					Name: "annotated", Expression: "'" + annotationTarget + "' in object.metadata.?annotations.orValue({})",
				}},
				FailurePolicy: ptr.To(admissionv1.Fail), ReinvocationPolicy: admissionv1.IfNeededReinvocationPolicy,
				Mutations: []admissionv1.Mutation{{
					PatchType: admissionv1.PatchTypeJSONPatch,
					JSONPatch: &admissionv1.JSONPatch{Expression: annotate},
				}},
			},
		},
		&admissionv1.MutatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name},
		},
	}, nil
}

// mountsOf are the annotations for volumes of the sidecar that a Pod has.
func mountsOf(injected *corev1.Pod) map[string]string {
	return map[string]string{
		annotationVolume: injected.Annotations[annotationVolume], annotationMount: injected.Annotations[annotationMount],
	}
}

// annotating returns the CEL expression of a JSON patch that gives an annotated object annotations.
func annotating(annotations map[string]string) (string, error) {
	var operations []string
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		value, err := json.Marshal(annotations[key]) // is also a string of CEL
		if err != nil {
			return "", err
		}
		operations = append(operations, fmt.Sprintf(
			`JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey("%s"), value: %s}`, key, value))
	}
	return "[" + strings.Join(operations, ", ") + "]", nil
}

// turn returns when the API server does what is wanted, and nothing else.
func (s *stage) turn(ctx context.Context, wanted admission) error {
	for _, part := range []struct {
		name            string
		present, wanted bool
	}{
		{"webhook", s.present.webhook, wanted.webhook},
		{"policies", s.present.policies, wanted.policies},
		{"mutating policy", s.present.mutatingPolicy, wanted.mutatingPolicy},
		{"never met", s.present.neverMet, wanted.neverMet},
		{"no-op", s.present.noop, wanted.noop},
		{kyverno, s.present.kyverno, wanted.kyverno},
	} {
		if part.present == part.wanted {
			continue
		}
		for _, object := range s.objects[part.name] {
			if err := s.change(ctx, object, part.wanted); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	s.present = wanted
	return s.await(ctx)
}

func (s *stage) change(ctx context.Context, object client.Object, wanted bool) error {
	if !wanted {
		return s.api.Delete(ctx, object)
	}
	object.SetResourceVersion("")
	object.SetUID("")
	return s.api.Create(ctx, object)
}

// await waits: the API server takes up new objects within milliseconds, new policies within a
// second or two.
func (s *stage) await(ctx context.Context) error {
	return await.Until(ctx, time.Minute, "the API server's admission", func(ctx context.Context) error {
		present, err := s.observe(ctx)
		if err != nil {
			return await.Final(err)
		}
		if present != s.present {
			return fmt.Errorf("in force are %+v, want %+v", present, s.present)
		}
		return nil
	})
}

// observe finds out by dry runs what is in force. The webhook leaves kube-system out, so there the
// chart's policy refuses a Pod.
func (s *stage) observe(ctx context.Context) (admission, error) {
	pod, elsewhere := contender{asks: true}.pod(), contender{asks: true}.pod()
	pod.Namespace, elsewhere.Namespace = namespace, metav1.NamespaceSystem
	err := s.api.Create(ctx, elsewhere, client.DryRunAll)
	if err != nil && !apierrors.IsInvalid(err) {
		return admission{}, err
	}
	present := admission{policies: err != nil}
	named := contender{}.pod()
	named.GenerateName, named.Name, named.Namespace = "", seen, namespace
	if err := s.api.Create(ctx, named, client.DryRunAll); err != nil && !apierrors.IsInvalid(err) {
		return admission{}, err
	} else if err != nil {
		present.neverMet = true
	}
	err = s.api.Create(ctx, pod, client.DryRunAll)
	if apierrors.IsInvalid(err) { // a policy is there still while the webhook is gone, or already
		return present, nil
	}
	got := outcomeOf(pod)
	present.webhook, present.noop, present.kyverno = got.Injected, got.By == noopWebhook, got.By == kyverno
	present.mutatingPolicy = got.Mounted && !got.Injected && got.By == ""
	return present, err
}
