package partner

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Server names that narrow what the partner speaks. Under every other name it offers HTTP/2 and
// HTTP/1.1 in ALPN (RFC 7301).
const (
	// OnlyHTTP1Name offers HTTP/1.1 alone, OnlyHTTP2Name HTTP/2 alone, and NoALPNName nothing, so that
	// it speaks HTTP/1.1.
	OnlyHTTP1Name = "http1.system.com"
	OnlyHTTP2Name = "http2.system.com"
	NoALPNName    = "no-alpn.system.com"
	// VerbatimName answers one request of HTTP/1.1 with its head, as it arrived.
	VerbatimName = "verbatim.system.com"
)

// VerbatimHeader is a header of the answer of VerbatimName, in this case of letters.
const VerbatimHeader = "X-CaMeL-Case"

func narrowProtocols() map[string][]string {
	return map[string][]string{
		OnlyHTTP1Name: {"http/1.1"}, OnlyHTTP2Name: {"h2"}, NoALPNName: nil, VerbatimName: {"http/1.1"},
	}
}

// The methods of the gRPC service, which return each message as it came. UnaryMethod takes one, and
// StreamMethod as many as come.
const (
	echoService  = "actor.Echo"
	UnaryMethod  = "/" + echoService + "/Unary"
	StreamMethod = "/" + echoService + "/Stream"
)

// protocols serves gRPC and WebSockets, and leaves everything else to answer.
func (s *Server) protocols() http.Handler {
	remote := grpc.NewServer()
	remote.RegisterService(&grpc.ServiceDesc{
		ServiceName: echoService,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: echoOnce}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Stream", Handler: echoAll, ServerStreams: true, ClientStreams: true},
		},
	}, struct{}{})
	// Not websocket.Handler, which wants an Origin that is a URL.
	sockets := websocket.Server{Handler: func(c *websocket.Conn) { _, _ = io.Copy(c, c) }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var other http.Handler
		switch {
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
			other = remote
		case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
			other = sockets
		default:
			s.answer(w, r)
			return
		}
		if c, ok := r.Context().Value(connKey{}).(*conn); ok {
			s.book.request(c.entry, requestOf(r))
		}
		other.ServeHTTP(w, r)
	})
}

//nolint:revive // gRPC wants the context second.
func echoOnce(
	_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor,
) (any, error) {
	message := &wrapperspb.StringValue{}
	return message, decode(message)
}

func echoAll(_ any, stream grpc.ServerStream) error {
	for {
		message := &wrapperspb.StringValue{}
		if err := stream.RecvMsg(message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(message); err != nil {
			return err
		}
	}
}

// stream sends events until the caller leaves. One that gets the first of them only together with
// the last gets none.
func stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for number := 1; ; number++ {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", number); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// repeat answers a request with its head. net/http would have changed the case of its headers.
func (s *Server) repeat(secured *tls.Conn, c *conn) {
	until := time.Now().Add(refusalTimeout)
	defer c.linger(until)
	if secured.SetDeadline(until) != nil {
		return
	}
	var head strings.Builder
	request, err := http.ReadRequest(bufio.NewReader(io.TeeReader(io.LimitReader(secured, maxHeaderBytes), &head)))
	if err != nil {
		return
	}
	s.book.request(c.entry, requestOf(request))
	_, _ = fmt.Fprintf(secured, "HTTP/1.1 200 OK\r\n%s: yes\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		VerbatimHeader, head.Len(), head.String())
	_ = secured.CloseWrite()
}
