// Package fuzzmesh tries the promises of the generated objects in worlds of random Istio objects,
// on Istio's own generator of the sidecars' configuration and its own simulator of calls. It is a
// module of its own, so that istio.io/istio stays out of the program's dependencies.
package fuzzmesh
