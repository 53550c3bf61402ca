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

// The limits: what the objects don't hold, or don't hold yet. Each explains findings, which a run then counts and doesn't show.
const (
	limitDynamicDNS  = "with ALLOW_ANY_DYNAMIC_DNS, http://HOST./ leaves in plain text if the target's route is not written or does not reach the sidecar"
	limitUnwritten   = "before the anchor and the VirtualService are written, another object's listener on the app port takes the calls"
	limitSinkhole    = "another ServiceEntry with the sinkhole address takes the calls; a policy refuses it"
	limitServerFirst = "an older service without an address that speaks MySQL or MongoDB on the app port keeps Istio from reading HTTP there"
	limitProtocol    = "not detected yet: another object gives the app port a protocol other than HTTP, for the host or for the sidecar"
	limitAnchor      = "if no other HTTP service has the app port, the anchor makes neighbors' sidecars read HTTP on it, and follow VirtualServices there"
	limitResolved    = "with DNS capture, http://HOST./ goes to the address that another ServiceEntry gives the host"
	limitListener    = "not detected yet: a Sidecar's listener on the partner's port leads neighbors' calls there to the target's ServiceEntry"
	limitSubset      = "not detected yet: without our DestinationRule, a wildcard one with a subset of our name takes its place"
	limitReserved    = "an object of others that names a host below mtls-egress.internal changes its meaning"
)

// limit returns the limit that explains the finding in w, "" without one.
func (f Finding) limit(w World) string {
	switch {
	case f.Law == lawAnchor:
		return limitAnchor
	case f.Law == lawNeighbor || f.Law == lawOther:
		if slices.ContainsFunc(w.Theirs, func(object mesh.Object) bool { return strings.Contains(text(object), target.MeshDomain) }) {
			return limitReserved
		}
		if w.Mesh.DNSCapture && slices.ContainsFunc(w.Targets, w.takesSinkhole) {
			return limitSinkhole
		}
		if slices.ContainsFunc(w.Targets, w.listens) {
			return limitListener
		}
		return ""
	case f.plain() && f.byDynamicDNS(w):
		return limitDynamicDNS
	case f.Law == lawWritten && !w.routed(f.Target):
		return limitUnwritten
	case f.plain() && w.takesSinkhole(f.Target) && slices.ContainsFunc(w.conflicts(f.Target), closing):
		return limitSinkhole
	case f.Law != lawOwnTLS && w.gives(f.Target, "MYSQL", "MONGO"):
		return limitServerFirst
	case slices.ContainsFunc(f.Ends, func(end End) bool { return strings.Contains(end.Cluster, "|"+mesh.SubsetName+"|") }) && w.lacksRule(f.Target):
		return limitSubset
	case f.Law == lawPast && f.Call.Address != outside(f.Target.Host):
		return limitResolved
	case f.Law != lawOwnTLS && f.Law != lawClosed && w.gives(f.Target, "HTTPS", "TLS", "TCP", "MYSQL", "MONGO"):
		return limitProtocol
	}
	return ""
}

// plain reports whether the law is one about what leaves by the sinkhole address.
func (f Finding) plain() bool {
	return f.Law == lawProgrammed || f.Law == lawWritten || f.Law == lawClosed
}

// byDynamicDNS reports whether the sidecar resolved a host with a trailing dot itself, and the condition Conflicted says why
// where a target is programmed.
func (f Finding) byDynamicDNS(w World) bool {
	host, _, _ := strings.Cut(f.Call.Host, ":")
	said := f.Law != lawProgrammed || slices.ContainsFunc(w.conflicts(f.Target), func(c mesh.Conflict) bool { return c.Effect == mesh.HidesOurs })
	return said && strings.HasSuffix(host, ".") &&
		slices.ContainsFunc(f.Ends, func(end End) bool { return end.Cluster == util.AllowAnyDynamicDNSCluster })
}

// takesSinkhole reports whether a ServiceEntry of others has the sinkhole address of t.
func (w World) takesSinkhole(t Target) bool {
	return slices.ContainsFunc(w.Theirs, func(object mesh.Object) bool {
		entry, ok := object.(*networkingv1.ServiceEntry)
		return ok && slices.ContainsFunc(entry.Spec.GetAddresses(), func(address string) bool { return covers(address, t.Address()) })
	})
}

// lacksRule reports whether the DestinationRule of t doesn't stand.
func (w World) lacksRule(t Target) bool { return !w.has(t.open()[1]) }

// listens reports whether a Sidecar of others has a listener of its own on the partner's port of t.
func (w World) listens(t Target) bool {
	return slices.ContainsFunc(w.Theirs, func(object mesh.Object) bool {
		sidecar, ok := object.(*networkingv1.Sidecar)
		return ok && slices.ContainsFunc(sidecar.Spec.GetEgress(), func(listener *networking.IstioEgressListener) bool {
			return int(listener.GetPort().GetNumber()) == int(t.Port)
		})
	})
}

// gives reports whether an object of others gives the app port of t one of protocols.
func (w World) gives(t Target, protocols ...string) bool {
	is := func(port uint32, protocol string) bool {
		return int(port) == int(t.AppPort) && slices.Contains(protocols, protocol)
	}
	return slices.ContainsFunc(w.Theirs, func(object mesh.Object) bool {
		switch object := object.(type) {
		case *networkingv1.ServiceEntry:
			return slices.ContainsFunc(object.Spec.GetPorts(), func(port *networking.ServicePort) bool { return is(port.GetNumber(), port.GetProtocol()) })
		case *networkingv1.Sidecar:
			return slices.ContainsFunc(object.Spec.GetEgress(), func(listener *networking.IstioEgressListener) bool {
				return is(listener.GetPort().GetNumber(), listener.GetPort().GetProtocol())
			})
		}
		return false
	})
}
