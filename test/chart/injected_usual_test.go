package chart

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/await"
)

// Two namespaces, each with a variant of the policy for Pods that ask. In passedOver, the
// validations refuse everything, so an admitted Pod is one that they don't see. In allSeen, they
// see every Pod that asks.
const passedOver, allSeen = "passed-over", "all-seen"

// testUsual makes Pods of parts that are usual and unusual. The policy's match condition leaves out
// Pods that are injected as usual, and none of those may be one that the validations refuse.
func testUsual(t *testing.T, c cluster) {
	var chart admissionregistrationv1.ValidatingAdmissionPolicy
	if err := c.Get(t.Context(), client.ObjectKey{Name: "mtls-egress-webhook-injected"}, &chart); err != nil {
		t.Fatal(err)
	}
	refuseAll := chart.Spec.DeepCopy()
	refuseAll.Variables = nil
	refuseAll.Validations = []admissionregistrationv1.Validation{{Expression: "false"}}
	showAll := chart.Spec.DeepCopy()
	showAll.MatchConditions[0].Expression = "'mtls.egress/target' in object.metadata.?annotations.orValue({}) || " +
		"object.metadata.?labels.orValue({}).exists(key, key == 'mtls.egress/injected' || key.startsWith('to.mtls.egress/'))"
	// Only this validation shows that the variant is in force, as the chart's policy has the
	// others too.
	showAll.Validations = append(showAll.Validations, admissionregistrationv1.Validation{
		Expression: "object.metadata.name != 'in-force'",
	})
	c.variant(t, passedOver, *refuseAll)
	c.variant(t, allSeen, *showAll)

	const seed = 1
	random := rand.New(rand.NewPCG(seed, seed)) // the same Pods in each run
	passed, seen := 0, 0
	for range 500 {
		pod, parts := randomPod(random)
		if c.denied(t, pod, passedOver) {
			seen++
			if parts == usual {
				t.Errorf("the validations see a usual Pod for %s", pod.Annotations[egress.AnnotationTarget])
			}
			continue
		}
		passed++
		if c.denied(t, pod, allSeen) {
			t.Errorf("the validations don't see a Pod that they refuse, with %s", parts)
		}
	}
	t.Logf("%d Pods passed over, %d seen by the validations", passed, seen)
	if passed < 100 || seen < 100 {
		t.Error("want at least a hundred of each")
	}
}

// variant creates a namespace and a policy in it, and waits until the policy is in force.
func (c cluster) variant(t *testing.T, name string, spec admissionregistrationv1.ValidatingAdmissionPolicySpec) {
	t.Helper()
	c.namespace(t, name, nil)
	metadata := metav1.ObjectMeta{Name: name}
	for _, object := range []client.Object{
		&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metadata, Spec: spec},
		&admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metadata, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
				MatchResources: &admissionregistrationv1.MatchResources{
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: name}},
				},
			},
		},
	} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	await.True(t, "the policy of "+name+" refuses", func(ctx context.Context) bool {
		pod := injectedPod(name, "in-force")
		// An unusual spelling, which the validations of both variants see.
		pod.Annotations[egress.AnnotationTarget] += "."
		return denied(c.Create(ctx, pod, client.DryRunAll), name)
	})
}

// denied reports whether a Pod is refused in a namespace.
func (c cluster) denied(t *testing.T, pod *corev1.Pod, namespace string) bool {
	t.Helper()
	pod = pod.DeepCopy()
	pod.Namespace = namespace
	err := c.Create(t.Context(), pod, client.DryRunAll)
	if err != nil && !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
		t.Fatalf("%s: %v", apierrors.ReasonForError(err), err)
	}
	return err != nil
}

// usual describes a Pod as the webhook leaves it.
const usual = "nothing unusual"

// randomPod returns a Pod that is injected for some hosts, with up to two unusual parts, and their
// description.
func randomPod(random *rand.Rand) (pod *corev1.Pod, parts string) {
	pod = newPod("", "pod", map[string]string{})
	hosts := []string{"external.system.com", "api.example.org", longHost(63)}[:1+random.IntN(3)]
	pod.Annotations[egress.AnnotationTarget] = strings.Join(hosts, ",")
	pod.Labels = labelsFor(hosts...)
	pod.Labels["app"] = "shop"
	for _, host := range hosts {
		pod.Spec.HostAliases = append(pod.Spec.HostAliases, alias(host))
	}
	volume(pod)
	pod.Spec.InitContainers = []corev1.Container{{Name: "istio-proxy", Image: "proxy"}}
	mount(&pod.Spec.InitContainers[0], "/etc/istio/proxy", "/etc/istio/pod", "/var/run/secrets/tokens")
	mount(&pod.Spec.Containers[0], "/var/run/secrets/kubernetes.io/serviceaccount")

	changes := unusualParts(random)
	names := slices.Sorted(maps.Keys(changes))
	var picked []string
	for range random.IntN(3) {
		name := names[random.IntN(len(names))]
		changes[name](pod)
		picked = append(picked, name)
	}
	if len(picked) == 0 {
		return pod, usual
	}
	return pod, strings.Join(picked, " and ")
}

