package partner

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// limits bound the memory of a book.
type limits struct {
	// connections is how many are kept; of more, those that ended first are dropped.
	connections int
	// requests is how many are kept in full over all connections; of more, those of the oldest
	// connections are only counted.
	requests int
}

// book holds what was recorded. It is safe for concurrent use and reads no clock.
type book struct {
	limits limits

	mu      sync.Mutex
	lastID  int64
	dropped int64
	entries map[int64]*entry
	// ended are the entries of ended connections, and detailed those with kept requests; both in the
	// order in which they became so.
	ended, detailed []*entry
	// kept counts the kept requests of all entries.
	kept int
}

// entry is one connection in the book.
type entry struct {
	// connection has no FirstRequests; they are in kept.
	connection Connection
	speaksTLS  bool
	kept       []keptRequest
	// stripped says that kept requests were given up.
	stripped bool
	paths    map[pathKey]*tally
}

// keptRequest is a request and where it was counted.
type keptRequest struct {
	Request
	key pathKey
}

// tally counts the requests of a path.
type tally struct {
	requests, posts, kept int
	first, last           time.Time
}

func newBook(bounds limits) *book {
	return &book{limits: bounds, entries: map[int64]*entry{}}
}

// open records a new connection to a port that speaks TLS or does not.
func (b *book) open(port int, speaksTLS bool, remoteIP string, at time.Time) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastID++
	opened := &entry{
		connection: Connection{ID: b.lastID, Port: port, RemoteIP: remoteIP, Began: at, Kind: KindEmpty},
		speaksTLS:  speaksTLS,
		paths:      map[pathKey]*tally{},
	}
	b.entries[b.lastID] = opened
	b.makeRoom()
	return opened
}

// makeRoom drops ended connections while there are too many.
func (b *book) makeRoom() {
	for len(b.entries) > b.limits.connections && len(b.ended) > 0 {
		oldest := b.ended[0]
		b.ended = b.ended[1:]
		b.strip(oldest)
		delete(b.entries, oldest.connection.ID)
		b.dropped++
	}
	for len(b.detailed) > 0 && b.detailed[0].stripped {
		b.detailed = b.detailed[1:]
	}
}

// strip drops the kept requests of an entry.
func (b *book) strip(e *entry) {
	b.kept -= len(e.kept)
	e.kept = nil
	e.stripped = true
}

// receive records bytes that arrived and returns the kind of the connection, which the first of
// them decides.
func (b *book) receive(e *entry, received []byte) Kind {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &e.connection
	if c.Kind == KindEmpty {
		c.Kind = kindOf(received[0])
		if c.Kind == KindTLS && !e.speaksTLS {
			c.HandshakeError = "the port speaks no TLS"
		}
	}
	if c.Kind == KindPlain {
		c.PlaintextBytes += int64(len(received))
		c.Plaintext = append(c.Plaintext, received[:min(len(received), KeptPlaintext-len(c.Plaintext))]...)
	}
	return c.Kind
}

func kindOf(first byte) Kind {
	const handshakeRecord = 22 // RFC 8446 section 5.1
	if first == handshakeRecord {
		return KindTLS
	}
	return KindPlain
}

// greet records the server name that the caller asks for.
func (b *book) greet(e *entry, serverName string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.connection.SNI = serverName
}

// handshake records how the TLS handshake ended.
func (b *book) handshake(e *entry, state tls.ConnectionState, err error) {
	presented := state.PeerCertificates
	if refused, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		presented = refused.UnverifiedCertificates
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &e.connection
	if len(presented) > 0 {
		c.Client = describe(presented[0])
	}
	if err != nil {
		c.HandshakeError = err.Error()
		return
	}
	c.TLSVersion = tls.VersionName(state.Version)
	c.ALPN = state.NegotiatedProtocol
	c.Resumed = state.DidResume
}

// client is the certificate with which the connection came, nil for none.
func (b *book) client(e *entry) *ClientCertificate {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.connection.Client
}

// request records a request whose header has arrived. The index it returns is for body; it is
// negative when the request is only counted.
func (b *book) request(e *entry, request Request) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.connection.Requests++
	key, counted := e.tallyOf(request.Path)
	if counted.requests == 0 {
		counted.first = request.At
	}
	counted.last = request.At
	counted.requests++
	if request.Method == http.MethodPost {
		counted.posts++
	}
	if e.stripped || len(e.kept) == KeptRequests {
		return -1
	}
	if len(e.kept) == 0 {
		b.detailed = append(b.detailed, e)
	}
	counted.kept++
	e.kept = append(e.kept, keptRequest{Request: request, key: key})
	b.kept++
	for b.kept > b.limits.requests {
		oldest := b.detailed[0]
		b.detailed = b.detailed[1:]
		b.strip(oldest)
	}
	if e.stripped {
		return -1
	}
	return len(e.kept) - 1
}

// body records what arrived as the body of the request with that index.
func (b *book) body(e *entry, index int, length int64, sha256 string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if index < 0 || e.stripped {
		return
	}
	e.kept[index].BodyLength, e.kept[index].BodySHA256 = length, sha256
}

// end records that the connection is closed; only the first time counts.
func (b *book) end(e *entry, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !e.connection.Ended.IsZero() {
		return
	}
	e.connection.Ended = at
	e.connection.Plaintext = slices.Clip(e.connection.Plaintext)
	b.ended = append(b.ended, e)
	b.makeRoom()
}

// connections are those that match the filter.
func (b *book) connections(filter Filter) Connections {
	answer := Connections{Connections: []Connection{}}
	answer.Dropped, answer.Undecided = b.visit(filter, func(f found) {
		connection := f.connection
		for _, kept := range f.kept {
			connection.FirstRequests = append(connection.FirstRequests, kept.Request)
		}
		answer.Connections = append(answer.Connections, connection)
	})
	return answer
}

