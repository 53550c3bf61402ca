package admission_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestBadInputIsRefusedAndNothingIsWritten sends what people and generators write by mistake, and
// what somebody may write who means harm, through a real API server.
func TestBadInputIsRefusedAndNothingIsWritten(t *testing.T) {
	const target = "mtls.egress/target"
	type change = func(pod map[string]any)
	annotation := func(pairs ...string) change {
		return func(pod map[string]any) {
			for n := 0; n < len(pairs); n += 2 {
				pod["metadata"].(map[string]any)["annotations"].(map[string]any)[pairs[n]] = pairs[n+1]
			}
		}
	}
	spec := func(name string, value any) change {
		return func(pod map[string]any) { pod["spec"].(map[string]any)[name] = value }
	}
	tests := map[string]struct {
		change change
		want   string
	}{
		"an empty value": {annotation(target, ""),
			`metadata.annotations[mtls.egress/target]: Required value: is empty; write a host such as ` +
				`external.system.com, or remove the annotation`},
		"a value of blanks": {annotation(target, " \t\n"),
			`metadata.annotations[mtls.egress/target]: Required value: is empty; write a host such as ` +
				`external.system.com, or remove the annotation`},
		"a comma too many": {annotation(target, host+","),
			`metadata.annotations[mtls.egress/target]: Invalid value: "": an entry is empty; remove the extra comma`},
		"a control character": {annotation(target, "external\x07.system.com"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "external\a.system.com": has the character ` +
				`'\a', which is not allowed in a host name; a host has at least two labels of letters, digits and inner ` +
				`hyphens, for example external.system.com`},
		"a line break in a host": {annotation(target, "external.system.com\nevil.example"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "external.system.com\nevil.example": has the ` +
				`character '\n', which is not allowed in a host name; a host has at least two labels of letters, digits and ` +
				`inner hyphens, for example external.system.com`},
		"YAML in a host": {annotation(target, "{host: external.system.com}"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "{host: external.system.com}": has the character ` +
				`'{', which is not allowed in a host name; a host has at least two labels of letters, digits and inner ` +
				`hyphens, for example external.system.com`},
		"template syntax in a host": {annotation(target, "{{ .Values.host }}.com"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "{{ .Values.host }}.com": has the character ` +
				`'{', which is not allowed in a host name; a host has at least two labels of letters, digits and inner ` +
				`hyphens, for example external.system.com`},
		"shell syntax in a host": {annotation(target, "$(HOST).system.com"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "$(HOST).system.com": has the character '$', ` +
				`which is not allowed in a host name; a host has at least two labels of letters, digits and inner ` +
				`hyphens, for example external.system.com`},
		"a scheme": {annotation(target, "https://external.system.com/orders"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "https://external.system.com/orders": has a scheme, ` +
				`"https"; write the host alone, as in "external.system.com"`},
		"a path": {annotation(target, "external.system.com/orders"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "external.system.com/orders": has a path; write the ` +
				`host alone, as in "external.system.com"`},
		"a wildcard": {annotation(target, "*.system.com"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "*.system.com": is a wildcard; a target ` +
				`is one host, so list each host: a host has at least two labels of letters, digits and inner ` +
				`hyphens, for example external.system.com`},
		"an IPv4 address": {annotation(target, "192.0.2.7"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "192.0.2.7": is the IP address 192.0.2.7; a ` +
				`certificate is checked against a name: a host has at least two labels of letters, digits and inner ` +
				`hyphens, for example external.system.com`},
		"an IPv6 address": {annotation(target, "[2001:db8::7]:443"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "[2001:db8::7]:443": is the IP address 2001:db8::7; ` +
				`a certificate is checked against a name: a host has at least two labels of letters, digits and inner ` +
				`hyphens, for example external.system.com`},
		"a host without a dot": {annotation(target, "external"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "external": has only one label; a host has at least two ` +
				`labels of letters, digits and inner hyphens, for example external.system.com`},
		"a host in Unicode": {annotation(target, "bücher.example"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "bücher.example": has non-ASCII characters; write ` +
				`its punycode form "xn--bcher-kva.example"`},
		"a host of 300 characters": {annotation(target, strings.Repeat("a.", 148)+"com."),
			`metadata.annotations[mtls.egress/target]: Invalid value: ` +
				`"a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.… (300 bytes)": is 299 characters ` +
				`long; a host has at most 253 (RFC 1035)`},
		"a label of 64 characters": {annotation(target, strings.Repeat("a", 64)+".system.com"),
			`metadata.annotations[mtls.egress/target]: Invalid value: ` +
				`"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa… (75 bytes)": has a label of 64 ` +
				`characters; a label has at most 63 (RFC 1035)`},
		"port 0": {annotation(target, host+":0"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "external.system.com:0": has the port "0", which is out ` +
				`of range; write the partner's TLS port, 1 to 65535`},
		"port 65536": {annotation(target, host+":65536"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "external.system.com:65536": has the port "65536", ` +
				`which is out of range; write the partner's TLS port, 1 to 65535`},
		"an invalid port": {annotation(target, host+":https"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "external.system.com:https": has the port "https", ` +
				`which is not a number; write the partner's TLS port, 1 to 65535, or leave it out for 443`},
		"a negative port": {annotation(target, host+":-1"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "external.system.com:-1": has the port "-1", which is ` +
				`not a number; write the partner's TLS port, 1 to 65535, or leave it out for 443`},
		"two ports for one host": {annotation(target, host+":443, "+host+":8443"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "external.system.com:8443": the host is listed with two ` +
				`ports, 443 and 8443; a target has one port`},
		"all mistakes at once": {annotation(target, "*.a.com, b, c.example:0"),
			`metadata.annotations[mtls.egress/target]: Invalid value: "*.a.com": is a wildcard; a target is one host, so list ` +
				`each host: a host has at least two labels of letters, digits and inner hyphens, for example ` +
				`external.system.com; metadata.annotations[mtls.egress/target]: Invalid value: "b": has only one label; a host ` +
				`has at least two labels of letters, digits and inner hyphens, for example external.system.com; ` +
				`metadata.annotations[mtls.egress/target]: Invalid value: "c.example:0": has the port "0", which is out of ` +
				`range; write the partner's TLS port, 1 to 65535`},
		"17 targets": {annotation(target, manyHosts(17)),
			`metadata.annotations[mtls.egress/target]: Too many: 17: must have at most 16 items`},
		"an annotation over 8 KiB": {annotation(target, manyHosts(700)),
			`metadata.annotations[mtls.egress/target]: Too long: may not be more than 8192 bytes`},
		"an annotation of 1 MiB": {annotation(target, strings.Repeat("a", 1<<20)),
			`metadata.annotations: Too long: may not be more than 262144 bytes`},
		"an annotation of 9 KiB": {annotation(target, strings.Repeat("a", 9<<10)),
			`metadata.annotations[mtls.egress/target]: Too long: may not be more than 8192 bytes`},
		"a Secret without a target": {func(pod map[string]any) {
			annotation("mtls.egress/secret", "mine")(pod)
			delete(pod["metadata"].(map[string]any)["annotations"].(map[string]any), target)
		},
			`metadata.annotations[mtls.egress/target]: Required value: mtls.egress/secret names a Secret, but there is no ` +
				`target annotation; add mtls.egress/target: <host> or remove mtls.egress/secret`},
		"an empty Secret": {annotation("mtls.egress/secret", ""),
			`metadata.annotations[mtls.egress/secret]: Required value: is empty; write the name of a Secret, or remove ` +
				`the annotation to use the default name`},
		"a Secret with a path": {annotation("mtls.egress/secret", "../other"),
			`metadata.annotations[mtls.egress/secret]: Invalid value: "../other": is not a valid Secret name: use lowercase ` +
				`letters, digits, - and ., at most 253 characters, for example external-system-mtls-data`},
		"YAML in a Secret's name": {annotation("mtls.egress/secret", "mine\"\nnamespace: other"),
			`metadata.annotations[mtls.egress/secret]: Invalid value: "mine\"\nnamespace: other": is not a valid Secret name: ` +
				`use lowercase letters, digits, - and ., at most 253 characters, for example external-system-mtls-data`},
		"template syntax in a Secret": {annotation("mtls.egress/secret", "{{ .Release.Name }}"),
			`metadata.annotations[mtls.egress/secret]: Invalid value: "{{ .Release.Name }}": is not a valid Secret name: use ` +
				`lowercase letters, digits, - and ., at most 253 characters, for example external-system-mtls-data`},
		"a Secret for another host": {annotation("mtls.egress/secret", "other.system.com=mine"),
			`metadata.annotations[mtls.egress/secret]: Invalid value: "other.system.com=mine": the host other.system.com is ` +
				`not among the targets in mtls.egress/target (external.system.com); add it there or remove it here`},
		"two Secrets for one host": {annotation("mtls.egress/secret", host+"=a,"+host+"=b"),
			`metadata.annotations[mtls.egress/secret]: Invalid value: "external.system.com=b": the host ` +
				`external.system.com gets two Secrets, a and b; name one`},
		"two hosts, one default": {annotation(target, "external.system.com,external.system.org"),
			`metadata.annotations[mtls.egress/secret]: Required value: external.system.com and external.system.org both ` +
				`default to the Secret external-system-mtls-data; name a Secret for each host, for example mtls.egress/secret: ` +
				`external.system.com=external-system-mtls-data,external.system.org=external-system-2-mtls-data, or ` +
				`mtls.egress/secret: external-system-mtls-data if it is meant for both`},
		"volumes that are no JSON": {annotation("sidecar.istio.io/userVolume", "name: mine"),
			`metadata.annotations[sidecar.istio.io/userVolume]: Invalid value: "name: mine": is not JSON (at character 2); it ` +
				`takes a JSON list such as [{"name": "a", …}] or a JSON map such as {"a": {…}}`},
		"volumes as a JSON string": {annotation("sidecar.istio.io/userVolume", `"mine"`),
			`metadata.annotations[sidecar.istio.io/userVolume]: Invalid value: "\"mine\"": is neither a list nor a map; it ` +
				`takes a JSON list such as [{"name": "a", …}] or a JSON map such as {"a": {…}}`},
		"two volumes of one name": {
			annotation("sidecar.istio.io/userVolume", `[{"name":"a","emptyDir":{}},{"name":"a","emptyDir":{}}]`),
			`metadata.annotations[sidecar.istio.io/userVolume]: Invalid value: "a": two volumes have this name; rename one`,
		},
		"a volume with our name": {
			annotation("sidecar.istio.io/userVolume", `[{"name":"mtls-egress-external-system-com","emptyDir":{}}]`),
			`metadata.annotations[sidecar.istio.io/userVolume]: Invalid value: "mtls-egress-external-system-com": a ` +
				`volume of this name exists with other content; the webhook uses the name for the Secret ` +
				`external-system-mtls-data; rename your volume`,
		},
		"a mount at our path": {
			annotation("sidecar.istio.io/userVolumeMount",
				`[{"name":"mine","mountPath":"/etc/mtls-egress/external.system.com"}]`),
			`metadata.annotations[sidecar.istio.io/userVolumeMount]: Invalid value: "/etc/mtls-egress/external.system.com": ` +
				`another volume is mounted at this path (volume "mine"); the webhook mounts the volume ` +
				`mtls-egress-external-system-com there, read-only and without subPath; move your mount`,
		},
		"the host's network": {spec("hostNetwork", true),
			`spec.hostNetwork: Invalid value: "true": a Pod with hostNetwork has no sidecar, which mtls.egress/target ` +
				`needs; remove hostNetwork or the annotation`},
		"an alias for the host": {
			spec("hostAliases", []any{map[string]any{"ip": "10.0.0.7", "hostnames": []any{"External.System.com"}}}),
			`spec.hostAliases[0]: Invalid value: "10.0.0.7": gives external.system.com another address, so calls would bypass ` +
				`the sidecar; remove the host, because the webhook maps it to 254.110.240.171`,
		},
		"a volume of the Pod's": {
			spec("volumes", []any{map[string]any{"name": "mtls-egress-external-system-com", "emptyDir": map[string]any{}}}),
			`spec.volumes[0]: Invalid value: "mtls-egress-external-system-com": a volume of this name exists with other ` +
				`content; the webhook uses the name for the Secret external-system-mtls-data; rename your volume`,
		},
		"injection switched off": {annotation("sidecar.istio.io/inject", "false"),
			`metadata.annotations[sidecar.istio.io/inject]: Invalid value: "false": turns off sidecar injection, which ` +
				`mtls.egress/target needs; write "true" or remove it`},
		"the app port led past": {annotation("traffic.sidecar.istio.io/excludeOutboundPorts", "80,9000"),
			`metadata.annotations[traffic.sidecar.istio.io/excludeOutboundPorts]: Invalid value: "80,9000": excludes the call ` +
				`to external.system.com from the sidecar; write "9000"`},
		"the sinkhole led past": {annotation("traffic.sidecar.istio.io/excludeOutboundIPRanges", "240.0.0.0/4"),
			`metadata.annotations[traffic.sidecar.istio.io/excludeOutboundIPRanges]: Invalid value: "240.0.0.0/4": excludes ` +
				`the sinkhole addresses of external.system.com from the sidecar; remove the annotation`},
		"a range without the sinkhole": {annotation("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8"),
			`metadata.annotations[traffic.sidecar.istio.io/includeOutboundIPRanges]: Invalid value: "10.0.0.0/8": doesn't ` +
				`include the sinkhole addresses of external.system.com; write "10.0.0.0/8,254.110.240.171/32"`},
		"a label of the webhook's": {func(pod map[string]any) {
			pod["metadata"].(map[string]any)["labels"] = map[string]any{"mtls.egress/injected": "no"}
		},
			`metadata.labels[mtls.egress/injected]: Invalid value: "no": the label is reserved for the webhook; remove it`},
	}
	w := newWorld(t)
	refused := w.admissions("decision=refused")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod, err := asMap(annotated("refused"))
			if err != nil {
				t.Fatal(err)
			}
			delete(pod, "status")
			test.change(pod)
			object := &unstructured.Unstructured{Object: pod}
			object.SetAPIVersion("v1")
			object.SetKind("Pod")
			object.SetNamespace(w.namespace)
			err = w.Create(t.Context(), object)
			const denied = `admission webhook "pods.mtls.egress" denied the request: `
			if err == nil {
				t.Fatal("the Pod was created")
			}
			if diff := cmp.Diff(denied+test.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
	if got := w.admissions("decision=refused") - refused; got != float64(len(tests)) {
		t.Errorf("the webhook counted %v refusals, want %d", got, len(tests))
	}
	if found := w.kubectl("get", "pods,egresstargets,serviceentries,virtualservices,destinationrules",
		"--output=name"); found != "" {
		t.Errorf("written: %s", found)
	}
}

// manyHosts are so many different hosts.
func manyHosts(count int) string {
	hosts := make([]string, count)
	for n := range hosts {
		hosts[n] = fmt.Sprintf("a%d.b%d.example", n, n)
	}
	return strings.Join(hosts, ",")
}
