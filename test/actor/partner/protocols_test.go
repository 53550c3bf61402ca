package partner

import (
	"crypto/tls"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServerNamesNarrowTheProtocols(t *testing.T) {
	p := start(t, ClientAuthNone)
	type answer struct{ Protocol, Error string }
	for name, test := range map[string]struct {
		offered []string
		want    answer
	}{
		serverName:    {[]string{"h2", "http/1.1"}, answer{"h2", ""}},
		OnlyHTTP1Name: {[]string{"h2", "http/1.1"}, answer{"http/1.1", ""}},
		OnlyHTTP2Name: {[]string{"h2", "http/1.1"}, answer{"h2", ""}},
		NoALPNName:    {[]string{"h2"}, answer{"", ""}},
		VerbatimName:  {[]string{"h2"}, answer{"", "remote error: tls: no application protocol"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got answer
			connection, err := tls.Dial("tcp", p.tlsAddress(),
				&tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: test.offered})
			if err != nil {
				got.Error = err.Error()
			} else {
				got.Protocol = connection.ConnectionState().NegotiatedProtocol
				_ = connection.Close()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("the handshake (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheHeadOfARequestIsRepeated(t *testing.T) {
	p := start(t, ClientAuthNone)
	connection, err := tls.Dial("tcp", p.tlsAddress(), &tls.Config{ServerName: VerbatimName, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	const head = "GET /a HTTP/1.1\r\nhost: X.example\r\nX-mY-CASE: 1\r\n\r\n"
	send(t, connection, head)
	answer, err := io.ReadAll(connection)
	const want = "HTTP/1.1 200 OK\r\nX-CaMeL-Case: yes\r\nContent-Length: 50\r\nConnection: close\r\n\r\n" + head
	if diff := cmp.Diff(want, string(answer)); diff != "" || err != nil {
		t.Errorf("the answer (-want +got), error %v:\n%s", err, diff)
	}
}
