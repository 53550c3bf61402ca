package mesh

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindService is the kind of a Service in a Conflict.
const KindService = "Service"

// services finds the Services that catch calls to the sinkhole address, and the Service that the
// host resolves to in the cluster's DNS.
func (s search) services(all []Service) []Conflict {
	var conflicts []Conflict
	for _, service := range all {
		object := &metav1.ObjectMeta{Namespace: service.Namespace, Name: service.Name}
		_, taken, caught := s.firstHeld(service.Addresses)
		switch {
		case caught:
			conflicts = append(conflicts, s.conflict(KindService, object, "spec.externalIPs", BreaksOurs,
				"has the external address %s, the sinkhole address of %s, so nodes route calls that no sidecar intercepts to its "+
					"Pods, in plain text; remove the address from it",
				taken, s.target.Host).closing())
		case s.answersFor(service):
			conflicts = append(conflicts, s.conflict(KindService, object, "metadata.name", BreaksOurs,
				"has the DNS name %s in the cluster, so the host is not a partner outside the mesh, and the target is closed; "+
					"call it without a target",
				s.target.Host).closing())
		}
	}
	return conflicts
}

// answersFor reports whether the cluster's DNS resolves the host to the Service. Because of the
// search list of Pods, a host of two labels is looked up as NAME.NAMESPACE first.
// https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#namespaces-of-services
func (s search) answersFor(service Service) bool {
	name, namespace, found := strings.Cut(s.target.Host, ".")
	return found && name == service.Name && namespace == service.Namespace
}
