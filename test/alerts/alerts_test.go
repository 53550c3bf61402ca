// Package alerts makes the cause of each of the chart's alerts, with the real webhook and
// controller on a real API server, and has a real Prometheus see the alert fire, and end when the
// cause is gone. The rules are the chart's, with shorter times.
package alerts

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/workload"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
	"mtls.egress/webhook/test/pki"
)

// shorter are the values that make the alerts quick. A slow answer is one in which the API server
// was asked for something.
const shorter = `prometheusRule={"enabled": true, "rateWindow": "10s",
	"invalidFor": "1s", "notVerifiedFor": "1s", "notProgrammedSeconds": 1, "conflictFor": "1s",
	"withoutSidecarFor": "1s", "notInjectedFor": "1s", "notPropagatedFor": "1s", "slowSeconds": 0.0002, "slowFor": "0s",
	"absentFor": "2s", "reconcileErrors": 0, "reconcileErrorsFor": "0s", "servingCertificateFor": "1s"}`

// values are those of the chart.
func values() []string {
	return []string{"controller.verifyTargets=marked", "controller.deployment.extraArgs={--survey-interval=1s}"}
}

// scene is what the causes act on.
type scene struct {
	*installation.Installation
	*testing.T
}

// cause makes an alert fire, and cure ends it.
type cause struct {
	alert, severity string
	make, cure      func(scene)
}

func TestEveryAlertFiresByItsCause(t *testing.T) {
	i, err := installation.Start(t.Context(), installation.Options{Replicas: 2, Controllers: 2, Values: values()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := scene{i, t}
	causes, again := causes(t)
	rules, inChart := s.rules()
	var tried []string
	for _, c := range causes {
		tried = append(tried, c.alert+" "+c.severity)
	}
	slices.Sort(tried)
	if diff := cmp.Diff(inChart, tried); diff != "" {
		t.Fatalf("the alerts whose cause is made (-in the chart +made):\n%s", diff)
	}
	// The mistake that makes a panic has to be made here: the handler has no reader.
	other := httptest.NewServer(promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}))
	t.Cleanup(other.Close)
	sidecar := httptest.NewServer(promhttp.HandlerFor(calls.registry, promhttp.HandlerOpts{}))
	t.Cleanup(sidecar.Close)
	addresses, err := apiserver.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	blind = addresses[0]
	prometheus := startPrometheus(t, i, rules,
		map[string]string{
			"panicking": other.Listener.Addr().String(), "blind": blind, "sidecar": sidecar.Listener.Addr().String(),
		})
	for _, c := range causes {
		t.Run(c.alert+" "+c.severity, func(t *testing.T) {
			s := scene{i, t}
			prometheus.waitFor(t, c.alert, c.severity, false)
			c.make(s)
			prometheus.waitFor(t, c.alert, c.severity, true, func() {
				if again := again[c.alert]; again != nil {
					again(s)
					time.Sleep(apiServerInterval / 4)
				}
			})
			s.runs(prometheus.description(t, c.alert, c.severity))
			c.cure(s)
			prometheus.waitFor(t, c.alert, c.severity, false)
		})
	}
	t.Run("every query of the dashboard has data",
		func(t *testing.T) { scene{i, t}.fillsTheDashboard(prometheus, causes) })
}

// runs has kubectl run the command at the end of the description of an alert.
func (s scene) runs(description string) {
	s.Helper()
	_, command, found := strings.Cut(description, "kubectl ")
	if found && !strings.HasPrefix(command, "top ") { // which needs a metrics server
		s.kubectl(strings.Fields(command)...)
	}
}

// blind is the address of /metrics of a webhook that may do nothing.
var blind string

