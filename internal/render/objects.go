package render

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// program adds the Istio objects of all targets, namespace by namespace, each with its anchor first.
func (r *renderer) program() {
	others := r.others()
	uses := r.sortedUses()
	var siblings []target.Target
	for n, use := range uses {
		if n == 0 || uses[n-1].target.Namespace != use.target.Namespace {
			siblings = targetsOf(uses, use.target.Namespace)
			r.add(mesh.Anchor(use.target.Namespace, appPorts(siblings)))
		}
		use.target = use.target.Among(siblings)
		r.programOne(use, others)
	}
}

// targetsOf are the targets of a namespace.
func targetsOf(uses []*use, namespace string) []target.Target {
	var targets []target.Target
	for _, use := range uses {
		if use.target.Namespace == namespace {
			targets = append(targets, use.target)
		}
	}
	return targets
}

func appPorts(targets []target.Target) []int32 {
	var ports []int32
	for _, t := range targets {
		ports = append(ports, t.AppPort)
	}
	return ports
}

func (r *renderer) programOne(use *use, others mesh.Others) {
	if !r.checkServerCA(use.target) {
		return
	}
	var credentials []presented
	for _, secretName := range slices.Sorted(maps.Keys(use.callers)) {
		one, ok := r.present(use.target, secretName)
		if !ok {
			return
		}
		credentials = append(credentials, one)
	}
	layout := credentials[0].layout
	for _, other := range credentials[1:] {
		if other.layout != layout {
			r.refuse(use.callers[other.secretName][0], fmt.Sprintf(
				"presents the Secret %s (keys %s) for %s, while others of the namespace present %s (keys %s); the sidecars of a namespace read the same file names, so give both Secrets the same keys",
				other.secretName, other.layout, use.target.Host, credentials[0].secretName, layout))
			return
		}
	}
	if certificate := credential.Issuance(use.target); certificate != nil {
		r.add(certificate)
	}
	programmed := use.target
	programmed.MaxConnectionAge = credential.ConnectionAge(use.target, known(credentials), r.options.Now)
	for _, object := range mesh.Objects(programmed, layout) {
		r.add(object)
	}
	for _, conflict := range mesh.Conflicts(use.target, others) {
		warning := conflict.Message
		if conflict.Closes {
			warning += "; as long as it stands, the controller closes the target in the cluster, and calls to the host fail"
		}
		r.output.Warnings = append(r.output.Warnings, warning)
	}
	r.output.Explanations = append(r.output.Explanations, explain(use, credentials))
}

// known are the credentials that are part of the input.
func known(all []presented) []*credential.Credential {
	var found []*credential.Credential
	for _, one := range all {
		if one.credential != nil {
			found = append(found, one.credential)
		}
	}
	return found
}

func (r *renderer) add(object mesh.Object) {
	rendered, err := mesh.Unstructured(object)
	if err != nil {
		r.refuse(Place{Kind: object.GetObjectKind().GroupVersionKind().Kind, Namespace: object.GetNamespace(), Name: object.GetName()}, err.Error())
		return
	}
	r.output.Objects = append(r.output.Objects, rendered.Object)
}

// others are the objects of the input that may stand in the way of ours: those of Istio, and Services.
func (r *renderer) others() mesh.Others {
	others := mesh.Others{RootNamespace: r.options.RootNamespace}
	for _, item := range r.items {
		if item.kind.Group == "" && item.kind.Kind == mesh.KindService {
			for _, service := range appendTyped(r, item, nil, &corev1.Service{}) {
				others.Services = append(others.Services, mesh.Service{
					Namespace: service.Namespace, Name: service.Name,
					Addresses: append(slices.Clone(service.Spec.ExternalIPs), service.Spec.LoadBalancerIP),
				})
			}
		}
		if item.kind.Group != mesh.GroupVersion().Group {
			continue
		}
		switch item.kind.Kind {
		case mesh.KindVirtualService:
			others.VirtualServices = appendTyped(r, item, others.VirtualServices, &networkingv1.VirtualService{})
		case mesh.KindDestinationRule:
			others.DestinationRules = appendTyped(r, item, others.DestinationRules, &networkingv1.DestinationRule{})
		case mesh.KindServiceEntry:
			others.ServiceEntries = appendTyped(r, item, others.ServiceEntries, &networkingv1.ServiceEntry{})
		case mesh.KindSidecar:
			others.Sidecars = appendTyped(r, item, others.Sidecars, &networkingv1.Sidecar{})
		}
	}
	return others
}

// appendTyped reads an Istio object and appends it. One that can't be read is none of ours to refuse: it is passed through,
// with a warning that it was not looked at.
func appendTyped[T mesh.Object](r *renderer, item item, list []T, typed T) []T {
	encoded, err := item.json()
	if err == nil {
		err = json.Unmarshal(encoded, typed)
	}
	if err != nil {
		r.warn(item.place, "can't be read, so nobody looked whether it stands in the way of a target")
		return list
	}
	typed.SetNamespace(item.namespace())
	return append(list, typed)
}
