package pki

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
)

// Listen starts a TLS server on the loopback interface that reads what clients send and answers
// nothing, and returns its address and port. It serves one connection after another, until the test
// ends.
func Listen(tb testing.TB, config *tls.Config) (address string) {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, tls.Server(connection, config))
			_ = connection.Close()
		}
	}()
	return listener.Addr().String()
}
