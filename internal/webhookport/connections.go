package webhookport

import (
	"context"
	"net"
	"sync"
)

// connections bounds how many connections are open. When there are too many, the source that has
// most of them loses the one that has been of no use the longest: it never carried a request, or
// its last one is longest ago. A connection whose request is being worked on is not closed.
type connections struct {
	limit int

	mu       sync.Mutex
	bySource map[string]map[*connection]struct{}
	count    int
	uses     uint64 // a clock that ticks at every use
}

// connection is one that is counted until it is closed.
type connection struct {
	net.Conn
	source string
	all    *connections
	// Of connections.mu: when it was last of use, 0 for never, in the order of uses; how many requests
	// of it are being worked on; when it came.
	used    uint64
	working int
	came    uint64
	closed  bool
}

// connectionKey is the key of the connection in the context of a request.
type connectionKey struct{}

func newConnections(limit int) *connections {
	return &connections{limit: limit, bySource: map[string]map[*connection]struct{}{}}
}

// listen counts the connections that a listener accepts.
func (c *connections) listen(listener net.Listener) net.Listener {
	return &countingListener{Listener: listener, connections: c}
}

type countingListener struct {
	net.Listener
	connections *connections
}

// Accept returns the next connection, for which it may have closed another one.
func (l *countingListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.connections.add(accepted, sourceOf(accepted.RemoteAddr().String())), nil
}

// sourceOf is who stands behind an address, HOST:PORT.
func sourceOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

func (c *connections) add(accepted net.Conn, source string) *connection {
	c.mu.Lock()
	added := &connection{Conn: accepted, source: source, all: c, came: c.tick()}
	if c.bySource[source] == nil {
		c.bySource[source] = map[*connection]struct{}{}
	}
	c.bySource[source][added] = struct{}{}
	c.count++
	var victim *connection
	if c.count > c.limit {
		victim = c.leastUseful()
	}
	c.mu.Unlock()
	if victim != nil {
		_ = victim.Close() // whoever still uses it gets an error
	}
	return added
}

func (c *connections) tick() uint64 {
	c.uses++
	return c.uses
}

// leastUseful is a connection of the source that has most, of those that may be closed.
func (c *connections) leastUseful() *connection {
	var victim *connection
	most := 0
	for _, own := range c.bySource {
		if len(own) <= most {
			continue
		}
		var least *connection
		for candidate := range own {
			if candidate.working == 0 && (least == nil || candidate.lessUseful(least)) {
				least = candidate
			}
		}
		if least != nil {
			victim, most = least, len(own)
		}
	}
	return victim
}

func (c *connection) lessUseful(other *connection) bool {
	if c.used != other.used {
		return c.used < other.used
	}
	return c.came < other.came
}

// Close closes the connection and counts it no more.
func (c *connection) Close() error {
	c.all.mu.Lock()
	if !c.closed {
		c.closed = true
		c.all.count--
		own := c.all.bySource[c.source]
		if delete(own, c); len(own) == 0 {
			delete(c.all.bySource, c.source)
		}
	}
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// work marks the connection of a request as one to keep until done is called.
func work(ctx context.Context) (done func()) {
	c, found := ctx.Value(connectionKey{}).(*connection)
	if !found {
		return func() {}
	}
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.working++
	return func() {
		c.all.mu.Lock()
		defer c.all.mu.Unlock()
		c.working--
		c.used = c.all.tick()
	}
}
