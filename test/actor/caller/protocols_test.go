package caller

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/actor/partner"
)

// TestProtocolsWithoutASidecar calls the partner's plain port directly.
func TestProtocolsWithoutASidecar(t *testing.T) {
	address := freeAddress(t)
	running, _ := startPartner(t, address, makeFiles(t), partner.ClientAuthNone)
	c := startCaller(t, Options{Timeout: time.Second})
	messages := []string{"one", "two"}
	for name, test := range map[string]struct {
		call    func() (any, error)
		want    any
		version string
	}{
		"gRPC, one by one and as a stream": {
			call:    func() (any, error) { return c.GRPC(t.Context(), GRPC{Target: "dns:///" + address, Messages: messages}) },
			want:    Messages{Unary: messages, Streamed: messages},
			version: "HTTP/2.0",
		},
		"a WebSocket": {
			call: func() (any, error) {
				return c.WebSocket(t.Context(), WebSocket{URL: "ws://" + address + "/socket", Messages: messages})
			},
			want:    Messages{Streamed: messages},
			version: "HTTP/1.1",
		},
		"HTTP/2 without TLS": {
			call: func() (any, error) {
				return outcome(c.Call(t.Context(), Call{URL: "http://" + address + "/h2c", HTTP2: true}))
			},
			want:    Outcome("200"),
			version: "HTTP/2.0",
		},
		"a long body": {
			call: func() (any, error) {
				results, err := c.Call(t.Context(), Call{Method: "POST", URL: "http://" + address + "/long", BodyBytes: 1 << 20})
				return strings.Contains(results[0].Body, `"bodyLength":1048576`), err
			},
			want:    true,
			version: "HTTP/1.1",
		},
		"a body that waits for 100 (Continue)": {
			call: func() (any, error) {
				return outcome(c.Call(t.Context(), Call{
					Method: "POST", URL: "http://" + address + "/continue", Body: "x",
					Headers: map[string]string{"Expect": "100-continue"},
				}))
			},
			want:    Outcome("200"),
			version: "HTTP/1.1",
		},
		"the first events of an endless stream": {
			call: func() (any, error) {
				results, err := c.Call(t.Context(), Call{URL: "http://" + address + "/events?events=1", Lines: 3})
				return results[0].Body, err
			},
			want:    "data: 1\n\ndata: 2\n",
			version: "HTTP/1.1",
		},
		"bytes as they are": {
			call: func() (any, error) {
				result, err := c.Raw(t.Context(), Raw{Address: address, Send: "GET /raw HTTP/1.0\r\n\r\n"})
				head, _, _ := strings.Cut(result.Received, "\r\n")
				return head + result.Error, err
			},
			want:    "HTTP/1.0 200 OK",
			version: "HTTP/1.0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			last := lastID(t, running)
			got, err := test.call()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("the answer (-want +got):\n%s", diff)
			}
			connections, err := partnerClient(running).Connections(t.Context(), partner.Filter{After: last})
			if err != nil {
				t.Fatal(err)
			}
			if len(connections) != 1 || len(connections[0].FirstRequests) == 0 ||
				connections[0].FirstRequests[0].HTTPVersion != test.version {
				t.Errorf("the partner saw %+v, want a connection with %s", connections, test.version)
			}
		})
	}
}

func TestProtocolsWithoutAServer(t *testing.T) {
	c, address := startCaller(t, Options{Timeout: time.Second}), freeAddress(t)
	remote, err := c.GRPC(t.Context(), GRPC{Target: "dns:///" + address, Messages: []string{"one"}})
	if err != nil || !strings.Contains(remote.Error, "connection refused") {
		t.Errorf("gRPC: %+v, error %v", remote, err)
	}
	socket, err := c.WebSocket(t.Context(), WebSocket{URL: "ws://" + address, Messages: []string{"one"}})
	if err != nil || !strings.Contains(socket.Error, "connection refused") {
		t.Errorf("the WebSocket: %+v, error %v", socket, err)
	}
	bytes, err := c.Raw(t.Context(), Raw{Address: address, Send: "x"})
	if err != nil || !strings.Contains(bytes.Error, "connection refused") {
		t.Errorf("raw bytes: %+v, error %v", bytes, err)
	}
}

func outcome(results []Result, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return results[0].Outcome, nil
}

// lastID is that of the connection that the partner accepted last.
func lastID(t *testing.T, running *partner.Server) (last int64) {
	t.Helper()
	connections, err := partnerClient(running).Connections(t.Context(), partner.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, connection := range connections {
		last = max(last, connection.ID)
	}
	return last
}
