package webhookport

import (
	"context"
	"net"
	"sync"
)

// connections limits the number of open connections. Above the limit, it closes a connection of the
// source with the most connections: one that never carried a request, or else the one whose last
// request is the oldest. It never closes a connection with a request in progress.
type connections struct {
	limit int

	mu       sync.Mutex
	bySource map[string]map[*connection]struct{}
	count    int
	uses     uint64 // a logical clock that advances with every use
}

// connection is counted until it is closed.
type connection struct {
	net.Conn
	source string
	all    *connections
	// Guarded by connections.mu. used is the logical time of the last request, or 0. working is the
	// number of requests in progress. came is the logical time of the accept.
	used    uint64
	working int
	came    uint64
	closed  bool
}

// connectionKey is the context key of a request's connection.
type connectionKey struct{}

func newConnections(limit int) *connections {
	return &connections{limit: limit, bySource: map[string]map[*connection]struct{}{}}
}

// listen returns a listener that counts the accepted connections.
func (c *connections) listen(listener net.Listener) net.Listener {
	return &countingListener{Listener: listener, connections: c}
}

type countingListener struct {
	net.Listener
	connections *connections
}

// Accept returns the next connection. It may close another one.
func (l *countingListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.connections.add(accepted, sourceOf(accepted.RemoteAddr().String())), nil
}

// sourceOf returns the host of an address in the form HOST:PORT.
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
		_ = victim.Close() // its current user gets an error
	}
	return added
}

func (c *connections) tick() uint64 {
	c.uses++
	return c.uses
}

// leastUseful returns the connection to close, from the source with the most connections.
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

// Close closes the connection and removes it from the count.
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

// work protects the connection of a request from being closed until done is called.
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
