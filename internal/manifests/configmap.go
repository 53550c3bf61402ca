package manifests

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

// configMap is a ConfigMap of the input.
type configMap struct {
	location Location
	object   *corev1.ConfigMap
}

// collectConfigMap decodes a ConfigMap. An invalid one is rejected only if a target needs it.
func (r *renderer) collectConfigMap(item item) {
	typed := &corev1.ConfigMap{}
	if err := item.decodeInto(typed); err != nil {
		r.warn(item.problem(ReasonInvalidObject, []any{"data"},
			"is not a valid ConfigMap, so the CA of a server in it was not checked"))
		return
	}
	r.configMaps[nameKey(item.namespace(), typed.Name)] = configMap{location: item.location, object: typed}
}

// checkServerCA checks the CA of t's server if it is in a ConfigMap of the input. A ConfigMap that
// is not part of the input is assumed to be valid.
func (r *renderer) checkServerCA(t egress.Target) {
	source := t.ServerCA.ConfigMap
	found, ok := r.configMaps[nameKey(t.Namespace, source.Name)]
	if source.Name == "" || !ok {
		return
	}
	_, err := credential.CheckConfigMap(found.object, source.Key, r.options.Now)
	if err != nil {
		r.refuse(Problem{
			Location: found.location, Reason: ReasonUnusableServerCA, Path: []any{"data", source.Key},
			Message: fmt.Sprintf("doesn't have a usable CA for the server of %s: %v", t.Host, credential.ForOwner(err)),
		})
	}
}
