package partner

import (
	"io"
	"net"
	"net/netip"
	"time"
)

// conn records what arrives on a connection, below TLS.
type conn struct {
	// Conn is tcp, without the methods that would let bytes pass Read by.
	net.Conn
	tcp   *net.TCPConn
	book  *book
	entry *entry
	// kind is what the book last said. Reads never overlap.
	kind Kind
	// peeked is the first byte, when it was read but not yet handed on.
	peeked []byte
}

// record begins the record of an accepted connection.
func record(accepted *net.TCPConn, b *book, speaksTLS bool) *conn {
	return &conn{
		Conn:  accepted,
		tcp:   accepted,
		book:  b,
		entry: b.open(addressOf(accepted.LocalAddr()).Port, speaksTLS, remoteIP(accepted), time.Now()),
		kind:  KindEmpty,
	}
}

func remoteIP(accepted *net.TCPConn) string {
	address, _ := netip.AddrFromSlice(addressOf(accepted.RemoteAddr()).IP)
	return address.Unmap().String()
}

// addressOf is the address of one end of a TCP connection or of a listener.
func addressOf(address net.Addr) net.TCPAddr {
	if tcp, ok := address.(*net.TCPAddr); ok {
		return *tcp
	}
	return net.TCPAddr{}
}

// Read reads and records.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.peeked) > 0 && len(p) > 0 {
		n := copy(p, c.peeked)
		c.peeked = c.peeked[n:]
		return n, nil
	}
	n, err := c.tcp.Read(p)
	if n > 0 && c.kind != KindTLS {
		c.kind = c.book.receive(c.entry, p[:n])
	}
	return n, err
}

// peek waits for the first byte, which the next Read returns again.
func (c *conn) peek() (Kind, error) {
	first := make([]byte, 1)
	n, err := c.Read(first)
	c.peeked = first[:n]
	return c.kind, err
}

// CloseWrite tells the caller that nothing more comes. The HTTP server does so before it closes a
// connection with unread bytes.
func (c *conn) CloseWrite() error { return c.tcp.CloseWrite() }

// reset closes the connection with a TCP reset.
func (c *conn) reset() {
	_ = c.tcp.SetLinger(0)
	_ = c.Close()
}

// Close closes the connection and records that.
func (c *conn) Close() error {
	defer c.book.end(c.entry, time.Now())
	return c.tcp.Close()
}

// linger closes the connection so that the caller can read what was sent last: closing with unread
// bytes resets the connection, and a reset takes away what the caller has not read. Whatever still
// arrives is recorded, until the caller closes or the time is over.
func (c *conn) linger(until time.Time) {
	if c.SetReadDeadline(until) == nil && c.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, c)
	}
	_ = c.Close()
}
