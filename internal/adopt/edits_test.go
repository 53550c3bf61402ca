package adopt_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/adopt"
	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/manifests"
)

// edit replaces text in testdata/base.yaml, a set without anything special.
type edit struct{ old, new string }

// The places that are edited.
const (
	ports      = "  ports:\n  - {number: 80, name: http, protocol: HTTP}\n  - {number: 443, name: tls, protocol: TLS}\n"
	match      = "- match: [{port: 80}]\n"
	subsets    = "  subsets:\n"
	portLevel  = "      portLevelSettings:\n      - port: {number: 443}\n        tls:\n"
	workload   = "metadata: {name: orders, namespace: shop}\n"
	userVolume = "        sidecar.istio.io/userVolume: " +
		`'[{"name":"partner","secret":{"secretName":"partner-mtls"}}]'` + "\n"
	mount      = `[{"name":"partner","mountPath":"/etc/certs/partner","readOnly":true}]`
	containers = "    spec:\n      containers:\n"
	tlsNames   = "subjectAltNames: [api.partner.example]"
	retries    = "    retries: {attempts: 0}\n    route:\n" +
		"    - destination: {host: api.partner.example, subset: mtls, port: {number: 443}}\n"
	otherTLS = "{mode: MUTUAL, clientCertificate: /etc/certs/other/cert, privateKey: /etc/certs/other/key}"
)

