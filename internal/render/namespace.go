package render

import (
	"mtls.egress/webhook/internal/policy"
)

// collectNamespace reads which hosts a Namespace of the input may reach. What is wrong with the
// annotation is told even if nothing in it asks for a target.
func (r *renderer) collectNamespace(item item) {
	read := policy.ReadNamespace(annotationsOf(item.object))
	for _, problem := range read.Problems {
		r.warn(Location{Source: item.location.Source, Number: item.location.Number, Kind: item.location.Kind, Name: item.location.Name}, problem.Error())
	}
	r.namespaces[item.location.Name] = read
}

// rules are what decides over the targets of a namespace. One that isn't in the input is taken to
// have no annotation.
func (r *renderer) rules(namespace string) policy.Rules {
	return policy.Rules{Cluster: r.options.Policy, Namespace: r.namespaces[namespace]}
}
