// Package interception decides which outbound calls of a Pod the sidecar intercepts. It follows
// istio-iptables and depends only on the standard library.
package interception
