package caller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a [Bench]: every sample is kept until the end.
const (
	maxSeconds     = 300
	maxConnections = 10_000
	benchTimeout   = 30 * time.Second
)

// Bench asks for load: so many connections, each with one call after the other.
type Bench struct {
	URL string `json:"url"`
	// Connections, default 1: so many callers, each with a pool of its own, call one after the other.
	Connections int `json:"connections,omitempty"`
	// Exactly one of Seconds (at most 300) and Requests, which is the sum over the connections.
	Seconds  float64 `json:"seconds,omitempty"`
	Requests int     `json:"requests,omitempty"`
	// KeepAlive keeps each connection for all of its calls; otherwise each call makes a new one.
	KeepAlive bool `json:"keepalive"`
	// ClientCertificate and ClientKey are files; with them the caller does mutual TLS itself.
	ClientCertificate string `json:"clientCertificate,omitempty"`
	ClientKey         string `json:"clientKey,omitempty"`
	// CA is a file with the certificates that may sign the server's; default: those the system trusts.
	CA string `json:"ca,omitempty"`
}

// BenchResult is what the load gave.
type BenchResult struct {
	// Requests that were answered with a status from 200 to 299, and Errors that were not.
	Requests int `json:"requests"`
	Errors   int `json:"errors"`
	// ByOutcome counts both.
	ByOutcome map[Outcome]int `json:"byOutcome"`
	// Dials counts the connections that were made.
	Dials int `json:"dials"`
	// Seconds from the first call to the end of the last; PerSecond are Requests by these.
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	// Latencies of the Requests, from the call to the last byte of the body, a new connection's
	// handshake included, in microseconds.
	P50Micros  float64 `json:"p50Micros"`
	P99Micros  float64 `json:"p99Micros"`
	P999Micros float64 `json:"p999Micros"`
}

// check names everything that is wrong, and fills in the defaults.
func (b *Bench) check() error {
	if b.Connections == 0 {
		b.Connections = 1
	}
	problems := []error{checkURL(b.URL)}
	if b.Connections < 1 || b.Connections > maxConnections {
		problems = append(problems, fmt.Errorf("connections %d: it must be from 1 to %d", b.Connections, maxConnections))
	}
	if (b.Seconds == 0) == (b.Requests == 0) {
		problems = append(problems, errors.New("exactly one of seconds and requests must be given"))
	}
	if b.Seconds < 0 || b.Seconds > maxSeconds {
		problems = append(problems, fmt.Errorf("seconds %v: it must be from 0 to %d", b.Seconds, maxSeconds))
	}
	if b.Requests < 0 {
		problems = append(problems, fmt.Errorf("requests %d: it must not be negative", b.Requests))
	}
	if (b.ClientCertificate == "") != (b.ClientKey == "") {
		problems = append(problems, errors.New("clientCertificate and clientKey must be given together"))
	}
	return errors.Join(problems...)
}

// tlsConfig is nil when nothing is said of TLS.
func (b *Bench) tlsConfig() (*tls.Config, error) {
	if b.ClientCertificate == "" && b.CA == "" {
		return nil, nil //nolint:nilnil // net/http's own default
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if b.ClientCertificate != "" {
		pair, err := tls.LoadX509KeyPair(b.ClientCertificate, b.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if b.CA != "" {
		content, err := os.ReadFile(b.CA)
		if err != nil {
			return nil, fmt.Errorf("read the CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("read the CA: %s holds no certificate in PEM", b.CA)
		}
	}
	return config, nil
}

// benchWorker is one connection with its samples.
type benchWorker struct {
	client  *http.Client
	samples []time.Duration
	errors  int
	outcome map[Outcome]int
}

// do makes the load.
func (b *Bench) do(ctx context.Context) (BenchResult, error) {
	if err := b.check(); err != nil {
		return BenchResult{}, err
	}
	config, err := b.tlsConfig()
	if err != nil {
		return BenchResult{}, err
	}
	var dials, given atomic.Int64
	dialer := &net.Dialer{Timeout: benchTimeout}
	workers := make([]*benchWorker, b.Connections)
	for i := range workers {
		workers[i] = &benchWorker{outcome: map[Outcome]int{}, client: &http.Client{
			Transport: &http.Transport{
				DisableKeepAlives: !b.KeepAlive,
				TLSClientConfig:   config.Clone(),
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					dials.Add(1)
					return dialer.DialContext(ctx, network, address)
				},
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
	}
	began := time.Now()
	end := began.Add(time.Duration(b.Seconds * float64(time.Second)))
	more := func() bool { return ctx.Err() == nil && time.Now().Before(end) }
	if b.Requests > 0 {
		more = func() bool { return ctx.Err() == nil && given.Add(1) <= int64(b.Requests) }
	}
	var work sync.WaitGroup
	for _, worker := range workers {
		work.Go(func() {
			defer worker.client.CloseIdleConnections()
			for more() {
				worker.call(ctx, b.URL)
			}
		})
	}
	work.Wait()
	return resultOf(workers, time.Since(began), int(dials.Load())), ctx.Err()
}

// call makes one call and keeps its sample.
func (w *benchWorker) call(ctx context.Context, address string) {
	began := time.Now()
	status, err := w.get(ctx, address)
	took := time.Since(began)
	outcome := outcomeOf(status, err)
	w.outcome[outcome]++
	if !outcome.Success() {
		w.errors++
		return
	}
	w.samples = append(w.samples, took)
}

func (w *benchWorker) get(ctx context.Context, address string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, benchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// resultOf puts the samples of all workers together.
func resultOf(workers []*benchWorker, took time.Duration, dials int) BenchResult {
	result := BenchResult{ByOutcome: map[Outcome]int{}, Dials: dials, Seconds: took.Seconds()}
	var samples []time.Duration
	for _, worker := range workers {
		samples = append(samples, worker.samples...)
		result.Errors += worker.errors
		for outcome, count := range worker.outcome {
			result.ByOutcome[outcome] += count
		}
	}
	slices.Sort(samples)
	result.Requests = len(samples)
	result.PerSecond = float64(len(samples)) / took.Seconds()
	result.P50Micros = quantile(samples, 0.5)
	result.P99Micros = quantile(samples, 0.99)
	result.P999Micros = quantile(samples, 0.999)
	return result
}

// quantile is the smallest sample that at least this share of the sorted samples does not exceed,
// in microseconds; 0 for no sample.
func quantile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(share * float64(len(sorted))))
	return float64(sorted[rank-1].Nanoseconds()) / 1000
}