// causes are those of all alerts. What is in again has to go on until the alert fires: it is a
// moment, and Prometheus has to see a counter before and after it.
func causes(t *testing.T) (all []cause, again map[string]func(scene)) {
	panicking, err := mutate.NewHandler(mutate.Options{Workloads: workload.Known(), Registry: metrics.Registry})
	if err != nil {
		t.Fatal(err)
	}
	const host = "external.system.com"
	var stopBlind func()
	hosts := 0
	again = map[string]func(scene){
		// Each asks for a host that the cache lacks.
		"MTLSEgressAdmissionSlow": func(s scene) {
			for range 40 {
				hosts++
				_ = s.create("slow", fmt.Sprintf("host-%d.system.com", hosts), []string{metav1.DryRunAll})
			}
		},
		"MTLSEgressPanics": func(s scene) {
			webhook := &admission.Webhook{Handler: panicking}
			object, err := json.Marshal(pod("panic", host))
			if err != nil {
				s.Fatal(err)
			}
			response := webhook.Handle(s.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				UID:       "1",
				Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
				Namespace: "panic",
				Object:    runtime.RawExtension{Raw: object},
			}})
			if response.Allowed {
				s.Error("an object was let through by a panic")
			}
		},
		"MTLSEgressAdmissionErrors": func(s scene) {
			_ = s.create("errors", "unknown.system.com", []string{metav1.DryRunAll})
		},
		"MTLSEgressWebhookFailing": func(s scene) {
			if err := s.create("failing", host, []string{metav1.DryRunAll}); err == nil {
				s.Error("a Pod was admitted without the webhook")
			}
		},
	}
	return []cause{
		{"MTLSEgressTargetNotProgrammed", "critical",
			func(s scene) { s.pod("unprogrammed", host, nil) },
			func(s scene) { s.renew("unprogrammed") }},
		{"MTLSEgressConflict", "warning",
			func(s scene) {
				s.secret("conflict", time.Now().AddDate(1, 0, 0))
				s.pod("conflict", host, nil)
				s.apply("conflict", map[string]any{
					"apiVersion": "networking.istio.io/v1",
					"kind":       "VirtualService",
					"metadata":   map[string]any{"name": "theirs"},
					"spec": map[string]any{
						"exportTo": []string{"."},
						"hosts":    []string{host},
						"http":     []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": host}}}}},
					},
				})
			},
			func(s scene) { s.kubectl("delete", "virtualservice", "theirs", "--namespace=conflict") }},
		{"MTLSEgressPodsWithoutSidecar", "warning",
			func(s scene) {
				s.namespace("sidecar")
				without := pod("app", host)
				without.Spec.Containers = without.Spec.Containers[:1]
				if _, err := s.Admin.CoreV1().Pods("sidecar").Create(s.Context(), without, metav1.CreateOptions{}); err != nil {
					s.Fatal(err)
				}
			},
			func(s scene) {
				s.kubectl("delete", "pods", "--all", "--namespace=sidecar", "--grace-period=0", "--force")
			}},
		{"MTLSEgressPodsNotInjected", "critical",
			// The webhook leaves kube-system alone.
			func(s scene) {
				s.kubectl("delete", "validatingadmissionpolicybinding", installation.Release+"-injected")
				await.Eventually(s, "the policy is gone", func() error { return s.create("kube-system", host, nil) })
			},
			func(s scene) {
				s.kubectl("delete", "pods", "--all", "--namespace=kube-system", "--grace-period=0", "--force")
			}},
		{"MTLSEgressPodsNotPropagated", "critical",
			// Nothing at admission knows Shops.
			func(s scene) { s.shop("unknown-kind") },
			func(s scene) {
				s.kubectl("delete", "pods", "--all", "--namespace=unknown-kind", "--grace-period=0", "--force")
			}},
		{"MTLSEgressCredentialInvalid", "critical",
			func(s scene) { s.secret("invalid", time.Now().AddDate(0, 0, -1)); s.pod("invalid", host, nil) },
			func(s scene) { s.renew("invalid") }},
		{"MTLSEgressCredentialExpires", "warning",
			func(s scene) { s.secret("expires", time.Now().AddDate(0, 0, 5)); s.pod("expires", host, nil) },
			func(s scene) { s.renew("expires") }},
		{"MTLSEgressCredentialExpires", "critical",
			func(s scene) { s.secret("expires-now", time.Now().Add(12*time.Hour)); s.pod("expires-now", host, nil) },
			func(s scene) { s.renew("expires-now") }},
		{"MTLSEgressServerCAExpires", "warning",
			func(s scene) {
				s.secretTrusting("ca-expires", time.Now().AddDate(0, 0, 5))
				s.pod("ca-expires", host, nil)
			},
			func(s scene) { s.renew("ca-expires") }},
		{"MTLSEgressServerCAExpires", "critical",
			func(s scene) {
				s.secretTrusting("ca-expires-now", time.Now().Add(12*time.Hour))
				s.pod("ca-expires-now", host, nil)
			},
			func(s scene) { s.renew("ca-expires-now") }},
		{"MTLSEgressTargetNotVerified", "warning",
			// No name server knows it.
			func(s scene) {
				s.secretNamed("verified", "partner-mtls-data", time.Now().AddDate(1, 0, 0))
				s.apply("verified", map[string]any{
					"apiVersion": "mtls.egress/v1alpha1",
					"kind":       "EgressTarget",
					"metadata":   map[string]any{"name": "partner.invalid"},
					"spec":       map[string]any{"verify": true},
				})
				s.pod("verified", "partner.invalid", nil)
			},
			func(s scene) {
				s.kubectl("patch", "egresstarget", "partner.invalid", "--namespace=verified", "--type=merge",
					`--patch={"spec":{"verify":false}}`)
			}},
		{"MTLSEgressAdmissionSlow", "warning", func(scene) {}, func(scene) {}},
		{"MTLSEgressPanics", "critical", func(scene) {}, func(scene) {}},
		{"MTLSEgressServingCertificateExpires", "critical",
			func(s scene) { stopBlind = s.startBlind() },
			func(scene) { stopBlind() }},
		{"MTLSEgressAdmissionErrors", "critical",
			func(s scene) {
				s.kubectl("delete", "clusterrolebinding", installation.Release+"-admission")
				await.Eventually(s, "the webhook can't read an EgressTarget", func() error {
					if err := s.create("errors", "unknown.system.com", []string{metav1.DryRunAll}); err == nil {
						return errors.New("the Pod was admitted")
					}
					return nil
				})
			},
			func(s scene) { s.upgrade() }},
		{"MTLSEgressReconcileErrors", "warning",
			func(s scene) {
				s.secret("reconcile", time.Now().AddDate(1, 0, 0))
				s.kubectl("delete", "clusterrolebinding", installation.Release+"-controller")
				await.Eventually(s, "a Pod is admitted", func() error { return s.create("reconcile", host, nil) })
			},
			func(s scene) { s.upgrade() }},
		{"MTLSEgressControllerAbsent", "critical", stopControllers, startControllers},
		{"MTLSEgressWebhookAbsent", "critical", stopWebhook, startWebhook},
		{"MTLSEgressWebhookFailing", "critical", stopWebhook, startWebhook},
	}, again
}

