// Package charts embeds the files of the Helm chart that the program uses.
package charts

import _ "embed"

// The chart installs the same file, which `make generate` writes, so the two can't differ.
//
//go:embed mtls-egress-webhook/files/crds/mtls.egress_egresstargets.yaml
var egressTargetCRD string

// EgressTargetCRD returns the CustomResourceDefinition of EgressTarget as YAML.
func EgressTargetCRD() string {
	return egressTargetCRD
}