// summary counts the connections that match the filter.
func (b *book) summary(filter Filter) Summary {
	s := Summary{ByClientSerial: map[string]ClientSummary{}, ByClientSubject: map[string]ClientSummary{}}
	s.Dropped, s.Undecided = b.visit(filter, s.add)
	return s
}

// add counts a connection.
func (s *Summary) add(f found) {
	c := f.connection
	s.Connections++
	s.Requests += f.matched.requests
	s.Posts += f.matched.posts
	switch c.Kind {
	case KindPlain:
		s.PlainConnections++
		s.PlaintextBytes += c.PlaintextBytes
		s.PlainRequests += f.matched.requests
	case KindTLS:
		s.TLSConnections++
	case KindEmpty:
		s.EmptyConnections++
	}
	switch {
	case c.HandshakeError != "":
		s.HandshakeErrors++
	case c.Client != nil:
		count(s.ByClientSerial, c.Client.SerialNumber, f)
		count(s.ByClientSubject, c.Client.Subject, f)
	}
}

// count adds a connection to what is known of a client.
func count(clients map[string]ClientSummary, name string, f found) {
	first, last := f.matched.first, f.matched.last
	if f.matched.requests == 0 {
		first, last = f.connection.Began, f.connection.Began
	}
	client, known := clients[name]
	client.Connections++
	client.Requests += f.matched.requests
	if !known || first.Before(client.FirstSeen) {
		client.FirstSeen = first
	}
	if !known || last.After(client.LastSeen) {
		client.LastSeen = last
	}
	clients[name] = client
}

// found is an entry that matches a filter, with the requests that do.
type found struct {
	*entry
	matched tally
}

// visit shows the entries that match, by ID. It says how many entries were dropped, and of how many
// it can't report whether they match.
func (b *book) visit(filter Filter, show func(found)) (dropped int64, undecided int) {
	b.mu.Lock()
	entries := slices.Collect(maps.Values(b.entries))
	b.mu.Unlock()
	slices.SortFunc(entries, func(x, y *entry) int { return cmp.Compare(x.connection.ID, y.connection.ID) })

	// The book is closed for a few entries at a time, so that calls that are under way don't wait for
	// queries about the past.
	const few = 256
	for some := range slices.Chunk(entries, few) {
		b.mu.Lock()
		for _, e := range some {
			matched, exact, matches := e.judge(filter)
			switch {
			case !matches:
			case !exact:
				undecided++
			default:
				show(found{entry: e, matched: matched})
			}
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped, undecided
}

// judge reports whether an entry matches, with which requests, and whether that is sure.
func (e *entry) judge(filter Filter) (matched tally, exact, matches bool) {
	c := &e.connection
	if c.ID <= filter.After || filter.Port != 0 && c.Port != filter.Port ||
		filter.Remote != "" && c.RemoteIP != filter.Remote {
		return tally{}, true, false
	}
	matched, exact = e.match(filter.Path)
	matches = !exact || filter.Path == "" || matched.requests > 0 || bytes.Contains(c.Plaintext, []byte(filter.Path))
	return matched, exact, matches
}

// maxPaths is how many paths of two segments are told apart on one connection, and then how many of
// one segment.
const maxPaths = 64

// pathKey is the beginning of a path without its query, or all of it.
type pathKey struct {
	prefix string
	// more says that the path may have gone on.
	more bool
}

// tallyOf finds where a path is counted: by its first two segments; when there are too many of
// these by the first; then by none.
func (e *entry) tallyOf(path string) (pathKey, *tally) {
	path, _, _ = strings.Cut(path, "?")
	segments := strings.SplitAfterN(path, "/", 4) // "/", "first/", "second/", "rest"
	two := strings.Join(segments[:min(3, len(segments))], "")
	one := strings.Join(segments[:min(2, len(segments))], "")
	for i, key := range []pathKey{{two, two != path}, {one, one != path}} {
		if counted, ok := e.paths[key]; ok {
			return key, counted
		}
		if len(e.paths) < (i+1)*maxPaths {
			e.paths[key] = &tally{}
			return key, e.paths[key]
		}
	}
	key := pathKey{more: true}
	if e.paths[key] == nil {
		e.paths[key] = &tally{}
	}
	return key, e.paths[key]
}

// match counts the requests whose path starts with the prefix. It is not exact when requests that
// could be among them are neither counted by a path that tells nor kept.
func (e *entry) match(prefix string) (matched tally, exact bool) {
	exact = true
	for key, counted := range e.paths {
		switch {
		case strings.HasPrefix(key.prefix, prefix):
			matched.add(*counted)
		case strings.HasPrefix(prefix, key.prefix) && (key.more || prefix[len(key.prefix)] == '?'):
			exact = exact && !e.stripped && counted.kept == counted.requests
			for _, kept := range e.kept {
				if kept.key == key && strings.HasPrefix(kept.Path, prefix) {
					matched.add(kept.tally())
				}
			}
		}
	}
	return matched, exact
}

// tally counts the one request.
func (k keptRequest) tally() tally {
	one := tally{requests: 1, first: k.At, last: k.At}
	if k.Method == http.MethodPost {
		one.posts = 1
	}
	return one
}

// add counts other as well.
func (t *tally) add(other tally) {
	if t.requests == 0 || other.first.Before(t.first) {
		t.first = other.first
	}
	if t.requests == 0 || other.last.After(t.last) {
		t.last = other.last
	}
	t.requests += other.requests
	t.posts += other.posts
}