// unusualParts are changes of a Pod by their description.
func unusualParts(random *rand.Rand) map[string]func(*corev1.Pod) {
	label := func(host, value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Labels[egress.HostLabel(host)] = value }
	}
	asks := func(change func(value string) string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Annotations[egress.AnnotationTarget] = change(pod.Annotations[egress.AnnotationTarget])
		}
	}
	anAlias := func(change func(*corev1.HostAlias)) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			if len(pod.Spec.HostAliases) > 0 {
				change(&pod.Spec.HostAliases[random.IntN(len(pod.Spec.HostAliases))])
			}
		}
	}
	mounts := func(path string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			container := &pod.Spec.Containers[0]
			if random.IntN(2) == 0 {
				container = &pod.Spec.InitContainers[0]
			}
			mount(container, path)
		}
	}
	changes := map[string]func(*corev1.Pod){
		"a port":         asks(func(value string) string { return value + ":8443" }),
		"a trailing dot": asks(func(value string) string { return value + "." }),
		"upper case":     asks(strings.ToUpper),
		"spaces": asks(func(value string) string {
			return " " + strings.ReplaceAll(value, ",", ",\n")
		}),
		"a host twice":                 asks(func(value string) string { return value + "," + value }),
		"an empty entry":               asks(func(value string) string { return value + "," }),
		"one host more":                asks(func(value string) string { return value + ",other.example.org" }),
		"a host of 64 characters more": asks(func(value string) string { return value + "," + longHost(64) }),
		"one host fewer": asks(func(value string) string {
			_, rest, _ := strings.Cut(value, ",")
			return rest
		}),
		"no annotation":             func(pod *corev1.Pod) { delete(pod.Annotations, egress.AnnotationTarget) },
		"a long annotation":         asks(func(value string) string { return value + strings.Repeat(" ", 2000) }),
		"no label of the injection": func(pod *corev1.Pod) { delete(pod.Labels, egress.LabelInjected) },
		"a false label":             func(pod *corev1.Pod) { pod.Labels[egress.LabelInjected] = "false" },
		"a host's label less": func(pod *corev1.Pod) {
			delete(pod.Labels, egress.HostLabel("external.system.com"))
		},
		"a host's false label":           label("external.system.com", "false"),
		"another host's label":           label("other.example.org", egress.LabelValue),
		"another host's shortened label": label(longHost(64), egress.LabelValue),
		"hundreds of labels":             func(pod *corev1.Pod) { addOthersLabels(pod, 200) },
		"hundreds of hosts' labels":      func(pod *corev1.Pod) { addLabels(pod, 200) },
		"hostNetwork":                    func(pod *corev1.Pod) { pod.Spec.HostNetwork = true },
		"no alias":                       func(pod *corev1.Pod) { pod.Spec.HostAliases = nil },
		"an alias elsewhere":             anAlias(func(alias *corev1.HostAlias) { alias.IP = "10.0.0.1" }),
		"an alias of IPv6":               anAlias(func(alias *corev1.HostAlias) { alias.IP = "fd00::1" }),
		"an alias with other names": anAlias(func(alias *corev1.HostAlias) {
			alias.Hostnames = []string{"db", "external.system.com"}
		}),
		"an alias without names": anAlias(func(alias *corev1.HostAlias) { alias.Hostnames = nil }),
		"a second address": func(pod *corev1.Pod) {
			pod.Spec.HostAliases = append(pod.Spec.HostAliases,
				corev1.HostAlias{IP: "10.0.0.1", Hostnames: []string{"external.system.com"}})
		},
		"an alias of the user's": func(pod *corev1.Pod) {
			pod.Spec.HostAliases = append(pod.Spec.HostAliases, corev1.HostAlias{IP: "10.0.0.1", Hostnames: []string{"db"}})
		},
		"a hundred aliases": func(pod *corev1.Pod) {
			for n := range 100 {
				pod.Spec.HostAliases = append(pod.Spec.HostAliases,
					corev1.HostAlias{IP: "10.0.0.1", Hostnames: []string{fmt.Sprint("db-", n)}})
			}
		},
	}
	for _, path := range []string{
		"/", "/etc", "/etc/", "/etc/hosts", "//etc/hosts", "/./etc/hosts", "/etc/./hosts", "/etc/hosts/", "/tmp/../etc/hosts",
		"/etc/nsswitch.conf", "/etc/hosts.d", "/app/.cache", "/data//files", "etc/hosts", "data",
	} {
		changes["a mount at "+path] = mounts(path)
	}
	return changes
}
