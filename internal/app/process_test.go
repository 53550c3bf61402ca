package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// TestAManagerThatIsStoppedAsItBecomesTheLeaderReleasesTheLease stops a manager after the API
// server made it the leader, and before it has read that. The API server is a fake: a real one
// can't be held between the two.
func TestAManagerThatIsStoppedAsItBecomesTheLeaderReleasesTheLease(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var lease atomic.Pointer[coordinationv1.Lease]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !strings.Contains(request.URL.Path, "/leases") {
			http.NotFound(w, request) // it is about an event
			return
		}
		switch request.Method {
		case http.MethodPost, http.MethodPut:
			written := &coordinationv1.Lease{}
			if err := json.NewDecoder(request.Body).Decode(written); err != nil {
				t.Error(err)
			}
			if request.Method == http.MethodPut && *written.Spec.HolderIdentity != "" {
				w.WriteHeader(http.StatusConflict) // a renewal, which the stop may overtake
				return
			}
			lease.Store(written)
		case http.MethodGet:
			if lease.Load() == nil {
				http.NotFound(w, request)
				return
			}
		}
		if err := json.NewEncoder(w).Encode(lease.Load()); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()

	manager, err := ctrl.NewManager(&rest.Config{
		Host:          server.URL,
		ContentConfig: rest.ContentConfig{ContentType: "application/json"},
		WrapTransport: func(next http.RoundTripper) http.RoundTripper { return stopsAtPost{next, stop} },
	}, ctrl.Options{
		Metrics:                       metricsserver.Options{BindAddress: Disabled},
		LeaderElection:                true,
		LeaderElectionID:              LeaseName,
		LeaderElectionNamespace:       "mtls-egress",
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(ctx, manager); err != nil {
		t.Error(err)
	}
	switch {
	case lease.Load() == nil:
		t.Error("nobody asked for the Lease")
	case *lease.Load().Spec.HolderIdentity != "":
		t.Errorf("the Lease is held by %s, which has stopped", *lease.Load().Spec.HolderIdentity)
	}
}

// stopsAtPost calls stop once a POST of a Lease was answered, and only then passes the answer on.
type stopsAtPost struct {
	next http.RoundTripper
	stop func()
}

func (s stopsAtPost) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := s.next.RoundTrip(request)
	if err != nil || request.Method != http.MethodPost || !strings.Contains(request.URL.Path, "/leases") {
		return response, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	s.stop()
	return response, err
}
