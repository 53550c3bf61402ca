package mesh

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"mtls.egress/webhook/internal/egress"
)

// The settings for targets with two or more endpoints.
const (
	// connectTimeout bounds an attempt to connect, including the TLS handshake. Istio's default is
	// 10s, and most callers don't wait for a second attempt then.
	connectTimeout = 3 * time.Second
	// failuresToEject is how many connections in a row must fail until an endpoint is left out. One
	// would also count a connection that ends after the handshake, for example because the partner
	// refuses the certificate. From two on, Envoy only counts connections that never come about,
	// because each that does resets the count.
	failuresToEject = 2
	// retriesForBackup is added to the retries of a target with a backup. See attempts.
	retriesForBackup = 2
	// ejectionTime is how long an endpoint is left out at first. Each further time adds as much.
	ejectionTime = 5 * time.Second
	// ejectionInterval is how often Envoy readmits endpoints.
	ejectionInterval = time.Second
	// preferredWeight is the weight of an endpoint with priority 0 if others have priority 1, which
	// have the weight 1. So the others get no call while one with priority 0 is not ejected. It is a
	// weight because Istio ignores failoverPriority in DNS clusters of a subset: buildSubsetCluster
	// doesn't set dnsWrappedLocalityLbEndpoints.
	// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/networking/core/cluster_builder.go
	// The sum of all weights must fit into 32 bits.
	preferredWeight = 100_000_000
)

// endpoints returns the endpoints of the ServiceEntry. A name gets a trailing dot, so that Envoy
// resolves it with DNS and not with /etc/hosts, which can have the sinkhole address.
func endpoints(t egress.Target) []*networking.WorkloadEntry {
	preferred, backup := t.Ways()
	if len(backup) == 0 {
		return workloadEntries(t, preferred, 0)
	}
	return append(workloadEntries(t, preferred, preferredWeight), workloadEntries(t, backup, 1)...)
}

func workloadEntries(t egress.Target, endpoints []egress.Endpoint, weight uint32) []*networking.WorkloadEntry {
	entries := make([]*networking.WorkloadEntry, len(endpoints))
	for n, endpoint := range endpoints {
		entry := &networking.WorkloadEntry{Address: endpoint.Address, Weight: weight}
		if _, isIP := endpoint.IP(); !isIP {
			entry.Address += "."
		}
		if endpoint.Port != t.Port {
			entry.Ports = map[string]uint32{portNameHTTPS: portNumber(endpoint.Port)}
		}
		entries[n] = entry
	}
	return entries
}

// attempts returns how often a request that could not be sent is retried. While a preferred
// endpoint is not ejected yet, a retry tries the same one again, because of its weight. Such
// failures can take less time than the ejection, so targets with a backup get additional retries.
func attempts(t egress.Target) int32 {
	if _, backup := t.Ways(); t.Retries == 0 || len(backup) == 0 {
		return t.Retries
	}
	return t.Retries + retriesForBackup
}

// hasAlternatives reports whether an endpoint that can't be reached can be left out. For a single
// one that would only turn its failures into others.
func hasAlternatives(t egress.Target) bool { return len(t.Endpoints) > 1 }

// withFailover adds to the policy of a target with several endpoints that endpoints are left out
// while they can't be reached. Answers of the partner never count, whatever their status. If none
// can be reached, all are tried, so that the first that recovers is used at once.
func withFailover(t egress.Target, policy *networking.TrafficPolicy) *networking.TrafficPolicy {
	if !hasAlternatives(t) {
		return policy
	}
	policy.OutlierDetection = &networking.OutlierDetection{
		SplitExternalLocalOriginErrors: true,
		ConsecutiveLocalOriginFailures: wrapperspb.UInt32(failuresToEject),
		Consecutive_5XxErrors:          wrapperspb.UInt32(0),
		Interval:                       durationpb.New(ejectionInterval),
		BaseEjectionTime:               durationpb.New(ejectionTime),
		MaxEjectionPercent:             100,
		MinHealthPercent:               1,
	}
	if policy.ConnectionPool == nil {
		policy.ConnectionPool = &networking.ConnectionPoolSettings{}
	}
	if policy.ConnectionPool.Tcp == nil {
		policy.ConnectionPool.Tcp = &networking.ConnectionPoolSettings_TCPSettings{}
	}
	policy.ConnectionPool.Tcp.ConnectTimeout = durationpb.New(connectTimeout)
	return policy
}

// ownCallsPolicy returns the policy for the app's own https calls, which don't use the subset. It
// has no TLS settings. It is nil for targets without several endpoints.
func ownCallsPolicy(t egress.Target) *networking.TrafficPolicy {
	if !hasAlternatives(t) {
		return nil
	}
	return withFailover(t, &networking.TrafficPolicy{})
}
