package app

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStopIsInOrder(t *testing.T) {
	const delay, work = 10 * time.Second, time.Second
	failure := errors.New("failure")
	tests := map[string]struct {
		// signals are the delays before each signal.
		signals []time.Duration
		// failsAfter is the time after which run fails; 0 means never.
		failsAfter time.Duration
		want       error
		events     []string
	}{
		"not ready immediately, stopping after the delay, ended after the work": {
			signals: []time.Duration{time.Minute},
			events:  []string{"1m0s not ready", "1m10s stopping", "1m11s ended"},
		},
		"a second signal during the delay ends it immediately": {
			signals: []time.Duration{time.Minute, 3 * time.Second},
			want:    errSecondSignal,
			events:  []string{"1m0s not ready", "1m3s ended"},
		},
		"a second signal during the rest of the work ends it immediately": {
			signals: []time.Duration{time.Minute, delay + work/2},
			want:    errSecondSignal,
			events:  []string{"1m0s not ready", "1m10s stopping", "1m10.5s ended"},
		},
		"a failure without a signal is returned": {
			failsAfter: time.Second,
			want:       failure,
			events:     []string{"1s ended"},
		},
		"a failure during the delay is returned": {
			signals:    []time.Duration{time.Minute},
			failsAfter: time.Minute + time.Second,
			want:       failure,
			events:     []string{"1m0s not ready", "1m1s ended"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var events []string
				start := time.Now()
				event := func(name string) {
					mu.Lock()
					defer mu.Unlock()
					events = append(events, time.Since(start).String()+" "+name)
				}

				signals := make(chan os.Signal, 2)
				go func() {
					for _, after := range test.signals {
						time.Sleep(after)
						signals <- syscall.SIGTERM
					}
				}()
				fails := make(chan struct{})
				if test.failsAfter > 0 {
					time.AfterFunc(test.failsAfter, func() { close(fails) })
				}
				err := runUntilSignal(signals, delay, func() { event("not ready") }, func(ctx context.Context) error {
					select {
					case <-fails:
						return failure
					case <-ctx.Done():
					}
					if time.Since(start) >= time.Minute+delay { // unless it was abandoned before
						event("stopping")
					}
					time.Sleep(work)
					return nil
				})
				event("ended")
				if !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if diff := cmp.Diff(test.events, events); diff != "" {
					t.Errorf("events differ (-want +got):\n%s", diff)
				}
				time.Sleep(work) // for run, if it was not waited for
			})
		})
	}
}

// The test stops a real server in the way controller-runtime does: it cancels the base context, and
// then Shutdown waits for requests.
func TestDrainingServerAnswersAndSendsItsClientsAway(t *testing.T) {
	draining := &drain{}
	working, release := make(chan struct{}, 1), make(chan struct{})
	serving, stop := context.WithCancel(t.Context())
	server := httptest.NewUnstartedServer(
		draining.handler(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if request.URL.Path == "/slow" {
				working <- struct{}{}
				<-release
			}
			if err := request.Context().Err(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_, _ = io.WriteString(w, "done")
		})),
	)
	server.Config.BaseContext = func(net.Listener) context.Context { return serving }
	server.Start()
	defer server.Close()

	if got, want := get(t, server.URL), (answer{status: http.StatusOK, body: "done"}); got != want {
		t.Errorf("before the drain: got %+v, want %+v", got, want)
	}
	draining.begin()
	if got, want := get(t, server.URL), (answer{status: http.StatusOK, body: "done", closed: true}); got != want {
		t.Errorf("during the drain: got %+v, want %+v", got, want)
	}

	answers := make(chan answer, 1)
	go func() { answers <- get(t, server.URL+"/slow") }()
	<-working
	stop()
	ended := make(chan error, 1)
	go func() { ended <- server.Config.Shutdown(context.Background()) }()
	close(release)
	if got, want := <-answers, (answer{status: http.StatusOK, body: "done", closed: true}); got != want {
		t.Errorf("in-flight request during shutdown: got %+v, want %+v", got, want)
	}
	if err := <-ended; err != nil {
		t.Errorf("the server didn't shut down: %v", err)
	}
}

// net/http cancels the same context in both cases.
func TestRequestEndsWithItsConnectionButNotWithTheServer(t *testing.T) {
	tests := map[string]struct {
		draining bool
		want     error
	}{
		"before the drain only a client that disconnects cancels it": {want: context.Canceled},
		"during the drain the server doesn't cancel it":              {draining: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				draining := &drain{}
				if test.draining {
					draining.begin()
				}
				ctx, end := context.WithCancel(t.Context())
				handler := draining.handler(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
					end()
					synctest.Wait()
					if err := request.Context().Err(); !errors.Is(err, test.want) {
						t.Errorf("the request's context ended with %v, want %v", err, test.want)
					}
				}))
				handler.ServeHTTP(httptest.NewRecorder(),
					httptest.NewRequestWithContext(ctx, http.MethodPost, mutatePath, nil))
			})
		})
	}
}

// Otherwise abandoned requests would keep counting as in flight.
func TestClientThatGoesAwayCancelsItsRequest(t *testing.T) {
	working, canceled := make(chan struct{}), make(chan error, 1)
	server := httptest.NewServer(
		(&drain{}).handler(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
			close(working)
			<-request.Context().Done()
			canceled <- request.Context().Err()
		})),
	)
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-working
		leave()
	}()
	if response, err := server.Client().Do(request); err == nil {
		_ = response.Body.Close()
		t.Error("an abandoned request was answered")
	}
	if err := <-canceled; !errors.Is(err, context.Canceled) {
		t.Errorf("the request's context ended with %v", err)
	}
}

// answer is the relevant part of an HTTP response.
type answer struct {
	status int
	body   string
	closed bool
}

func get(t *testing.T, url string) answer {
	response, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return answer{}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return answer{status: response.StatusCode, body: strings.TrimSpace(string(body)), closed: response.Close}
}
