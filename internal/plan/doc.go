// Package plan decides what becomes of one target: open or closed, which objects of the mesh that
// makes, what the EgressTarget's status says, and when to look again. Decide is a function of its
// facts: it has no client, no clock and no environment, so the controller and the commands come to
// the same decision.
package plan
