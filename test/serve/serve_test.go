// Package serve_test runs the built servers against a real API server, with the chart's manifests
// and with no more rights than these give to the service account of each.
package serve_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const (
	namespace = "mtls-egress"
	host      = "external.system.com"
)

// missingCRD is the end of a server that runs before the chart is installed.
const missingCRD = "error: the CRD of EgressTarget (mtls.egress/v1alpha1) is missing; the chart installs it: "

// emptyCache is the start of a log line, as JSON, of a server that may read nothing. What it can't
// read comes after it.
const emptyCache = `"Not ready","logger":"health","check":"cache","reason":"the EgressTargets`

// wantMetrics fails the test unless a line of /metrics matches each of the patterns.
func (p *process) wantMetrics(t *testing.T, patterns ...string) {
	t.Helper()
	status, metrics := p.get(t, p.metrics, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: status %d", status)
	}
	for _, pattern := range patterns {
		if !regexp.MustCompile("(?m)^" + pattern + "$").MatchString(metrics) {
			t.Errorf("/metrics has nothing like %s", pattern)
		}
	}
}

// wantNoMetrics fails the test if /metrics has a metric whose name starts with a prefix.
func (p *process) wantNoMetrics(t *testing.T, prefixes ...string) {
	t.Helper()
	_, metrics := p.get(t, p.metrics, "/metrics")
	for _, prefix := range prefixes {
		if strings.Contains(metrics, "\n"+prefix) {
			t.Errorf("/metrics has %s", prefix)
		}
	}
}

// may reports whether a service account has a right. verb and object are as in kubectl auth can-i.
func (c *cluster) may(t *testing.T, account, in, verb, object string) bool {
	t.Helper()
	// The exit code of a "no" is 1.
	said, stderr, err := c.server.Kubectl(t.Context(), "auth", "can-i", verb, object, "--namespace="+in,
		"--as=system:serviceaccount:"+namespace+":"+account)
	switch answer := strings.TrimSpace(said); {
	case answer == "yes" && err == nil:
		return true
	case answer == "no":
		return false
	}
	t.Fatalf("kubectl auth can-i: %s: %v", stderr, err)
	return false
}
