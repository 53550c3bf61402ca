// Package mesh is what a target becomes in Istio: the VirtualService, the DestinationRule and the
// ServiceEntry of a target, the anchor of its namespace, and the detection of other people's
// objects that stand in their way; and what the mesh configuration says that changes them. All of
// it is pure: equal inputs give equal objects, and nothing is read or written.
package mesh
