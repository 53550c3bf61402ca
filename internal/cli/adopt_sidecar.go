package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"mtls.egress/webhook/internal/envoyadmin"
)

// Sidecar answers questions about the sidecar of a Pod, as it runs.
type Sidecar interface {
	// Clusters returns the clusters to which routes lead calls with the Host header host, sorted.
	Clusters(ctx context.Context, host string) ([]string, error)
	// Certificate returns the name under which the sidecar knows the client certificate of a cluster,
	// which contains its path. It is "" if the sidecar doesn't have the cluster, or it has none.
	Certificate(ctx context.Context, cluster string) (string, error)
	// Calls counts the calls to the services since the sidecar started.
	Calls(ctx context.Context, services ...string) (SidecarCalls, error)
}

// SidecarCalls is a number of calls, and how many of them failed: with a status of 5xx, or without
// an answer.
type SidecarCalls struct{ Total, Failed uint64 }

// noCluster stands for a route that leads to no cluster, such as one with a direct response.
const noCluster = "no cluster"

// adminSidecar reads the sidecar through its admin interface.
type adminSidecar struct {
	config *rest.Config
	pod    *corev1.Pod
}

// get returns what the admin interface answers.
func (s *adminSidecar) get(ctx context.Context, path string) ([]byte, error) {
	answers, err := envoyadmin.Forward(ctx, s.config, s.pod, path)
	if err != nil {
		return nil, fmt.Errorf("asking the sidecar of the Pod %s, which needs the right to create pods/portforward: %w",
			s.pod.Name, err)
	}
	if answers[path] == nil {
		return nil, fmt.Errorf("the sidecar of the Pod %s has no %s", s.pod.Name, path)
	}
	return answers[path], nil
}

// Clusters reads the dynamic routes.
func (s *adminSidecar) Clusters(ctx context.Context, host string) ([]string, error) {
	body, err := s.get(ctx, "/config_dump?resource=dynamic_route_configs")
	if err != nil {
		return nil, err
	}
	return clustersIn(body, host)
}

// Certificate reads the dynamic clusters.
func (s *adminSidecar) Certificate(ctx context.Context, cluster string) (string, error) {
	body, err := s.get(ctx, "/config_dump?resource=dynamic_active_clusters")
	if err != nil {
		return "", err
	}
	return certificateIn(body, cluster)
}

// Calls reads Istio's own metric of calls, or the counters of Envoy's hosts where a sidecar has
// none.
func (s *adminSidecar) Calls(ctx context.Context, services ...string) (SidecarCalls, error) {
	body, err := s.get(ctx, "/stats/prometheus?filter=istio_requests_total")
	if err != nil {
		return SidecarCalls{}, err
	}
	if calls, found := callsInMetrics(string(body), services); found {
		return calls, nil
	}
	if body, err = s.get(ctx, "/clusters?format=json"); err != nil {
		return SidecarCalls{}, err
	}
	return callsInClusters(body, services)
}

// clustersIn returns the clusters to which routes of a dump lead calls to the host.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump.proto
func clustersIn(dump []byte, host string) ([]string, error) {
	var content struct {
		Configs []struct {
			RouteConfig struct {
				VirtualHosts []struct {
					Domains []string          `json:"domains"`
					Routes  []json.RawMessage `json:"routes"`
				} `json:"virtual_hosts"`
			} `json:"route_config"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(dump, &content); err != nil {
		return nil, fmt.Errorf("reading the sidecar's routes: %w", err)
	}
	var clusters []string
	for _, config := range content.Configs {
		for _, virtualHost := range config.RouteConfig.VirtualHosts {
			if !slices.ContainsFunc(virtualHost.Domains, func(domain string) bool {
				name, _, _ := strings.Cut(domain, ":")
				return name == host
			}) {
				continue
			}
			for _, route := range virtualHost.Routes {
				clusters = append(clusters, clusterOf(route))
			}
		}
	}
	slices.Sort(clusters)
	return slices.Compact(clusters), nil
}

// clusterOf returns the cluster of a route, or what the route does instead.
func clusterOf(route json.RawMessage) string {
	var content struct {
		Route struct {
			Cluster string `json:"cluster"`
		} `json:"route"`
	}
	if json.Unmarshal(route, &content) != nil || content.Route.Cluster == "" {
		return noCluster
	}
	return content.Route.Cluster
}

// certificateIn returns the name of the client certificate of a cluster in a dump.
func certificateIn(dump []byte, cluster string) (string, error) {
	type transportSocket struct {
		TypedConfig struct {
			CommonTLSContext struct {
				Certificates []struct {
					Name string `json:"name"`
				} `json:"tls_certificate_sds_secret_configs"`
			} `json:"common_tls_context"`
		} `json:"typed_config"`
	}
	var content struct {
		Configs []struct {
			Cluster struct {
				Name            string          `json:"name"`
				TransportSocket transportSocket `json:"transport_socket"`
				Matches         []struct {
					TransportSocket transportSocket `json:"transport_socket"`
				} `json:"transport_socket_matches"`
			} `json:"cluster"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(dump, &content); err != nil {
		return "", fmt.Errorf("reading the sidecar's clusters: %w", err)
	}
	for _, config := range content.Configs {
		if config.Cluster.Name != cluster {
			continue
		}
		sockets := []transportSocket{config.Cluster.TransportSocket}
		for _, match := range config.Cluster.Matches {
			sockets = append(sockets, match.TransportSocket)
		}
		for _, socket := range sockets {
			for _, certificate := range socket.TypedConfig.CommonTLSContext.Certificates {
				return certificate.Name, nil
			}
		}
	}
	return "", nil
}
