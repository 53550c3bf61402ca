package caller

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Bounds of a [Call].
const (
	// maxBody is how much of a body is returned.
	maxBody  = 64 << 10
	maxCount = 100_000
)

// Call asks for calls, all alike.
type Call struct {
	// Method, default GET.
	Method string `json:"method,omitempty"`
	URL    string `json:"url"`
	// Headers to send; "Host" replaces the one of the URL.
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	// BodyBytes is the length of a body that is made up, in place of Body.
	BodyBytes int64 `json:"bodyBytes,omitempty"`
	// HTTP2 speaks HTTP/2 without TLS and without asking first (RFC 9113 section 3.3).
	HTTP2 bool `json:"http2,omitempty"`
	// Lines leaves after so many lines of the body; 0 reads all of it.
	Lines int `json:"lines,omitempty"`
	// Count of calls, default 1, at most 100,000; Parallel is how many of them are under way at a
	// time, default 1.
	Count    int `json:"count,omitempty"`
	Parallel int `json:"parallel,omitempty"`
	// KeepAlive reuses connections within this request; otherwise each call has its own.
	KeepAlive bool `json:"keepalive,omitempty"`
	// Timeout of each call, default 5s.
	Timeout Duration `json:"timeout,omitzero"`
	// InsecureSkipVerify takes any server certificate; CAPEM is whose are taken otherwise, default:
	// those the system trusts.
	InsecureSkipVerify bool   `json:"insecureSkipVerify,omitempty"`
	CAPEM              string `json:"caPEM,omitempty"`
	// ClientCertPEM and ClientKeyPEM are a certificate and its key to present to any server that asks;
	// default: none.
	ClientCertPEM string `json:"clientCertPEM,omitempty"`
	ClientKeyPEM  string `json:"clientKeyPEM,omitempty"`
	// Network is tcp4 or tcp6 for one family of addresses; default: both.
	Network string `json:"network,omitempty"`
}

// Duration is written as Go writes it, for example "1.5s".
type Duration time.Duration

// MarshalText writes a duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Result is what came of one call.
type Result struct {
	// Status is 0 when no answer came.
	Status  int         `json:"status"`
	Headers http.Header `json:"headers,omitempty"`
	// Body is cut at 64 KiB; BodyLength is that of all that arrived.
	Body       string  `json:"body,omitempty"`
	BodyLength int64   `json:"bodyLength"`
	Outcome    Outcome `json:"outcome"`
	// Error is the error text of a call that got no HTTP status.
	Error string `json:"error,omitempty"`
	// Millis is how long the call took, in milliseconds.
	Millis int64 `json:"millis"`
}

// check names everything that is wrong, and fills in the defaults.
func (c *Call) check() error {
	var problems []error
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	if c.Count == 0 {
		c.Count = 1
	}
	if c.Parallel == 0 {
		c.Parallel = 1
	}
	if c.Timeout == 0 {
		c.Timeout = Duration(5 * time.Second)
	}
	problems = append(problems, checkURL(c.URL))
	if c.Count < 1 || c.Count > maxCount {
		problems = append(problems, fmt.Errorf("count %d: it must be from 1 to %d", c.Count, maxCount))
	}
	if c.Parallel < 1 {
		problems = append(problems, fmt.Errorf("parallel %d: it must be at least 1", c.Parallel))
	}
	if c.Timeout < 0 {
		problems = append(problems, fmt.Errorf("timeout %v: it must be more than 0", time.Duration(c.Timeout)))
	}
	switch c.Network {
	case "", "tcp4", "tcp6":
	default:
		problems = append(problems, fmt.Errorf("network %q: it must be tcp4 or tcp6", c.Network))
	}
	return errors.Join(problems...)
}

// checkURL wants a whole URL.
func checkURL(address string) error {
	parsed, err := url.Parse(address)
	switch {
	case err != nil:
		return err // it says "parse" and the URL
	case parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
		return fmt.Errorf("url %q: it must begin with http:// or https:// and a host", address)
	}
	return nil
}

// do makes the calls; the results are in the order in which the calls began.
func (c *Call) do(ctx context.Context) ([]Result, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	results := make([]Result, c.Count)
	numbers := make(chan int)
	var work sync.WaitGroup
	for range min(c.Parallel, c.Count) {
		work.Go(func() {
			for number := range numbers {
				results[number] = c.once(ctx, client)
			}
		})
	}
	for number := range c.Count {
		numbers <- number
	}
	close(numbers)
	work.Wait()
	return results, nil
}

// client speaks HTTP/1.1, as net/http does with settings of one's own, unless HTTP2 is asked for.
func (c *Call) client() (*http.Client, error) {
	dialer := &net.Dialer{Timeout: time.Duration(c.Timeout)}
	transport := &http.Transport{
		DisableKeepAlives: !c.KeepAlive,
		// So long that a body that waits for 100 (Continue) in vain isn't sent.
		ExpectContinueTimeout: time.Duration(c.Timeout),
		MaxIdleConnsPerHost:   c.Parallel,
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: c.InsecureSkipVerify},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if c.Network != "" {
				network = c.Network
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
	if c.HTTP2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	if c.CAPEM != "" {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(c.CAPEM)) {
			return nil, errors.New("caPEM: there is no certificate in it; it must be one or more CERTIFICATE blocks")
		}
	}
	if c.ClientCertPEM != "" || c.ClientKeyPEM != "" {
		pair, err := tls.X509KeyPair([]byte(c.ClientCertPEM), []byte(c.ClientKeyPEM))
		if err != nil {
			return nil, fmt.Errorf("clientCertPEM and clientKeyPEM: %w; they must be a certificate and its key, both or neither",
				err)
		}
		// Not Certificates, of which crypto/tls presents only one whose issuers lead to a CA that the
		// server names.
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &pair, nil
		}
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// once makes one call and reads the whole answer.
func (c *Call) once(ctx context.Context, client *http.Client) Result {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.Timeout))
	defer cancel()
	began := time.Now()
	var result Result
	err := c.exchange(ctx, client, &result)
	result.Millis = time.Since(began).Milliseconds()
	result.Outcome = outcomeOf(result.Status, err)
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

func (c *Call) exchange(ctx context.Context, client *http.Client, result *Result) error {
	var content io.Reader = strings.NewReader(c.Body)
	if c.BodyBytes > 0 {
		content = io.LimitReader(filler{}, c.BodyBytes)
	}
	request, err := http.NewRequestWithContext(ctx, c.Method, c.URL, content)
	if err != nil {
		return err
	}
	if c.BodyBytes > 0 {
		request.ContentLength = c.BodyBytes
	}
	for name, value := range c.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			request.Host = value
			continue
		}
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	result.Status, result.Headers = response.StatusCode, response.Header
	if c.Lines > 0 {
		result.Body, err = firstLines(response.Body, c.Lines)
		result.BodyLength = int64(len(result.Body))
		return err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	result.Body, result.BodyLength = string(body), int64(len(body))
	if err != nil {
		return err
	}
	rest, err := io.Copy(io.Discard, response.Body)
	result.BodyLength += rest
	return err
}

// firstLines reads so many lines and no more.
func firstLines(body io.Reader, count int) (string, error) {
	var lines strings.Builder
	reader := bufio.NewReader(body)
	for range count {
		line, err := reader.ReadString('\n')
		lines.WriteString(line)
		if err != nil {
			return lines.String(), err
		}
	}
	return lines.String(), nil
}

// filler is an endless body.
type filler struct{}

// Read fills p.
func (filler) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
