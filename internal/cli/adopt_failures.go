package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// failuresInMetrics counts failed calls to the services in istio_requests_total. found reports
// whether the sidecar has that metric at all.
// https://istio.io/latest/docs/reference/config/metrics/
func failuresInMetrics(text string, services []string) (failures uint64, found bool) {
	for line := range strings.Lines(text) {
		labels, isMetric := strings.CutPrefix(line, "istio_requests_total{")
		labels, value, hasValue := strings.Cut(labels, "} ")
		if !isMetric || !hasValue {
			continue
		}
		found = true
		isFailure := strings.Contains(labels, `response_code="5`) || strings.Contains(labels, `response_code="0"`)
		if isFailure && slices.ContainsFunc(services, func(service string) bool {
			return strings.Contains(labels, `destination_service="`+service+`"`)
		}) {
			count, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			failures += uint64(count)
		}
	}
	return failures, found
}

// failuresInClusters counts failed calls to the services by the counters of the hosts in their
// clusters. The last part of a cluster's name is its service.
// https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--clusters
func failuresInClusters(body []byte, services []string) (uint64, error) {
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
		return 0, fmt.Errorf("reading the sidecar's counters: %w", err)
	}
	var failures uint64
	for _, cluster := range content.Clusters {
		if !slices.Contains(services, cluster.Name[strings.LastIndexByte(cluster.Name, '|')+1:]) {
			continue
		}
		for _, host := range cluster.Hosts {
			for _, stat := range host.Stats {
				if stat.Name == "rq_error" {
					failures += stat.Value
				}
			}
		}
	}
	return failures, nil
}
