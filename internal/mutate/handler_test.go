package mutate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/workload"
)

// emptyNamespace is a reader without EgressTargets, or one whose API server fails.
type emptyNamespace struct {
	client.Reader
	annotations map[string]string
	err         error
}

func (e emptyNamespace) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return e.err
}

func (e emptyNamespace) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	if namespace, ok := object.(*metav1.PartialObjectMetadata); ok {
		namespace.Annotations = e.annotations
	}
	return e.err
}

// Each request adds one to the counter, one to the histogram and one line to the log.
func TestEveryRequestIsCountedAndLogged(t *testing.T) {
	pod := func(change func(*corev1.Pod)) []byte {
		encoded, err := json.Marshal(annotated(change))
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	annotation := func(name, value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Annotations[name] = value }
	}
	tests := map[string]struct {
		object []byte
		kind   string
		reader client.Reader
		count  string // kind decision reason
		level  string
		log    []any // the reasons
	}{
		"an injected Pod": {object: pod(func(*corev1.Pod) {}), count: "Pod injected ", level: "DEBUG"},
		"a Pod without targets": {
			object: pod(func(pod *corev1.Pod) { pod.Annotations = nil }),
			count:  "Pod unchanged ",
			level:  "DEBUG",
		},
		"a workload": {
			object: []byte(`{"metadata":{"annotations":{"mtls.egress/target":"external.system.com"}},"spec":{"template":{}}}`),
			kind:   "Deployment",
			count:  "Deployment propagated ",
			level:  "INFO",
		},
		"no host": {
			object: pod(annotation("mtls.egress/target", "a b")),
			count:  "Pod refused invalid-annotation",
			level:  "INFO",
			log:    []any{"invalid-annotation"},
		},
		"the app's port as target": {
			object: pod(annotation("mtls.egress/target", "external.system.com:80")),
			count:  "Pod refused target-clash",
			level:  "INFO",
			log:    []any{"target-clash"},
		},
		"the host's network": {
			object: pod(func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }),
			count:  "Pod refused host-network",
			level:  "INFO",
			log:    []any{"host-network"},
		},
		"injection off": {
			object: pod(annotation("sidecar.istio.io/inject", "false")),
			count:  "Pod refused injection-off",
			level:  "INFO",
			log:    []any{"injection-off"},
		},
		"a static Pod": {
			object: pod(annotation("kubernetes.io/config.mirror", "x")),
			count:  "Pod refused static-pod",
			level:  "INFO",
			log:    []any{"static-pod"},
		},
		"the sidecar's user": {object: pod(func(pod *corev1.Pod) {
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1337))}
		}), count: "Pod refused proxy-user", level: "INFO", log: []any{"proxy-user"}},
		"a mount at /etc/hosts": {object: pod(func(pod *corev1.Pod) {
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "h", MountPath: "/etc/hosts"}}
		}), count: "Pod refused hosts-file", level: "INFO", log: []any{"hosts-file"}},
		"calls led past the sidecar": {
			object: pod(annotation("traffic.sidecar.istio.io/excludeOutboundPorts", "80")),
			count:  "Pod refused traffic-annotation",
			level:  "INFO",
			log:    []any{"traffic-annotation"},
		},
		"an alias for the host": {object: pod(func(pod *corev1.Pod) {
			pod.Spec.HostAliases = []corev1.HostAlias{{IP: "10.0.0.7", Hostnames: []string{"external.system.com"}}}
		}), count: "Pod refused host-alias", level: "INFO", log: []any{"host-alias"}},
		"a label of ours": {
			object: pod(func(pod *corev1.Pod) { pod.Labels["mtls.egress/injected"] = "no" }),
			count:  "Pod refused reserved-label",
			level:  "INFO",
			log:    []any{"reserved-label"},
		},
		"volumes that can't be read": {
			object: pod(annotation("sidecar.istio.io/userVolume", "7")),
			count:  "Pod refused volume-clash",
			level:  "INFO",
			log:    []any{"volume-clash"},
		},
		"a host that the namespace may not reach": {
			object: pod(func(*corev1.Pod) {}),
			reader: emptyNamespace{annotations: map[string]string{"mtls.egress/allowed-targets": "other.system.com"}},
			count:  "Pod refused not-allowed",
			level:  "INFO",
			log:    []any{"not-allowed"},
		},
		"several problems, in order": {object: pod(func(pod *corev1.Pod) {
			pod.Spec.HostNetwork = true
			pod.Annotations["sidecar.istio.io/userVolume"] = "7"
		}), count: "Pod refused host-network", level: "INFO", log: []any{"host-network", "volume-clash"}},
		"no object": {
			object: []byte("{"),
			count:  "Pod error unreadable",
			level:  "ERROR",
			log:    []any{"unreadable"},
		},
		"an unknown kind": {
			object: []byte("{}"),
			kind:   "Kind-4711",
			count:  "other error unreadable",
			level:  "ERROR",
			log:    []any{"unreadable"},
		},
		"an API server that is away": {
			object: pod(func(*corev1.Pod) {}),
			reader: emptyNamespace{err: errors.New("away")},
			count:  "Pod error lookup-failed",
			level:  "ERROR",
			log:    []any{"lookup-failed"},
		},
		"a mistake in this program": {
			object: pod(func(*corev1.Pod) {}),
			reader: client.Reader(nil),
			count:  "Pod error panic",
			level:  "ERROR",
			log:    []any{"panic"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			reader := test.reader
			if reader == nil && test.count != "Pod error panic" {
				reader = emptyNamespace{}
			}
			handler, err := mutate.NewHandler(mutate.Options{
				Cached: reader, Live: reader, Workloads: workload.Known(), Policy: everyHost.Cluster,
				DynamicDNS: func() bool { return false }, Injector: func() interception.Injector { return interception.Injector{} },
				Registry: registry,
			})
			if err != nil {
				t.Fatal(err)
			}
			kind := metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}
			if test.kind != "" {
				kind = metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: test.kind}
			}
			request := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				UID:       "4711",
				Kind:      kind,
				Namespace: "shop",
				Name:      "app",
				Operation: admissionv1.Create,
				Object:    runtime.RawExtension{Raw: test.object},
			}}
			said := map[string]string{}
			for format, sink := range map[string]func(io.Writer, *slog.HandlerOptions) slog.Handler{
				"json": func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) },
				"text": func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) },
			} {
				var log bytes.Buffer
				ctx := logf.IntoContext(t.Context(),
					logr.FromSlogHandler(sink(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
				(&admission.Webhook{Handler: handler,
					LogConstructor: func(logr.Logger,
						*admission.Request) logr.Logger {
						return logf.FromContext(ctx)
					}}).Handle(
					ctx,
					request,
				)
				said[format] = log.String()
			}
			if diff := cmp.Diff(map[string]float64{test.count: 2}, counts(t, registry)); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
			var line map[string]any
			first, _, _ := strings.Cut(said["json"], "\n") // more is said of a panic only
			if err := json.Unmarshal([]byte(first), &line); err != nil {
				t.Fatalf("the line is not JSON: %v\n%s", err, said["json"])
			}
			decision := strings.Fields(test.count)[1]
			got := map[string]any{
				"uid":       line["uid"],
				"namespace": line["namespace"],
				"name":      line["name"],
				"decision":  line["decision"],
				"reasons":   line["reasons"],
			}
			want := map[string]any{
				"uid":       "4711",
				"namespace": "shop",
				"name":      "app",
				"decision":  decision,
				"reasons":   any(nil),
			}
			if test.log != nil {
				want["reasons"] = test.log
			}
			if diff := cmp.Diff(want, got); diff != "" || !strings.HasPrefix(line["level"].(string), test.level) {
				t.Errorf("level %s, want %s; the line (-want +got):\n%s", line["level"], test.level, diff)
			}
			if !regexp.MustCompile(
				`level=`+test.level+`\S* msg=admission .*uid=4711 .*decision=`+decision+` .*duration=\S+`,
			).MatchString(said["text"]) ||
				strings.Count(said["text"], "msg=admission") != 1 {
				t.Errorf("as text: %s", said["text"])
			}
		})
	}
}

// counts returns the nonzero request counters by their labels.
func counts(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	var timed uint64
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			timed += metric.GetHistogram().GetSampleCount()
			if family.GetName() != "mtls_egress_admission_requests_total" || metric.GetCounter().GetValue() == 0 {
				continue
			}
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			found[labels["kind"]+" "+labels["decision"]+" "+labels["reason"]] = metric.GetCounter().GetValue()
		}
	}
	if timed != 2 {
		t.Errorf("%d requests were timed, want 2", timed)
	}
	return found
}
