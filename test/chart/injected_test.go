package chart

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
)

func testInjected(t *testing.T, c cluster) {
	c.namespace(t, "project", nil)
	const policy = "mtls-egress-webhook-injected"
	refused := func(namespace, hosts string) string {
		return fmt.Sprintf(
			`pods "pod" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: the Pod asks `+
				`for mutual TLS (annotation mtls.egress/target), but it was not injected for %s, so its calls could `+
				`leave in plain text. Either the webhook 0-mtls-egress-webhook was not called, because it was down `+
				`while its failurePolicy is Ignore or because it does not serve the namespace %s, or something changed `+
				`the Pod after the webhook. Create the Pod again when the webhook runs and serves the namespace; remove `+
				`the annotation if the Pod needs no mutual TLS`,
			policy, policy, hosts, namespace,
		)
	}
	hostNetwork := fmt.Sprintf(
		`pods "pod" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: a Pod `+
			`with hostNetwork: true has no sidecar, so there is no mutual TLS for it (annotation `+
			`mtls.egress/target): remove hostNetwork or the annotation`,
		policy, policy,
	)
	ownHosts := func(containers string) string {
		return fmt.Sprintf(
			`pods "pod" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: the Pod asks for `+
				`mutual TLS (annotation mtls.egress/target), but something is mounted at /etc/hosts, /etc/nsswitch.conf, `+
				`/etc or /, or at a path with .., in %s, where the host aliases may then have no effect, so calls could `+
				`leave in plain text. Mount it elsewhere, and write names that it holds into hostAliases; remove the `+
				`annotation if the Pod needs no mutual TLS`,
			policy, policy, containers,
		)
	}
	mounted := func(paths ...string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			mount(&pod.Spec.Containers[0], paths...)
			volume(pod)
		}
	}
	ask := func(pod *corev1.Pod, value string) {
		pod.Annotations = map[string]string{egress.AnnotationTarget: value}
	}
	askInjected := func(pod *corev1.Pod, hosts ...string) {
		ask(pod, strings.Join(hosts, ","))
		pod.Labels = labelsFor(hosts...)
		pod.Spec.HostAliases = nil
		for _, host := range hosts {
			pod.Spec.HostAliases = append(pod.Spec.HostAliases, alias(host))
		}
	}
	forged := func(labels ...string) string {
		return fmt.Sprintf(
			`pods "pod" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: the Pod has `+
				`the label %s, which its annotation mtls.egress/target does not ask for. The webhook `+
				`0-mtls-egress-webhook sets these labels itself, so remove them from the Pod or its template; to call a `+
				`host over mutual TLS, write the host into the annotation`,
			policy, policy, strings.Join(labels, ", "),
		)
	}
	hosts := []string{"external.system.com", "api.example.org"}
	otherHash := egress.HostLabel(longHost(64))
	otherHash = otherHash[:len(otherHash)-10] + "0123456789"

	tests := map[string]struct {
		namespace string // default: project
		change    func(pod *corev1.Pod)
		want      string
		or        string // the same with the labels in another order, as an expression iterates over a map in any
	}{
		"injected": {change: func(*corev1.Pod) {}},
		"a plain Pod": {change: func(pod *corev1.Pod) {
			*pod = *newPod("project", "pod", nil)
		}},
		"a plain Pod with hostNetwork": {change: func(pod *corev1.Pod) {
			*pod = *newPod("project", "pod", map[string]string{"example.com/a": "b"})
			pod.Spec.HostNetwork = true
		}},
		"a Pod with another annotation of ours": {change: func(pod *corev1.Pod) {
			*pod = *newPod("project", "pod", map[string]string{"mtls.egress/targets": "external.system.com"})
		}},
		"two hosts, injected, in every way to write them": {change: func(pod *corev1.Pod) {
			ask(pod, " External.System.COM.:8443 ,\n\tapi.example.org.\n")
			pod.Labels = labelsFor(hosts...)
			pod.Spec.HostAliases = []corev1.HostAlias{alias(hosts[0]), alias(hosts[1])}
		}},
		"one host, written twice": {
			change: func(pod *corev1.Pod) { ask(pod, "external.system.com, external.system.com:443") },
		},
		"labels of other people's": {change: func(pod *corev1.Pod) {
			pod.Labels["to.mtls.egress.example.com/other.system.com"] = "true"
			pod.Labels["mtls.egress/team"] = "shop"
		}},
		"a host that is as long as a label can be": {change: func(pod *corev1.Pod) { askInjected(pod, longHost(63)) }},
		"a host that is too long for a label":      {change: func(pod *corev1.Pod) { askInjected(pod, longHost(64)) }},
		"the longest host":                         {change: func(pod *corev1.Pod) { askInjected(pod, longHost(253)) }},
		"long and short hosts": {change: func(pod *corev1.Pod) {
			askInjected(pod, longHost(64), "api.example.org", longHost(65), "external.system.com")
		}},
		"hosts that are cut where a hyphen, a dot, or several of them stand": {change: func(pod *corev1.Pod) {
			askInjected(pod, strings.Repeat("a", 51)+"-b."+longHost(63), strings.Repeat("a", 51)+".b."+longHost(63),
				strings.Repeat("a", 20)+strings.Repeat("-", 35)+"b."+longHost(63))
		}},
		"the user's alias for another host": {change: func(pod *corev1.Pod) {
			pod.Spec.HostAliases = append(pod.Spec.HostAliases,
				corev1.HostAlias{IP: "10.0.0.1", Hostnames: []string{"db.internal"}})
		}},
		"one alias with several names": {change: func(pod *corev1.Pod) {
			pod.Spec.HostAliases[0].Hostnames = []string{"other", hosts[0]}
		}},
		"mounts close to /etc/hosts": {change: func(pod *corev1.Pod) {
			mount(&pod.Spec.Containers[0], "/etc/hosts.d", "/hosts", "/opt/etc/hosts", "/etc/hosts/more", "/etc/hostname",
				"/nsswitch.conf", "/etc/..data")
			pod.Spec.InitContainers = []corev1.Container{{Name: "copy", Image: "copy"}}
			mount(&pod.Spec.InitContainers[0], "/tmp/hosts")
			volume(pod)
		}},
		"a plain Pod with a mount at /etc/hosts": {change: func(pod *corev1.Pod) {
			*pod = *newPod("project", "pod", nil)
			mount(&pod.Spec.Containers[0], "/etc/hosts")
			volume(pod)
		}},
		"an alias without names": {change: func(pod *corev1.Pod) {
			pod.Spec.HostAliases = append(pod.Spec.HostAliases, corev1.HostAlias{IP: "10.0.0.1"})
		}},

		"not injected": {
			change: func(pod *corev1.Pod) { *pod = *newPod("project", "pod", pod.Annotations) },
			want:   refused("project", hosts[0]),
		},
		"not injected in a namespace that the webhook leaves out": {
			namespace: "kube-system",
			change:    func(pod *corev1.Pod) { *pod = *newPod("kube-system", "pod", pod.Annotations) },
			want:      refused("kube-system", hosts[0]),
		},
		"the label of the host is missing": {
			change: func(pod *corev1.Pod) { delete(pod.Labels, egress.HostLabel(hosts[0])) }, want: refused("project", hosts[0]),
		},
		"the label of the host says something else": {
			change: func(pod *corev1.Pod) { pod.Labels[egress.HostLabel(hosts[0])] = "" }, want: refused("project", hosts[0]),
		},
		"the label of a long host is missing": {
			change: func(pod *corev1.Pod) {
				askInjected(pod, longHost(64), longHost(65))
				delete(pod.Labels, egress.HostLabel(longHost(64)))
			},
			want: refused("project", longHost(64)),
		},
		"labels without the annotation": {
			change: func(pod *corev1.Pod) { pod.Annotations = nil },
			want:   forged(egress.LabelInjected, egress.HostLabel(hosts[0])),
			or:     forged(egress.HostLabel(hosts[0]), egress.LabelInjected),
		},
		"labels without the annotation, where the webhook isn't called": {
			namespace: "kube-system",
			change:    func(pod *corev1.Pod) { pod.Annotations = nil; delete(pod.Labels, egress.HostLabel(hosts[0])) },
			want:      forged(egress.LabelInjected),
		},
		"labels without the annotation, that say no": {
			change: func(pod *corev1.Pod) {
				*pod = *newPod("project", "pod", nil)
				pod.Labels = map[string]string{egress.HostLabel(hosts[0]): "false"}
			},
			want: forged(egress.HostLabel(hosts[0])),
		},
		"labels without the annotation, in the host's network": {
			change: func(pod *corev1.Pod) {
				pod.Annotations, pod.Labels = nil, map[string]string{egress.LabelInjected: egress.LabelValue}
				pod.Spec.HostNetwork = true
			},
			want: forged(egress.LabelInjected),
		},
		"a label for a host that the annotation doesn't have": {
			change: func(pod *corev1.Pod) { pod.Labels[egress.HostLabel(hosts[1])] = egress.LabelValue },
			want:   forged(egress.HostLabel(hosts[1])),
		},
		"a label in upper case": {
			change: func(pod *corev1.Pod) { pod.Labels["to.mtls.egress/External.System.com"] = egress.LabelValue },
			want:   forged("to.mtls.egress/External.System.com"),
		},
		"a label for a long host that the annotation doesn't have": {
			change: func(pod *corev1.Pod) { pod.Labels[egress.HostLabel(longHost(64))] = egress.LabelValue },
			want:   forged(egress.HostLabel(longHost(64))),
		},
		"a label that is only like that of a short host": {
			change: func(pod *corev1.Pod) { pod.Labels[egress.HostLabel(hosts[0])+"-0123456789"] = egress.LabelValue },
			want:   forged(egress.HostLabel(hosts[0]) + "-0123456789"),
		},
		"a label that is only like that of a long host": {
			change: func(pod *corev1.Pod) {
				askInjected(pod, longHost(100), hosts[0])
				pod.Labels["to.mtls.egress/"+longHost(100)[:40]+"-0123456789"] = egress.LabelValue
			},
			want: forged("to.mtls.egress/" + longHost(100)[:40] + "-0123456789"),
		},
		"the label of a long host, and another one that only its hash tells from it": {
			change: func(pod *corev1.Pod) {
				askInjected(pod, longHost(64))
				pod.Labels = map[string]string{egress.LabelInjected: egress.LabelValue}
				pod.Labels[egress.HostLabel(longHost(64))], pod.Labels[otherHash] = egress.LabelValue, egress.LabelValue
			},
			want: forged(otherHash, egress.HostLabel(longHost(64))),
			or:   forged(egress.HostLabel(longHost(64)), otherHash),
		},
		"the label is missing": {
			change: func(pod *corev1.Pod) { pod.Labels = nil },
			want:   refused("project", hosts[0]),
		},
		"the label says something else": {
			change: func(pod *corev1.Pod) { pod.Labels[egress.LabelInjected] = "false" },
			want:   refused("project", hosts[0]),
		},
		"the label was written by hand": {
			change: func(pod *corev1.Pod) { pod.Spec.HostAliases = nil },
			want:   refused("project", hosts[0]),
		},
		"one host of two": {
			change: func(pod *corev1.Pod) { ask(pod, "external.system.com, api.example.org:8443") },
			want:   refused("project", hosts[1]),
		},
		"no host of two": {
			change: func(pod *corev1.Pod) { ask(pod, "external.system.com,api.example.org"); pod.Spec.HostAliases = nil },
			want:   refused("project", "external.system.com, api.example.org"),
		},
		"the name leads elsewhere": {
			change: func(pod *corev1.Pod) { pod.Spec.HostAliases[0].IP = "203.0.113.7" },
			want:   refused("project", hosts[0]),
		},
		"the name leads to IPv6": {
			change: func(pod *corev1.Pod) { pod.Spec.HostAliases[0].IP = "2400::1" },
			want:   refused("project", hosts[0]),
		},
		"just below class E": {
			change: func(pod *corev1.Pod) { pod.Spec.HostAliases[0].IP = "239.255.255.255" },
			want:   refused("project", hosts[0]),
		},
		"an address that only starts so": {
			change: func(pod *corev1.Pod) { pod.Spec.HostAliases[0].IP = "24.0.0.1" },
			want:   refused("project", hosts[0]),
		},
		"the name leads elsewhere too": {
			change: func(pod *corev1.Pod) {
				pod.Spec.HostAliases = append(pod.Spec.HostAliases, corev1.HostAlias{IP: "203.0.113.7", Hostnames: hosts[:1]})
			},
			want: refused("project", hosts[0]),
		},
		"the alias is for a longer name": {
			change: func(pod *corev1.Pod) { pod.Spec.HostAliases[0].Hostnames[0] = "www.external.system.com" },
			want:   refused("project", hosts[0]),
		},
		"an empty entry": {
			change: func(pod *corev1.Pod) { ask(pod, "external.system.com,") },
			want:   refused("project", ""),
		},
		"an empty annotation": {
			change: func(pod *corev1.Pod) { ask(pod, ""); pod.Labels = labelsFor() },
			want:   refused("project", ""),
		},
		"hostNetwork":           {change: func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }, want: hostNetwork},
		"a mount at /etc/hosts": {change: mounted("/etc/hosts"), want: ownHosts("app")},
		"a mount at /etc/hosts with a trailing slash":   {change: mounted("/etc/hosts/"), want: ownHosts("app")},
		"a mount at /etc/hosts with slashes everywhere": {change: mounted("//etc///hosts//"), want: ownHosts("app")},
		"a mount at /etc/hosts with dots":               {change: mounted("/./etc/./hosts/."), want: ownHosts("app")},
		"a mount at /etc/hosts without the first slash": {change: mounted("etc/hosts"), want: ownHosts("app")},
		"a mount at /etc/hosts after others":            {change: mounted("/tmp", "/etc/hosts"), want: ownHosts("app")},
		"a mount at /etc/nsswitch.conf":                 {change: mounted("/etc/nsswitch.conf"), want: ownHosts("app")},
		"a mount at /etc/nsswitch.conf in another spelling": {
			change: mounted("etc/.//nsswitch.conf/"),
			want:   ownHosts("app"),
		},
		"a mount at /etc":           {change: mounted("/etc"), want: ownHosts("app")},
		"a mount at /":              {change: mounted("/"), want: ownHosts("app")},
		"a mount at a path with ..": {change: mounted("/data/../etc/hosts"), want: ownHosts("app")},
		"containers named like Istio's with a mount at /etc/hosts": {
			change: func(pod *corev1.Pod) {
				pod.Spec.Containers[0].Name = "istio-proxy"
				pod.Spec.InitContainers = []corev1.Container{{Name: "istio-init", Image: "init"}}
				mount(&pod.Spec.Containers[0], "/etc/hosts")
				mount(&pod.Spec.InitContainers[0], "/etc/hosts")
				volume(pod)
			},
			want: ownHosts("istio-proxy, istio-init"),
		},
		"init containers with a mount at /etc/hosts": {
			change: func(pod *corev1.Pod) {
				pod.Spec.InitContainers = []corev1.Container{
					{Name: "first", Image: "first"},
					{Name: "second", Image: "second"},
					{Name: "third", Image: "third"},
				}
				mount(&pod.Spec.InitContainers[0], "/etc/hosts")
				mount(&pod.Spec.InitContainers[2], "/etc/hosts")
				volume(pod)
			},
			want: ownHosts("first, third"),
		},
		"a value of which no message can tell": {
			change: func(pod *corev1.Pod) { ask(pod, strings.Repeat("a", 6000)+".com"); pod.Labels = labelsFor() },
			want: fmt.Sprintf(
				`pods "pod" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: the Pod asks `+
					`for mutual TLS (annotation mtls.egress/target), but the webhook 0-mtls-egress-webhook has not injected `+
					`it, so its calls could leave in plain text`,
				policy, policy,
			),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := injectedPod("project", "pod")
			test.change(pod)
			if test.namespace != "" {
				pod.Namespace = test.namespace
			}
			got := ""
			if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" && (test.or == "" || got != test.or) {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}

	// An expression that costs too much is an error, and an error refuses. Until then it costs the API
	// server's time.
	for name, change := range map[string]func(pod *corev1.Pod){
		"as much in its annotation as an object can have": func(pod *corev1.Pod) { ask(pod, strings.Repeat("a.b,", 60<<10)) },
		"as much in its annotation as the webhook reads":  func(pod *corev1.Pod) { ask(pod, strings.Repeat("a.b,", 2<<10)) },
		"ten thousand labels of hosts":                    func(pod *corev1.Pod) { addLabels(pod, 10_000) },
		"as much of both": func(pod *corev1.Pod) {
			ask(pod, strings.Repeat("a.b,", 2<<10))
			addLabels(pod, 10_000)
		},
	} {
		t.Run("a Pod with "+name+" is refused in some way", func(t *testing.T) {
			pod := injectedPod("project", "pod")
			change(pod)
			start := time.Now()
			if err := c.Create(t.Context(), pod, client.DryRunAll); !denied(err, policy) {
				t.Errorf("error %v", err)
			}
			t.Logf("after %s", time.Since(start).Round(time.Millisecond))
		})
	}

	t.Run("a Pod with ten thousand labels of others is admitted", func(t *testing.T) {
		pod := newPod("project", "pod", nil)
		pod.Labels = map[string]string{}
		addOthersLabels(pod, 10_000)
		start := time.Now()
		if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Error(err)
		}
		t.Logf("after %s", time.Since(start).Round(time.Millisecond))
	})

	// The policy asks for any address of class E; the ones that the webhook gives have to be among
	// them.
	t.Run("every sinkhole address will do", func(t *testing.T) {
		pod := injectedPod("project", "pod")
		var asked []string
		pod.Spec.HostAliases = nil
		for i := range 300 {
			host := fmt.Sprintf("h%d.example.com", i)
			asked = append(asked, host)
			pod.Spec.HostAliases = append(pod.Spec.HostAliases, alias(host))
		}
		for _, ip := range []string{"240.0.0.0", "249.255.255.255", "250.0.0.0", "255.255.255.255"} {
			host := strings.ReplaceAll(ip, ".", "-") + ".example.com"
			asked = append(asked, host)
			pod.Spec.HostAliases = append(pod.Spec.HostAliases, corev1.HostAlias{IP: ip, Hostnames: []string{host}})
		}
		for i := 0; i < len(asked); i += egress.MaxTargets {
			few := pod.DeepCopy()
			end := min(i+egress.MaxTargets, len(asked))
			ask(few, strings.Join(asked[i:end], ","))
			few.Labels = labelsFor(asked[i:end]...)
			few.Spec.HostAliases = few.Spec.HostAliases[i:end]
			if err := c.Create(t.Context(), few, client.DryRunAll); err != nil {
				t.Error(err)
			}
		}
	})
}

