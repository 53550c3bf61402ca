package chart

import (
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// claiming is an object of a kind with a value in a field.
func claiming(namespace, kind string, path ...any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetKind(kind)
	object.SetNamespace(namespace)
	object.SetName("theirs")
	object.SetAPIVersion("networking.istio.io/v1")
	switch kind {
	case "Service":
		object.SetAPIVersion("v1")
		object.Object["spec"] = map[string]any{"ports": []any{map[string]any{"port": int64(80)}}}
	case "WorkloadEntry":
		object.Object["spec"] = map[string]any{"address": "10.0.0.1"}
	default:
		object.Object["spec"] = istioSpec(kind, "theirs.example.com")
	}
	fields := make([]string, len(path)-1)
	for n := range fields {
		fields[n] = path[n].(string)
	}
	if err := unstructured.SetNestedField(object.Object, path[len(path)-1], fields...); err != nil {
		panic(err)
	}
	return object
}

func testSinkhole(t *testing.T, c cluster) {
	c.namespace(t, "sinkhole", nil)
	field := map[string]string{
		"Service":        "spec.externalIPs, spec.loadBalancerIP or status.loadBalancer",
		"ServiceEntry":   "spec.addresses",
		"WorkloadEntry":  "spec.address",
		"VirtualService": "destinationSubnets of spec.tcp or spec.tls",
		"Sidecar":        "bind of spec.egress",
	}
	refused := func(kind, taken string) string {
		const policy = "mtls-egress-webhook-sinkhole"
		resource := `services`
		if kind != "Service" {
			resource = pluralOf(kind) + ".networking.istio.io"
		}
		return fmt.Sprintf(
			`%s "theirs" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s theirs uses %s `+
				`(%s), but 240.0.0.0/4 is reserved for the sinkhole addresses of mtls-egress-webhook, where calls are dropped `+
				`that no sidecar intercepts. With this object, such calls from Pods of every namespace would arrive in plain `+
				`text. Use another address`,
			resource, policy, policy, kind, taken, field[kind],
		)
	}
	addresses := func(list ...any) *unstructured.Unstructured {
		entry := claiming("sinkhole", "ServiceEntry", "spec", "addresses", list)
		entry.Object["spec"].(map[string]any)["resolution"] = "NONE" // Istio's schema takes ranges with this one
		return entry
	}
	subnet := func(section string, subnet string) *unstructured.Unstructured {
		match := map[string]any{"port": int64(80), "destinationSubnets": []any{"10.0.0.0/8", subnet}}
		if section == "tls" {
			match["sniHosts"] = []any{"theirs.example.com"}
		}
		return claiming("sinkhole", "VirtualService", "spec", section, []any{
			map[string]any{
				"match": []any{map[string]any{"port": int64(81), "sniHosts": []any{"a.example"}}, match},
				"route": []any{map[string]any{"destination": map[string]any{"host": "theirs.example.com"}}},
			},
		})
	}

	bind := func(address string) *unstructured.Unstructured {
		return claiming("sinkhole", "Sidecar", "spec", "egress", []any{
			map[string]any{"hosts": []any{"./*"}},
			map[string]any{
				"bind":  address,
				"port":  map[string]any{"number": int64(80), "name": "tcp", "protocol": "TCP"},
				"hosts": []any{"./*"},
			},
		})
	}

	// Every field, once. Then every way to write an address.
	created := map[string]struct {
		object *unstructured.Unstructured
		taken  string
	}{
		"a Service without any": {
			object: claiming("sinkhole", "Service", "spec", "type", "ClusterIP"),
		},
		"a Service with an external address": {
			object: claiming("sinkhole", "Service", "spec", "externalIPs", []any{"203.0.113.7", "2001:db8::f101:203"}),
		},
		"a Service with an external address of ours": {
			object: claiming("sinkhole", "Service", "spec", "externalIPs", []any{"203.0.113.7", "241.0.0.1"}),
			taken:  "241.0.0.1",
		},
		"a Service with several": {
			object: claiming("sinkhole", "Service", "spec", "externalIPs", []any{"254.1.2.3", "241.0.0.1"}),
			taken:  "254.1.2.3, 241.0.0.1",
		},
		"a Service with an address of a load balancer": {
			object: claiming("sinkhole", "Service", "spec", "loadBalancerIP", "203.0.113.7"),
		},
		"a Service with a load balancer's of ours": {
			object: claiming("sinkhole", "Service", "spec", "loadBalancerIP", "241.0.0.1"),
			taken:  "241.0.0.1",
		},
		"a Service with one that kube-proxy reads so": {
			object: claiming("sinkhole", "Service", "spec", "loadBalancerIP", "::ffff:241.0.0.1"),
			taken:  "::ffff:241.0.0.1",
		},
		"a Service with an external host":          {object: externalName("241.0.0.1")},
		"a ServiceEntry with an address":           {object: addresses("10.0.0.1")},
		"a ServiceEntry with an address of ours":   {object: addresses("10.0.0.1", "241.0.0.1"), taken: "241.0.0.1"},
		"a VirtualService with a subnet":           {object: subnet("tcp", "192.168.0.0/16")},
		"a VirtualService with a subnet of ours":   {object: subnet("tcp", "241.0.0.0/8"), taken: "241.0.0.0/8"},
		"a VirtualService with one in TLS":         {object: subnet("tls", "241.0.0.0/8"), taken: "241.0.0.0/8"},
		"a Sidecar with a listener":                {object: bind("127.0.0.1")},
		"a Sidecar with a listener at one of ours": {object: bind("241.0.0.1"), taken: "241.0.0.1"},
		"a WorkloadEntry": {
			object: claiming("sinkhole", "WorkloadEntry", "spec", "address", "10.0.0.2"),
		},
		"a WorkloadEntry with an address of ours": {
			object: claiming("sinkhole", "WorkloadEntry", "spec", "address", "241.0.0.1"),
			taken:  "241.0.0.1",
		},
		"a WorkloadEntry with a host that looks so": {
			object: claiming("sinkhole", "WorkloadEntry", "spec", "address", "241.example.com"),
		},
		"a DestinationRule, which has no such field": {
			object: claiming("sinkhole", "DestinationRule", "spec", "host", "241.0.0.1"),
		},
		"a ServiceEntry, of an older version": {object: older(addresses("241.0.0.1")), taken: "241.0.0.1"},
	}
	for _, address := range []string{
		"240.0.0.1", "240.239.255.255", "240.241.0.0", "249.1.1.1", "250.1.1.1", "254.255.255.255", "241.0.0.1/32",
		"240.0.0.0/4", "240.0.0.0/8", "240.240.0.0/12", "240.240.0.0/15", "128.0.0.0/1", "255.255.255.255/1",
		"192.0.0.0/2", "224.0.0.0/3", "255.0.0.0/4", "248.0.0.0/5", "252.0.0.0/6", "254.0.0.0/7", "254.0.0.0/8",
		"128.0.0.0/0", "::ffff:241.0.0.1", "::FFFF:F100:1", "0:0:0:0:0:ffff:f100:1", "0::ffff:fe00:0",
		"::ffff:f000:0/100",
	} {
		created["an entry with "+address] = struct {
			object *unstructured.Unstructured
			taken  string
		}{addresses(address), address}
	}
	for _, address := range []string{
		"239.255.255.255", "255.0.0.0", "24.0.0.1", "2.4.1.0", "100.241.0.1", "240.240.0.0", "240.240.255.255",
		"240.240.0.0/16", "240.240.1.0/24", "255.0.0.0/8", "0.0.0.0/0", "0.0.0.0/1", "64.0.0.0/2", "10.0.0.0/8",
		"240::1", "2001:db8::240.0.0.1", "::240.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1", "::ffff:ff00:1",
		"fe80::ffff:f100:1",
	} {
		created["an entry with "+address] = struct {
			object *unstructured.Unstructured
			taken  string
		}{object: addresses(address)}
	}
	for name, test := range created {
		t.Run(name, func(t *testing.T) {
			want := ""
			if test.taken != "" {
				want = refused(test.object.GetKind(), test.taken)
			}
			if diff := gocmp.Diff(want, message(c.Create(t.Context(), test.object, client.DryRunAll))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}

	// What is there before can have been written before the policy was: the controller, which may,
	// stands for that.
	ours := []any{"241.0.0.1"}
	changed := map[string]struct {
		user   string // default: the administrator
		object *unstructured.Unstructured
		status bool // whether the status is written
		path   []any
		taken  string
	}{
		"an address comes": {
			object: claiming("", "Service", "spec", "type", "ClusterIP"),
			path:   []any{"spec", "externalIPs", ours},
			taken:  "241.0.0.1",
		},
		"another address comes": {
			object: claiming("", "Service", "spec", "externalIPs", ours),
			path:   []any{"spec", "externalIPs", []any{"241.0.0.1", "242.0.0.1"}},
			taken:  "242.0.0.1",
		},
		"an address was there": {
			object: claiming("", "Service", "spec", "externalIPs", ours),
			path:   []any{"metadata", "labels", map[string]any{"a": "b"}},
		},
		"an address was there, and a port comes": {
			object: claiming("", "Service", "spec", "externalIPs", ours),
			path:   []any{"spec", "ports", []any{map[string]any{"port": int64(81)}}},
		},
		"an address goes": {
			object: claiming("", "Service", "spec", "externalIPs", ours),
			path:   []any{"spec", "externalIPs", []any{"203.0.113.7"}},
		},
		"a load balancer gets an address": {
			object: loadBalancer(),
			status: true,
			path: []any{
				"status", "loadBalancer",
				map[string]any{"ingress": []any{map[string]any{"hostname": "lb.example.com"}, map[string]any{"ip": "203.0.113.7"}}},
			},
		},
		"a load balancer gets an address of ours": {
			object: loadBalancer(),
			status: true,
			path: []any{
				"status", "loadBalancer",
				map[string]any{"ingress": []any{map[string]any{"ip": "203.0.113.7"}, map[string]any{"ip": "241.0.0.1"}}},
			},
			taken: "241.0.0.1",
		},
		"an entry gets an address": {
			object: claiming("", "ServiceEntry", "spec", "addresses", []any{"10.0.0.1"}),
			path:   []any{"spec", "addresses", ours},
			taken:  "241.0.0.1",
		},
		"an entry had an address": {
			object: claiming("", "ServiceEntry", "spec", "addresses", ours),
			path:   []any{"spec", "exportTo", []any{"."}},
		},
		"an entry is given an address by Istio": {
			object: claiming("", "ServiceEntry", "spec", "location", "MESH_EXTERNAL"), status: true,
			path: []any{
				"status",
				"addresses",
				[]any{map[string]any{"host": "theirs.example.com", "value": "240.240.0.7"}, map[string]any{"value": "2001:2::7"}},
			},
		},
		"an entry gives itself an address": {
			object: claiming("", "ServiceEntry", "spec", "location", "MESH_EXTERNAL"), status: true,
			path: []any{
				"status",
				"addresses",
				[]any{map[string]any{"host": "theirs.example.com", "value": "241.0.0.1"}},
			}, taken: "241.0.0.1",
		},
		"the controller gives an entry an address": {
			user:   controllerUser,
			object: claiming("", "ServiceEntry", "spec", "addresses", []any{"10.0.0.1"}),
			path:   []any{"spec", "addresses", ours},
		},
	}
	number := 0
	for name, test := range changed {
		number++
		in := fmt.Sprintf("sinkhole-%d", number)
		t.Run(name, func(t *testing.T) {
			c.namespace(t, in, nil)
			object := test.object
			object.SetNamespace(in)
			if err := c.as(t, controllerUser).Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			fields := make([]string, len(test.path)-1)
			for n := range fields {
				fields[n] = test.path[n].(string)
			}
			set(t, object, test.path[len(test.path)-1], fields...)
			user := c.Client
			if test.user != "" {
				user = c.account(t, test.user)
			}
			var err error
			if test.status {
				err = user.Status().Update(t.Context(), object)
			} else {
				err = user.Update(t.Context(), object)
			}
			want := ""
			if test.taken != "" {
				want = refused(object.GetKind(), test.taken)
			}
			if diff := gocmp.Diff(want, message(err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}

	off := map[string]string{"mtls.egress/protection": "off"}
	for name, test := range map[string]struct {
		in       string
		labels   map[string]string
		kind     string
		path     []any
		exportTo []any
		taken    string
	}{
		"a private entry where the protection is off": {
			in:       exemptNamespace("sinkhole", 0),
			labels:   off,
			exportTo: []any{"."},
		},
		"an entry for all where the protection is off": {
			in:       exemptNamespace("sinkhole", 1),
			labels:   off,
			exportTo: []any{"*"},
			taken:    "241.0.0.1",
		},
		"an entry for some where the protection is off": {
			in:       exemptNamespace("sinkhole", 2),
			labels:   off,
			exportTo: []any{".", "other"},
			taken:    "241.0.0.1",
		},
		"an entry where the protection is off": {
			in:     exemptNamespace("sinkhole", 3),
			labels: off,
			taken:  "241.0.0.1",
		},
		"a private entry where the label alone says so": {
			in:       "sinkhole-off",
			labels:   off,
			exportTo: []any{"."},
			taken:    "241.0.0.1",
		},
		"a private entry where the chart alone says so": {
			in:       exemptNamespace("sinkhole", 4),
			exportTo: []any{"."},
			taken:    "241.0.0.1",
		},
		"a Service where the protection is off": {
			in:     exemptNamespace("sinkhole", 5),
			labels: off,
			kind:   "Service",
			path:   []any{"spec", "externalIPs", ours},
			taken:  "241.0.0.1",
		},
		"a WorkloadEntry where the protection is off": {
			in:     exemptNamespace("sinkhole", 6),
			labels: off,
			kind:   "WorkloadEntry",
			path:   []any{"spec", "address", "241.0.0.1"},
			taken:  "241.0.0.1",
		},
		"a private entry where nothing says so": {in: "sinkhole-on", exportTo: []any{"."}, taken: "241.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			c.namespace(t, test.in, test.labels)
			object := claiming(test.in, "ServiceEntry", "spec", "addresses", ours)
			if test.kind != "" {
				object = claiming(test.in, test.kind, test.path...)
			}
			if test.exportTo != nil {
				set(t, object, test.exportTo, "spec", "exportTo")
			}
			want := ""
			if test.taken != "" {
				want = refused(object.GetKind(), test.taken)
			}
			if diff := gocmp.Diff(want, message(c.Create(t.Context(), object, client.DryRunAll))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func externalName(host string) *unstructured.Unstructured {
	service := claiming("sinkhole", "Service", "spec", "type", "ExternalName")
	service.Object["spec"].(map[string]any)["externalName"] = host
	return service
}

func loadBalancer() *unstructured.Unstructured {
	return claiming("", "Service", "spec", "type", "LoadBalancer")
}

func older(object *unstructured.Unstructured) *unstructured.Unstructured {
	object.SetAPIVersion("networking.istio.io/v1alpha3")
	return object
}
