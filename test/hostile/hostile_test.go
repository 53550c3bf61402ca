// Package hostile_test is a client on the webhook's port that means harm, while the real API server
// has Pods injected by the same replica.
package hostile_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
)

const (
	// memoryLimit is the chart's: with more the kernel would kill the Pod.
	memoryLimit = 256 << 20
	// crowd is how many connections or requests are there at once.
	crowd = 500
	// largest is what a body may have at most.
	largest = 7 << 20
)

// TestHostileClient has the attacks follow one another on one replica. All the while the API server
// creates annotated Pods, each of which has to be injected.
func TestHostileClient(t *testing.T) {
	installed, err := installation.Start(t.Context(), installation.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := installed.Stop(); err != nil {
			t.Error(err)
		}
	})
	replica := installed.Replicas[0]
	v := &victim{
		Installation: installed, replica: replica,
		webhook: replica.Address(), health: replica.HealthAddress(), metrics: replica.MetricsAddress(),
	}

	stop := v.createPods(t)
	for _, attack := range []struct {
		name string
		do   func(*testing.T, *victim)
	}{
		{"what is no admission request gets a status and nothing else", wrongRequests},
		{"what is no HTTP gets no more", wrongBytes},
		{"old TLS, HTTP/2 and plain HTTP are refused", wrongProtocols},
		{"whoever is slow is cut off", slow},
		{"names that nobody knows make no series, and long ones no lines", names},
		{"500 connections that say nothing", func(t *testing.T, v *victim) { v.hold(t, crowd, nil) }},
		{"500 requests that are never finished", func(t *testing.T, v *victim) {
			v.hold(t, crowd, []byte("POST /mutate HTTP/1.1\r\nHost: a\r\n"))
		}},
		{"500 bodies that are never finished", func(t *testing.T, v *victim) {
			v.hold(t, crowd, append([]byte("POST /mutate HTTP/1.1\r\nHost: a\r\nContent-Type: "+
				"application/json\r\nContent-Length: 7000000\r\n\r\n"), bytes.Repeat([]byte("["), 30_000)...))
		}},
		{"more connections than there may be", func(t *testing.T, v *victim) { v.hold(t, 4*crowd, nil) }},
		{"500 of the largest requests at once", func(t *testing.T, v *victim) {
			v.flood(t, crowd, review("Pod", `{"metadata":{"annotations":{"a":"`+strings.Repeat("a", largest-1000)+`"}}}`))
		}},
		{"500 requests with a million containers at once", func(t *testing.T, v *victim) {
			v.flood(t, crowd, review("Pod", `{"spec":{"containers":[`+strings.Repeat("0,", 1_000_000)+`0]}}`))
		}},
		{"500 requests with as many containers as there is room for at once", func(t *testing.T, v *victim) {
			v.flood(t, crowd, review("Pod", `{"spec":{"containers":[`+strings.Repeat("0,", 15_000)+`0]}}`))
		}},
		{"500 requests with as many targets as there may be at once", func(t *testing.T, v *victim) {
			v.flood(t, crowd, review("Pod", `{"metadata":{"annotations":{"mtls.egress/target":"`+hosts(16)+
				`"}},"spec":{"containers":[{"name":"a"}]}}`))
		}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			before := v.created.Load()
			attack.do(t, v)
			v.wantAlive(t)
			t.Logf("%d Pods were created meanwhile, the peak of memory is %d MiB so far", v.created.Load()-before, v.peak(t)>>20)
		})
	}
	stop()
	v.wantUnharmed(t)
}

// victim is the replica under attack.
type victim struct {
	*installation.Installation
	replica                  *installation.Replica
	webhook, health, metrics string
	created                  atomic.Int64
	dialed                   atomic.Int64
}

// createPods creates annotated Pods through the API server, several at a time, until stop is
// called. Each has to be admitted and injected.
func (v *victim) createPods(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				// New hosts are looked up in the API server, old ones are in the cache.
				host := fmt.Sprintf("host-%d-%d.example.com", client, n%10)
				pod, err := v.Admin.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{GenerateName: "good-", Annotations: map[string]string{"mtls.egress/target": host}},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
				}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					t.Errorf("a Pod was refused: %v", err)
				case pod.Labels["mtls.egress/injected"] != "true":
					t.Error("a Pod was not injected")
				}
				v.created.Add(1)
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	return func() {
		cancel()
		clients.Wait()
	}
}

// dial connects from two addresses in turn that are not the API server's, where the system has
// them.
func (v *victim) dial(ctx context.Context) (net.Conn, error) {
	dialer := &net.Dialer{}
	if runtime.GOOS == "linux" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2+byte(v.dialed.Add(1)%2))}
	}
	return dialer.DialContext(ctx, "tcp", v.webhook)
}

