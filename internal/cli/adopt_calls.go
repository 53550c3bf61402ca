package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// callsInMetrics counts calls to the services in istio_requests_total. found reports whether the
// sidecar has that metric at all.
// https://istio.io/latest/docs/reference/config/metrics/
func callsInMetrics(text string, services []string) (calls SidecarCalls, found bool) {
	for line := range strings.Lines(text) {
		labels, isMetric := strings.CutPrefix(line, "istio_requests_total{")
		labels, value, hasValue := strings.Cut(labels, "} ")
		if !isMetric || !hasValue {
			continue
		}
		found = true
		if !slices.ContainsFunc(services, func(service string) bool {
			return strings.Contains(labels, `destination_service="`+service+`"`)
		}) {
			continue
		}
		count, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
		calls.Total += uint64(count)
		if strings.Contains(labels, `response_code="5`) || strings.Contains(labels, `response_code="0"`) {
			calls.Failed += uint64(count)
		}
	}
	return calls, found
}

// callsInClusters counts calls to the services by the counters of the hosts in their
// clusters. The last part of a cluster's name is its service.
// https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--clusters
func callsInClusters(body []byte, services []string) (SidecarCalls, error) {
	var content struct {
		Clusters []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Stats []struct {
					Name  string `json:"name"`
					Value uint64 `json:"value,string"`
				} `json:"stats"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal(body, &content); err != nil {
		return SidecarCalls{}, fmt.Errorf("reading the sidecar's counters: %w", err)
	}
	var calls SidecarCalls
	for _, cluster := range content.Clusters {
		if !slices.Contains(services, cluster.Name[strings.LastIndexByte(cluster.Name, '|')+1:]) {
			continue
		}
		for _, host := range cluster.Hosts {
			for _, stat := range host.Stats {
				switch stat.Name {
				case "rq_error":
					calls.Failed += stat.Value
				case "rq_total":
					calls.Total += stat.Value
				}
			}
		}
	}
	return calls, nil
}
