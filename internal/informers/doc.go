// Package informers holds what the controller's cache has of Pods, EgressTargets, Namespaces,
// Services and Istio objects: how much of each is kept, by which indexes it is found, and how it is
// read. It never holds Secrets.
package informers