// secure connects and shakes hands.
func (v *victim) secure(ctx context.Context) (*tls.Conn, error) {
	plain, err := v.dial(ctx)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	return secure, nil
}

// client sends requests over connections of its own.
func (v *victim) client(t *testing.T) *http.Client {
	transport := &http.Transport{
		DialTLSContext:    func(ctx context.Context, _, _ string) (net.Conn, error) { return v.secure(ctx) },
		DisableKeepAlives: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: await.Patience}
}

func review(kind, object string) string {
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"version":"v1",` +
		`"kind":"` + kind + `"},"namespace":"default","name":"posted","operation":"CREATE","object":` + object + `}}`
}

func hosts(count int) string {
	names := make([]string, count)
	for n := range names {
		names[n] = fmt.Sprintf("h%d.example.com", n)
	}
	return strings.Join(names, ",")
}

func wrongRequests(t *testing.T, v *victim) {
	client := v.client(t)
	for name, test := range map[string]struct {
		method, path, contentType, body string
		want                            int
	}{
		"another path":         {method: "POST", path: "/", want: 404},
		"pprof":                {method: "GET", path: "/debug/pprof/", want: 404},
		"pprof's heap":         {method: "GET", path: "/debug/pprof/heap", want: 404},
		"metrics":              {method: "GET", path: "/metrics", want: 404},
		"health":               {method: "GET", path: "/healthz", want: 404},
		"a path to a file":     {method: "GET", path: "/../../etc/passwd", want: 404},
		"a path to be cleaned": {method: "POST", path: "//mutate", want: 404},
		"GET":                  {method: "GET", path: "/mutate", want: 405},
		"OPTIONS":              {method: "OPTIONS", path: "/mutate", want: 405},
		"a form": {
			method:      "POST",
			path:        "/mutate",
			contentType: "application/x-www-form-urlencoded",
			body:        "a=b",
			want:        415,
		},
		"YAML":            {method: "POST", path: "/mutate", contentType: "application/yaml", body: "a: b", want: 415},
		"no content type": {method: "POST", path: "/mutate", body: "{}", want: 415},
		"no body":         {method: "POST", path: "/mutate", contentType: "application/json", want: 400},
		"no JSON":         {method: "POST", path: "/mutate", contentType: "application/json", body: "{", want: 400},
		"no request": {
			method:      "POST",
			path:        "/mutate",
			contentType: "application/json",
			body:        `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`,
			want:        400,
		},
		"no namespace": {
			method:      "POST",
			path:        "/mutate",
			contentType: "application/json",
			body:        strings.Replace(review("Pod", "{}"), `"default"`, `""`, 1),
			want:        400,
		},
		"nesting without end": {
			method:      "POST",
			path:        "/mutate",
			contentType: "application/json",
			body:        review("Pod", strings.Repeat(`{"a":`, 100_000)+strings.Repeat("}", 100_000)),
			want:        400,
		},
		"arrays without end": {
			method:      "POST",
			path:        "/mutate",
			contentType: "application/json",
			body:        strings.Repeat("[", 1<<20),
			want:        413,
		},
		"an oversized body": {
			method:      "POST",
			path:        "/mutate",
			contentType: "application/json",
			body:        strings.Repeat("a", largest+1),
			want:        413,
		},
		"an oversized query": {method: "POST", path: "/mutate?" + strings.Repeat("a", 20_000), want: 431},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, "https://"+v.webhook,
				strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			request.URL.Opaque = test.path // as it stands
			if test.contentType != "" {
				request.Header.Set("Content-Type", test.contentType)
			}
			response, err := client.Do(request)
			if test.want == http.StatusRequestEntityTooLarge &&
				(errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
				return // it was cut off before it had sent all
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != test.want {
				t.Errorf("status %d, want %d", response.StatusCode, test.want)
			}
			if test.want == http.StatusRequestHeaderFieldsTooLarge { // the standard library's own
				if want := "431 Request Header Fields Too Large"; string(body) != want {
					t.Errorf("body %q, want %q", body, want)
				}
				return
			}
			if len(body) > 0 {
				t.Errorf("body %q, want none", body)
			}
			if diff := cmp.Diff([]string{"Content-Length", "Date"}, slices.Sorted(maps.Keys(response.Header))); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func wrongBytes(t *testing.T, v *victim) {
	for name, test := range map[string]struct{ bytes, want string }{
		"the preface of HTTP/2": {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 404 Not Found"},
		"garbage":               {"\x00\x01\x02\x03\r\n\r\n", "HTTP/1.1 400 Bad Request"},
		"a header without an end": {"POST /mutate HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("a", 100_000),
			"HTTP/1.1 431 Request Header Fields Too Large"},
		"two lengths": {"POST /mutate HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n" +
			"Content-Length: 2\r\n\r\n", "HTTP/1.1 400 Bad Request"},
		"a chunk of no length": {"POST /mutate HTTP/1.1\r\nHost: a\r\nContent-Type: " +
			"application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "HTTP/1.1 400 Bad Request"},
		"a tunnel to somewhere else": {"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
			"HTTP/1.1 404 Not Found"},
		"another protocol on the way": {"GET /mutate HTTP/1.1\r\nHost: a\r\n" +
			"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
		"HTTP/1.0 without a host": {"GET /mutate HTTP/1.0\r\n\r\n", "HTTP/1.0 405 Method Not Allowed"},
		"a length that is far too long": {"POST /mutate HTTP/1.1\r\nHost: a\r\nContent-Type: " +
			"application/json\r\nContent-Length: 9223372036854775807\r\n\r\n", "HTTP/1.1 413 Request Entity Too Large"},
	} {
		t.Run(name, func(t *testing.T) {
			connection, err := v.secure(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = connection.Close() }()
			_, _ = io.WriteString(connection, test.bytes) // it may be cut off while it still writes
			if err := connection.SetReadDeadline(time.Now().Add(await.Patience)); err != nil {
				t.Fatal(err)
			}
			got, _ := bufio.NewReader(connection).ReadString('\n')
			if strings.TrimSpace(got) != test.want {
				t.Errorf("the answer is %q, want %q", got, test.want)
			}
		})
	}
}

func wrongProtocols(t *testing.T, v *victim) {
	for name, test := range map[string]struct {
		config *tls.Config
		want   string
	}{
		"TLS 1.2":      {&tls.Config{MaxVersion: tls.VersionTLS12}, "remote error: tls: protocol version not supported"},
		"HTTP/2 alone": {&tls.Config{NextProtos: []string{"h2"}}, "remote error: tls: no application protocol"},
	} {
		connection, err := v.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		test.config.InsecureSkipVerify = true
		if err := tls.Client(connection, test.config).HandshakeContext(t.Context()); err == nil || err.Error() != test.want {
			t.Errorf("%s: error %v, want %s", name, err, test.want)
		}
		_ = connection.Close()
	}
	connection, err := v.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	_, _ = io.WriteString(connection, "POST /mutate HTTP/1.1\r\nHost: a\r\n\r\n")
	answer, _ := io.ReadAll(connection)
	if want := "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an " +
		"HTTPS server.\n"; string(answer) != want {
		t.Errorf("plain HTTP: the answer is %q, want %q", answer, want)
	}
}

// slow starts in several ways and goes on a byte each second, until it is cut off.
func slow(t *testing.T, v *victim) {
	for name, first := range map[string]string{
		"the handshake": "",
		"the header":    "POST /mutate HTTP/1.1\r\nHost: a\r\nA: ",
		"the body": "POST /mutate HTTP/1.1\r\nHost: a\r\n" +
			"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n",
		"a small body": "POST /mutate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
		"a chunked one": "POST /mutate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: " +
			"chunked\r\n\r\nffff\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var connection net.Conn
			var err error
			if first == "" {
				first = "\x16\x03\x01" // the beginning of a ClientHello
				connection, err = v.dial(t.Context())
			} else {
				connection, err = v.secure(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = connection.Close() }()
			start := time.Now()
			_, err = io.WriteString(connection, first)
			for ; err == nil && time.Since(start) < await.Patience; _, err = io.WriteString(connection, "1") {
				select {
				case <-t.Context().Done():
				case <-time.After(time.Second):
				}
			}
			if err == nil {
				t.Fatal("it was not cut off")
			}
			t.Logf("cut off after %s", time.Since(start).Round(time.Second))
		})
	}
}

// names are part of requests that are well formed otherwise.
func names(t *testing.T, v *victim) {
	before := kindsWithSeries(t, v)
	client := v.client(t)
	for n := range 50 {
		for _, body := range []string{
			review(fmt.Sprintf("Kind%d", n), "{}"),
			strings.Replace(review("Pod", "{}"), `"name":"posted"`, `"name":"`+strings.Repeat("a", 1<<20)+`"`, 1),
			strings.Replace(review("Pod", "{}"), `"uid":"1"`, `"uid":"`+strings.Repeat("a", 1<<20)+`"`, 1),
			review(strings.Repeat("a", 1<<20), "{}"),
		} {
			response, err := client.Post("https://"+v.webhook+"/mutate", "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
		}
	}
	if diff := cmp.Diff(before, kindsWithSeries(t, v)); diff != "" {
		t.Errorf("kinds that have series (-before +after):\n%s", diff)
	}
	log, err := os.ReadFile(v.replica.Log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if len(line) > 10_000 {
			t.Errorf("a line of the log has %d bytes: %.200s…", len(line), line)
		}
	}
}

// kindsWithSeries are the kinds of objects that the replica has a counter for; all that it admits
// have, from its start.
func kindsWithSeries(t *testing.T, v *victim) map[string]bool {
	t.Helper()
	kinds := map[string]bool{}
	for _, series := range regexp.MustCompile(
		`(?m)^mtls_egress_admission_requests_total\{.*kind="([^"]*)"`,
	).FindAllStringSubmatch(v.metricsPage(t), -1) {
		kinds[series[1]] = true
	}
	return kinds
}

