// Package mesh generates the Istio objects of a target (VirtualService, DestinationRule and
// ServiceEntries) and the anchor of its namespace. It finds conflicting objects and reads the mesh
// configuration that influences them. All of it is pure: equal inputs give equal outputs, and it
// reads and writes nothing.
package mesh
