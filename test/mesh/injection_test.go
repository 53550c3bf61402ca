package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/scene"
)

// foretold is a mesh whose sidecars don't intercept the calls of an app, and what an app developer
// is told about it.
type foretold struct {
	// injector are values of Istio's chart.
	injector []string
	// labels change those of the namespace, as kubectl label does.
	labels []string
	// says is part of what kubectl create prints. Empty: it prints nothing, and calls work at once.
	says string
	// refused says that the app isn't created.
	refused bool
	// label and annotations are what says asks for: a label of the namespace, and annotations of the
	// app's Pods.
	label       string
	annotations map[string]string
	// traffic are the settings of istio-iptables in the Pod that works, where they aren't Istio's
	// defaults.
	traffic map[string]string
}

// TestAPodWithoutASidecar deploys an app where Istio injects nothing, and again after what the app
// developer was told to do about that.
func TestAPodWithoutASidecar(t *testing.T) {
	t.Parallel()
	s := play(t)
	const advice, enabled = "label the Namespace with istio-injection=enabled", "istio-injection=enabled"
	for fault, test := range map[string]foretold{
		"the Pod has no sidecar": {labels: []string{"istio-injection-"}, says: advice, label: enabled},
		"the namespace is in ambient mode, and the Pod is refused": {
			labels: []string{"istio-injection-", "istio.io/dataplane-mode=ambient"}, refused: true, says: advice, label: enabled,
		},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			test.play(t, s, fault)
		})
	}
}

// TestAMeshThatInterceptsNotEverything has the injector configure sidecars that would leave the
// calls of all apps alone. The injector is everybody's, so this one runs by itself.
func TestAMeshThatInterceptsNotEverything(t *testing.T) {
	s := play(t)
	if !s.Own {
		skip(t, "changes the configuration of the injector, which it doesn't do in the cluster of KUBECONFIG")
	}
	t.Cleanup(func() { must(t, configureInjector(context.WithoutCancel(t.Context()), s)) })
	sinkhole, private := s.Sinkhole(), ofFamily("10.0.0.0/8", "fd00:10::/32")
	address := sinkhole.Address(host)
	single := netip.PrefixFrom(address, address.BitLen()).String()
	for fault, test := range map[string]foretold{
		"the injector includes " + private + " only": {
			injector: []string{"global.proxy.includeIPRanges=" + private},
			traffic:  map[string]string{interception.IncludeRanges: private + "," + single},
		},
		"the injector excludes " + sinkhole.String(): {
			injector: []string{"global.proxy.excludeIPRanges=" + sinkhole.String()},
			traffic: map[string]string{
				interception.ExcludeRanges: strings.Join(interception.Without(sinkhole.String(), address), ","),
			},
		},
		"the injector excludes port 80, and the Pod is refused": {
			injector:    []string{"global.proxy.excludeOutboundPorts=80"},
			refused:     true,
			says:        `(excludeOutboundPorts: "80"); write "" here`,
			annotations: map[string]string{interception.ExcludePorts: ""},
		},
	} {
		t.Run(fault, func(t *testing.T) {
			must(t, configureInjector(t.Context(), s, test.injector...))
			test.play(t, s, fault)
		})
	}
}

// play deploys the app, compares what is said, follows it, and lets the app call.
func (f foretold) play(t *testing.T, s *scene.Scene, fault string) {
	ns := namespace(t, s)
	if f.labels != nil {
		labelNamespace(t, s, ns, f.labels...)
	}
	credential(t, s, ns, "foretold")
	made := figures{Promise: "Never plaintext", Fault: fault}
	existing := 0
	if s.Mesh().Mode() == cluster.AllowAnyDynamicDNS {
		must(t, s.ProgramTargets(t.Context(), ns, host)) // else the app is told to wait for that
		existing = 1
	}
	l := &load{s: s, path: "/foretold/" + ns}
	l.url = "http://" + host + l.path
	app := scene.App{
		Namespace: ns, Name: "shop", Annotations: scene.Target(host), Loops: []string{l.url},
		Args: []string{"--timeout", patient},
	}

	said, err := s.Create(t.Context(), app)
	if err != nil {
		said = err.Error()
	}
	t.Logf("kubectl create: %s", said)
	if (err != nil) != f.refused || !strings.Contains(said, f.says) || f.says == "" && said != "" {
		t.Fatalf("kubectl create: %s; want it to be refused: %t, and to say %q", said, f.refused, f.says)
	}
	switch {
	case f.refused:
		targets, err := s.EgressTargets(ns).List(t.Context(), metav1.ListOptions{})
		must(t, err)
		if len(targets.Items) > existing {
			t.Errorf("%d EgressTargets of an app that was refused, want %d", len(targets.Items), existing)
		}
	case f.says != "":
		l.withoutSidecar(t, app)
		l.count(t, &made)
	}

	if f.label != "" {
		labelNamespace(t, s, ns, f.label)
		must(t, sidecarIn(t.Context(), s, ns, true))
	}
	app.PodAnnotations = f.annotations
	switch {
	case f.refused:
		must(t, scene.Until(t.Context(), "the app to be admitted", func(ctx context.Context) error {
			return s.Deploy(ctx, app)
		}))
		l.runs(t, app)
	case f.says != "":
		l.recreated(t, app)
	default:
		l.runs(t, app)
	}
	becomesReady(t, s, ns)
	l.answered(t)
	l.count(t, &made)
	traffic, err := interceptionOf(l.pod)
	must(t, err)
	if diff := cmp.Diff(interception.Of(f.traffic, interception.Defaults()), traffic); diff != "" {
		t.Errorf("settings of istio-iptables (-want +got):\n%s", diff)
	}
	neverPlain(t, seen(t, s, partner.Filter{Path: l.path}), made)
}