// hold opens connections, says the beginning of something on each, and keeps them all while Pods
// are created. Then it wants them to end.
func (v *victim) hold(t *testing.T, count int, beginning []byte) {
	t.Helper()
	var mutex sync.Mutex
	var open []net.Conn
	var all sync.WaitGroup
	slots := make(chan struct{}, 50)
	for range count {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			connection, err := v.secure(t.Context())
			if err != nil { // it had to go for another one
				return
			}
			_, _ = connection.Write(beginning)
			mutex.Lock()
			defer mutex.Unlock()
			open = append(open, connection)
		})
	}
	all.Wait()
	v.wantPods(t, 50)
	t.Logf("%d of %d connections were opened", len(open), count)
	for _, connection := range open {
		_ = connection.Close()
	}
}

// flood sends a request many times at once. What is answered doesn't matter, as long as it is
// answered or cut off.
func (v *victim) flood(t *testing.T, count int, body string) {
	t.Helper()
	client := v.client(t)
	var mutex sync.Mutex
	answers := map[string]int{}
	var all sync.WaitGroup
	for range count {
		all.Go(func() {
			answer := "cut off"
			response, err := client.Post("https://"+v.webhook+"/mutate", "application/json", strings.NewReader(body))
			if err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				answer = response.Status
			} else if os.IsTimeout(err) {
				t.Errorf("neither answered nor cut off: %v", err)
			}
			mutex.Lock()
			defer mutex.Unlock()
			answers[answer]++
		})
	}
	all.Wait()
	v.wantPods(t, 50)
	t.Logf("answers: %v", answers)
}

