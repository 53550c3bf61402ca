package explain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/egress"
)

// answers are what the Envoy of a Pod answered on a mesh, whose calls fail as the partner's
// certificate has another name.
func answers(t *testing.T, target egress.Target) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for path, name := range map[string]string{
		pathClusters: "clusters", pathListeners: "listeners", pathCertificate(target): "secrets",
		pathRoutes(target): "routes",
		pathStats:          "stats", pathClusterConfig(target): "cluster-config",
	} {
		content, err := os.ReadFile(filepath.Join("testdata", "envoy", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		found[path] = content
	}
	return found
}

func TestSidecar(t *testing.T) {
	target := egress.FromEgressTarget(ns, host, nil, egress.Sinkhole{})
	replaced := func(path, old, updated string) map[string][]byte {
		changed := answers(t, target)
		changed[path] = []byte(strings.ReplaceAll(string(changed[path]), old, updated))
		return changed
	}
	onlyAllOfIPv6 := func() map[string][]byte {
		changed := replaced(pathListeners, target.Address().String(), "192.0.2.1")
		changed[pathListeners] = []byte(strings.ReplaceAll(string(changed[pathListeners]), `"0.0.0.0_80"`, `"::_80"`))
		return changed
	}
	healthy := func() *Sidecar {
		return &Sidecar{
			Updated: true, Routed: true, Listens: true, Stats: map[string]uint64{},
			Asked: true, Serial: "438cf7e0adc8ee48738c2d497ff245c29ec2d215",
			Subset: &Cluster{TLS: true, SNI: host, Endpoints: []Endpoint{{
				Address: "10.96.0.80:443", Name: "external.system.com", Connections: 2064, Failed: 2063, Requests: 0, Errors: 2061,
			}}},
			Own: &Cluster{Endpoints: []Endpoint{{Address: "10.96.0.80:443", Name: "external.system.com"}}},
		}
	}
	for name, test := range map[string]struct {
		answers map[string][]byte
		change  func(*Sidecar)
	}{
		"all that was answered": {answers(t, target), func(*Sidecar) {}},
		"nothing":               {nil, func(s *Sidecar) { *s = Sidecar{Stats: map[string]uint64{}} }},
		"no route": {replaced(pathRoutes(target), "outbound|443|mtls-egress|", "outbound|443|other|"), func(s *Sidecar) {
			s.Routed = false
		}},
		"only the listener for all " +
			"addresses": {replaced(pathListeners, target.Address().String(), "192.0.2.1"), func(*Sidecar) {}},
		"only the listener for all addresses of IPv6": {onlyAllOfIPv6(),
			func(*Sidecar) {}},
		"a call of a Pod with IPv6 addresses": {
			map[string][]byte{pathClusters: []byte(`{"cluster_statuses":[{"name":"PassthroughCluster",
			"host_statuses":[{"address":{"socket_address":{"address":"100::1","port_value":8080}}}]}]}`)},
			func(s *Sidecar) { *s = Sidecar{Stats: map[string]uint64{}, Passed: []string{"[100::1]:8080"}} },
		},
		"a call that was passed on": {map[string][]byte{pathClusters: []byte(`{"cluster_` +
			`statuses":[{"name":"PassthroughCluster",
			"host_statuses":[{"address":{"socket_address":{"address":"240.0.0.1","port_value":8080}}}]}]}`)}, func(s *Sidecar) {
			*s = Sidecar{Stats: map[string]uint64{}, Passed: []string{"240.0.0.1:8080"}}
		}},
		"files that Envoy could not load": {
			map[string][]byte{pathCertificate(target): []byte("{}")},
			func(s *Sidecar) { *s = Sidecar{Stats: map[string]uint64{}, Asked: true} },
		},
		"statistics of TLS": {map[string][]byte{pathStats: []byte(`{"stats":[{"name":"cluster.outbound|443|mtls-egress|` +
			`external.system.com.mtls-egress.internal;.ssl.fail_verify_san","value":3},{"histograms":{}}]}`)},
			func(s *Sidecar) { *s = Sidecar{Stats: map[string]uint64{"ssl.fail_verify_san": 3}} }},
	} {
		t.Run(name, func(t *testing.T) {
			want := healthy()
			test.change(want)
			got, err := ReadSidecar(target, test.answers)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
	if _, err := ReadSidecar(target, map[string][]byte{pathClusters: []byte("upstream connect error")}); err == nil {
		t.Error("an answer that isn't JSON is accepted")
	}
}
