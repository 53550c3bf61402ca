package explain

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

// Sidecar is what a Pod's Envoy has for a target.
type Sidecar struct {
	// Updated reports whether istiod has sent any configuration.
	Updated bool
	// Subset is the cluster with mutual TLS, and Own the one for the app's own TLS. Nil if Envoy lacks
	// it.
	Subset, Own *Cluster
	// Routed reports whether a route leads the host to Subset, and Listens whether Envoy listens for
	// its plain calls.
	Routed, Listens bool
	// Asked reports whether Envoy was asked for the client certificate. Serial is its serial number in
	// lowercase hexadecimal without leading zeros, or "" if Envoy could not load the files.
	Asked  bool
	Serial string
	// Passed are the addresses that calls were passed on to as they were (PassthroughCluster).
	Passed []string
	// Stats are the statistics of Subset, without the prefix. Istio switches most of them off by
	// default.
	Stats map[string]uint64
}

// Cluster is a cluster of Envoy.
type Cluster struct {
	// TLS reports whether it speaks TLS, with SNI as the server name.
	TLS bool
	SNI string
	// Endpoints are the addresses of its name.
	Endpoints []Endpoint
}

// Endpoint is an address with its counters since the sidecar started.
type Endpoint struct {
	Address string
	// Name is the name that has the address, without a trailing dot, or "" for an IP address.
	Name string
	// LeftOut reports whether the sidecar leaves the address out, because connections failed.
	LeftOut bool
	// Connections counts those that were tried, and Failed those of them that did not come about.
	Connections, Failed uint64
	// Requests counts requests, and Errors those of them that failed or were answered with 5xx.
	Requests, Errors uint64
}

func (c *Cluster) total(of func(Endpoint) uint64) (sum uint64) {
	if c == nil {
		return 0
	}
	for _, endpoint := range c.Endpoints {
		sum += of(endpoint)
	}
	return sum
}

// AdminPaths returns the paths of Envoy's admin interface to read for the target. That of all
// certificates is only for a bundle.
func AdminPaths(t egress.Target) []string {
	return []string{
		pathClusters,
		pathListeners,
		pathCerts,
		pathClusterConfig(t),
		pathRoutes(t),
		pathCertificate(t),
		pathStats,
	}
}

// https://www.envoyproxy.io/docs/envoy/latest/operations/admin
const (
	pathClusters  = "/clusters?format=json"
	pathListeners = "/listeners?format=json"
	pathCerts     = "/certs"
	pathStats     = "/stats?format=json&filter=%5E(cluster%5C.outbound.*mtls-egress.*|cluster_manager.cds.update_" +
		"success)"
)

// pathClusterConfig returns the path of the two clusters of the target.
func pathClusterConfig(t egress.Target) string {
	return "/config_dump?resource=dynamic_active_clusters&name_regex=.*" +
		strings.ReplaceAll(egress.MeshHost(t.Host), ".", `%5C.`)
}

// pathRoutes returns the path of the routes for the app port: those of the listener for all
// addresses, which have the port as their name, and those of the target's listener.
func pathRoutes(t egress.Target) string {
	return "/config_dump?resource=dynamic_route_configs&name_regex=(.*%3A)%3F" + strconv.Itoa(int(t.AppPort))
}

// pathCertificate returns the path of the client certificate. Envoy lists it when it has loaded the
// files; its name contains their paths.
func pathCertificate(t egress.Target) string {
	return "/config_dump?resource=dynamic_active_secrets&name_regex=file-cert%3A" +
		strings.NewReplacer("/", "%2F", ".", `%5C.`).Replace(egress.MountPath(t.Host)) + "%2F.*"
}

// ReadSidecar parses what Envoy's admin interface answered, by path. A path that is missing leaves
// its fields empty.
func ReadSidecar(t egress.Target, answers map[string][]byte) (*Sidecar, error) {
	s := &Sidecar{Stats: map[string]uint64{}}
	return s, errors.Join(
		s.readClusterConfig(t, answers[pathClusterConfig(t)]),
		s.readClusters(t, answers[pathClusters]),
		s.readListeners(t, answers[pathListeners]),
		s.readRoutes(t, answers[pathRoutes(t)]),
		s.readCertificate(answers[pathCertificate(t)]),
		s.readStats(t, answers[pathStats]),
	)
}

func decode(what string, content []byte, into any) error {
	if len(content) == 0 {
		return nil
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("the %s of Envoy are not the expected JSON: %w", what, err)
	}
	return nil
}

// clusterConfig is the part of envoy.admin.v3.ClustersConfigDump.DynamicCluster that this package
// reads.
type clusterConfig struct {
	Cluster struct {
		Name            string `json:"name"`
		TransportSocket struct {
			TypedConfig struct {
				SNI string `json:"sni"`
			} `json:"typed_config"`
		} `json:"transport_socket"`
	} `json:"cluster"`
}

func (s *Sidecar) readClusterConfig(t egress.Target, content []byte) error {
	var dump struct {
		Configs []clusterConfig `json:"configs"`
	}
	if err := decode("clusters", content, &dump); err != nil {
		return err
	}
	for _, config := range dump.Configs {
		sni := config.Cluster.TransportSocket.TypedConfig.SNI
		switch config.Cluster.Name {
		case subsetName(t):
			s.Subset = &Cluster{TLS: sni != "", SNI: sni}
		case ownName(t):
			s.Own = &Cluster{TLS: sni != "", SNI: sni}
		}
	}
	return nil
}

