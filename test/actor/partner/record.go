// Package partner is the far side of the mesh tests: a server that demands client certificates and
// writes down, for every connection from its first byte, what arrived. The tests ask it afterwards
// through its control port; [Client] does that.
package partner

import (
	"net/http"
	"time"
)

// Kind says what a connection turned out to be by its first byte.
type Kind string

// The kinds of a connection.
const (
	// KindEmpty is a connection on which no byte has arrived so far, or ever.
	KindEmpty Kind = "empty"
	// KindTLS is a connection whose first byte is that of a TLS handshake record (22, RFC 8446 section
	// 5.1), on whatever port.
	KindTLS Kind = "tls"
	// KindPlain is any other connection, on whatever port.
	KindPlain Kind = "plain"
)

// Bounds of what is kept for each connection.
const (
	// KeptRequests is how many requests of a connection are kept in full; the others are counted.
	KeptRequests = 20
	// KeptPlaintext is how many bytes of a plain connection are kept; the others are counted.
	KeptPlaintext = 1024
)

// Connection is one accepted connection.
type Connection struct {
	// ID rises by one with each connection; the first is 1.
	ID int64 `json:"id"`
	// Port on which it was accepted.
	Port int `json:"port"`
	// RemoteIP is the caller's address as the partner sees it; an IPv4 address is written as such also
	// on a dual-stack socket.
	RemoteIP string `json:"remoteIP"`
	// Began is when it was accepted.
	Began time.Time `json:"began"`
	// Ended is when the partner closed its side, at once after the caller did; zero while it is open.
	Ended time.Time `json:"ended,omitzero"`
	// Kind by the first byte.
	Kind Kind `json:"kind"`
	// PlaintextBytes counts every byte received on a plain connection, also on a TLS port; 0 for the
	// other kinds.
	PlaintextBytes int64 `json:"plaintextBytes"`
	// Plaintext holds the first of these bytes, at most [KeptPlaintext].
	Plaintext []byte `json:"plaintext,omitempty"`
	// TLSVersion is "TLS 1.2" or "TLS 1.3"; empty when there was no complete handshake. So are ALPN
	// and Resumed.
	TLSVersion string `json:"tlsVersion,omitempty"`
	// SNI is the server name that the caller asked for, also when the handshake failed.
	SNI string `json:"sni,omitempty"`
	// ALPN is the negotiated protocol, "h2" or "http/1.1"; empty when the caller offered none.
	ALPN string `json:"alpn,omitempty"`
	// Resumed says that the handshake continued an earlier session; Client is then that session's.
	Resumed bool `json:"resumed,omitempty"`
	// HandshakeError is why there is no TLS on a connection of kind tls; empty when there is.
	HandshakeError string `json:"handshakeError,omitempty"`
	// Client is the certificate that the caller presented, nil for none. With a HandshakeError it is
	// the one that was refused.
	Client *ClientCertificate `json:"client,omitempty"`
	// Requests counts the HTTP requests, each when its header has arrived.
	Requests int `json:"requests"`
	// FirstRequests are the first [KeptRequests] of them; fewer when the partner had to make room.
	FirstRequests []Request `json:"firstRequests,omitempty"`
}

// ClientCertificate is the leaf that a caller presented.
type ClientCertificate struct {
	// Subject and Issuer are distinguished names as RFC 4514 writes them, in the certificate's own
	// order reversed.
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	// DNSNames and URIs are its subject alternative names.
	DNSNames []string `json:"dnsNames,omitempty"`
	URIs     []string `json:"uris,omitempty"`
	// SerialNumber in lower-case hexadecimal, without leading zeros.
	SerialNumber string `json:"serialNumber"`
	// SHA256 of the DER form, in lower-case hexadecimal.
	SHA256 string `json:"sha256"`
}

// Request is one HTTP request.
type Request struct {
	// At is when its header had arrived.
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	// Host is the Host header or :authority.
	Host string `json:"host"`
	// Path with the query.
	Path string `json:"path"`
	// HTTPVersion is "HTTP/1.0", "HTTP/1.1" or "HTTP/2.0".
	HTTPVersion string `json:"httpVersion"`
	// Headers in Go's canonical form, without Host.
	Headers http.Header `json:"headers"`
	// BodyLength and BodySHA256 (lower-case hexadecimal) are those of what arrived of the body; of no
	// bytes when it has none.
	BodyLength int64  `json:"bodyLength"`
	BodySHA256 string `json:"bodySHA256"`
}

// Connections is the control port's answer to /connections.
type Connections struct {
	// Dropped counts all connections that were forgotten to make room, matching or not. Unless it is
	// zero no count is complete.
	Dropped int64 `json:"dropped"`
	// Undecided counts connections of which the partner no longer knows whether a request had the path
	// asked for: they carried more different paths, or more requests below the first two segments,
	// than it keeps. They are not among Connections.
	Undecided int `json:"undecided"`
	// Connections that matched, by ID.
	Connections []Connection `json:"connections"`
}

// Summary is the control port's answer to /summary: the same connections, counted. With a path in
// the filter, requests, posts and the times are those of the requests with that path; everything
// else is about the connections that carried them.
type Summary struct {
	// Dropped and Undecided as in [Connections].
	Dropped   int64 `json:"dropped"`
	Undecided int   `json:"undecided"`
	// Connections is the sum of the three kinds.
	Connections      int `json:"connections"`
	PlainConnections int `json:"plainConnections"`
	TLSConnections   int `json:"tlsConnections"`
	EmptyConnections int `json:"emptyConnections"`
	// PlaintextBytes of the plain connections.
	PlaintextBytes int64 `json:"plaintextBytes"`
	// HandshakeErrors counts the TLS connections that came to nothing.
	HandshakeErrors int `json:"handshakeErrors"`
	// Requests counts all, PlainRequests those on plain connections, Posts those with method POST.
	Requests      int `json:"requests"`
	PlainRequests int `json:"plainRequests"`
	Posts         int `json:"posts"`
	// ByClientSerial and ByClientSubject count the connections with an accepted client certificate.
	ByClientSerial  map[string]ClientSummary `json:"byClientSerial"`
	ByClientSubject map[string]ClientSummary `json:"byClientSubject"`
}

// ClientSummary counts what came with one client certificate.
type ClientSummary struct {
	Connections int `json:"connections"`
	Requests    int `json:"requests"`
	// FirstSeen and LastSeen are the times of its first and last request; of the connection's begin
	// when it carried none.
	FirstSeen time.Time `json:"firstSeen"`
	LastSeen  time.Time `json:"lastSeen"`
}

// Answer is the body of the partner's answer to a request, as one line of JSON.
type Answer struct {
	// Partner is the host name of the machine or Pod.
	Partner string `json:"partner"`
	// Connection is the [Connection.ID] on which the request came.
	Connection int64 `json:"connection"`
	// Plain says that the request came without TLS.
	Plain bool `json:"plain"`
	// Client is the caller's certificate, null for none.
	Client *ClientCertificate `json:"client"`
	Method string             `json:"method"`
	// Path with the query.
	Path string `json:"path"`
	// Host and HTTPVersion as in [Request].
	Host        string      `json:"host"`
	HTTPVersion string      `json:"httpVersion"`
	Headers     http.Header `json:"headers"`
	BodyLength  int64       `json:"bodyLength"`
}
