// Package informers configures and reads the controller's cache of Pods, EgressTargets, Namespaces,
// Services and Istio objects: which fields it stores, and by which indexes objects are found. The
// cache never contains Secrets.
package informers
