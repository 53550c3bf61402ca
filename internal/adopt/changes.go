package adopt

import (
	"fmt"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
)

// addChanges adds what changes for the calls of the workloads and of others.
func (s *set) addChanges() {
	if s.originatesForAll() {
		s.change(fmt.Sprintf("The apps' own https calls to %s reach the partner with one layer of TLS. Today they get two, "+
			"and fail.", s.host))
	}
	s.change("If a part is missing, calls fail. Today they leave in plain text without the VirtualService or the " +
		"DestinationRule.")
	s.change(fmt.Sprintf("Metrics and access logs of the sidecars name the partner %s.", egress.MeshHost(s.host)))
	if s.policyFor(s.calls).GetConnectionPool().GetTcp().GetMaxConnectionDuration() == nil {
		s.change("Connections end after 5m, so that a renewed certificate is used. Today they last as long as the partner " +
			"keeps them.")
	}
	s.change(fmt.Sprintf("Workloads that are not listed lose the objects as well: their calls to http://%s leave as the "+
		"mesh lets calls to unknown hosts leave.", s.host))
	if s.proposal.EgressTarget.Spec.AppPort == 0 && len(s.world.Sidecars) > 0 {
		s.proposal.Notes = append(s.proposal.Notes, fmt.Sprintf("A Sidecar of the namespace must admit ./%s and ./%s.",
			s.host, egress.AnchorHost))
	}
}

// originatesForAll reports whether the sidecar adds TLS on the partner's port itself, to whatever
// the app sends there.
func (s *set) originatesForAll() bool {
	whole := s.policyFor(calls{appPort: s.calls.appPort, port: s.calls.port})
	return isMutual(whole.GetTls()) && !mesh.IsHTTP(s.partnerProtocol())
}

// addNotes adds what else there is to do: with the other owners of objects, and with the volumes.
func (s *set) addNotes() {
	note := func(sentence string) {
		if !slices.Contains(s.proposal.Notes, sentence) {
			s.proposal.Notes = append(s.proposal.Notes, sentence)
		}
	}
	for _, object := range s.proposal.Objects {
		if owner := ownerOf(object.Object); owner != "" {
			note(fmt.Sprintf("%s belongs to %s. Remove it there before the next sync, which otherwise creates it again.",
				reference(object.Object), owner))
		}
	}
	for _, workload := range s.proposal.Workloads {
		if owner := ownerOf(workload.Object); owner != "" {
			note(fmt.Sprintf("%s belongs to %s. Add the annotations there.", reference(workload.Object), owner))
		}
		if len(workload.Volumes) > 0 {
			note(fmt.Sprintf("Afterwards, %s no longer needs the volumes %s in sidecar.istio.io/userVolume and "+
				"userVolumeMount. Remove them with its next change.", reference(workload.Object),
				strings.Join(workload.Volumes, " and ")))
		}
		if len(workload.Mounts) > 0 {
			note(fmt.Sprintf("Afterwards, %s no longer needs the mounts %s in sidecar.istio.io/userVolumeMount. Remove them "+
				"with its next change.", reference(workload.Object), strings.Join(workload.Mounts, " and ")))
		}
	}
	for _, name := range s.elsewhere() {
		note(fmt.Sprintf("%s also has the host %s and stays, because it is in another namespace. It does not affect the "+
			"annotated workloads.", name, s.host))
	}
}

// ownerOf returns the tool that applies the object, as its labels and annotations name it.
func ownerOf(object manifests.Object) string {
	annotations := annotationsOf(object)
	metadata, _ := object.Content["metadata"].(map[string]any)
	labels, _ := metadata["labels"].(map[string]any)
	switch {
	case annotations["argocd.argoproj.io/tracking-id"] != "":
		application, _, _ := strings.Cut(annotations["argocd.argoproj.io/tracking-id"], ":")
		return "the Argo CD application " + application
	case annotations["meta.helm.sh/release-name"] != "":
		return "the Helm release " + annotations["meta.helm.sh/release-name"]
	case labels["kustomize.toolkit.fluxcd.io/name"] != nil:
		return fmt.Sprintf("the Flux Kustomization %v", labels["kustomize.toolkit.fluxcd.io/name"])
	}
	return ""
}

// elsewhere returns the objects of other namespaces for the host that are exported.
func (s *set) elsewhere() []string {
	var names []string
	add := func(object manifests.Object, hosts, exportTo []string) {
		if object.Location.Namespace != s.namespace && hasHost(hosts, s.host) && !isGenerated(object) &&
			!isPrivate(exportTo, object.Location.Namespace) {
			names = append(names, reference(object))
		}
	}
	for _, entry := range s.world.ServiceEntries {
		add(entry.Object, entry.Value.Spec.Hosts, entry.Value.Spec.ExportTo)
	}
	for _, service := range s.world.VirtualServices {
		add(service.Object, service.Value.Spec.Hosts, service.Value.Spec.ExportTo)
	}
	return names
}
