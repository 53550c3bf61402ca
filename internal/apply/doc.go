// Package apply writes and removes the objects that a plan generates: their order, whose they are,
// what to do about others' changes, and about a cache that is behind.
package apply
