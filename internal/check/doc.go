// Package check finds mistakes in manifests that concern mutual TLS to external hosts: in the
// annotations and objects of this project, in hand-written Istio objects, and in the credentials of
// Secrets. Each rule has a stable ID and a page in the documentation.
//
// The package is pure: its callers read files and clusters.
package check
