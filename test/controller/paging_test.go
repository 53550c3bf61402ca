package controller

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientfeatures "k8s.io/client-go/features"
	clientfeaturestesting "k8s.io/client-go/features/testing"

	"mtls.egress/webhook/internal/controller"
)

// TestCachesAreFilledInPages: where the API server doesn't stream lists, the leader must not hold
// everything at once.
func TestCachesAreFilledInPages(t *testing.T) {
	clientfeaturestesting.SetFeatureDuringTest(t, clientfeatures.WatchListClient, false)
	w := newWorld(t)
	w.credential(secret)
	w.pod("app", host, presenting(secret))
	running := w.start(controller.Options{})
	w.ready()
	kinds := []string{
		"namespaces", "pods", "egresstargets", "serviceentries", "virtualservices", "destinationrules", "sidecars",
	}
	inPages := map[string]bool{}
	for _, line := range running.requests.matching(
		func(line string) bool { return strings.HasPrefix(line, "GET ") && !strings.Contains(line, "watch=") },
	) {
		for _, kind := range kinds {
			_, query, collection := strings.Cut(line, "/"+kind+"?")
			switch {
			case !collection || strings.Contains(line, "/namespaces/"):
			case strings.Contains(query, "resourceVersion=") || !strings.Contains(query, "limit=500"):
				t.Errorf("a cache is filled at once, by %q", line)
			default:
				inPages[kind] = true
			}
		}
	}
	want := map[string]bool{}
	for _, kind := range kinds {
		want[kind] = true
	}
	if diff := cmp.Diff(want, inPages); diff != "" {
		t.Errorf("kinds read in pages (-want +got):\n%s", diff)
	}
}
