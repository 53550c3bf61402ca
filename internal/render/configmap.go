package render

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

// collectConfigMap reads a ConfigMap. One that can't be read is refused only where a target needs
// it.
func (r *renderer) collectConfigMap(item item) {
	typed := &corev1.ConfigMap{}
	if err := item.decodeInto(typed); err != nil {
		r.warn(item.location, "can't be read as a ConfigMap, so it was not checked for the CA of a server")
		return
	}
	r.configMaps[nameKey(item.namespace(), typed.Name)] = configMap{location: item.location, object: typed}
}

// checkServerCA judges the CA of t's server where a ConfigMap of the input has it. One that isn't
// part of the input is taken to be right.
func (r *renderer) checkServerCA(t egress.Target) bool {
	source := t.ServerCA.ConfigMap
	found, ok := r.configMaps[nameKey(t.Namespace, source.Name)]
	if source.Name == "" || !ok {
		return true
	}
	err := credential.CheckConfigMap(found.object, source.Key, r.options.Now)
	if err != nil {
		r.refuse(found.location, fmt.Sprintf("can't hold the CA of the server of %s: %v", t.Host, credential.ForOwner(err)))
	}
	return err == nil
}
