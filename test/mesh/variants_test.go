package mesh

import (
	"slices"

	"mtls.egress/webhook/test/cluster"
)

// onVariants are the tests that are played on a mesh that isn't the default one: the promises that
// its configuration could break, and the control.
func onVariants() []string {
	return []string{
		"TestAMeshThatInterceptsNotEverything",
		"TestANeighborKeepsItsBehavior",
		"TestEveryProtocolOfAnApp",
		"TestEveryStateOfTheObjects",
		"TestOwnHTTPSIsUntouched",
		"TestTheFirstPodOfATarget",
		"TestTheSecretChangesUnderLoad",
		"TestWhoDidNotAskIsSeenInPlainText",
	}
}

// leftOut returns the reason for which a test isn't played on a mesh, or "" if it is.
func leftOut(mesh cluster.Mesh, test string) string {
	if mesh.Name != "" && !slices.Contains(onVariants(), test) {
		return "isn't played on another mesh than the default one"
	}
	return ""
}
