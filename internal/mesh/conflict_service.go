package mesh

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindService is the kind of Service in a Conflict.
const KindService = "Service"

// services finds the Services that catch calls to the sinkhole address, and the one that the
// cluster's DNS answers for the host.
func (s search) services(all []Service) []Conflict {
	var conflicts []Conflict
	for _, service := range all {
		object := &metav1.ObjectMeta{Namespace: service.Namespace, Name: service.Name}
		switch {
		case slices.ContainsFunc(service.Addresses, func(text string) bool { return holds(text, s.target.Address()) }):
			conflicts = append(conflicts, s.conflict(KindService, object, "spec.externalIPs", BreaksOurs,
				"has the external address %s, the sinkhole address of %s, so nodes lead calls that no sidecar takes over to its Pods, in plain text; remove the address from it",
				s.target.Address(), s.target.Host).closing())
		case s.answersFor(service):
			conflicts = append(conflicts, s.conflict(KindService, object, "metadata.name", BreaksOurs,
				"is what Pods reach as %s, since the cluster's DNS answers that name, and it is not a partner outside the mesh, so the target is closed; call it without a target",
				s.target.Host).closing())
		}
	}
	return conflicts
}

// answersFor reports whether the cluster's DNS answers the host with the Service: a host of two
// labels is looked up as NAME.NAMESPACE first, by the search list of Pods.
// https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#namespaces-of-services
func (s search) answersFor(service Service) bool {
	name, namespace, found := strings.Cut(s.target.Host, ".")
	return found && name == service.Name && namespace == service.Namespace
}
