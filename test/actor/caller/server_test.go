package caller

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/pki"
)

// files is a folder with all that both sides of mutual TLS need.
type files struct {
	folder string
	caPEM  []byte
	app    pki.Pair
}

func (f files) path(name string) string { return filepath.Join(f.folder, name) }

func makeFiles(t *testing.T) files {
	t.Helper()
	ca := pki.NewCA(t, "CA")
	client := pki.Client("app")
	client.SerialNumber = big.NewInt(0xabc1)
	server, app := ca.Issue(t, pki.Server("localhost")), ca.Issue(t, client)
	f := files{folder: t.TempDir(), caPEM: ca.CertPEM, app: app}
	for name, content := range map[string][]byte{
		"default.crt": server.CertPEM, "default.key": server.KeyPEM, "client-ca.crt": ca.CertPEM,
		"app.pem": app.CertPEM, "app-key.pem": app.KeyPEM,
	} {
		if err := os.WriteFile(f.path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// startPartner runs a partner on the plain address and on a TLS port until stop or the end of the
// test.
func startPartner(
	t *testing.T,
	plain string,
	f files,
	clientAuth partner.ClientAuth,
) (running *partner.Server, stop func()) {
	t.Helper()
	running, err := partner.Listen(t.Context(), partner.Options{
		Plain: []string{plain}, TLS: []string{"127.0.0.1:0"}, Control: "127.0.0.1:0",
		Certificates: f.folder, ClientAuth: clientAuth, Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return running, background(t, running.Serve)
}

// background runs a server until stop or the end of the test.
func background(t *testing.T, serve func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// freeAddress is one on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// startCaller runs a caller until the test ends, and waits until its control port answers.
func startCaller(t *testing.T, options Options) Client {
	t.Helper()
	options.Control = freeAddress(t)
	if options.Out == nil {
		options.Out = t.Output()
	}
	background(t, func(ctx context.Context) error { return Run(ctx, options) })
	client := clientOf(options.Control)
	await.True(t, "the control port answers", func(ctx context.Context) bool {
		body, err := client.Do(ctx, http.MethodGet, "/healthz", nil)
		return err == nil && string(body) == "ok\n"
	})
	return client
}

func clientOf(address string) Client {
	return Client{Do: func(ctx context.Context, method, path string, body []byte) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", response.Status, answer)
		}
		return answer, err
	}}
}

// raw answers every connection with the text, whatever is said on it, and closes it.
func raw(t *testing.T, text string) (address string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			accepted, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = accepted.Read(make([]byte, 4096))
			_, _ = io.WriteString(accepted, text)
			_ = accepted.Close()
		}
	}()
	return listener.Addr().String()
}

// silent takes connections and says nothing.
func silent(t *testing.T) (address string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func TestOutcomes(t *testing.T) {
	f := makeFiles(t)
	running, _ := startPartner(t, "127.0.0.1:0", f, partner.ClientAuthRequire)
	plain := fmt.Sprintf("http://127.0.0.1:%d", running.PlainPorts()[0])
	secured := fmt.Sprintf("https://localhost:%d", running.TLSPorts()[0])
	client := startCaller(t, Options{Timeout: time.Second})
	soon := Duration(50 * time.Millisecond)
	const noAddress = `other:Get "URL": dial tcp6: address 127.0.0.1: no suitable address found`
	redirection := raw(t, "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
	const notHTTP = `other:Get "URL": net/http: HTTP/1.x transport connection broken: malformed HTTP response "hello"`
	tests := map[string]struct {
		call Call
		want Outcome
	}{
		"an answer":                     {Call{URL: plain + "/"}, "200"},
		"an answer of another status":   {Call{URL: plain + "/?status=503"}, "503"},
		"nobody listens":                {Call{URL: "http://" + freeAddress(t)}, OutcomeRefused},
		"nobody answers":                {Call{URL: "http://" + silent(t), Timeout: soon}, OutcomeTimeout},
		"an answer that comes too late": {Call{URL: plain + "/?delay=1h", Timeout: soon}, OutcomeTimeout},
		"a reset":                       {Call{URL: plain + "/?reset=1"}, OutcomeReset},
		"a connection closed":           {Call{URL: plain + "/?close=before"}, OutcomeEOF},
		"a body that breaks off": {
			Call{URL: "http://" + raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")},
			OutcomeEOF,
		},
		"a name that nobody has":           {Call{URL: "http://a..b/"}, OutcomeDNS},
		"a server that nobody vouches for": {Call{URL: secured}, OutcomeTLS},
		"a server that wants to know us":   {Call{URL: secured, CAPEM: string(f.caPEM)}, OutcomeTLS},
		"a server that wants to know us and does": {
			Call{
				URL:           secured,
				CAPEM:         string(f.caPEM),
				ClientCertPEM: string(f.app.CertPEM),
				ClientKeyPEM:  string(f.app.KeyPEM),
			}, "200",
		},
		"a server that wants to know us and that we don't check": {Call{URL: secured, InsecureSkipVerify: true}, OutcomeTLS},
		"a server that speaks no TLS": {
			Call{URL: strings.Replace(plain, "http:", "https:", 1)}, OutcomeTLS,
		},
		"a server that speaks no HTTP":   {Call{URL: "http://" + raw(t, "hello\r\n")}, notHTTP},
		"an address of another family":   {Call{URL: plain, Network: "tcp6"}, noAddress},
		"a redirection, which we ignore": {Call{URL: "http://" + redirection}, "302"},
		"a TLS call that is hung up on":  {Call{URL: "https://" + raw(t, "")}, OutcomeEOF},
		"a TLS call answered by nonsense": {
			Call{URL: "https://" + raw(t, "hello, I speak no TLS\r\n")}, OutcomeTLS,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := client.Call(t.Context(), test.call)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 {
				t.Fatalf("there are %d results", len(got))
			}
			outcome := Outcome(strings.ReplaceAll(string(got[0].Outcome), test.call.URL, "URL"))
			if outcome != test.want {
				t.Errorf("the outcome is %s (%s); it must be %s", outcome, got[0].Error, test.want)
			}
		})
	}
}

func TestACallReturnsWhatTheAppGot(t *testing.T) {
	running, _ := startPartner(t, "127.0.0.1:0", makeFiles(t), partner.ClientAuthNone)
	client := startCaller(t, Options{Timeout: time.Second})
	got, err := client.Call(t.Context(), Call{
		Method: "POST", URL: fmt.Sprintf("http://127.0.0.1:%d/orders?bytes=70000&status=201", running.PlainPorts()[0]),
		Headers: map[string]string{
			"Host":   "external.system.com",
			"X-Test": "yes",
		}, Body: "hello", Count: 30, Parallel: 3, KeepAlive: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []Result
	for range 30 {
		want = append(want, Result{
			Status: 201, Headers: http.Header{"Content-Type": {"application/octet-stream"}, "Content-Length": {"70000"}},
			Body: strings.Repeat("x", maxBody), BodyLength: 70000, Outcome: "201",
		})
	}
	without := cmpopts.IgnoreMapEntries(func(name string, _ []string) bool { return name == "Date" })
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Result{}, "Millis"), without); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}

	seen, err := partnerClient(running).Connections(t.Context(), partner.Filter{Path: "/orders"})
	if err != nil {
		t.Fatal(err)
	}
	requests := 0
	for _, c := range seen {
		requests += c.Requests
	}
	// How many connections keep-alive saves is net/http's choice: it gives one up whose last write
	// took too long.
	if len(seen) == 30 || requests != 30 {
		t.Errorf("the partner saw %d requests on %d connections; it must have seen 30 on fewer", requests, len(seen))
	}
	first := seen[0].FirstRequests[0]
	wantHeaders := http.Header{
		"Accept-Encoding": {"gzip"},
		"Content-Length":  {"5"},
		"User-Agent":      {"Go-http-client/1.1"},
		"X-Test":          {"yes"},
	}
	if diff := cmp.Diff(wantHeaders, first.Headers); diff != "" || first.Host != "external.system.com" ||
		first.BodyLength != 5 {
		t.Errorf("the partner saw %+v (-want +got):\n%s", first, diff)
	}
}

func partnerClient(running *partner.Server) partner.Client {
	do := clientOf(fmt.Sprintf("127.0.0.1:%d", running.ControlPort())).Do
	return partner.Client{
		Get: func(ctx context.Context, path string) ([]byte, error) { return do(ctx, http.MethodGet, path, nil) },
	}
}

func TestAllThatIsWrongWithARequestIsSaid(t *testing.T) {
	client := startCaller(t, Options{Timeout: time.Second})
	tests := map[string]struct{ path, body, want string }{
		"a call": {
			"/call", `{"url":"external.system.com","count":-1,"parallel":-1,"timeout":"-1s","network":"udp"}`,
			`url "external.system.com": it must begin with http:// or https:// and a host
count -1: it must be from 1 to 100000
parallel -1: it must be at least 1
timeout -1s: it must be more than 0
network "udp": it must be tcp4 or tcp6
`,
		},
		"a field that nobody knows": {"/call", `{"uri":""}`, "read the request: json: unknown field \"uri\"\n"},
		"an invalid authority": {
			"/call", `{"url":"http://h","caPEM":"x"}`,
			"caPEM: there is no certificate in it; it must be one or more CERTIFICATE blocks\n",
		},
		"a certificate of a call without its key": {
			"/call", `{"url":"http://h","clientCertPEM":"x"}`,
			"clientCertPEM and clientKeyPEM: tls: failed to find any PEM data in certificate input; they must be a " +
				"certificate and its key, both or neither\n",
		},
		"load of two sizes": {
			"/bench",
			`{"url":"http://h","seconds":1,"requests":1}`,
			"exactly one of seconds and requests must be given\n",
		},
		"load that is too much": {
			"/bench", `{"url":"http://h","seconds":301,"connections":10001}`,
			"connections 10001: it must be from 1 to 10000\nseconds 301: it must be from 0 to 300\n",
		},
		"a certificate without its key": {
			"/bench", `{"url":"http://h","requests":1,"clientCertificate":"a"}`,
			"clientCertificate and clientKey must be given together\n",
		},
		"a certificate that isn't there": {
			"/bench",
			`{"url":"http://h","requests":1,"ca":"/nowhere"}`,
			"read the CA: open /nowhere: no such file or directory\n",
		},
		"a loop that isn't there": {"/loops/reset?url=x", "", "no loop calls \"x\"; there are: \n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := client.Do(t.Context(), http.MethodPost, test.path, []byte(test.body))
			_, got, _ := strings.Cut(fmt.Sprint(err), ": ")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}

func TestALoopTellsItsWholeStory(t *testing.T) {
	address := freeAddress(t)
	url := "http://" + address + "/loop"
	var out lines
	client := startCaller(t,
		Options{Loops: []string{url}, Timeout: time.Second, Pause: time.Millisecond, KeepAlive: true, Out: &out})
	loopHas := func(outcome Outcome) func(context.Context) bool {
		return func(ctx context.Context) bool {
			state, err := client.Loop(ctx, url)
			if err != nil {
				t.Fatal(err)
			}
			return state.ByOutcome[outcome] > 2
		}
	}
	await.True(t, "the loop has the outcome", loopHas(OutcomeRefused))
	running, stop := startPartner(t, address, makeFiles(t), partner.ClientAuthNone)
	await.True(t, "the loop has the outcome", loopHas("200"))
	if err := client.ResetLoop(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	await.True(t, "the loop has the outcome", loopHas("200"))
	seen, err := partnerClient(running).Summary(t.Context(), partner.Filter{Path: "/loop"})
	if err != nil {
		t.Fatal(err)
	}
	if seen.Connections == seen.Requests {
		t.Errorf("the loop used %d connections for as many calls, in spite of keep-alive", seen.Connections)
	}
	stop()
	await.True(t, "the loop has the outcome", loopHas(OutcomeRefused))

	state, err := client.Loop(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if state.PlainAnswers != state.ByOutcome["200"] || state.TLSAnswers != 0 || state.UnknownAnswers != 0 {
		t.Errorf("of %d answers %d were plain, %d TLS, %d unknown",
			state.ByOutcome["200"], state.PlainAnswers, state.TLSAnswers, state.UnknownAnswers)
	}
	if first := state.Transitions[0]; first.From != "" || first.To != "200" || first.Call != 1 {
		t.Errorf("after the reset the first transition is %+v", first)
	}
	if state.LongestFailure == nil || state.LongestFailure.Calls < 3 || state.LongestFailure.Duration() <= 0 {
		t.Errorf("the longest failure is %+v", state.LongestFailure)
	}

	transitions := out.transitions(t)
	type step struct {
		Loop     string
		From, To Outcome
	}
	var got []step
	for _, transition := range transitions[:2] {
		got = append(got, step{transition.Loop, transition.From, transition.To})
	}
	if diff := cmp.Diff([]step{{url, "", OutcomeRefused}, {url, OutcomeRefused, "200"}}, got); diff != "" {
		t.Error("the first lines (-want +got):\n" + diff)
	}
	if last := transitions[len(transitions)-1]; last.To != OutcomeRefused {
		t.Errorf("the last line is %+v", last)
	}
}

// lines is an output that may be read meanwhile.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) transitions(t *testing.T) []LoopTransition {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var transitions []LoopTransition
	for line := range strings.Lines(l.text.String()) {
		var transition LoopTransition
		if err := json.Unmarshal([]byte(line), &transition); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		transitions = append(transitions, transition)
	}
	return transitions
}

func TestUntilEndsTheProcess(t *testing.T) {
	running, _ := startPartner(t, "127.0.0.1:0", makeFiles(t), partner.ClientAuthNone)
	base := fmt.Sprintf("http://127.0.0.1:%d", running.PlainPorts()[0])
	var out bytes.Buffer
	err := Run(t.Context(), Options{
		Control: "127.0.0.1:0",
		Loops:   []string{base + "/a", base + "/b?status=204"},
		Timeout: time.Second,
		Until:   7,
		Out:     &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(all) != 3 {
		t.Fatalf("there must be two transitions and the state:\n%s", out.String())
	}
	var got Loops
	if err := json.Unmarshal([]byte(all[2]), &got); err != nil {
		t.Fatal(err)
	}
	want := Loops{Loops: map[string]State{
		base + "/a": {
			Calls: 7, ByOutcome: map[Outcome]int{"200": 7}, Transitions: []Transition{{To: "200", Call: 1}}, PlainAnswers: 7,
			ByClientSerial: map[string]int{},
		},
		base + "/b?status=204": {
			Calls:          7,
			ByOutcome:      map[Outcome]int{"204": 7},
			Transitions:    []Transition{{To: "204", Call: 1}},
			ByClientSerial: map[string]int{},
		},
	}}
	options := cmp.Options{
		cmpopts.IgnoreUnexported(
			State{},
		), cmpopts.IgnoreFields(State{}, "FirstOutcome"), cmpopts.IgnoreFields(Transition{}, "At"),
	}
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	seen, err := partnerClient(running).Summary(t.Context(), partner.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if seen.Requests != 14 || seen.Connections != 14 {
		t.Errorf("the partner saw %d requests on %d connections; without keep-alive it must be 14 on 14",
			seen.Requests, seen.Connections)
	}
}

func TestRunNamesWhatIsWrong(t *testing.T) {
	taken := silent(t)
	tests := map[string]struct {
		options Options
		want    string
	}{
		"options": {
			Options{Loops: []string{"example.com"}},
			"url \"example.com\": it must begin with http:// or https:// and a host\ntimeout 0s: it must be more than 0",
		},
		"nothing to wait for": {
			Options{Until: 1, Timeout: time.Second},
			"until: there is no loop whose calls could be counted",
		},
		"a port that is taken": {
			Options{Timeout: time.Second, Control: taken},
			fmt.Sprintf("listen for the control port on %q: listen tcp %s: bind: address already in use", taken, taken),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.options.Out = t.Output()
			if diff := cmp.Diff(test.want, fmt.Sprint(Run(t.Context(), test.options))); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}

func TestBenchCountsWhatThePartnerCounts(t *testing.T) {
	f := makeFiles(t)
	running, _ := startPartner(t, "127.0.0.1:0", f, partner.ClientAuthRequire)
	secured := fmt.Sprintf("https://localhost:%d", running.TLSPorts()[0])
	client := startCaller(t, Options{Timeout: time.Second})
	tests := map[string]struct {
		load Bench
		// reused says that there must be fewer connections than requests. How many fewer is net/http's
		// choice.
		reused bool
	}{
		"with keep-alive":    {Bench{URL: secured + "/keep", KeepAlive: true}, true},
		"without keep-alive": {Bench{URL: secured + "/each"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.load.Connections, test.load.Requests = 4, 200
			test.load.ClientCertificate, test.load.ClientKey = f.path("app.pem"), f.path("app-key.pem")
			test.load.CA = f.path("client-ca.crt")
			got, err := client.Bench(t.Context(), test.load)
			if err != nil {
				t.Fatal(err)
			}
			want := BenchResult{Requests: 200, ByOutcome: map[Outcome]int{"200": 200}, Dials: got.Dials}
			measured := cmpopts.IgnoreFields(BenchResult{}, "Seconds", "PerSecond", "P50Micros", "P99Micros", "P999Micros")
			if diff := cmp.Diff(want, got, measured); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
			if (got.Dials < 200) != test.reused {
				t.Errorf("it made %d connections", got.Dials)
			}
			if got.PerSecond <= 0 || got.P50Micros <= 0 || got.P99Micros < got.P50Micros || got.P999Micros < got.P99Micros {
				t.Errorf("the figures make no sense: %+v", got)
			}
			seen, err := partnerClient(
				running,
			).Summary(t.Context(), partner.Filter{Path: strings.TrimPrefix(test.load.URL, secured)})
			if err != nil {
				t.Fatal(err)
			}
			byClient := map[string]partner.ClientSummary{"abc1": {Connections: got.Dials, Requests: 200}}
			if diff := cmp.Diff(
				byClient, seen.ByClientSerial, cmpopts.IgnoreFields(partner.ClientSummary{}, "FirstSeen", "LastSeen"),
			); diff != "" {
				t.Error("the partner's (-want +got):\n" + diff)
			}
		})
	}
	t.Run("for a time, with errors", func(t *testing.T) {
		got, err := client.Bench(t.Context(), Bench{URL: secured, Seconds: 0.05})
		if err != nil {
			t.Fatal(err)
		}
		if got.Requests != 0 || got.Errors == 0 || got.ByOutcome[OutcomeTLS] != got.Errors {
			t.Errorf("without a certificate it gave %+v", got)
		}
	})
}

func TestResolve(t *testing.T) {
	client := startCaller(t, Options{Timeout: time.Second})
	got, err := client.Resolve(t.Context(), "127.0.0.7")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Resolution{Addresses: []string{"127.0.0.7"}}, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	got, err = client.Resolve(t.Context(), "a..b")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Resolution{Error: "lookup a..b: no such host"}, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}