// withoutSidecar checks of an app that runs without one that nothing reaches the partner, and that
// the EgressTarget and an event say why.
func (l *load) withoutSidecar(t *testing.T, app scene.App) {
	t.Helper()
	l.runs(t, app)
	l.reached(t, 2)
	if state := l.state(t); state.ByOutcome["200"] != 0 {
		t.Errorf("calls without a sidecar came to %v", state.ByOutcome)
	}
	must(t, hasCondition(t.Context(), l.s, app.Namespace, host,
		v1alpha1.ConditionReady, metav1.ConditionFalse, "NoSidecar"))
	must(t, scene.Until(t.Context(), "an event that says why", func(ctx context.Context) error {
		events, err := l.s.Client.CoreV1().
			Events(app.Namespace).
			List(ctx, metav1.ListOptions{FieldSelector: "reason=NoSidecar,involvedObject.name=" + l.pod.Name})
		if err == nil && len(events.Items) == 0 {
			err = errors.New("there is none")
		}
		return err
	}))
	connections, err := connectionsOf(t.Context(), l.s, l.pod)
	must(t, err)
	if len(connections) != 0 {
		t.Errorf("%d connections reached the partner, the first: %+v", len(connections), connections[0])
	}
}

func labelNamespace(t *testing.T, s *scene.Scene, namespace string, labels ...string) {
	t.Helper()
	_, _, err := s.Kubectl(t.Context(), append([]string{"label", "--overwrite", "namespace", namespace}, labels...)...)
	must(t, err)
}

// becomesReady waits for READY as a pipeline does.
func becomesReady(t *testing.T, s *scene.Scene, namespace string) {
	t.Helper()
	for _, state := range []string{"create", "condition=Ready"} {
		_, _, err := s.Kubectl(t.Context(), "--namespace", namespace, "wait", "--for="+state, "egt/"+host,
			"--timeout="+await.Patience.String())
		must(t, err)
	}
}

// sidecarIn waits until new Pods of a namespace get a sidecar, or none.
func sidecarIn(ctx context.Context, s *scene.Scene, namespace string, wanted bool) error {
	return scene.Until(ctx, "what the injector does in "+namespace, func(ctx context.Context) error {
		pod, err := injectedPod(ctx, s, namespace, nil)
		if err == nil && egress.HasSidecar(pod) != wanted {
			err = fmt.Errorf("a sidecar: %t, want %t", !wanted, wanted)
		}
		return err
	})
}

// injectedPod is what the injector makes of a Pod that asks for no target. It isn't created.
func injectedPod(ctx context.Context, s *scene.Scene, namespace string, labels map[string]string) (*corev1.Pod, error) {
	return s.Client.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "injected-", Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: s.Image("actor")}}},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// configureInjector installs istiod with further values, and waits until the injector and every
// webhook go by them.
func configureInjector(ctx context.Context, s *scene.Scene, values ...string) error {
	if err := s.ConfigureIstio(ctx, values...); err != nil {
		return err
	}
	configMap, err := s.Client.CoreV1().
		ConfigMaps(cluster.IstioNamespace).
		Get(ctx, s.Mesh().InjectorConfigMap(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	written, err := interception.ReadInjector(
		configMap.Data[interception.InjectorConfigKey], configMap.Data[interception.InjectorValuesKey])
	if err != nil {
		return err
	}
	return scene.Until(ctx, "the injector and the webhooks to follow its configuration", func(ctx context.Context) error {
		labels := map[string]string{label.SidecarInject.Name: "true"}
		if revisions := s.Mesh().Revisions; len(revisions) > 0 {
			labels[label.IoIstioRev.Name] = revisions[0]
		}
		pod, err := injectedPod(ctx, s, metav1.NamespaceDefault, labels)
		if err != nil {
			return err
		}
		injected, err := interceptionOf(pod)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(interception.Of(nil, written.Interception), injected); diff != "" {
			return fmt.Errorf("settings of the injector (-want +got):\n%s", diff)
		}
		return webhooksRead(ctx, s, written.Interception)
	})
}

// interceptionOf are the arguments of istio-iptables in a Pod. With Istio's CNI plugin, the
// container istio-validation has them.
func interceptionOf(pod *corev1.Pod) (interception.Settings, error) {
	i := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == "istio-init" || c.Name == "istio-validation"
	})
	if i < 0 {
		return nil, errors.New("the Pod has no istio-init and no istio-validation")
	}
	return interception.ReadArguments(pod.Spec.InitContainers[i].Args), nil
}

// webhooksRead returns an error if a webhook goes by other settings.
func webhooksRead(ctx context.Context, s *scene.Scene, want interception.Settings) error {
	pods, err := s.Client.CoreV1().
		Pods(scene.Namespace).
		List(ctx, metav1.ListOptions{LabelSelector: scene.WebhookLabel})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		logs, err := s.Client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			return err
		}
		var read struct{ Interception interception.Settings }
		for line := range strings.Lines(string(logs)) {
			if !strings.Contains(line, "Read the injector's configuration") {
				continue
			}
			if err := json.Unmarshal([]byte(line), &read); err != nil {
				return err
			}
		}
		if diff := cmp.Diff(want, read.Interception); diff != "" {
			return fmt.Errorf("settings of %s (-want +got):\n%s", pod.Name, diff)
		}
	}
	return nil
}
