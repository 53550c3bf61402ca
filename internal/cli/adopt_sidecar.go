package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
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

// adminPort is the port of Envoy's admin interface, which only the Pod itself can reach.
const adminPort = 15000

// forwardedSidecar reads the sidecar through a forwarded port.
type forwardedSidecar struct {
	config *rest.Config
	pod    *corev1.Pod
}

// get returns what the admin interface answers.
func (s *forwardedSidecar) get(ctx context.Context, path string) (body []byte, err error) {
	clientset, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		return nil, err
	}
	// The forwarded connection lasts as long as it is used.
	unlimited := rest.CopyConfig(s.config)
	unlimited.Timeout = 0
	transport, upgrader, err := spdy.RoundTripperFor(unlimited)
	if err != nil {
		return nil, err
	}
	url := clientset.CoreV1().RESTClient().Post().Resource("pods").Namespace(s.pod.Namespace).Name(s.pod.Name).
		SubResource("portforward").URL()
	stop, ready := make(chan struct{}), make(chan struct{})
	var complaints bytes.Buffer
	forwarder, err := portforward.NewOnAddresses(spdy.NewDialer(upgrader, &http.Client{Transport: transport},
		http.MethodPost, url), []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", adminPort)}, stop, ready, io.Discard,
		&complaints)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case err := <-ended:
		return nil, fmt.Errorf("forwarding the port %d of the Pod %s, which needs the right to create pods/portforward: %w",
			adminPort, s.pod.Name, err)
	case <-ctx.Done():
		close(stop)
		return nil, ctx.Err()
	case <-ready:
	}
	defer close(stop)
	ports, err := forwarder.GetPorts()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		fmt.Sprintf("http://127.0.0.1:%d%s", ports[0].Local, path), nil)
	if err != nil {
		return nil, err
	}
	return readAnswer(request, s.pod.Name)
}

// readAnswer returns the body of the answer to a request, on a connection of its own.
func readAnswer(request *http.Request, pod string) ([]byte, error) {
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the sidecar of the Pod %s: %w", pod, err)
	}
	body, err := io.ReadAll(response.Body)
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the sidecar of the Pod %s answers %s to %s", pod, response.Status, request.URL.Path)
	}
	return body, err
}

// Clusters reads the dynamic routes.
func (s *forwardedSidecar) Clusters(ctx context.Context, host string) ([]string, error) {
	body, err := s.get(ctx, "/config_dump?resource=dynamic_route_configs")
	if err != nil {
		return nil, err
	}
	return clustersIn(body, host)
}

// Certificate reads the dynamic clusters.
func (s *forwardedSidecar) Certificate(ctx context.Context, cluster string) (string, error) {
	body, err := s.get(ctx, "/config_dump?resource=dynamic_active_clusters")
	if err != nil {
		return "", err
	}
	return certificateIn(body, cluster)
}

// Calls reads Istio's own metric of calls, or the counters of Envoy's hosts where a sidecar has
// none.
func (s *forwardedSidecar) Calls(ctx context.Context, services ...string) (SidecarCalls, error) {
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
