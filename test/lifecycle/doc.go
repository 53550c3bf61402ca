// Package lifecycle holds the test of the release's life on a real cluster: it is installed,
// upgraded, rolled back and uninstalled with Helm, while Pods call and are created. It has a
// cluster of its own, as it compares everything that is in it before and after.
package lifecycle