// clusterStatus is the part of envoy.admin.v3.ClusterStatus that this package reads.
type clusterStatus struct {
	Name  string `json:"name"`
	Hosts []struct {
		Hostname string `json:"hostname"`
		Health   struct {
			FailedOutlierCheck bool `json:"failed_outlier_check"`
		} `json:"health_status"`
		Address struct {
			SocketAddress struct {
				Address string `json:"address"`
				Port    int    `json:"port_value"`
			} `json:"socket_address"`
		} `json:"address"`
		Stats []struct {
			Name  string `json:"name"`
			Value string `json:"value"` // a JSON string, because it is a uint64
		} `json:"stats"`
	} `json:"host_statuses"`
}

func (c clusterStatus) endpoints() []Endpoint {
	var found []Endpoint
	for _, host := range c.Hosts {
		counters := map[string]uint64{}
		for _, stat := range host.Stats {
			counters[stat.Name], _ = strconv.ParseUint(stat.Value, 10, 64) // a missing value is 0
		}
		address := host.Address.SocketAddress
		found = append(found, Endpoint{
			Address:     net.JoinHostPort(address.Address, strconv.Itoa(address.Port)),
			Name:        strings.TrimSuffix(host.Hostname, "."),
			LeftOut:     host.Health.FailedOutlierCheck,
			Connections: counters["cx_total"], Failed: counters["cx_connect_fail"],
			Requests: counters["rq_total"], Errors: counters["rq_error"],
		})
	}
	return found
}

func (s *Sidecar) readClusters(t egress.Target, content []byte) error {
	var status struct {
		Statuses []clusterStatus `json:"cluster_statuses"`
	}
	if err := decode("clusters", content, &status); err != nil {
		return err
	}
	for _, cluster := range status.Statuses {
		switch {
		case cluster.Name == subsetName(t) && s.Subset != nil:
			s.Subset.Endpoints = cluster.endpoints()
		case cluster.Name == ownName(t) && s.Own != nil:
			s.Own.Endpoints = cluster.endpoints()
		case cluster.Name == "PassthroughCluster":
			for _, endpoint := range cluster.endpoints() {
				s.Passed = append(s.Passed, endpoint.Address)
			}
		}
		s.Updated = s.Updated || strings.HasPrefix(cluster.Name, "outbound|")
	}
	return nil
}

func (s *Sidecar) readListeners(t egress.Target, content []byte) error {
	var listeners struct {
		Statuses []struct {
			Name string `json:"name"`
		} `json:"listener_statuses"`
	}
	if err := decode("listeners", content, &listeners); err != nil {
		return err
	}
	for _, listener := range listeners.Statuses {
		address, isPort := strings.CutSuffix(listener.Name, "_"+strconv.Itoa(int(t.AppPort)))
		s.Listens = s.Listens || isPort && slices.Contains([]string{t.Address().String(), "0.0.0.0", "::"}, address)
	}
	return nil
}

func (s *Sidecar) readRoutes(t egress.Target, content []byte) error {
	var dump struct {
		Configs []struct {
			RouteConfig struct {
				VirtualHosts []struct {
					Domains []string        `json:"domains"`
					Routes  json.RawMessage `json:"routes"`
				} `json:"virtual_hosts"`
			} `json:"route_config"`
		} `json:"configs"`
	}
	if err := decode("routes", content, &dump); err != nil {
		return err
	}
	for _, config := range dump.Configs {
		for _, virtualHost := range config.RouteConfig.VirtualHosts {
			s.Routed = s.Routed || strings.Contains(string(virtualHost.Routes), `"`+subsetName(t)+`"`)
		}
	}
	return nil
}

// readCertificate reads the serial number of the certificate that Envoy has loaded. Envoy leaves
// out the private key.
func (s *Sidecar) readCertificate(content []byte) error {
	var dump struct {
		Configs []struct {
			Secret struct {
				Certificate struct {
					Chain struct {
						PEM []byte `json:"inline_bytes"`
					} `json:"certificate_chain"`
				} `json:"tls_certificate"`
			} `json:"secret"`
		} `json:"configs"`
	}
	if err := decode("certificates", content, &dump); err != nil {
		return err
	}
	s.Asked = len(content) > 0
	for _, config := range dump.Configs {
		chain, err := credential.ReadCertificates("certificate_chain", config.Secret.Certificate.Chain.PEM)
		if err != nil {
			return fmt.Errorf("the certificate in Envoy: %w", err)
		}
		s.Serial = chain[0].SerialNumber.Text(16)
	}
	return nil
}

func (s *Sidecar) readStats(t egress.Target, content []byte) error {
	var stats struct {
		Stats []struct {
			Name  string      `json:"name"`
			Value json.Number `json:"value"`
		} `json:"stats"`
	}
	if err := decode("stats", content, &stats); err != nil {
		return err
	}
	for _, stat := range stats.Stats {
		value, err := strconv.ParseUint(stat.Value.String(), 10, 64)
		if err != nil {
			continue // a histogram
		}
		if stat.Name == "cluster_manager.cds.update_success" {
			s.Updated = s.Updated || value > 0
		}
		if name, found := strings.CutPrefix(stat.Name, "cluster."+subsetName(t)); found {
			s.Stats[strings.TrimLeft(name, ";.")] = value
		}
	}
	return nil
}

// tlsCause returns the cause that the statistics of TLS name, or "".
func (s *Sidecar) tlsCause() Cause {
	switch {
	case s.Stats["ssl.fail_verify_san"] > 0:
		return ServerNameMismatch
	case s.Stats["ssl.fail_verify_error"] > 0:
		return ServerNotTrusted
	}
	return ""
}