func stopWebhook(s scene) {
	if err := s.StopWebhook(); err != nil {
		s.Fatal(err)
	}
}

func startWebhook(s scene) {
	if err := s.StartWebhook(s.Context()); err != nil {
		s.Fatal(err)
	}
}

func stopControllers(s scene) {
	if err := s.StopControllers(); err != nil {
		s.Fatal(err)
	}
}

func startControllers(s scene) {
	if err := s.StartControllers(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// upgrade puts back what was deleted of the release. Helm recreates what is in its record and
// doesn't exist.
func (s scene) upgrade() {
	s.Helper()
	if err := s.Upgrade(s.Context(), values()...); err != nil {
		s.Fatal(err)
	}
}

// rules are those that the chart renders, with shorter times, and the names and severities of the
// alerts.
func (s scene) rules() (rules any, alerts []string) {
	s.Helper()
	args := []string{
		"template",
		installation.Release,
		filepath.Join(s.Root, "charts", "mtls-egress-webhook"),
		"--namespace",
		installation.Namespace,
		"--show-only",
		"templates/prometheusrule.yaml",
		"--set",
		"image.repository=" + installation.Release,
		"--set-json",
		shorter,
	}
	text, _, err := s.Helm(s.Context(), args...)
	if err != nil {
		s.Fatal(err)
	}
	var rule struct {
		Spec struct {
			Groups []struct {
				Name  string           `json:"name"`
				Rules []map[string]any `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(text), &rule); err != nil {
		s.Fatal(err)
	}
	for _, group := range rule.Spec.Groups {
		for _, one := range group.Rules {
			alerts = append(alerts, fmt.Sprintf("%s %s", one["alert"], one["labels"].(map[string]any)["severity"]))
		}
	}
	slices.Sort(alerts)
	return rule.Spec, alerts
}

// pod has the sidecar already, as nobody injects it here.
func pod(name, host string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-", Annotations: map[string]string{"mtls.egress/target": host}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: "app"}, {Name: "istio-proxy", Image: "proxyv2"}},
		},
	}
}

// pod creates an annotated Pod in a namespace, which is made when it is missing.
func (s scene) pod(namespace, host string, dryRun []string) {
	s.Helper()
	if err := s.create(namespace, host, dryRun); err != nil {
		s.Fatal(err)
	}
}

func (s scene) create(namespace, host string, dryRun []string) error {
	s.namespace(namespace)
	_, err := s.Admin.CoreV1().Pods(namespace).Create(s.Context(), pod("app", host), metav1.CreateOptions{DryRun: dryRun})
	return err
}

func (s scene) namespace(name string) {
	s.Helper()
	_, err := s.Admin.CoreV1().
		Namespaces().
		Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if client.IgnoreAlreadyExists(err) != nil {
		s.Fatal(err)
	}
}

// secret writes the default Secret of external.system.com, with a certificate that ends at a time.
func (s scene) secret(namespace string, notAfter time.Time) {
	s.Helper()
	s.secretNamed(namespace, "external-system-mtls-data", notAfter)
}

// renew puts a good credential into a namespace. The controller reads a Secret again by the clock,
// and at once for a new Pod.
func (s scene) renew(namespace string) {
	s.Helper()
	s.secret(namespace, time.Now().AddDate(1, 0, 0))
	s.pod(namespace, "external.system.com", nil)
}

func (s scene) secretNamed(namespace, name string, notAfter time.Time) {
	s.Helper()
	s.credential(namespace, name, notAfter, pki.NewCA(s.T, "Partner CA"))
}

// secretTrusting writes the default Secret of external.system.com, with a CA of the server that
// ends at a time.
func (s scene) secretTrusting(namespace string, notAfter time.Time) {
	s.Helper()
	ca := pki.SelfSigned(s.T, pki.Template{
		Subject: pkix.Name{CommonName: "Partner CA"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: notAfter,
	})
	s.credential(namespace, "external-system-mtls-data", time.Now().AddDate(1, 0, 0), ca)
}

func (s scene) credential(namespace, name string, notAfter time.Time, ca *pki.CA) {
	s.Helper()
	template := pki.Client("shop")
	template.NotBefore, template.NotAfter = time.Now().AddDate(-1, 0, 0), notAfter
	pair := ca.Issue(s.T, template)
	s.apply(namespace, map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name},
		"stringData": map[string]string{
			"cert":   string(pair.CertPEM),
			"key":    string(pair.KeyPEM),
			"cacert": string(ca.CertPEM),
		}})
}

func (s scene) apply(namespace string, object map[string]any) {
	s.Helper()
	s.namespace(namespace)
	encoded, err := json.Marshal(object)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.KubectlWith(
		s.Context(), string(encoded), "apply", "--namespace="+namespace, "--filename=-",
	); err != nil {
		s.Fatal(err)
	}
}

// shop creates an annotated object of a kind that the webhook doesn't know, and a Pod that it owns.
// kube-controller-manager doesn't run here, so nothing fills the ClusterRole view.
func (s scene) shop(namespace string) {
	s.Helper()
	s.apply(namespace, map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1",
		"kind":       "CustomResourceDefinition",
		"metadata":   map[string]any{"name": "shops.example.com"},
		"spec": map[string]any{
			"group": "example.com", "scope": "Namespaced", "names": map[string]any{"kind": "Shop", "plural": "shops"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	})
	s.kubectl("wait", "--for=condition=Established", "--timeout="+await.Patience.String(),
		"customresourcedefinition/shops.example.com")
	s.kubectl("create", "clusterrole", "shops", "--verb=list", "--resource=shops.example.com")
	s.kubectl("create", "clusterrolebinding", "shops", "--clusterrole=shops",
		"--serviceaccount="+installation.Namespace+":"+installation.Release+"-controller")
	s.apply(namespace, map[string]any{
		"apiVersion": "example.com/v1",
		"kind":       "Shop",
		"metadata": map[string]any{
			"name": "shop", "annotations": map[string]any{"mtls.egress/target": "external.system.com"},
		},
	})
	uid, _, err := s.Kubectl(s.Context(), "get", "shop", "shop", "--namespace="+namespace,
		"--output=jsonpath={.metadata.uid}")
	if err != nil {
		s.Fatal(err)
	}
	owned := pod("app", "")
	owned.Annotations = nil
	owned.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: "example.com/v1", Kind: "Shop", Name: "shop", UID: types.UID(uid), Controller: new(true)},
	}
	if _, err := s.Admin.CoreV1().Pods(namespace).Create(s.Context(), owned, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

func (s scene) kubectl(args ...string) {
	s.Helper()
	if _, _, err := s.Kubectl(s.Context(), args...); err != nil {
		s.Fatal(err)
	}
}

// startBlind starts a webhook whose account may do nothing, so that it gets no certificate.
func (s scene) startBlind() (stop func()) {
	s.Helper()
	_, err := s.Admin.CoreV1().
		ServiceAccounts(installation.Namespace).
		Create(s.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "blind"}}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
	token, err := s.Admin.CoreV1().
		ServiceAccounts(installation.Namespace).
		CreateToken(s.Context(), "blind", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
	kubeconfig := filepath.Join(s.TempDir(), "kubeconfig")
	err = clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{"c": {Server: s.Config.Host, CertificateAuthorityData: s.Config.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{"c": {Token: token.Status.Token}},
		Contexts:       map[string]*api.Context{"c": {Cluster: "c", AuthInfo: "c"}},
		CurrentContext: "c",
	}, kubeconfig)
	if err != nil {
		s.Fatal(err)
	}
	addresses, err := apiserver.FreeAddresses(2)
	if err != nil {
		s.Fatal(err)
	}
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		s.Fatal(err)
	}
	log := filepath.Join(s.TempDir(), "log")
	process, err := apiserver.StartProcess(
		exec.Command(s.Command, "serve", "webhook", "--kubeconfig="+kubeconfig, "--namespace="+installation.Namespace,
			"--webhook-host=127.0.0.1", "--webhook-port="+port, "--health-address="+addresses[1], "--metrics-address="+blind),
		log, s.StartGuarded,
	)
	if err != nil {
		s.Fatal(err)
	}
	return func() {
		_ = process.Stop(time.Second) // the error is expected: it gets no time to end by itself
	}
}