func TestWhatDiffersFromABaseSetIsSaid(t *testing.T) {
	const (
		taken   = "shop/api.partner.example: can be taken over\n"
		refused = "shop/api.partner.example: can't be taken over\n"
		route   = "  - VirtualService partner spec.http[0].match: all calls to the host go to the partner, and not only " +
			"those that match (matters)\n"
	)
	for name, test := range map[string]struct {
		edits       []edit
		want, never []string
	}{
		"nothing": {want: []string{taken, "Secret: partner-mtls,"}, never: []string{"Not carried over"}},
		"a ServiceEntry without ports": {
			edits: []edit{{ports, ""}},
			want: []string{refused, "  - the ServiceEntry shop/partner (spec.ports) has no port 443, to which the calls go, " +
				"so they fail; add {number: 443, name: tls, protocol: TLS}\n"},
		},
		"a ServiceEntry without the partner's port": {
			edits: []edit{{"  - {number: 443, name: tls, protocol: TLS}\n", ""}},
			want:  []string{refused, "(spec.ports) has no port 443, "},
		},
		"a ServiceEntry without ports, and no VirtualService": {
			edits: []edit{{ports, ""}, {"kind: VirtualService", "kind: WorkloadGroup"}},
			want:  []string{refused, "no plain HTTP call to api.partner.example ends in the mutual TLS"},
		},
		"TLS of the subset, and other TLS of the rule for the port": {
			edits: []edit{
				{portLevel, "      tls:\n"},
				{subsets, "  trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: " + otherTLS + "}]}\n" + subsets},
				{userVolume, strings.Replace(userVolume, "}}]", `}},{"name":"other","secret":{"secretName":"other-mtls"}}]`, 1)},
				{mount, strings.Replace(mount, "}]", `},{"name":"other","mountPath":"/etc/certs/other"}]`, 1)},
			},
			want: []string{taken, "Secret: partner-mtls,"},
		},
		"TLS of the subset, and a limit of the rule for the port": {
			edits: []edit{
				{portLevel, "      tls:\n"},
				{subsets, "  trafficPolicy: {portLevelSettings: [{port: {number: 443}, connectionPool: {tcp: " +
					"{maxConnections: 5}}}]}\n" + subsets},
			},
			want: []string{taken, "DestinationRule partner connectionPool.tcp.maxConnections:"},
		},
		"TLS of the subset, and a limit of the subset for the port": {
			edits: []edit{{portLevel, "      portLevelSettings: [{port: {number: 443}, connectionPool: {tcp: " +
				"{maxConnections: 5}}}]\n      tls:\n"}},
			want: []string{refused, "no plain HTTP call to api.partner.example ends in the mutual TLS"},
		},
		"settings of the rule that TLS of the subset for the port keeps": {
			edits: []edit{{subsets, "  trafficPolicy:\n    proxyProtocol: {version: V2}\n    tunnel: {targetHost: x.y, " +
				"targetPort: 443}\n    retryBudget: {minRetryConcurrency: 3}\n    loadBalancer: {simple: RANDOM}\n" + subsets}},
			want: []string{
				taken, "partner tunnel: calls don't go through the proxy, so the partner may be out of reach (matters)\n",
				"partner proxyProtocol: connections have no PROXY header (matters)\n",
				"partner retryBudget: retries have no budget (rarely matters)\n",
			},
			never: []string{"loadBalancer:"},
		},
		"settings of the rule that the rule's settings for the port replace": {
			edits: []edit{
				{portLevel, "      tls:\n"},
				{subsets, "  trafficPolicy: {proxyProtocol: {version: V2}, portLevelSettings: [{port: {number: 443}}]}\n" +
					subsets},
			},
			want: []string{taken}, never: []string{"proxyProtocol:"},
		},
		"a path, and a match for a gateway": {
			edits: []edit{{match, "- match: [{port: 80, uri: {prefix: /v1}}, {gateways: [public], port: 443}]\n"}},
			want:  []string{taken, route},
		},
		"a path, and a match for another port": {
			edits: []edit{{match, "- match: [{port: 80, uri: {prefix: /v1}}, {port: 8080}]\n"}},
			want:  []string{taken, route},
		},
		"a path, and a match for the rest": {
			edits: []edit{{match, "- match: [{port: 80, uri: {prefix: /v1}}, {port: 80}]\n"}},
			want:  []string{taken}, never: []string{route},
		},
		"a prefix of the authority that not all calls have": {
			edits: []edit{{match, "- match: [{port: 80, authority: {prefix: 'api.partner.example:'}}]\n"}},
			want:  []string{taken, route},
		},
		"a regular expression for the authority": {
			edits: []edit{{match, "- match: [{port: 80, authority: {regex: 'api.*'}}]\n"}}, want: []string{taken, route},
		},
		"another Host header for the partner": {
			edits: []edit{{match, "- rewrite: {authority: 'Gateway.partner.example:8443'}\n    " + match[2:]}},
			want:  []string{taken, "      http:\n        host: gateway.partner.example:8443\n"},
			never: []string{"rewrite"},
		},
		"the host as Host header": {
			edits: []edit{{match, "- rewrite: {authority: api.partner.example}\n    " + match[2:]}},
			want:  []string{taken}, never: []string{"rewrite", "        host:"},
		},
		"a path, and a Host header that is no host": {
			edits: []edit{{match, "- rewrite: {uri: /v1, authority: '%REQ(x)%'}\n    " + match[2:]}},
			want: []string{
				taken, "  - VirtualService partner spec.http[0].rewrite: the path stays as the app wrote it (matters)\n",
				"  - VirtualService partner spec.http[0].rewrite.authority: the partner gets the app's Host header (matters)\n",
			},
		},
		"a Host header among the headers": {
			edits: []edit{{match, "- headers: {request: {set: {Host: gateway.partner.example}}}\n    " + match[2:]}},
			want:  []string{taken, "      http:\n        host: gateway.partner.example\n"},
			never: []string{".headers"},
		},
		"a Host header and others": {
			edits: []edit{{match, "- headers: {request: {set: {':authority': gateway.partner.example, x-a: b}}}\n    " +
				match[2:]}},
			want: []string{
				taken, "      http:\n        host: gateway.partner.example\n",
				"  - VirtualService partner spec.http[0].headers: the sidecar sets no headers",
			},
		},
		"the HTTP version of the app": {
			edits: []edit{{portLevel, "      connectionPool: {http: {useClientProtocol: true}}\n" + portLevel}},
			want:  []string{taken}, never: []string{"useClientProtocol", "version"},
		},
		"the authority of all calls": {
			edits: []edit{{match, "- match: [{port: 80, authority: {prefix: api.partner}}, {authority: {exact: " +
				"api.partner.example}}]\n"}},
			want: []string{taken}, never: []string{route},
		},
		"labels of other workloads": {
			edits: []edit{{match, "- match: [{port: 80, sourceLabels: {app: other}}]\n"}},
			want: []string{refused, "  - the VirtualService shop/partner (spec.http[0].match) selects the Pods of none of the " +
				"workloads with the credential (Deployment shop/orders), so their calls go elsewhere today; correct " +
				"sourceLabels, or add the workloads that it selects to the input\n"},
		},
		"labels of one of two workloads": {
			edits: []edit{
				{match, "- match: [{port: 80, sourceLabels: {app: other}}]\n"},
				{"apiVersion: apps/v1\n", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: other, namespace: shop}\n" +
					"spec:\n  template:\n    metadata:\n      labels: {app: other}\n      annotations:\n" + userVolume +
					"        sidecar.istio.io/userVolumeMount: '" + mount + "'\n---\napiVersion: apps/v1\n"},
			},
			want: []string{
				taken, "  - Deployment shop/other: mtls.egress/target: api.partner.example\n",
				"  - Deployment shop/orders has the credential and is not annotated: the VirtualService shop/partner " +
					"(spec.http[0].match) doesn't select its Pods, so its calls go elsewhere today.\n",
			},
			never: []string{"Deployment shop/orders: mtls", route},
		},
		"the labels of the workload": {
			edits: []edit{{match, "- match: [{port: 80, sourceLabels: {app: orders}, sourceNamespace: shop}]\n"}},
			want:  []string{taken, "Deployment shop/orders: mtls"}, never: []string{route, "is not annotated"},
		},
		"a path for some labels": {
			edits: []edit{{match, "- match: [{sourceLabels: {app: orders}, uri: {prefix: /v1}}, {sourceLabels: " +
				"{app: other}}]\n"}},
			want: []string{taken, route},
		},
		"another namespace": {
			edits: []edit{{match, "- match: [{port: 80, sourceNamespace: other}]\n"}},
			want:  []string{refused, "no plain HTTP call to api.partner.example ends in the mutual TLS"},
		},
		"a mount of the Pod's own volume": {
			edits: []edit{
				{userVolume, ""},
				{containers, "    spec:\n      volumes: [{name: partner, secret: {secretName: partner-mtls}}]\n" +
					"      containers:\n"},
			},
			want: []string{
				taken, "Secret: partner-mtls,", "  - Afterwards, Deployment shop/orders no longer needs the mounts partner in " +
					"sidecar.istio.io/userVolumeMount. Remove them with its next change.\n",
			},
			never: []string{"needs the volumes"},
		},
		"an annotation with another port": {
			edits: []edit{{workload, "metadata: {name: orders, namespace: shop, annotations: {mtls.egress/target: " +
				"'api.partner.example:8443'}}\n"}},
			want: []string{refused, "  - the Deployment shop/orders has the annotation mtls.egress/target: " +
				"api.partner.example:8443, and the hand-written objects lead calls to port 443; write api.partner.example, or " +
				"delete the objects if 8443 is right\n"},
		},
		"an annotation with the same port": {
			edits: []edit{{workload, "metadata: {name: orders, namespace: shop, annotations: {mtls.egress/target: " +
				"'api.partner.example:443'}}\n"}},
			want: []string{taken, "mtls.egress/target: api.partner.example:443\n"},
		},
		"a URI among the names, which Istio compares like the others": {
			edits: []edit{{tlsNames, "subjectAltNames: [tls.partner.example, 'spiffe://x/y']"}},
			want:  []string{taken, "      subjectAltNames:\n      - tls.partner.example\n      - spiffe://x/y\n"},
			never: []string{"Not carried over"},
		},
		"a redirect beside the route": {
			edits: []edit{{match, "- match: [{port: 80, uri: {exact: /}}]\n    redirect: {scheme: https}\n  " + match}},
			want:  []string{refused, "(spec.http[0].redirect) answers calls with a redirect"},
		},
		"a redirect": {
			edits: []edit{{retries, "    redirect: {scheme: https}\n"}},
			want: []string{refused, "  - the VirtualService shop/partner (spec.http[0].redirect) answers calls with a " +
				"redirect, and the calls of a target go to the partner; remove the route\n"},
		},
		"a delegate": {
			edits: []edit{{retries, "    delegate: {name: x}\n"}},
			want: []string{refused, "  - the VirtualService shop/partner (spec.http[0].delegate) leaves the route to another " +
				"VirtualService, which is not followed; write the route in its place\n"},
		},
		"an answer of the sidecar": {
			edits: []edit{{retries, "    directResponse: {status: 403}\n"}},
			want: []string{refused, "  - the VirtualService shop/partner (spec.http[0].directResponse) answers calls itself, " +
				"and the calls of a target go to the partner; remove the route\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			text := textOf(t, editedWorld(t, test.edits))
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("missing: %s", want)
				}
			}
			for _, never := range test.never {
				if strings.Contains(text, never) {
					t.Errorf("not wanted: %s", never)
				}
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

func textOf(t *testing.T, world *check.World) string {
	t.Helper()
	var text strings.Builder
	for _, proposal := range adopt.Propose(world, nil) {
		described, err := proposal.Text()
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(described)
	}
	return text.String()
}

func editedWorld(t *testing.T, edits []edit) *check.World {
	t.Helper()
	content, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for _, edit := range edits {
		if strings.Count(text, edit.old) != 1 {
			t.Fatalf("%d times in the base: %q", strings.Count(text, edit.old), edit.old)
		}
		text = strings.Replace(text, edit.old, edit.new, 1)
	}
	documents, problems := manifests.Read("set.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return check.NewWorld(documents, manifests.Options{Now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)})
}

func TestAnObjectThatCannotBeDecodedIsAProblemWithItsPlace(t *testing.T) {
	const (
		text = "set.yaml, document %s: can't be decoded: %s has a value of the wrong type, or one " +
			"that Istio doesn't know; correct it"
		vs = "kind: VirtualService\nmetadata: {name: partner, namespace: shop}\nspec:\n"
	)
	for name, test := range map[string]struct {
		edits []edit
		want  []string
	}{
		"nothing": {},
		"a number as the host of a DestinationRule": {
			edits: []edit{{"  host: api.partner.example\n", "  host: 5\n"}},
			want:  []string{fmt.Sprintf(text, "3, line 25, DestinationRule shop/partner", "spec.host")},
		},
		"a text as the hosts of a VirtualService, and as the ports of the ServiceEntry": {
			edits: []edit{
				{vs + "  hosts: [api.partner.example]\n", vs + "  hosts: api.partner.example\n"}, {ports, "  ports: x\n"},
			},
			want: []string{
				fmt.Sprintf(text, "1, line 1, ServiceEntry shop/partner", "spec.ports"),
				fmt.Sprintf(text, "2, line 11, VirtualService shop/partner", "spec.hosts"),
			},
		},
		"a text as the spec": {
			edits: []edit{{vs, strings.Replace(vs, "spec:\n", "spec: x\nmore:\n", 1)}},
			want:  []string{fmt.Sprintf(text, "2, line 13, VirtualService shop/partner", "spec")},
		},
		"a generated object": {
			edits: []edit{{vs + "  hosts: [api.partner.example]\n", strings.Replace(vs, "namespace: shop", "namespace: shop, "+
				"labels: {app.kubernetes.io/managed-by: mtls-egress-webhook}", 1) + "  hosts: 5\n"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, problem := range adopt.Unreadable(editedWorld(t, test.edits)) {
				got = append(got, problem.Error())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems differ (-want +got):\n%s", diff)
			}
		})
	}
}
