package fuzzmesh

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/istio/pilot/pkg/networking/util"

	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// limits are what Istio doesn't let us hold. Each has the sentence of the docs, and reports whether it explains a finding.
func limits() map[string]func(World, Finding) bool {
	return map[string]func(World, Finding) bool{
		"with ALLOW_ANY_DYNAMIC_DNS, http://HOST./ leaves in plain text where the target's route isn't written or doesn't reach the sidecar": func(w World, f Finding) bool {
			said := f.Law != lawProgrammed || slices.ContainsFunc(w.conflicts(f.Target), func(c mesh.Conflict) bool { return c.Effect == mesh.HidesOurs })
			return said && f.neverPlain() && slices.ContainsFunc(f.Ends, func(end End) bool { return end.Cluster == util.AllowAnyDynamicDNSCluster }) &&
				strings.HasSuffix(strings.Split(f.Call.Host, ":")[0], ".")
		},
		"until anchor and VirtualService stand, an object of others that takes the app port takes the calls": func(w World, f Finding) bool {
			return f.Law == lawWritten && !w.routed(f.Target)
		},
		"a ServiceEntry of others with the sinkhole address takes the calls; a policy refuses it": func(w World, f Finding) bool {
			return f.neverPlain() && slices.ContainsFunc(w.Theirs, func(object mesh.Object) bool {
				entry, ok := object.(*networkingv1.ServiceEntry)
				return ok && slices.ContainsFunc(entry.Spec.GetAddresses(), func(address string) bool { return covers(address, f.Target.Address()) })
			}) && slices.ContainsFunc(w.conflicts(f.Target), closing)
		},
		"where no other HTTP service of a sidecar has the app port, the anchor makes it read that port as HTTP": func(_ World, f Finding) bool {
			return f.Law == lawAnchor
		},
		"an older service for MySQL or MongoDB on the app port, without an address, keeps Istio from reading that port as HTTP": func(w World, f Finding) bool {
			return slices.Contains([]string{lawProgrammed, lawWritten, lawClosed, lawPast, lawWorks}, f.Law) && portTaken(w, f.Target, func(protocol string) bool {
				return protocol == "MYSQL" || protocol == "MONGO"
			})
		},
		"an object of others that names a host below mtls-egress.internal changes its meaning when the target is programmed": func(w World, f Finding) bool {
			return f.Law == lawNeighbor && slices.ContainsFunc(w.Theirs, func(object mesh.Object) bool { return strings.Contains(text(object), target.MeshDomain) })
		},
		"NOT DETECTED YET: a ServiceEntry for the host, or a Sidecar's listener, gives the app port another protocol than HTTP": func(w World, f Finding) bool {
			return slices.Contains([]string{lawPast, lawWorks}, f.Law) && portTaken(w, f.Target, func(protocol string) bool { return !strings.HasPrefix(protocol, "HTTP") || protocol == "HTTPS" })
		},
	}
}

// portTaken reports whether an object of others gives the app port of t a protocol of that kind.
func portTaken(w World, t Target, of func(protocol string) bool) bool {
	takes := func(port uint32, protocol string) bool { return int(port) == int(t.AppPort) && of(protocol) }
	return slices.ContainsFunc(w.Theirs, func(object mesh.Object) bool {
		switch object := object.(type) {
		case *networkingv1.ServiceEntry:
			return slices.ContainsFunc(object.Spec.GetPorts(), func(port *networking.ServicePort) bool { return takes(port.GetNumber(), port.GetProtocol()) })
		case *networkingv1.Sidecar:
			return slices.ContainsFunc(object.Spec.GetEgress(), func(listener *networking.IstioEgressListener) bool {
				return takes(listener.GetPort().GetNumber(), listener.GetPort().GetProtocol())
			})
		}
		return false
	})
}
