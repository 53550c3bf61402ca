// Package plan decides about one target: open or closed, which Istio objects to write, what the
// EgressTarget's status says, and when to look again. Decide is a pure function of its facts: it
// has no client, no clock and no environment. The controller and the commands therefore make the
// same decision.
package plan
