// Package webhookport is the server of admission requests, for a port that everybody in the cluster
// can reach. It stands in front of the handler that judges objects, and bounds what a client can
// take: connections, time, bytes and the memory that they grow to. Each bound is shared out by
// source address, so that one client that takes all it can get leaves the API servers theirs. What
// is not an admission request gets a bare status, which tells nothing.
//
// The bounds hold for clients that nobody has identified. A NetworkPolicy keeps them from the port
// altogether, where the API server's address is known.
package webhookport
