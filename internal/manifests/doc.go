// Package manifests does offline what admission and the controller do in a cluster. It takes
// manifests, and returns them after admission, with the resulting Pods and the Istio objects of
// their targets. The package is pure: the command around it does all I/O.
package manifests
