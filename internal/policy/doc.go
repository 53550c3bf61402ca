// Package policy says which namespace may reach which host: it reads the patterns of the cluster's
// list and of a Namespace's annotation, and decides. All of it is pure: admission, the controller
// and the offline commands call the same functions.
package policy
