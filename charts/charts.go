// Package charts gives the program the parts of the Helm chart that it needs itself.
package charts

import _ "embed"

// The embedded copy is the file that `make generate` writes and the chart installs, so that both
// can't differ.
//
//go:embed mtls-egress-webhook/files/crds/mtls.egress_egresstargets.yaml
var egressTargetCRD string

// EgressTargetCRD is the CustomResourceDefinition of EgressTarget as YAML.
func EgressTargetCRD() string {
	return egressTargetCRD
}
