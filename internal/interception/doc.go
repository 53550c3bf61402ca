// Package interception knows which outbound calls of a Pod Istio leads into the sidecar. It follows
// istio-iptables and has no dependency but the standard library.
package interception