// wantPods waits until so many more Pods are created.
func (v *victim) wantPods(t *testing.T, count int64) {
	t.Helper()
	want := v.created.Load() + count
	if err := await.Until(t.Context(), await.Patience, "Pods are created", func(context.Context) error {
		if got := v.created.Load(); got < want {
			return fmt.Errorf("%d of %d", got, want)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// wantAlive wants the process that was there from the beginning.
func (v *victim) wantAlive(t *testing.T) {
	t.Helper()
	if !v.replica.Running() {
		t.Fatalf("the replica ended:\n%s", apiserver.LastLines(v.replica.Log, 50))
	}
}

func (v *victim) metricsPage(t *testing.T) string {
	t.Helper()
	page, err := v.replica.MetricsPage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// peak is the most memory that the process ever had resident, in bytes; 0 where the system doesn't
// tell.
func (v *victim) peak(t *testing.T) int64 {
	t.Helper()
	peak, err := v.replica.Memory("VmHWM")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return int64(peak)
}

// wantUnharmed is about the whole time.
func (v *victim) wantUnharmed(t *testing.T) {
	t.Helper()
	peak := v.peak(t)
	t.Logf("%d Pods were created, all of them injected; the peak of memory was %d MiB", v.created.Load(), peak>>20)
	if peak >= memoryLimit {
		t.Errorf("the peak of memory was %d MiB, with a limit of %d MiB the Pod would have been killed",
			peak>>20, memoryLimit>>20)
	}
	if page := v.metricsPage(t); !strings.Contains(page, "\ncontroller_runtime_webhook_panics_total 0\n") {
		t.Error("a panic was counted")
	}
	log, err := os.ReadFile(v.replica.Log)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(log, []byte("panic")) {
		t.Error("the log tells of a panic")
	}
	for _, address := range []string{v.health, v.metrics} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/mutate", "/"} {
			response, err := http.Get("http://" + address + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusNotFound {
				t.Errorf("%s%s has status %d", address, path, response.StatusCode)
			}
		}
	}
}
