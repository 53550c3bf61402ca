package manifests

import (
	"mtls.egress/webhook/internal/policy"
)

// collectNamespace parses the policy of a Namespace. It reports an invalid annotation even if no
// workload of the namespace has a target.
func (r *renderer) collectNamespace(item item) {
	read := policy.ReadNamespace(annotationsOf(item.object))
	for _, problem := range read.Problems {
		warning := item.problem(ReasonInvalidPolicy, ParsePath(problem.Field), problem.Error())
		warning.Location.Namespace, warning.Field = "", problem.Field
		r.warn(warning)
	}
	r.namespaces[item.location.Name] = read
}

// rules returns the policy rules of a namespace. A Namespace that is not part of the input is
// assumed to have no annotation.
func (r *renderer) rules(namespace string) policy.Rules {
	return policy.Rules{Cluster: r.options.Policy, Namespace: r.namespaces[namespace]}
}

// annotationsOf returns the annotations of an object, with "" for values that are not strings.
func annotationsOf(object map[string]any) map[string]string {
	metadata, _ := object["metadata"].(map[string]any)
	values, _ := metadata["annotations"].(map[string]any)
	annotations := map[string]string{}
	for name := range values {
		annotations[name] = text(values, name)
	}
	return annotations
}
