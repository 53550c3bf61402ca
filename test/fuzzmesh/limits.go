package fuzzmesh

import (
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/istio/pilot/pkg/networking/util"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// The limits: what the objects can't hold. Each explains findings, which a run counts and doesn't
// show.
const (
	limitDynamicDNS = "with ALLOW_ANY_DYNAMIC_DNS, http://HOST./ leaves in plain text if the target's route is " +
		"not written or does not reach the sidecar"
	limitUnwritten = "before the anchor and the VirtualService are written, another " +
		"listener on the app port takes the calls"
	limitSinkhole = "another ServiceEntry, VirtualService or Sidecar with the sinkhole " +
		"address takes the calls; a policy refuses it"
	limitAnchor = "if no other HTTP service has the app port, the anchor makes sidecars read HTTP on it, and " +
		"follow VirtualServices there"
	limitName     = "another object has the name of the anchor or of our VirtualService, which is not written then"
	limitReserved = "an object of others that names a host below mtls-egress.internal, which a policy refuses, " +
		"changes its meaning or takes the calls"
	limitService = "a Sidecar hides the target's objects, and a Service with its host as a " +
		"name takes the calls; conflicts say so"
	limitOwnListener = "a Sidecar with a listener of its own on the app port hides the target's objects, and calls go " +
		"where that listener leads; a conflict says so"
	limitAttached = "a route of the Gateway API is attached to a generated ServiceEntry, which a policy refuses, " +
		"and the mesh's default makes it private"
	limitResolved = "with DNS capture, http://HOST./ goes to the address that another ServiceEntry gives the host"
)

// What conflicts say, though the target stays open: it changes calls that are not the target's.
const (
	saidListener = "a Sidecar's own listener on a port of the target, for TLS or TCP, leads neighbors' calls there to " +
		"the generated ServiceEntries; a conflict says so"
	saidWildcardRoute = "neighbors' calls to the host no longer follow a VirtualService for a wildcard; a conflict says so"
	saidWildcardTLS   = "where unknown hosts are refused, https calls of the target's Pods to other hosts no longer " +
		"find the ServiceEntry for a wildcard that covers both; a conflict says so"
)

// The gaps: what no conflict says yet. A fix removes the sentence. In none of them does a
// programmed target's call leave in plain text.
const (
	gapProtocol = "not detected: a ServiceEntry for the host, or a Sidecar's listener, gives the app port " +
		"another protocol than HTTP, and calls past the sinkhole time out"
	gapAdmits = "not detected: a Sidecar leaves out listener, anchor and all HTTP services on port 80, and calls time out"
	gapOwnTLS = "not detected: a Sidecar leaves out the host of ours, or a VirtualService or TLSRoute has a TLS route " +
		"for the host, and the app's own https fails"
)

// limit is a sentence, and whether it explains a finding in a world.
type limit struct {
	sentence string
	explains func(World, Finding) bool
}

// limits are all limits and gaps. The first that explains a finding counts.
func limits() []limit {
	return []limit{
		{limitAnchor, func(_ World, f Finding) bool { return f.Law == lawAnchor }},
		{limitReserved, func(w World, f Finding) bool {
			return (f.compares() || f.Law == lawWritten ||
				f.Law == lawClosed && w.says(f.Target, mesh.KindVirtualService, mesh.BreaksOurs)) &&
				w.theirs(func(object mesh.Object) bool {
					return strings.Contains(text(object), egress.MeshDomain)
				})
		}},
		{limitSinkhole, func(w World, f Finding) bool {
			return f.compares() && w.Mesh.DNSCapture && slices.ContainsFunc(w.Targets, w.takesSinkhole)
		}},
		{saidListener, func(w World, f Finding) bool {
			return f.compares() &&
				slices.ContainsFunc(w.Targets,
					func(t Target) bool { return w.says(t, mesh.KindSidecar, mesh.HiddenByOurs, mesh.HidesOurs) })
		}},
		{saidWildcardRoute, func(w World, f Finding) bool {
			return f.compares() && f.Call.Scheme == "http" &&
				slices.ContainsFunc(w.Targets, func(t Target) bool { return w.says(t, mesh.KindVirtualService, mesh.HiddenByOurs) })
		}},
		{saidWildcardTLS, func(w World, f Finding) bool {
			return f.compares() && f.Call.Scheme == "https" &&
				slices.ContainsFunc(w.Targets, func(t Target) bool { return w.says(t, mesh.KindServiceEntry, mesh.HiddenByOurs) })
		}},
		{limitDynamicDNS, func(w World, f Finding) bool { return f.plain() && f.byDynamicDNS(w) }},
		{limitUnwritten, func(w World, f Finding) bool { return f.Law == lawWritten && !w.routed(f.Target) }},
		{limitName, func(w World, f Finding) bool {
			return !f.compares() && (w.taken(anchor(w.Targets)) || w.taken(f.Target.virtualService()))
		}},
		{limitSinkhole, func(w World, f Finding) bool {
			return f.plain() && w.takesSinkhole(f.Target) && slices.ContainsFunc(w.conflicts(f.Target), closing)
		}},
		{limitAttached, func(w World, f Finding) bool {
			return len(w.Mesh.VirtualServiceExportTo) > 0 && !f.compares() && w.theirs(attachedToOurs)
		}},
		{limitOwnListener, func(w World, f Finding) bool {
			return f.plain() && w.listens(f.Target.AppPort) && w.says(f.Target, mesh.KindSidecar, mesh.HidesOurs)
		}},
		{limitService, func(w World, f Finding) bool {
			return f.Law == lawClosed && w.says(f.Target, mesh.KindSidecar, mesh.HidesOurs) &&
				w.says(f.Target, mesh.KindService, mesh.BreaksOurs)
		}},
		{limitResolved, func(w World, f Finding) bool {
			return f.Law == lawPast && w.Mesh.DNSCapture && f.Call.Address != outside(f.Target.Host)
		}},
		{gapProtocol, func(w World, f Finding) bool {
			return (f.Law == lawPast || f.Law == lawWorks) &&
				(w.listens(f.Target.AppPort, "HTTPS", "TLS", "TCP") || w.serves(f.Target, f.Target.Host, "HTTPS",
					"TLS", "TCP"))
		}},
		{gapAdmits, func(w World, f Finding) bool {
			return (f.Law == lawPast || f.Law == lawWorks) &&
				w.theirs(isSidecar)
		}},
		{gapOwnTLS, func(w World, f Finding) bool {
			return f.Law == lawOwnTLS && w.theirs(func(object mesh.Object) bool {
				virtualService, ok := object.(*networkingv1.VirtualService)
				return isSidecar(object) || kind(object) == kindTLSRoute || ok && len(virtualService.Spec.GetTls()) > 0
			})
		}},
	}
}

// limit returns the limit or gap that explains the finding in w, "" without one.
func (f Finding) limit(w World) string {
	for _, each := range limits() {
		if each.explains(w, f) {
			return each.sentence
		}
	}
	return ""
}

// plain reports whether the law is one about what leaves by the sinkhole address.
func (f Finding) plain() bool {
	return f.Law == lawProgrammed || f.Law == lawWritten || f.Law == lawClosed
}

// compares reports whether the law compares with the world without us.
func (f Finding) compares() bool {
	return f.Law == lawNeighbor || f.Law == lawOther || f.Law == lawAnchor
}

// byDynamicDNS reports whether the sidecar resolved a host with a trailing dot itself. For a
// programmed target, a conflict has to say that its objects are hidden.
func (f Finding) byDynamicDNS(w World) bool {
	hidden := func(c mesh.Conflict) bool { return c.Effect == mesh.HidesOurs }
	return f.resolved() && (f.Law != lawProgrammed || slices.ContainsFunc(w.conflicts(f.Target), hidden))
}

// resolved reports whether the sidecar resolved a host with a trailing dot itself.
func (f Finding) resolved() bool {
	host, _, _ := strings.Cut(f.Call.Host, ":")
	return strings.HasSuffix(host, ".") &&
		slices.ContainsFunc(f.Ends, func(end End) bool { return end.Cluster == util.AllowAnyDynamicDNSCluster })
}

// says reports whether a conflict of t with one of effects names an object of a kind.
func (w World) says(t Target, kind string, effects ...mesh.Effect) bool {
	return slices.ContainsFunc(w.conflicts(t), func(c mesh.Conflict) bool {
		return c.Kind == kind && slices.Contains(effects, c.Effect)
	})
}

// theirs reports whether any object of others is such.
func (w World) theirs(such func(mesh.Object) bool) bool {
	return slices.ContainsFunc(w.Theirs, such)
}

func isSidecar(object mesh.Object) bool { return kind(object) == mesh.KindSidecar }

// takesSinkhole reports whether a ServiceEntry, a TCP route or a Sidecar of others has the sinkhole
// address of t.
func (w World) takesSinkhole(t Target) bool {
	holds := func(text string) bool {
		return slices.ContainsFunc(t.AllAddresses(), func(address netip.Addr) bool { return covers(text, address) })
	}
	return w.theirs(func(object mesh.Object) bool {
		switch object := object.(type) {
		case *networkingv1.ServiceEntry:
			return slices.ContainsFunc(object.Spec.GetAddresses(), holds)
		case *networkingv1.VirtualService:
			return slices.ContainsFunc(object.Spec.GetTcp(), func(route *networking.TCPRoute) bool {
				return slices.ContainsFunc(route.GetMatch(), func(match *networking.L4MatchAttributes) bool {
					return slices.ContainsFunc(match.GetDestinationSubnets(), holds)
				})
			})
		case *networkingv1.Sidecar:
			return slices.ContainsFunc(object.Spec.GetEgress(), func(listener *networking.IstioEgressListener) bool {
				return holds(listener.GetBind())
			})
		}
		return false
	})
}

// listens reports whether a Sidecar has a listener of its own on port, with one of protocols; none
// are all.
func (w World) listens(port int32, protocols ...string) bool {
	return w.theirs(func(object mesh.Object) bool {
		sidecar, ok := object.(*networkingv1.Sidecar)
		return ok && slices.ContainsFunc(sidecar.Spec.GetEgress(), func(listener *networking.IstioEgressListener) bool {
			own := listener.GetPort()
			return int64(own.GetNumber()) == int64(port) && (len(protocols) == 0 || slices.Contains(protocols,
				own.GetProtocol()))
		})
	})
}

// serves reports whether a ServiceEntry of others for host, or for any where that is empty, gives
// the app port of t one of protocols.
func (w World) serves(t Target, host string, protocols ...string) bool {
	isHost := func(other string) bool { return strings.EqualFold(strings.TrimSuffix(other, "."), host) }
	return w.theirs(func(object mesh.Object) bool {
		entry, ok := object.(*networkingv1.ServiceEntry)
		return ok && (host == "" || slices.ContainsFunc(entry.Spec.GetHosts(), isHost)) &&
			slices.ContainsFunc(entry.Spec.GetPorts(), func(port *networking.ServicePort) bool {
				return int64(port.GetNumber()) == int64(t.AppPort) && slices.Contains(protocols, port.GetProtocol())
			})
	})
}
