package controller

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// Mesh configurations as Istio's chart writes them.
const (
	captureOn  = "defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\n  proxyMetadata:\n    ISTIO_META_DNS_CAPTURE: \"true\"\nrootNamespace: istio-system\n"
	captureOff = "defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\nrootNamespace: istio-system\n"
)

// meshConfig writes the mesh configuration, under the name that the chart's rights are for. The test's namespace is the root
// namespace of a mesh of its own.
func (w *world) meshConfig(text string) *corev1.ConfigMap {
	w.Helper()
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "istio"}, Data: map[string]string{"mesh": text}}
	w.create(configMap)
	return configMap
}

// say changes the mesh configuration.
func (w *world) say(configMap *corev1.ConfigMap, text string) {
	w.Helper()
	w.patch(configMap, map[string]any{"data": map[string]any{"mesh": text}})
}

// gauge waits until a metric without labels has a value.
func (w *world) gauge(running *running, name string, value float64) {
	w.Helper()
	w.eventually(func() error {
		families, err := running.registry.Gather()
		if err != nil {
			return err
		}
		for _, family := range families {
			if family.GetName() == name && family.GetMetric()[0].GetGauge().GetValue() == value {
				return nil
			}
		}
		return fmt.Errorf("the metric %s isn't %v", name, value)
	})
}

// unknown removes every ServiceEntry that earlier tests left, so that nothing says what was last known of the mesh.
func (w *world) unknown() {
	w.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(mesh.GroupVersion().WithKind(mesh.KindServiceEntry + "List"))
	if err := w.List(w.Context(), list); err != nil {
		w.Fatal(err)
	}
	for i := range list.Items {
		w.remove(&list.Items[i])
	}
}

func TestDNSCaptureFollowsTheMeshConfiguration(t *testing.T) {
	const other = "other.system.com"
	w := newWorld(t)
	w.unknown()
	w.credential(secret)
	w.credential("other-system-mtls-data")
	options := controller.Options{RootNamespace: w.namespace, MeshConfigMap: "istio"}
	first := w.start(options)
	w.pod("app", host)
	w.pod("other", other)

	// both waits until both targets are programmed with DNS capture or without; the anchor is the same.
	both := func(capture bool) {
		t.Helper()
		want := w.specsWith(mesh.Options{DNSCapture: capture})
		w.programmed(want)
		w.eventually(func() error {
			serviceEntry, err := w.istio(mesh.KindServiceEntry, target.ObjectName(other))
			if err != nil {
				return err
			}
			if open := mesh.OpensAppPort(serviceEntry); open != capture {
				return fmt.Errorf("the app port of %s is open: %t, want %t", other, open, capture)
			}
			return nil
		})
	}
	const readable, captured = "mtls_egress_mesh_config_readable", "mtls_egress_dns_capture"

	// Without a mesh configuration it is off.
	both(false)
	w.gauge(first, readable, 0)
	w.gauge(first, captured, 0)

	configMap := w.meshConfig(captureOn)
	both(true)
	w.gauge(first, readable, 1)
	w.gauge(first, captured, 1)
	w.say(configMap, captureOff)
	both(false)
	w.say(configMap, captureOn)
	both(true)

	// What was last known holds.
	w.say(configMap, "defaultConfig: [")
	w.gauge(first, readable, 0)
	w.say(configMap, captureOn)
	w.gauge(first, readable, 1)
	w.remove(configMap)
	w.gauge(first, readable, 0)
	w.gauge(first, captured, 1)
	both(true)
	if wrong := first.requests.matching(configMapsBeyondName); len(wrong) > 0 {
		t.Errorf("ConfigMaps are read by name only, but there was %q", wrong)
	}
	first.stop()

	// For the next controller too, which finds nothing to write.
	second := w.start(options)
	w.gauge(second, readable, 0)
	w.gauge(second, captured, 1)
	w.eventually(func() error {
		if looked := second.requests.matching(func(line string) bool {
			return strings.HasPrefix(line, "GET /api/v1/namespaces/"+w.namespace+"/secrets/"+secret)
		}); len(looked) == 0 {
			return errors.New("the target was not looked at")
		}
		return nil
	})
	second.stop()
	if writes := w.writes(second); len(writes) > 0 {
		t.Errorf("nothing had changed, but the controller wrote %q", writes)
	}

	// It was switched off while no controller ran.
	w.meshConfig(captureOff)
	w.start(options)
	both(false)
}

// configMapsBeyondName finds requests for ConfigMaps that more than the one of the mesh configuration could answer.
func configMapsBeyondName(line string) bool {
	return asksForMeshConfig(line) && !strings.Contains(line, "fieldSelector=metadata.name%3Distio&")
}

// asksForMeshConfig leaves out the CA of a server, which an EgressTarget of another test may have in a ConfigMap that is read by name.
func asksForMeshConfig(line string) bool {
	return strings.Contains(line, "/configmaps") && !strings.Contains(line, "/configmaps/partner-ca?")
}

func TestDNSCaptureSettingWinsOverTheMeshConfiguration(t *testing.T) {
	tests := map[string]struct {
		setting bool
		says    string
	}{
		"on":  {setting: true, says: captureOff},
		"off": {setting: false, says: captureOn},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.credential(secret)
			configMap := w.meshConfig(test.says)
			running := w.start(controller.Options{RootNamespace: w.namespace, MeshConfigMap: "istio", DNSCapture: &test.setting})
			w.pod("app", host)
			want := w.specsWith(mesh.Options{DNSCapture: test.setting})
			w.programmed(want)
			w.gauge(running, "mtls_egress_mesh_config_readable", 1)
			w.say(configMap, "defaultConfig: [")
			w.ready()
			w.programmed(want)
			if asked := running.requests.matching(asksForMeshConfig); len(asked) > 0 {
				t.Errorf("the mesh configuration is of no interest, but there was %q", asked)
			}
		})
	}
}

// A mesh configuration that the controller may not read stops nothing, and is read once it may be.
func TestDNSCaptureWaitsForTheRightToRead(t *testing.T) {
	w := newWorld(t)
	w.unknown()
	w.credential(secret)
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "istio-1-31"}, Data: map[string]string{"mesh": captureOn}})
	running := w.start(controller.Options{RootNamespace: w.namespace, MeshConfigMap: "istio-1-31"})
	w.pod("app", host)
	w.ready()
	w.programmed(w.defaultSpecs())
	w.gauge(running, "mtls_egress_mesh_config_readable", 0)

	for _, args := range [][]string{
		{"create", "role", "mesh-config", "--verb=list,watch", "--resource=configmaps", "--resource-name=istio-1-31"},
		{"create", "rolebinding", "mesh-config", "--role=mesh-config", "--user=" + user},
	} {
		if _, _, err := server.Kubectl(t.Context(), append(args, "--namespace="+w.namespace)...); err != nil {
			t.Fatal(err)
		}
	}
	w.programmed(w.specsWith(mesh.Options{DNSCapture: true}))
	w.gauge(running, "mtls_egress_mesh_config_readable", 1)
}
