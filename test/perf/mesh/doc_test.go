// Package mesh_test measures what the way through the sidecar costs a call: the same app and the
// same partner, with and without it. docs/project/performance.md explains the figures.
package mesh_test
