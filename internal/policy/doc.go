// Package policy decides which namespaces may reach which hosts. It parses the patterns of the
// cluster-wide list and of a Namespace's annotation. The package is pure: admission, the controller
// and the offline commands call the same functions.
package policy
