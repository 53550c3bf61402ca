// Package webhookport is the server for admission requests on a port that everything in the cluster
// can reach. It runs in front of the admission handler and limits what a client can use:
// connections, time, bytes and memory. A request that is not an admission request gets a bare
// status code, which reveals nothing.
//
// The limits apply to unauthenticated clients. If the API server's address is known, a
// NetworkPolicy blocks all other clients.
package webhookport