func testInjectedLater(t *testing.T, c cluster) {
	const policy = "mtls-egress-webhook-injected"
	refused := func(hosts string) string {
		return fmt.Sprintf(
			`ValidatingAdmissionPolicy '%s' with binding '%s' denied request: the annotation mtls.egress/target asks for `+
				`mutual TLS, but the Pod was not injected for %s when it was created. Volumes and host aliases cannot be `+
				`added to an existing Pod, so its calls could leave in plain text. Create the Pod again with the annotation, `+
				`or annotate the workload that creates it`,
			policy, policy, hosts,
		)
	}
	asks := func(value string) map[string]string { return map[string]string{egress.AnnotationTarget: value} }
	const host = "external.system.com"
	kept := func(pod string) string {
		return fmt.Sprintf(
			`ValidatingAdmissionPolicy '%s' with binding '%s' denied request: the labels mtls.egress/injected and `+
				`to.mtls.egress/HOST and the annotations mtls.egress/target and mtls.egress/secret of the Pod %s cannot be `+
				`changed while it exists: its sidecar depends on them, so calls would fail or leave in plain text. Change the `+
				`annotations of the workload that creates the Pod, or delete the Pod and create it again`,
			policy, policy, pod,
		)
	}
	forged := func(label string) string {
		return fmt.Sprintf(
			`ValidatingAdmissionPolicy '%s' with binding '%s' denied request: the Pod has the label %s, which its annotation `+
				`mtls.egress/target does not ask for. The webhook 0-mtls-egress-webhook sets these labels itself, so remove them `+
				`from the Pod or its template; to call a host over mutual TLS, write the host into the annotation`,
			policy, policy, label,
		)
	}

	tests := map[string]struct {
		pod    string
		change func(pod *corev1.Pod)
		want   string
	}{
		"the annotation comes": {
			pod: "plain", change: func(pod *corev1.Pod) { pod.Annotations = asks(host) }, want: refused(host),
		},
		"the annotation comes to others": {
			pod:    "noted",
			change: func(pod *corev1.Pod) { pod.Annotations[egress.AnnotationTarget] = host },
			want:   refused(host),
		},
		"the annotation comes with the label": {
			pod: "plain",
			change: func(pod *corev1.Pod) {
				pod.Annotations = asks(host)
				pod.Labels = labelsFor(host)
			},
			want: refused(host),
		},
		"another host": {
			pod: "injected", change: func(pod *corev1.Pod) { pod.Annotations = asks("api.example.org") }, want: kept("injected"),
		},
		"one more host": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Annotations = asks(host + ",api.example.org:8443,example.com") },
			want:   kept("injected"),
		},
		"an empty annotation": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Annotations = asks("") },
			want:   kept("injected"),
		},
		"several hosts come": {
			pod:    "not-injected",
			change: func(pod *corev1.Pod) { pod.Annotations = asks(host + ",api.example.org:8443,example.com") },
			want:   refused(host + ", api.example.org, example.com"),
		},
		"an empty annotation comes": {
			pod:    "plain",
			change: func(pod *corev1.Pod) { pod.Annotations = asks("") },
			want:   refused(""),
		},
		"the annotation changes and the label goes": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Annotations, pod.Labels = asks(host+":443"), nil },
			want:   kept("injected"),
		},
		"an Pod that was not injected gets another host": {
			pod:    "not-injected",
			change: func(pod *corev1.Pod) { pod.Annotations = asks("api.example.org") },
			want:   refused("api.example.org"),
		},
		"a host of which no message can tell": {
			pod: "plain", change: func(pod *corev1.Pod) { pod.Annotations = asks(strings.Repeat("a", 6000) + ".com") },
			want: fmt.Sprintf(
				`ValidatingAdmissionPolicy '%s' with binding '%s' denied request: the annotation mtls.egress/target asks for `+
					`mutual TLS, but the Pod was not injected for it when it was created, and volumes and host aliases cannot be `+
					`added to an existing Pod: create the Pod again`,
				policy, policy,
			),
		},

		"the same host, written another way": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Annotations = asks("External.System.com.:443") },
			want:   kept("injected"),
		},
		"the annotation goes": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Annotations = nil },
			want:   kept("injected"),
		},
		"a Secret comes": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Annotations[egress.AnnotationSecret] = "other" },
			want:   kept("injected"),
		},
		"all of it goes": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Annotations, pod.Labels = nil, nil },
			want:   kept("injected"),
		},
		"the label says no": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Labels[egress.LabelInjected] = "false" },
			want:   kept("injected"),
		},
		"the host's label goes": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { delete(pod.Labels, egress.HostLabel(host)) },
			want:   kept("injected"),
		},
		"the host's label says no": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Labels[egress.HostLabel(host)] = "false" },
			want:   kept("injected"),
		},
		"a label for another host comes": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Labels[egress.HostLabel("api.example.org")] = egress.LabelValue },
			want:   kept("injected"),
		},
		"the host's label goes while the Pod is being deleted": {
			pod:    "injected-ending",
			change: func(pod *corev1.Pod) { delete(pod.Labels, egress.HostLabel(host)) },
			want:   kept("injected-ending"),
		},
		"a injected Pod loses its finalizer while it is being deleted": {
			pod: "injected-ending", change: func(pod *corev1.Pod) { pod.Finalizers = nil },
		},
		"a plain Pod gets the label of a host": {
			pod:    "plain",
			change: func(pod *corev1.Pod) { pod.Labels = map[string]string{egress.HostLabel(host): egress.LabelValue} },
			want:   forged(egress.HostLabel(host)),
		},
		"a plain Pod gets the label of all": {
			pod:    "plain",
			change: func(pod *corev1.Pod) { pod.Labels = map[string]string{egress.LabelInjected: egress.LabelValue} },
			want:   forged(egress.LabelInjected),
		},
		"an Pod that was not injected gets the labels": {
			pod:    "not-injected",
			change: func(pod *corev1.Pod) { pod.Labels = labelsFor(host) },
			want:   refused(host),
		},
		"a injected Pod gets other labels, and loses them": {pod: "injected", change: func(pod *corev1.Pod) {
			delete(pod.Labels, "app")
			pod.Labels["statefulset.kubernetes.io/pod-name"], pod.Labels["mtls.egress/team"] = "injected", "shop"
		}},
		"a Pod with labels only, from before, gets another one": {
			pod:    "labeled",
			change: func(pod *corev1.Pod) { pod.Labels["a"] = "b" },
		},
		"the annotation of an Pod that was not injected goes": {
			pod:    "not-injected",
			change: func(pod *corev1.Pod) { pod.Annotations = map[string]string{"a": "b"} },
		},
		"a plain Pod gets a label": {
			pod:    "plain",
			change: func(pod *corev1.Pod) { pod.Labels = map[string]string{"a": "b"} },
		},
		"a plain Pod loses its annotations": {
			pod: "noted", change: func(pod *corev1.Pod) { pod.Annotations = nil },
		},
		"a injected Pod gets another image": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Spec.Containers[0].Image = "newer" },
		},
		"the labels of a injected Pod go": {
			pod:    "injected",
			change: func(pod *corev1.Pod) { pod.Labels = nil },
			want:   kept("injected"),
		},
		"an Pod that was not injected gets another image and another annotation": {
			pod: "not-injected",
			change: func(pod *corev1.Pod) {
				pod.Spec.Containers[0].Image = "newer"
				pod.Annotations["a"] = "b"
			},
		},
		"an Pod that was not injected loses its finalizer while it is being deleted": {
			pod: "ending", change: func(pod *corev1.Pod) { pod.Finalizers = nil },
		},
		// An expression that costs too much is an error, and an error refuses.
		"a Pod with as much in its annotation as an object can have gets a label": {
			pod:    "huge",
			change: func(pod *corev1.Pod) { pod.Labels = map[string]string{"a": "b"} },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{}
			if err := c.Get(t.Context(), client.ObjectKey{Namespace: "later", Name: test.pod}, pod); err != nil {
				t.Fatal(err)
			}
			test.change(pod)
			want := ""
			if test.want != "" {
				want = fmt.Sprintf("pods %q is forbidden: %s", test.pod, test.want)
			}
			got := ""
			if err := c.Update(t.Context(), pod, client.DryRunAll); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// olderPods makes Pods as they can be there when the chart is installed.
func olderPods(t *testing.T, c cluster) {
	t.Helper()
	c.namespace(t, "later", nil)
	asks := func(value string) map[string]string { return map[string]string{egress.AnnotationTarget: value} }
	ending := newPod("later", "ending", asks("external.system.com"))
	injected, injectedEnding := injectedPod("later", "injected"), injectedPod("later", "injected-ending")
	labeled := injectedPod("later", "labeled")
	injected.Labels["app"] = "shop"
	labeled.Annotations = nil
	ending.Finalizers, injectedEnding.Finalizers = []string{"example.com/finalizer"}, []string{"example.com/finalizer"}
	for _, pod := range []*corev1.Pod{
		newPod("later", "plain", nil),
		newPod("later", "noted", map[string]string{"a": "b"}),
		newPod("later", "not-injected", asks("external.system.com")),
		newPod("later", "huge", asks(strings.Repeat("a.b,", 60<<10))),
		injected,
		labeled,
		ending,
		injectedEnding,
	} {
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	for _, pod := range []*corev1.Pod{ending, injectedEnding} {
		if err := c.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
	}
}

func addLabels(pod *corev1.Pod, count int) {
	for n := range count {
		pod.Labels[fmt.Sprintf("%sh%d.example.com", egress.LabelHostPrefix, n)] = egress.LabelValue
	}
}

// addOthersLabels adds labels that look like those of hosts.
func addOthersLabels(pod *corev1.Pod, count int) {
	for n := range count {
		pod.Labels[fmt.Sprintf("to.example.com/h%d.example.com", n)] = egress.LabelValue
	}
}

// longHost is a host of that many characters.
func longHost(length int) string {
	const end = ".example.com"
	host := strings.Repeat("a-long-name-for-a-partner.", 10)[:length-len(end)-1]
	return host + "x" + end
}
