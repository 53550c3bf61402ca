// Package chart holds the tests of the Helm chart: what it renders, and what a real API server
// makes of it.
package chart
