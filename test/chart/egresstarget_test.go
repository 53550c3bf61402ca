package chart

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

func testEgressTargets(t *testing.T, c cluster) {
	const host = "external.system.com"
	const (
		// The API server says so when a structural error keeps it from evaluating CEL.
		unchecked = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; " +
			"correct the existing errors to complete validation"
		noHost = "<nil>: Invalid value: the name of an EgressTarget must be the host of the target: at least two labels " +
			"of lowercase letters, digits and inner hyphens, each of at most 63 characters, for example external.system.com"
		address  = "<nil>: Invalid value: the name of an EgressTarget must be a host name, not an IP address"
		samePort = "spec: Invalid value: appPort (the plain HTTP port that the app calls) and port (the partner's TLS " +
			"port) must differ: on the same port, the app's own https calls can't be distinguished from its http calls"
		noHostHeader = "host must be a host name without wildcard or scheme, and can have a port, for example " +
			"external.system.com or external.system.com:8443"
		oneCA = "spec.serverCA: Invalid value: serverCA must have exactly one of secretKey (a key of the credential " +
			"Secret), configMap (name and key) and system: true (the CAs that the sidecar image trusts)"
	)
	const (
		noAddress = "address must be an IP address, or a host name of at least two labels of lowercase letters, digits and " +
			"inner hyphens, without scheme, port and trailing dot"
		localAddress = "address can't be an unspecified, loopback, link-local or multicast address: set an address at " +
			"which the partner, a relay or a gateway answers"
	)
	endpoint := func(n int, value, message string) string {
		return fmt.Sprintf("spec.endpoints[%d].address: Invalid value: %q: %s", n, value, message)
	}
	longest := strings.Repeat(strings.Repeat("a", 62)+".", 4) + "b"
	tests := map[string]struct {
		name string // default: host
		spec string
		want []string // what is wrong, by field; nothing when it is accepted
	}{
		"nothing set": {spec: `{}`},
		"every field": {
			spec: `{port: 8443, appPort: 8080, credential: {secretName: partner.mtls, keys: {certificate: client.pem, ` +
				`privateKey: client.key}}, serverCA: {secretKey: ca.pem}, sni: Other.Example.com, subjectAltNames: ` +
				`[a.example.com, b.example.com], http: {retries: 0, timeout: 1m30s, version: "2", host: ` +
				`"Other.Example.com:8443"}, connection: {maxAge: 1s}}`,
		},
		"the CA from a ConfigMap": {spec: `{serverCA: {configMap: {name: partner-ca, key: ca-bundle.crt}}}`},
		"the CAs of the sidecar":  {spec: `{serverCA: {system: true}}`},
		"endpoints of all kinds": {
			spec: `{port: 8443, endpoints: [{address: relay.example}, {address: relay.example, port: 9443}, ` +
				`{address: egress-gateway.istio-egress.svc.cluster.local, priority: 0}, {address: 10.20.30.40, priority: 1}, ` +
				`{address: "2001:db8::1", port: 1}, {address: 255.255.255.255}, {address: external.system.com}, ` +
				`{address: "fd00:1:2:3:4:5:6:7", port: 65535}]}`,
		},
		"a certificate of cert-manager's": {
			spec: `{credential: {issuerRef: {name: partner-ca}, certificate: {subject: ` +
				`"CN=orders,O=Example"}}, serverCA: {system: true}}`,
		},
		"every field of a certificate of cert-manager's": {
			spec: `{credential: {secretName: orders-tls, issuerRef: {name: vault, kind: ClusterIssuer, group: cert-manager.io},
			certificate: {commonName: orders, dnsNames: [orders.example.com], uris: ["spiffe://example.com/orders"],
			emails: [team@example.com], keyType: rsa-4096, duration: 24h, renewBefore: 8h}}, serverCA: {secretKey: ca.crt}}`,
		},
		"the ports swapped round":         {spec: `{port: 80, appPort: 8080}`},
		"app ports next to the sidecar's": {spec: `{appPort: 14999}`},
		"the last port":                   {spec: `{port: 65535, appPort: 15100}`},
		"a host of two labels":            {name: "a.b", spec: `{}`},
		"a label of 63 characters":        {name: strings.Repeat("a", 63) + ".com", spec: `{}`},
		"a punycode host":                 {name: "xn--bcher-kva.example", spec: `{}`},
		"a label of digits":               {name: "1.2.3.example", spec: `{}`},
		"the longest name":                {name: longest, spec: `{}`},
		"a server name of one label":      {spec: `{sni: partner}`},
		"a Host header of one label":      {spec: `{http: {host: "partner:1"}}`},
		"the shortest time-out":           {spec: `{http: {timeout: 1ms}}`},
		"sixteen names, the most": {
			spec: `{subjectAltNames: [a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16]}`,
		},

		"one label": {
			name: "localhost", spec: `{}`,
			want: []string{noHost},
		},
		"a label of 64 characters": {
			name: strings.Repeat("a", 64) + ".com", spec: `{}`,
			want: []string{noHost},
		},
		"an IP address": {
			name: "10.0.0.1", spec: `{}`,
			want: []string{address},
		},
		"a name that ends in a number": {
			name: "partner.example.1", spec: `{}`,
			want: []string{address},
		},
		"a host in capitals": {
			name: "External.system.com", spec: `{}`,
			want: []string{
				noHost,
				`metadata.name: Invalid value: "External.system.com": a lowercase RFC 1123 subdomain must consist of lower case ` +
					`alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. ` +
					`'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
			},
		},
		"endpoints that are no addresses": {
			spec: `{endpoints: [{address: relay}, {address: "https://relay.example"}, {address: "relay.example:443"}, ` +
				`{address: relay.example.}, {address: Relay.example}, {address: 10.20.30.256}, {address: "*.example"}, ` +
				`{address: "[2001:db8::1]"}]}`,
			want: []string{
				endpoint(0, "relay", noAddress), endpoint(1, "https://relay.example", noAddress),
				endpoint(2, "relay.example:443", noAddress), endpoint(3, "relay.example.", noAddress),
				endpoint(4, "Relay.example", noAddress), endpoint(5, "10.20.30.256", noAddress),
				endpoint(6, "*.example", noAddress), endpoint(7, "[2001:db8::1]", noAddress),
			},
		},
		"endpoints at which no partner can be": {
			spec: `{endpoints: [{address: 0.0.0.0}, {address: 127.0.0.1}, {address: 169.254.169.254}, {address: 239.1.2.3}, ` +
				`{address: "::"}, {address: "0:0:0:0:0:0:0:1"}, {address: "fe80::1"}, {address: "ff02::1"}]}`,
			want: []string{
				endpoint(0, "0.0.0.0", localAddress), endpoint(1, "127.0.0.1", localAddress),
				endpoint(2, "169.254.169.254", localAddress), endpoint(3, "239.1.2.3", localAddress),
				endpoint(4, "::", localAddress), endpoint(5, "0:0:0:0:0:0:0:1", localAddress),
				endpoint(6, "fe80::1", localAddress), endpoint(7, "ff02::1", localAddress),
			},
		},
		"endpoints with names that are incomplete or reserved": {
			spec: `{endpoints: [{address: relay.proxies.svc}, {address: external.system.com.mtls-egress.internal}]}`,
			want: []string{
				endpoint(0, "relay.proxies.svc", "address must be the full name of a Service, because search domains don't "+
					"apply: set NAME.NAMESPACE.svc.cluster.local, with the domain of the cluster"),
				endpoint(1, "external.system.com.mtls-egress.internal",
					"address can't be below mtls-egress.internal, which is reserved for the controller"),
			},
		},
		"an endpoint twice, once with the port of the target": {
			spec: `{port: 8443, endpoints: [{address: relay.example}, {address: relay.example, port: 8443, priority: 1}]}`,
			want: []string{
				"spec: Invalid value: endpoints must be different: two of them have the same address and port",
			},
		},
		"an endpoint with wrong numbers": {
			spec: `{endpoints: [{address: relay.example, port: 0, priority: 2}]}`,
			want: []string{
				"spec.endpoints[0].port: Invalid value: 0: spec.endpoints[0].port in body should be greater than or equal to 1",
				"spec.endpoints[0].priority: Invalid value: 2: spec.endpoints[0].priority in body should be less than or " +
					"equal to 1",
			},
		},
		"no endpoint in the list": {
			spec: `{endpoints: []}`,
			want: []string{
				"spec.endpoints: Invalid value: 0: spec.endpoints in body should have at least 1 items",
			},
		},
		"port 0": {
			spec: `{port: 0}`,
			want: []string{"spec.port: Invalid value: 0: spec.port in body should be greater than or equal to 1"},
		},
		"a port too high": {
			spec: `{port: 65536}`,
			want: []string{"spec.port: Invalid value: 65536: spec.port in body should be less than or equal to 65535"},
		},
		"a port as text": {
			spec: `{port: "443"}`,
			want: []string{unchecked, `spec.port: Invalid value: "string": spec.port in body must be of type integer: "string"`},
		},
		"app port 0": {
			spec: `{appPort: 0}`,
			want: []string{"spec.appPort: Invalid value: 0: spec.appPort in body should be greater than or equal to 1"},
		},
		"an app port too high": {
			spec: `{appPort: 65536}`,
			want: []string{"spec.appPort: Invalid value: 65536: spec.appPort in body should be less than or equal to 65535"},
		},
		"app port 443": {
			spec: `{appPort: 443, port: 8443}`,
			want: []string{
				"spec.appPort: Invalid value: 443: appPort can't be 443, which the app's own TLS calls use: set the port of its " +
					"http:// URL, usually 80",
			},
		},
		"the sidecar's first port": {
			spec: `{appPort: 15000}`,
			want: []string{
				"spec.appPort: Invalid value: 15000: appPort can't be in the range 15000-15099, " +
					"which is reserved for the Istio sidecar",
			},
		},
		"the sidecar's last port": {
			spec: `{appPort: 15099}`,
			want: []string{
				"spec.appPort: Invalid value: 15099: appPort can't be in the range 15000-15099, " +
					"which is reserved for the Istio sidecar",
			},
		},
		"one port for both": {
			spec: `{appPort: 8443, port: 8443}`,
			want: []string{samePort},
		},
		"the port of the default app port": {
			spec: `{port: 80}`,
			want: []string{samePort},
		},
		"a Secret in capitals": {
			spec: `{credential: {secretName: Partner}}`,
			want: []string{
				`spec.credential.secretName: Invalid value: "Partner": secretName must be the name of a ` +
					`Secret: lowercase letters, digits, - and .`,
			},
		},
		"an empty Secret name": {
			spec: `{credential: {secretName: ""}}`,
			want: []string{
				`spec.credential.secretName: Invalid value: "": secretName must be the name of a ` +
					`Secret: lowercase letters, digits, - and .`,
			},
		},
		"a Secret of another namespace": {
			spec: `{credential: {secretName: other/partner}}`,
			want: []string{
				`spec.credential.secretName: Invalid value: "other/partner": secretName must be the name of a ` +
					`Secret: lowercase letters, digits, - and .`,
			},
		},
		"a Secret name too long": {
			spec: `{credential: {secretName: ` + strings.Repeat("a", 254) + `}}`,
			want: []string{unchecked, "spec.credential.secretName: Too long: may not be more than 253 bytes"},
		},
		"one key alone": {
			spec: `{credential: {keys: {certificate: client.pem}}}`,
			want: []string{unchecked, "spec.credential.keys.privateKey: Required value"},
		},
		"one key for both": {
			spec: `{credential: {keys: {certificate: client.pem, privateKey: client.pem}}}`,
			want: []string{
				"spec.credential.keys: Invalid value: certificate and privateKey must be different keys of the Secret: the " +
					"sidecar reads them from separate files",
			},
		},
		"a key that is a path": {
			spec: `{credential: {keys: {certificate: ../client.pem, privateKey: client.key}}}`,
			want: []string{
				`spec.credential.keys.certificate: Invalid value: "../client.pem": spec.credential.keys.certificate in body ` +
					`should match '^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$'`,
			},
		},
		"an issuer without a certificate": {
			spec: `{credential: {issuerRef: {name: partner-ca}}, serverCA: {system: true}}`,
			want: []string{
				"spec.credential: Invalid value: issuerRef (the issuer of the client certificate) and certificate (its names) " +
					"must be set together: set both or neither",
			},
		},
		"a certificate without an issuer": {
			spec: `{credential: {certificate: {commonName: orders}}, serverCA: {system: true}}`,
			want: []string{
				"spec.credential: Invalid value: issuerRef (the issuer of the client certificate) and certificate (its names) " +
					"must be set together: set both or neither",
			},
		},
		"an issuer and keys": {
			spec: `{credential: {issuerRef: {name: partner-ca}, certificate: {commonName: orders}, keys: {certificate: a, ` +
				`privateKey: b}}, serverCA: {system: true}}`,
			want: []string{
				"spec.credential: Invalid value: keys can't be set with issuerRef: a Secret that cert-manager writes has the " +
					"keys tls.crt and tls.key, which are detected automatically",
			},
		},
		"an issuer and no CA of the server": {
			spec: `{credential: {issuerRef: {name: partner-ca}, certificate: {commonName: orders}}}`,
			want: []string{
				"spec: Invalid value: serverCA is required with credential.issuerRef, because the ca.crt that cert-manager " +
					"writes to the Secret is the CA of the client certificate. Set configMap, system: true, or secretKey: ca.crt " +
					"if the same CA signs the server's certificate",
			},
		},
		"a certificate that names nobody": {
			spec: `{credential: {issuerRef: {name: partner-ca}, certificate: {keyType: rsa-2048}}, serverCA: {system: true}}`,
			want: []string{
				"spec.credential.certificate: Invalid value: the certificate needs at least one name: set subject, commonName, " +
					"dnsNames, uris or emails, as the partner expects it",
			},
		},
		"a subject and a common name": {
			spec: `{credential: {issuerRef: {name: partner-ca}, certificate: {subject: CN=orders, ` +
				`commonName: orders}}, serverCA: {system: true}}`,
			want: []string{
				"spec.credential.certificate: Invalid value: subject and commonName can't both be set: write the common name " +
					"into the subject, as in CN=orders,O=Example",
			},
		},
		"a renewal without end": {
			spec: `{credential: {issuerRef: {name: partner-ca}, certificate: {commonName: orders, duration: 2h, ` +
				`renewBefore: 2h}}, serverCA: {system: true}}`,
			want: []string{
				"spec.credential.certificate: Invalid value: renewBefore must be shorter than duration (2160h by default), " +
					"otherwise cert-manager renews the certificate endlessly",
			},
		},
		"too short a life and too late a renewal": {
			spec: `{credential: {issuerRef: {name: partner-ca}, certificate: {commonName: orders, duration: 30m, ` +
				`renewBefore: 1m}}, serverCA: {system: true}}`,
			want: []string{
				`spec.credential.certificate.duration: Invalid value: "30m": duration must be at least ` +
					`1h, in h, m, s and ms, for example 720h`,
				`spec.credential.certificate.renewBefore: Invalid value: "1m": renewBefore must be at least ` +
					`5m, in h, m, s and ms, for example 240h`,
			},
		},
		"a key type that nobody knows": {
			spec: `{credential: {issuerRef: {name: partner-ca}, certificate: {commonName: orders, ` +
				`keyType: ed25519}}, serverCA: {system: true}}`,
			want: []string{
				unchecked,
				`spec.credential.certificate.keyType: Unsupported value: "ed25519": supported values: "ecdsa-p256", ` +
					`"ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"`,
			},
		},
		"no CA": {
			spec: `{serverCA: {}}`,
			want: []string{oneCA},
		},
		"two CAs": {
			spec: `{serverCA: {secretKey: ca.crt, system: true}}`,
			want: []string{oneCA},
		},
		"the CAs of the sidecar, denied": {
			spec: `{serverCA: {system: false}}`,
			want: []string{unchecked, `spec.serverCA.system: Unsupported value: false: supported values: "true"`},
		},
		"a CA key with a blank": {
			spec: `{serverCA: {secretKey: "ca crt"}}`,
			want: []string{
				`spec.serverCA.secretKey: Invalid value: "ca crt": spec.serverCA.secretKey in body should ` +
					`match '^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$'`,
			},
		},
		"a ConfigMap without key": {
			spec: `{serverCA: {configMap: {name: partner-ca}}}`,
			want: []string{unchecked, "spec.serverCA.configMap.key: Required value"},
		},
		"a ConfigMap in capitals": {
			spec: `{serverCA: {configMap: {name: Partner-CA, key: ca.crt}}}`,
			want: []string{
				`spec.serverCA.configMap.name: Invalid value: "Partner-CA": name must be the name of a ` +
					`ConfigMap: lowercase letters, digits, - and .`,
			},
		},
		"a server name with wildcard": {
			spec: `{sni: "*.example.com"}`,
			want: []string{
				`spec.sni: Invalid value: "*.example.com": sni must be a host name without wildcard, scheme ` +
					`or port, for example external.system.com`,
			},
		},
		"a server name with scheme": {
			spec: `{sni: "https://example.com"}`,
			want: []string{
				`spec.sni: Invalid value: "https://example.com": sni must be a host name without wildcard, scheme ` +
					`or port, for example external.system.com`,
			},
		},
		"a server name with port": {
			spec: `{sni: "example.com:443"}`,
			want: []string{
				`spec.sni: Invalid value: "example.com:443": sni must be a host name without wildcard, scheme ` +
					`or port, for example external.system.com`,
			},
		},
		"an empty server name": {
			spec: `{sni: ""}`,
			want: []string{
				`spec.sni: Invalid value: "": sni must be a host name without wildcard, scheme ` +
					`or port, for example external.system.com`,
			},
		},
		"no names": {
			spec: `{subjectAltNames: []}`,
			want: []string{"spec.subjectAltNames: Invalid value: 0: spec.subjectAltNames in body should have at least 1 items"},
		},
		"an empty name": {
			spec: `{subjectAltNames: [""]}`,
			want: []string{
				`spec.subjectAltNames[0]: Invalid value: "": spec.subjectAltNames[0] in body should be at least 1 chars long`,
			},
		},
		"a name twice": {
			spec: `{subjectAltNames: [a.com, a.com]}`,
			want: []string{`spec.subjectAltNames[1]: Duplicate value: "a.com"`},
		},
		"seventeen names": {
			spec: `{subjectAltNames: [a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17]}`,
			want: []string{unchecked, "spec.subjectAltNames: Too many: 17: must have at most 16 items"},
		},
		"retries below 0": {
			spec: `{http: {retries: -1}}`,
			want: []string{
				"spec.http.retries: Invalid value: -1: spec.http.retries in body should be greater than or equal to 0",
			},
		},
		"retries without end": {
			spec: `{http: {retries: 11}}`,
			want: []string{"spec.http.retries: Invalid value: 11: spec.http.retries in body should be less than or equal to 10"},
		},
		"a time-out of nothing": {
			spec: `{http: {timeout: 0s}}`,
			want: []string{
				`spec.http.timeout: Invalid value: "0s": timeout must be at least 1ms, in h, m, s and ms, for example 30s`,
			},
		},
		"a time-out in days": {
			spec: `{http: {timeout: 1d}}`,
			want: []string{
				`spec.http.timeout: Invalid value: "1d": timeout must be at least 1ms, in h, m, s and ms, for example 30s`,
			},
		},
		"a time-out without unit": {
			spec: `{http: {timeout: "30"}}`,
			want: []string{
				`spec.http.timeout: Invalid value: "30": timeout must be at least 1ms, in h, m, s and ms, for example 30s`,
			},
		},
		"a time-out as number": {
			spec: `{http: {timeout: 30}}`,
			want: []string{
				unchecked,
				`spec.http.timeout: Invalid value: "integer": spec.http.timeout in body must be of type string: "integer"`,
			},
		},
		"a Host header with a scheme": {
			spec: `{http: {host: "https://example.com"}}`,
			want: []string{`spec.http.host: Invalid value: "https://example.com": ` + noHostHeader},
		},
		"a Host header with a path": {
			spec: `{http: {host: example.com/v1}}`,
			want: []string{`spec.http.host: Invalid value: "example.com/v1": ` + noHostHeader},
		},
		"a Host header for all hosts": {
			spec: `{http: {host: "*.example.com"}}`,
			want: []string{`spec.http.host: Invalid value: "*.example.com": ` + noHostHeader},
		},
		"a Host header without the port after its colon": {
			spec: `{http: {host: "example.com:"}}`,
			want: []string{`spec.http.host: Invalid value: "example.com:": ` + noHostHeader},
		},
		"a Host header with a port that is too large": {
			spec: `{http: {host: "example.com:65536"}}`,
			want: []string{`spec.http.host: Invalid value: "example.com:65536": ` + noHostHeader},
		},
		"HTTP/3": {
			spec: `{http: {version: "3"}}`,
			want: []string{unchecked, `spec.http.version: Unsupported value: "3": supported values: "auto", "1.1", "2"`},
		},
		"the HTTP version as number": {
			spec: `{http: {version: 1.1}}`,
			want: []string{
				unchecked,
				`spec.http.version: Invalid value: "number": spec.http.version in body must be of type string: "number"`,
				`spec.http.version: Unsupported value: 1.1: supported values: "auto", "1.1", "2"`,
			},
		},
		"connections that may not live": {
			spec: `{connection: {maxAge: 999ms}}`,
			want: []string{
				`spec.connection.maxAge: Invalid value: "999ms": maxAge must be at least 1s, in h, m, s and ms, for example 5m`,
			},
		},
		"connections of negative age": {
			spec: `{connection: {maxAge: -5m}}`,
			want: []string{
				`spec.connection.maxAge: Invalid value: "-5m": maxAge must be at least 1s, in h, m, s and ms, for example 5m`,
			},
		},
		"a field that is misspelled": {
			spec: `{apport: 8080}`,
			want: []string{
				`EgressTarget in version "v1alpha1" cannot be handled as a EgressTarget: strict ` +
					`decoding error: unknown field "spec.apport"`,
			},
		},
		"several mistakes are told together": {
			spec: `{port: 0, sni: "*.a.com", http: {retries: 11}}`,
			want: []string{
				"spec.http.retries: Invalid value: 11: spec.http.retries in body should be less than or equal to 10",
				"spec.port: Invalid value: 0: spec.port in body should be greater than or equal to 1",
				`spec.sni: Invalid value: "*.a.com": sni must be a host name without wildcard, scheme ` +
					`or port, for example external.system.com`,
			},
		},
	}
	ofOurMinor := c.ofOurMinor(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			object := egressTarget(t, test.spec)
			object.SetName(host)
			if test.name != "" {
				object.SetName(test.name)
			}
			err := c.Create(t.Context(), object, client.DryRunAll, client.FieldValidation("Strict"))
			got := causes(t, err)
			switch diff := cmp.Diff(test.want, got); {
			case ofOurMinor && diff != "":
				t.Errorf("(-want +got):\n%s", diff)
			case (test.want == nil) != (got == nil):
				t.Errorf("the API server says %q, want a refusal: %t", got, test.want != nil)
			}
			compareWithRender(t, c, object, ofOurMinor)
		})
	}

	testRenderedEgressTargets(t, c)

	t.Run("the defaults", func(t *testing.T) {
		object := &unstructured.Unstructured{}
		object.SetAPIVersion("mtls.egress/v1alpha1")
		object.SetKind("EgressTarget")
		object.SetNamespace("default")
		object.SetName(host)
		if err := c.Create(t.Context(), object, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"port": int64(443), "appPort": int64(80), "credential": map[string]any{}}
		if diff := cmp.Diff(want, object.Object["spec"]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func egressTarget(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	manifest := "{apiVersion: mtls.egress/v1alpha1, kind: EgressTarget, metadata: {namespace: default}, spec: " +
		spec + "}"
	if err := yaml.Unmarshal([]byte(manifest), &object.Object); err != nil {
		t.Fatal(err)
	}
	return object
}

// causes are the reasons of a refusal, each with its field.
func causes(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		t.Fatal(err)
	}
	if status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return []string{status.Status().Message}
	}
	var found []string
	for _, cause := range status.Status().Details.Causes {
		found = append(found, fmt.Sprintf("%s: %s", cause.Field, cause.Message))
	}
	slices.Sort(found)
	return found
}
