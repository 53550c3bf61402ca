// Package apply writes and deletes the objects that a plan generates. It handles their order and
// ownership, changes by other clients, and a stale cache.
package apply
