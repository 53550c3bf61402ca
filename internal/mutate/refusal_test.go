package mutate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// annotated returns a Pod that requests external.system.com, modified by change.
func annotated(change func(*corev1.Pod)) corev1.Pod {
	pod := corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        "shop",
			Annotations: map[string]string{"mtls.egress/target": "external.system.com"},
			Labels:      map[string]string{},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "shop:1"}}},
	}
	change(&pod)
	return pod
}

func TestPodIsRefused(t *testing.T) {
	const (
		volumeField = "metadata.annotations[sidecar.istio.io/userVolume]"
		mountField  = "metadata.annotations[sidecar.istio.io/userVolumeMount]"
		traffic     = "metadata.annotations[traffic.sidecar.istio.io/"
		form        = `it takes a JSON list such as [{"name": "a", …}] or a JSON map such as {"a": {…}}`
		volume      = "mtls-egress-external-system-com"
		ownHosts    = "a mount at this path hides the addresses that the webhook sets for the targets, so calls " +
			"could leave in plain text; mount it elsewhere, or use hostAliases for the names"
	)
	const noMode = "interceptionMode: NONE disables the interception of calls; write REDIRECT or remove the field"
	const (
		mountField0 = "spec.containers[0].volumeMounts[0].mountPath: Invalid value: "
		ownSwitch   = "a mount at this path decides whether programs read /etc/hosts, where the webhook sets the " +
			"addresses of the targets, so calls could leave in plain text; mount it elsewhere"
		ownEtc = "a mount at this path replaces /etc/nsswitch.conf, which tells programs to read /etc/hosts " +
			"with the addresses of the targets, so calls could leave in plain text; mount single files below it instead"
	)
	mounted := func(path string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "mine", MountPath: path, SubPath: "file"}}
		}
	}
	annotation := func(name, value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Annotations[name] = value }
	}
	userVolume := func(value string) func(*corev1.Pod) { return annotation("sidecar.istio.io/userVolume", value) }
	userMount := func(value string) func(*corev1.Pod) { return annotation("sidecar.istio.io/userVolumeMount", value) }
	trafficAnnotation := func(name, value string) func(*corev1.Pod) {
		return annotation("traffic.sidecar.istio.io/"+name, value)
	}
	tests := map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"a Pod in the host's network": {
			func(pod *corev1.Pod) { pod.Spec.HostNetwork = true },
			[]string{
				`spec.hostNetwork: Invalid value: "true": a Pod with hostNetwork has no sidecar, which ` +
					`mtls.egress/target needs; remove hostNetwork or the annotation`,
			},
		},
		"injection switched off by label": {
			func(pod *corev1.Pod) { pod.Labels["sidecar.istio.io/inject"] = "false" },
			[]string{
				`metadata.labels[sidecar.istio.io/inject]: Invalid value: "false": turns off sidecar injection, ` +
					`which mtls.egress/target needs; write "true" or remove it`,
			},
		},
		"injection switched off by annotation": {
			annotation("sidecar.istio.io/inject", "false"),
			[]string{
				`metadata.annotations[sidecar.istio.io/inject]: Invalid value: "false": turns off sidecar injection, ` +
					`which mtls.egress/target needs; write "true" or remove it`,
			},
		},
		"injection switched off by a word that Istio doesn't know": {
			annotation("sidecar.istio.io/inject", "enabled"),
			[]string{
				`metadata.annotations[sidecar.istio.io/inject]: Invalid value: "enabled": turns off sidecar ` +
					`injection, which mtls.egress/target needs; write "true" or remove it`,
			},
		},
		"interception switched off": {
			annotation("sidecar.istio.io/interceptionMode", "NONE"),
			[]string{
				`metadata.annotations[sidecar.istio.io/interceptionMode]: Invalid value: "NONE": NONE disables the ` +
					`interception of calls; write REDIRECT or remove the annotation`,
			},
		},
		"the app port excluded": {
			trafficAnnotation("excludeOutboundPorts", "5432, 80"),
			[]string{
				traffic + `excludeOutboundPorts]: Invalid value: "5432, 80": excludes the call to ` +
					`external.system.com from the sidecar; write "5432"`,
			},
		},
		"only the app port excluded": {
			trafficAnnotation("excludeOutboundPorts", "80"),
			[]string{
				traffic + `excludeOutboundPorts]: Invalid value: "80": excludes the call to ` +
					`external.system.com from the sidecar; remove the annotation`,
			},
		},
		"the sinkhole not included": {
			trafficAnnotation("includeOutboundIPRanges", "10.0.0.0/8"),
			[]string{
				traffic + `includeOutboundIPRanges]: Invalid value: "10.0.0.0/8": doesn't include the sinkhole ` +
					`addresses of external.system.com; write "10.0.0.0/8,254.110.240.171/32"`,
			},
		},
		"no address included": {
			trafficAnnotation("includeOutboundIPRanges", ""),
			[]string{
				traffic + `includeOutboundIPRanges]: Invalid value: "": doesn't include the sinkhole addresses of ` +
					`external.system.com; write "254.110.240.171/32"`,
			},
		},
		"the sinkhole excluded": {
			trafficAnnotation("excludeOutboundIPRanges", "10.0.0.0/8,240.0.0.0/4"),
			[]string{
				traffic + `excludeOutboundIPRanges]: Invalid value: "10.0.0.0/8,240.0.0.0/4": excludes the sinkhole ` +
					`addresses of external.system.com from the sidecar; write "10.0.0.0/8"`,
			},
		},
		"every address excluded": {
			trafficAnnotation("excludeOutboundIPRanges", "*"),
			[]string{
				traffic + `excludeOutboundIPRanges]: Invalid value: "*": has "*", which is not an IP range that ` +
					`istio-iptables accepts; write ranges such as 10.0.0.0/8`,
			},
		},
		"the sinkhole excluded as a single address": {
			trafficAnnotation("excludeOutboundIPRanges", "254.110.240.171"),
			[]string{
				traffic + `excludeOutboundIPRanges]: Invalid value: "254.110.240.171": has "254.110.240.171", which ` +
					`is not an IP range that istio-iptables accepts; write ranges such as 10.0.0.0/8`,
			},
		},
		"the app port excluded in octal, as iptables reads it": {
			trafficAnnotation("excludeOutboundPorts", "0120"),
			[]string{
				traffic + `excludeOutboundPorts]: Invalid value: "0120": has "0120", which is not a port that ` +
					`istio-iptables accepts; write decimal numbers such as 8080`,
			},
		},
		"more rules behind an included port": {
			trafficAnnotation("includeOutboundPorts", `80 -j RETURN\n-A ISTIO_OUTPUT -p tcp --dport 1,80`),
			[]string{
				traffic + `includeOutboundPorts]: Invalid value: "80 -j RETURN\\n-A ISTIO_OUTPUT -p tcp --dport ` +
					`1,80": has "80 -j RETURN\\n-A ISTIO_OUTPUT -p tcp --dport 1", which is not a port that ` +
					`istio-iptables accepts; write decimal numbers such as 8080`,
			},
		},
		"interfaces by a wildcard of iptables": {
			trafficAnnotation("excludeInterfaces", "eth+"),
			[]string{
				traffic + `excludeInterfaces]: Invalid value: "eth+": has "eth+", which is not an interface that ` +
					`istio-iptables accepts; write names such as net1`,
			},
		},
		"the port included, but its addresses excluded": {
			func(pod *corev1.Pod) {
				pod.Annotations["traffic.sidecar.istio.io/includeOutboundPorts"] = "80"
				pod.Annotations["traffic.sidecar.istio.io/excludeOutboundIPRanges"] = "240.0.0.0/4"
			},
			[]string{
				traffic + `excludeOutboundIPRanges]: Invalid value: "240.0.0.0/4": excludes the sinkhole addresses ` +
					`of external.system.com from the sidecar; remove the annotation`,
			},
		},
		"an alias of the user's for the host": {func(pod *corev1.Pod) {
			pod.Spec.HostAliases = []corev1.HostAlias{
				{IP: "10.0.0.7", Hostnames: []string{"printer.local", "EXTERNAL.system.com."}},
			}
		}, []string{`spec.hostAliases[0]: Invalid value: "10.0.0.7": gives external.system.com another address, so ` +
			`calls would bypass the sidecar; remove the host, because the webhook maps it to 254.110.240.171`}},
		"a label of ours with another value": {
			func(pod *corev1.Pod) { pod.Labels["to.mtls.egress/external.system.com"] = "false" },
			[]string{
				`metadata.labels[to.mtls.egress/external.system.com]: Invalid value: "false": the label is reserved ` +
					`for the webhook; remove it`,
			},
		},
		"our volume name in spec.volumes for something else": {func(pod *corev1.Pod) {
			pod.Spec.Volumes = []corev1.Volume{
				{Name: "data"},
				{Name: volume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			}
		}, []string{`spec.volumes[1]: Invalid value: "` + volume + `": a volume of this name exists with other ` +
			`content; the webhook uses the name for the Secret external-system-mtls-data; rename your volume`}},
		"our volume name in a list for another Secret": {
			userVolume(`[{"name":"` + volume + `","secret":{"secretName":"other"}}]`),
			[]string{
				volumeField + `: Invalid value: "` + volume + `": a volume of this name exists with other content; ` +
					`the webhook uses the name for the Secret external-system-mtls-data; rename your volume`,
			},
		},
		"our volume name in a map, optional": {
			userVolume(`{"` + volume + `":{"secret":{"secretName":"external-system-mtls-data","optional":true}}}`),
			[]string{
				volumeField + `: Invalid value: "` + volume + `": a volume of this name exists with other content; ` +
					`the webhook uses the name for the Secret external-system-mtls-data; rename your volume`,
			},
		},
		"our path in a list for another volume": {
			userMount(`[{"name":"theirs","mountPath":"/etc/mtls-egress/external.system.com/"}]`),
			[]string{
				mountField + `: Invalid value: "/etc/mtls-egress/external.system.com": another volume is mounted at ` +
					`this path (volume "theirs"); the webhook mounts the volume ` + volume + ` there, read-only and ` +
					`without subPath; move your mount`,
			},
		},
		"our path and volume, but writable": {
			userMount(`[{"name":"` + volume + `","mountPath":"/etc/mtls-egress/external.system.com"}]`),
			[]string{
				mountField + `: Invalid value: "/etc/mtls-egress/external.system.com": another volume is ` +
					`mounted at this path (volume "` + volume + `"); the webhook mounts the volume ` + volume +
					` there, read-only and without subPath; move your mount`,
			},
		},
		"our path and volume, but of one file only": {
			userMount(
				`[{"name":"` + volume + `","mountPath":"/etc/mtls-egress/external.system.com","readOnly":true,"subPath":"cert"}]`,
			),
			[]string{
				mountField + `: Invalid value: "/etc/mtls-egress/external.system.com": another volume is ` +
					`mounted at this path (volume "` + volume + `"); the webhook mounts the volume ` + volume +
					` there, read-only and without subPath; move your mount`,
			},
		},
		"our volume mounted elsewhere in a map": {
			userMount(`{"` + volume + `":{"mountPath":"/elsewhere"}}`),
			[]string{
				mountField + `: Invalid value: "` + volume + `": the map already mounts this volume at another path, ` +
					`and a map has each name only once; the webhook mounts it at ` +
					`/etc/mtls-egress/external.system.com, so remove your entry or use the list form`,
			},
		},
		"volumes that are a string": {
			userVolume(`"theirs"`),
			[]string{volumeField + `: Invalid value: "\"theirs\"": is neither a list nor a map; ` + form},
		},
		"volumes that are a number": {
			userVolume("7"),
			[]string{volumeField + `: Invalid value: "7": is neither a list nor a map; ` + form},
		},
		"volumes in YAML": {
			userVolume("- name: theirs"),
			[]string{volumeField + `: Invalid value: "- name: theirs": is not JSON (at character 2); ` + form},
		},
		"volumes cut short": {
			userVolume(`[{"name":"theirs"`),
			[]string{volumeField + `: Invalid value: "[{\"name\":\"theirs\"": is not complete JSON; ` + form},
		},
		"volumes with a second value behind": {
			userVolume(`[] []`),
			[]string{volumeField + `: Invalid value: "[] []": has text after the closing bracket; ` + form},
		},
		"a trailing comma": {
			userVolume(`[{"name":"a"},]`),
			[]string{volumeField + `: Invalid value: "[{\"name\":\"a\"},]": is not JSON (at character 13); ` + form},
		},
		"a list of strings": {
			userVolume(`["theirs"]`),
			[]string{
				volumeField + `: Invalid value: "[\"theirs\"]": has an entry (0) that is not a JSON object; ` + form,
			},
		},
		"a name that turns the message around": {
			userVolume(`{"\u202ea":"theirs"}`),
			[]string{
				volumeField + `: Invalid value: "{\"\\u202ea\":\"theirs\"}": has an entry (�a) ` +
					`that is not a JSON object; ` + form,
			},
		},
		"a map of strings": {
			userVolume(`{"a":"theirs"}`),
			[]string{
				volumeField + `: Invalid value: "{\"a\":\"theirs\"}": has an entry (a) that is not a JSON object; ` +
					form,
			},
		},
		"a name that is not a string": {
			userVolume(`[{"name":7}]`),
			[]string{volumeField + `: Invalid value: "[{\"name\":7}]": has an entry (0) whose name is not a string`},
		},
		"a volume that Kubernetes can't read": {
			userVolume(`[{"name":"a","secret":"x"}]`),
			[]string{
				volumeField + `: Invalid value: "a": is not a valid volume; see ` +
					`https://kubernetes.io/docs/concepts/storage/volumes/`,
			},
		},
		"a mount that Kubernetes can't read": {
			userMount(`{"a":{"mountPath":7}}`),
			[]string{
				mountField + `: Invalid value: "a": is not a valid volume mount: write name, mountPath and ` +
					`optionally readOnly and subPath`,
			},
		},
		"two volumes of one name in a list": {
			userVolume(`[{"name":"a"},{"name":"a"}]`),
			[]string{volumeField + `: Invalid value: "a": two volumes have this name; rename one`},
		},
		"two volumes of one name in a map": {
			userVolume(`{"a":{},"a":{}}`),
			[]string{
				volumeField + `: Invalid value: "{\"a\":{},\"a\":{}}": has two entries named "a", but Istio reads ` +
					`only one of them; rename one`,
			},
		},
		"two mounts at one path": {
			userMount(`[{"name":"a","mountPath":"/x"},{"name":"b","mountPath":"/x/"}]`),
			[]string{
				mountField + `: Invalid value: "/x/": two volumes are mounted at this path; change one of the paths`,
			},
		},
		"an injected sidecar with something else at our path": {func(pod *corev1.Pod) {
			pod.Spec.Containers = append(
				pod.Spec.Containers,
				corev1.Container{
					Name:  "istio-proxy",
					Image: "proxyv2:1",
					VolumeMounts: []corev1.VolumeMount{
						{Name: "theirs", MountPath: "/etc/mtls-egress/external.system.com"},
					},
				},
			)
		}, []string{`spec.containers[1].volumeMounts: Invalid value: "/etc/mtls-egress/external.system.com": another ` +
			`volume is mounted at this path (volume "theirs"); the webhook mounts the volume ` + volume +
			` there, read-only and without subPath; move your mount`}},
		"all mistakes are reported at once": {
			func(pod *corev1.Pod) {
				pod.Spec.HostNetwork = true
				pod.Annotations["sidecar.istio.io/userVolume"] = "7"
				pod.Annotations["sidecar.istio.io/userVolumeMount"] = "8"
			},
			[]string{
				`spec.hostNetwork: Invalid value: "true": a Pod with hostNetwork has no sidecar, which ` +
					`mtls.egress/target needs; remove hostNetwork or the annotation`,
				volumeField + `: Invalid value: "7": is neither a list nor a map; ` + form,
				mountField + `: Invalid value: "8": is neither a list nor a map; ` + form,
			},
		},
		"a value over 8 KiB": {annotation("mtls.egress/target", strings.Repeat("a", 8193)), []string{
			"metadata.annotations[mtls.egress/target]: Too long: may not be more than 8192 bytes"}},
		"a value of a megabyte": {annotation("mtls.egress/target", strings.Repeat("a", 1<<20)), []string{
			"metadata.annotations: Too long: may not be more than 262144 bytes"}},
		"annotations of others of a megabyte": {
			annotation("sidecar.istio.io/userVolume", strings.Repeat("a", 1<<20)),
			[]string{
				"metadata.annotations: Too long: may not be more than 262144 bytes"},
		},
		"a static Pod": {
			annotation("kubernetes.io/config.mirror", "x"),
			[]string{
				`metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": the kubelet runs a static ` +
					`Pod from a file, so the webhook can't change it; remove mtls.egress/target from that file, and ` +
					`create the Pod through the API server if it needs the annotation`,
			},
		},
		"a mount of the user's at /etc/hosts": {func(pod *corev1.Pod) {
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
				{Name: "data", MountPath: "/data"},
				{Name: "hosts", MountPath: "/etc//hosts/", SubPath: "hosts"},
			}
		}, []string{`spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/etc//hosts/": ` + ownHosts}},
		"a mount of the user's at a relative etc/hosts": {func(pod *corev1.Pod) {
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "hosts", MountPath: "etc/hosts"}}
		}, []string{`spec.containers[0].volumeMounts[0].mountPath: Invalid value: "etc/hosts": ` + ownHosts}},
		"a mount of the user's at /etc/hosts in an init container": {func(pod *corev1.Pod) {
			pod.Spec.InitContainers = []corev1.Container{
				{Name: "setup", VolumeMounts: []corev1.VolumeMount{{Name: "hosts", MountPath: "/etc/hosts"}}},
			}
		}, []string{`spec.initContainers[0].volumeMounts[0].mountPath: Invalid value: "/etc/hosts": ` + ownHosts}},
		"a mount of the user's at /etc/nsswitch.conf": {
			mounted("/etc/nsswitch.conf"),
			[]string{mountField0 + `"/etc/nsswitch.conf": ` + ownSwitch},
		},
		"a mount of the user's at /etc/nsswitch.conf in another spelling": {
			mounted("etc/.//nsswitch.conf/"),
			[]string{mountField0 + `"etc/.//nsswitch.conf/": ` + ownSwitch},
		},
		"a mount of the user's at /etc": {
			mounted("/etc/"),
			[]string{mountField0 + `"/etc/": ` + ownEtc},
		},
		"a mount of the user's at /": {
			mounted("//"),
			[]string{mountField0 + `"//": ` + ownEtc},
		},
		"a mount of the user's by way of ..": {
			mounted("/data/../etc/hosts"),
			[]string{
				mountField0 + `"/data/../etc/hosts": has .., which a symbolic link in the image can resolve to any ` +
					`path, including /etc/hosts; write the path without ..`,
			},
		},
		"mounts of the user's in containers that are only named like Istio's": {func(pod *corev1.Pod) {
			mounts := []corev1.VolumeMount{{Name: "hosts", MountPath: "/etc/hosts"}}
			pod.Spec.Containers[0].Name, pod.Spec.Containers[0].VolumeMounts = "istio-proxy", mounts
			pod.Spec.InitContainers = []corev1.Container{
				{Name: "istio-init", VolumeMounts: mounts},
				{Name: "istio-validation", VolumeMounts: mounts},
			}
		}, []string{
			`spec.initContainers[0].volumeMounts[0].mountPath: Invalid value: "/etc/hosts": ` + ownHosts,
			`spec.initContainers[1].volumeMounts[0].mountPath: Invalid value: "/etc/hosts": ` + ownHosts,
			mountField0 + `"/etc/hosts": ` + ownHosts,
		}},
		"a Pod that runs as the sidecar's user": {func(pod *corev1.Pod) {
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1337))}
		}, []string{`spec.securityContext.runAsUser: Invalid value: "1337": is the sidecar's own user, whose calls ` +
			`bypass the sidecar; choose another one`}},
		"a container that runs as the sidecar's user": {func(pod *corev1.Pod) {
			pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: new(int64(1337))}
		}, []string{`spec.containers[0].securityContext.runAsUser: Invalid value: "1337": is the sidecar's own user, ` +
			`whose calls bypass the sidecar; choose another one`}},
		"a Pod that runs in the sidecar's group": {func(pod *corev1.Pod) {
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsGroup: new(int64(1337))}
		}, []string{`spec.securityContext.runAsGroup: Invalid value: "1337": is the sidecar's own group, whose calls ` +
			`bypass the sidecar; choose another one`}},
		"containers that run in the sidecar's group": {
			func(pod *corev1.Pod) {
				pod.Spec.InitContainers = []corev1.Container{
					{Name: "setup", SecurityContext: &corev1.SecurityContext{RunAsGroup: new(int64(1337))}},
				}
				pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
					RunAsUser:  new(int64(1000)),
					RunAsGroup: new(int64(1337)),
				}
			},
			[]string{
				`spec.initContainers[0].securityContext.runAsGroup: Invalid value: "1337": is the sidecar's own ` +
					`group, whose calls bypass the sidecar; choose another one`,
				`spec.containers[0].securityContext.runAsGroup: Invalid value: "1337": is the sidecar's own group, ` +
					`whose calls bypass the sidecar; choose another one`,
			},
		},
		"a Pod of the ambient mode": {
			func(pod *corev1.Pod) { pod.Labels["istio.io/dataplane-mode"] = "ambient" },
			[]string{
				`metadata.labels[istio.io/dataplane-mode]: Invalid value: "ambient": Istio's ambient mode has no ` +
					`sidecar, which mtls.egress/target needs; remove the label, or add the label ` +
					`sidecar.istio.io/inject: "true" if the Pod has a sidecar anyway`,
			},
		},
		"a Pod for Windows": {
			func(pod *corev1.Pod) { pod.Spec.OS = &corev1.PodOS{Name: corev1.Windows} },
			[]string{
				`spec.os.name: Invalid value: "windows": Istio has no sidecar for Windows, which mtls.egress/target ` +
					`needs; run the Pod on Linux or remove the annotation`,
			},
		},
		"a Pod on Windows nodes": {
			func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "windows"} },
			[]string{
				`spec.nodeSelector[kubernetes.io/os]: Invalid value: "windows": Istio has no sidecar for Windows, ` +
					`which mtls.egress/target needs; run the Pod on Linux or remove the annotation`,
			},
		},
		"a Pod on Windows nodes by the older label": {
			func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{"beta.kubernetes.io/os": "windows"} },
			[]string{
				`spec.nodeSelector[beta.kubernetes.io/os]: Invalid value: "windows": Istio has no sidecar for ` +
					`Windows, which mtls.egress/target needs; run the Pod on Linux or remove the annotation`,
			},
		},
		"a Pod that needs a Windows node": {
			osAffinity("windows"),
			[]string{
				`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution: Invalid value: ` +
					`"windows": Istio has no sidecar for Windows, which mtls.egress/target needs; run the Pod on ` +
					`Linux or remove the annotation`,
			},
		},
		"interception switched off in the proxy's configuration": {
			annotation("proxy.istio.io/config", "concurrency: 1\ninterceptionMode: NONE\n"),
			[]string{
				`metadata.annotations[proxy.istio.io/config]: Invalid value: "concurrency: 1\ninterceptionMode: ` +
					`NONE": interceptionMode: NONE disables the interception of calls; write ` +
					`REDIRECT or remove the field`,
			},
		},
		"interception switched off by the name of the field in Protobuf": {
			annotation("proxy.istio.io/config", "interception_mode: NONE"),
			[]string{
				`metadata.annotations[proxy.istio.io/config]: Invalid value: "interception_mode: NONE": ` + noMode},
		},
		"interception switched off by the number of NONE": {
			annotation("proxy.istio.io/config", "interceptionMode: 2"),
			[]string{
				`metadata.annotations[proxy.istio.io/config]: Invalid value: "interceptionMode: 2": ` + noMode},
		},
		"interception switched off by the number of NONE as a float": {
			annotation("proxy.istio.io/config", "interceptionMode: 2.0"),
			[]string{
				`metadata.annotations[proxy.istio.io/config]: Invalid value: "interceptionMode: 2.0": ` + noMode},
		},
		"interception switched off in hexadecimal": {
			annotation("proxy.istio.io/config", "interception_mode: 0x2"),
			[]string{
				`metadata.annotations[proxy.istio.io/config]: Invalid value: "interception_mode: 0x2": ` + noMode},
		},
		"interception switched off in JSON": {
			annotation("proxy.istio.io/config", `{"interceptionMode":"\u004eONE"}`),
			[]string{
				`metadata.annotations[proxy.istio.io/config]: Invalid value: "{\"interceptionMode\":\"\\u004eONE\"}": ` + noMode,
			},
		},
		"interception switched off by a reference": {
			annotation("proxy.istio.io/config", "concurrency: &n 2\ninterceptionMode: *n"),
			[]string{
				`metadata.annotations[proxy.istio.io/config]: Invalid value: "concurrency: &n ` +
					`2\ninterceptionMode: *n": ` + noMode,
			},
		},
		"interception switched off by one of two spellings": {
			annotation("proxy.istio.io/config", "interception_mode: REDIRECT\ninterceptionMode: NONE"),
			[]string{
				`metadata.annotations[proxy.istio.io/config]: Invalid value: "interception_mode: ` +
					`REDIRECT\ninterceptionMode: NONE": ` + noMode,
			},
		},
		"a mode that Istio doesn't know in the proxy's configuration": {
			annotation("proxy.istio.io/config", "interceptionMode: none"),
			[]string{
				`metadata.annotations[proxy.istio.io/config]: Invalid value: "interceptionMode: none": ` + noMode},
		},
		"a mode that Istio doesn't know": {
			annotation("sidecar.istio.io/interceptionMode", "none"),
			[]string{
				`metadata.annotations[sidecar.istio.io/interceptionMode]: Invalid value: "none": is not a mode that ` +
					`Istio supports; write REDIRECT or remove the annotation`,
			},
		},
		"a proxy's configuration that is not YAML": {
			annotation("proxy.istio.io/config", "interceptionMode: [NONE"),
			[]string{
				`metadata.annotations[proxy.istio.io/config]: Invalid value: "interceptionMode: [NONE": is not a ` +
					`YAML ProxyConfig, so Istio would reject the Pod; write it as in ` +
					`https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig`,
			},
		},
		"the Pod's network interface excluded": {
			trafficAnnotation("excludeInterfaces", "net1, eth0"),
			[]string{
				traffic + `excludeInterfaces]: Invalid value: "net1, eth0": excludes all calls ` +
					`through eth0 from the sidecar; write "net1"`,
			},
		},
		"injection switched off with settings for the sidecar": {func(pod *corev1.Pod) {
			pod.Labels["sidecar.istio.io/inject"] = "false"
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: "auto"})
		}, []string{`metadata.labels[sidecar.istio.io/inject]: Invalid value: "false": turns off sidecar injection, ` +
			`which mtls.egress/target needs; write "true" or remove it`}},
		"a volume that is in spec.volumes with other content": {func(pod *corev1.Pod) {
			pod.Annotations["sidecar.istio.io/userVolume"] = `[{"name":"certs","secret":{"secretName":"a"}}]`
			pod.Spec.Volumes = []corev1.Volume{
				{Name: "certs", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			}
		}, []string{volumeField + `: Invalid value: "certs": spec.volumes has a volume of the same name with other ` +
			`content, and Istio would merge them; rename one`}},
		"a target and a network, both wrong": {
			func(pod *corev1.Pod) {
				pod.Annotations["mtls.egress/target"] = "localhost"
				pod.Spec.HostNetwork = true
			},
			[]string{
				`metadata.annotations[mtls.egress/target]: Invalid value: "localhost": has only one label; a host ` +
					`has at least two labels of letters, digits and inner hyphens, for example external.system.com`,
				`spec.hostNetwork: Invalid value: "true": a Pod with hostNetwork has no sidecar, which ` +
					`mtls.egress/target needs; remove hostNetwork or the annotation`,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result := corpusCase{rules: everyHost, object: encode(t, annotated(test.change))}.mutate(t)
			var got []string
			for _, problem := range result.Errors {
				got = append(got, problem.Error())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if len(result.Operations) > 0 {
				t.Errorf("got errors and operations: %v", result.Operations)
			}
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	pod := annotated(func(pod *corev1.Pod) {
		pod.Annotations["mtls.egress/target"] = strings.Repeat(",", 8000)
		for n := range 100 {
			pod.Annotations[fmt.Sprintf("mtls.egress/unknown-%d", n)] = ""
		}
	})
	result := corpusCase{rules: everyHost, object: encode(t, pod)}.mutate(t)
	if len(result.Errors) != 21 ||
		result.Errors[20].Error() != "metadata.annotations[mtls.egress/target]: Too many: 7981 "+
			"more problems are not shown" {
		t.Errorf("%d errors, the last %v", len(result.Errors), result.Errors[len(result.Errors)-1])
	}
	if len(result.Warnings) != 21 || result.Warnings[20].Message != "80 more warnings are not shown" {
		t.Errorf("%d warnings, the last %s", len(result.Warnings), result.Warnings[len(result.Warnings)-1].Message)
	}
}

func TestNamesOfVolumesAreReadAsIstioReadsThem(t *testing.T) {
	const ours = `"secret":{"secretName":"external-system-mtls-data"}`
	tests := map[string]struct {
		volumes string
		// want is the whole annotation after mutation.
		want string
	}{
		"a name key in another case is ignored": {
			`[{"Name":"mtls-egress-external-system-com",` + ours + `}]`,
			`[{"Name":"mtls-egress-external-system-com",` + ours + `},{"name":"mtls-egress-external-system-com",` +
				ours + `}]`,
		},
		"a name inside a map's entry replaces its key": {
			`{"x":{"name":"mtls-egress-external-system-com",` + ours + `}}`,
			`{"x":{"name":"mtls-egress-external-system-com",` + ours + `}}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := annotated(func(pod *corev1.Pod) { pod.Annotations["sidecar.istio.io/userVolume"] = test.volumes })
			input := corpusCase{rules: everyHost, object: encode(t, pod)}
			patched := decode(t, apply(t, input.object, input.mutate(t).Operations))
			got := patched["metadata"].(map[string]any)["annotations"].(map[string]any)["sidecar.istio.io/userVolume"]
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestDecodeSubjectRefusesOtherKinds(t *testing.T) {
	tests := map[string]struct{ object, want string }{
		"a Service": {
			`{"apiVersion":"v1","kind":"Service"}`,
			"Service is neither a Pod nor a workload with a Pod template",
		},
		"a Deployment of others": {
			`{"apiVersion":"example.com/v1","kind":"Deployment"}`,
			"Deployment.example.com is neither a Pod nor a workload with a Pod template",
		},
		"a Pod that is not an object": {
			`{"apiVersion":"v1","kind":"Pod","spec":7}`,
			"reading the Pod: spec: has a number, want another type",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := decodeSubject(t, []byte(test.object))
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// osAffinity sets a required node affinity for these operating systems.
func osAffinity(systems ...string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Affinity = &corev1.Affinity{
			NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
					{Key: "kubernetes.io/os", Operator: corev1.NodeSelectorOpIn, Values: systems},
				}}},
			}},
		}
	}
}
