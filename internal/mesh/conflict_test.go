package mesh_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/test/golden"
)

const (
	host       = "external.system.com"
	objectName = "mtls-egress-external.system.com"
	meshHost   = "external.system.com.mtls-egress.internal"
	// listenerName and listenerHost are the name and host of the listener for host.
	listenerName = "mtls-egress--app.external.system.com"
	listenerHost = "external.system.com.80.mtls-egress.internal"
	// sinkhole is the sinkhole address of host.
	sinkhole = "254.110.240.171"
)

// TestConflictsAreTheForeignObjectsInTheWay compares the conflicts of each detection rule with the
// expected ones.
func TestConflictsAreTheForeignObjectsInTheWay(t *testing.T) {
	tests := map[string]struct {
		target func(*egress.Target)
		others mesh.Others
		// want has a line for each conflict: kind, object, field, effect, and "closes" if the target must
		// be closed.
		want []string
	}{
		"an empty mesh has no conflicts": {
			others: mesh.Others{},
		},
		"nil objects and nil parts of objects are not conflicts": {
			others: mesh.Others{
				VirtualServices:  []*networkingv1.VirtualService{nil, {}},
				DestinationRules: []*networkingv1.DestinationRule{nil, {}},
				ServiceEntries:   []*networkingv1.ServiceEntry{nil, {}},
				Sidecars:         []*networkingv1.Sidecar{nil, {}},
			},
		},
		"a private VirtualService of a hand-written set is adoptable, and closes the target": {
			others: byHand(vsTo(".")),
			want:   []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes adoptable"},
		},
		"a public VirtualService of a hand-written set is adoptable": {
			others: byHand(),
			want:   []string{"VirtualService project/theirs spec.hosts[0] HiddenByOurs adoptable"},
		},
		"a VirtualService that leads calls to another port, host or to two destinations is not adoptable": {
			others: byHand(vsRoutes(&networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{
				{Destination: &networking.Destination{Host: host, Port: &networking.PortSelector{Number: 8443}}},
			}})),
			want: []string{"VirtualService project/theirs spec.hosts[0] HiddenByOurs"},
		},
		"a VirtualService without a DestinationRule that presents a certificate is not adoptable": {
			others: mesh.Others{
				VirtualServices:  byHand().VirtualServices,
				DestinationRules: destinationRules(nil, destinationRule(), destinationRule(drIn("other"), drMutual)),
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] HiddenByOurs"},
		},
		"our own objects are not conflicts": {
			others: mesh.Others{
				VirtualServices:  []*networkingv1.VirtualService{ourVirtualService()},
				DestinationRules: []*networkingv1.DestinationRule{ourDestinationRule()},
				ServiceEntries:   []*networkingv1.ServiceEntry{ourServiceEntry(), ourAnchor(), ourListener()},
			},
		},
		"a ServiceEntry that has the name of the listener and no owner breaks ours": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(seHost("unrelated.example.com"), seNamed(listenerName))),
			},
			want: []string{"ServiceEntry project/mtls-egress--app.external.system.com metadata.name BreaksOurs"},
		},
		"the same with the sinkhole address closes the target, whichever of our names it has": {
			others: mesh.Others{ServiceEntries: serviceEntries(
				serviceEntry(seNamed(listenerName), seHost("a.example.com"), seAddresses(sinkhole)),
				serviceEntry(seNamed(egress.AnchorName), seHost("a.example.com"), seAddresses(sinkhole)))},
			want: []string{
				"ServiceEntry project/mtls-egress spec.addresses[0] BreaksOurs closes",
				"ServiceEntry project/mtls-egress--app.external.system.com spec.addresses[0] BreaksOurs closes",
			},
		},
		"a Sidecar that listens at the sinkhole address closes the target": {
			others: mesh.Others{Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./*"), boundTo(sinkhole)))}},
			want:   []string{"Sidecar project/theirs spec.egress[1].bind BreaksOurs closes"},
		},
		"a ServiceEntry for the host of the listener or of the anchor in the namespace breaks ours": {
			others: mesh.Others{ServiceEntries: serviceEntries(
				serviceEntry(seHost(listenerHost)), serviceEntry(seNamed("z"), seHost("a.example.com", egress.AnchorHost)))},
			want: []string{
				"ServiceEntry project/theirs spec.hosts[0] BreaksOurs",
				"ServiceEntry project/z spec.hosts[1] BreaksOurs",
			},
		},
		"the listener of another target with the same sinkhole address is not a conflict, as it is deleted": {
			target: func(t *egress.Target) { t.AddressShared = true },
			others: mesh.Others{ServiceEntries: serviceEntries(siblingListener())},
		},
		"an object that looks like the listener of another target and leads elsewhere closes the target": {
			others: mesh.Others{ServiceEntries: serviceEntries(siblingListener(func(s *networkingv1.ServiceEntry) {
				s.Spec.Endpoints[0].Address = "10.0.0.1"
			}), siblingListener(seNamed("z")))},
			want: []string{
				"ServiceEntry project/mtls-egress--app.other.system.com spec.addresses[0] BreaksOurs closes",
				"ServiceEntry project/z spec.addresses[0] BreaksOurs closes",
			},
		},
		"without a listener for the target, a ServiceEntry for MySQL on the app port closes the target": {
			target: func(t *egress.Target) { t.AddressShared = true },
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(seHost("db.example.com"), sePorts(80), seProtocol("MYSQL"))),
			},
			want: []string{"ServiceEntry project/theirs spec.ports[0] BreaksOurs closes"},
		},
		"a DestinationRule for the host of the listener or of the anchor is not a conflict, as no route leads there": {
			others: mesh.Others{
				DestinationRules: destinationRules(
					destinationRule(drHost(listenerHost)), destinationRule(drHost(egress.AnchorHost)),
				),
			},
		},
		"a VirtualService with a TCP route for another port for a wildcard over the listener is not a conflict": {
			others: mesh.Others{
				VirtualServices: virtualServices(virtualService(vsHost("*.internal"), func(v *networkingv1.VirtualService) {
					v.Spec.Tcp = []*networking.TCPRoute{{Match: []*networking.L4MatchAttributes{{Port: 5432}}}}
				}), ourVirtualService()),
			},
		},
		"an older VirtualService that the mesh's default makes private wins over ours": {
			others: mesh.Others{
				Mesh:            mesh.Config{VirtualServiceExportTo: []string{"."}},
				VirtualServices: virtualServices(virtualService(old, vsTo()), ourVirtualService()),
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"a VirtualService of another namespace that the mesh's default makes private is not a conflict": {
			others: mesh.Others{
				Mesh:            mesh.Config{VirtualServiceExportTo: []string{"."}},
				VirtualServices: virtualServices(virtualService(vsIn("other"), vsTo()), ourVirtualService()),
			},
		},
		"a ServiceEntry of another namespace that the mesh's default makes private is not a conflict": {
			others: mesh.Others{
				Mesh:           mesh.Config{ServiceExportTo: []string{"."}},
				ServiceEntries: serviceEntries(serviceEntry(seIn("other"), seInternal)),
			},
		},
		"a ServiceEntry for MySQL on the app port breaks ours at addresses other than the sinkhole": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(
					serviceEntry(seIn("other"), seHost("db.example.com"), sePorts(8080, 80), seProtocol("mysql")),
				),
			},
			want: []string{"ServiceEntry other/theirs spec.ports[1] BreaksOurs"},
		},
		"a ServiceEntry for MySQL with its own address is not a conflict": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(
					serviceEntry(seHost("db.example.com"), sePorts(80), seProtocol("MYSQL"), seAddresses("10.0.0.1")),
				),
			},
		},
		"a ServiceEntry for MySQL on another port is not a conflict": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(seHost("db.example.com"), sePorts(3306), seProtocol("MYSQL"))),
			},
		},
		"a ServiceEntry for a wildcard with the TLS port is hidden by ours if the mesh rejects unknown hosts": {
			others: mesh.Others{
				Mesh:           mesh.Config{RegistryOnly: true},
				ServiceEntries: serviceEntries(serviceEntry(seHost("*.system.com"))),
			},
			want: []string{"ServiceEntry project/theirs spec.hosts[0] HiddenByOurs"},
		},
		"a ServiceEntry for a wildcard with the TLS port is hidden by ours if a Sidecar rejects unknown hosts": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(seHost("*.system.com"))),
				Sidecars: []*networkingv1.Sidecar{sidecar(func(s *networkingv1.Sidecar) {
					s.Spec.OutboundTrafficPolicy = &networking.OutboundTrafficPolicy{
						Mode: networking.OutboundTrafficPolicy_REGISTRY_ONLY,
					}
				})},
			},
			want: []string{"ServiceEntry project/theirs spec.hosts[0] HiddenByOurs"},
		},
		"a ServiceEntry for a wildcard is not a conflict if unknown hosts are allowed": {
			others: mesh.Others{ServiceEntries: serviceEntries(serviceEntry(seHost("*.system.com")))},
		},
		"a ServiceEntry for a wildcard without TLS on the port is not a conflict": {
			others: mesh.Others{Mesh: mesh.Config{RegistryOnly: true}, ServiceEntries: serviceEntries(
				serviceEntry(seHost("*.system.com"), sePorts(443)),
				serviceEntry(seNamed("z"), seHost("*.system.com"), sePorts(8443), seProtocol("TLS")),
			)},
		},
		"one listener of a Sidecar for TLS and all services on a port of ours routes other calls to ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./*"), boundOn(443, "TLS")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[1].port HiddenByOurs"},
		},
		"one listener of a Sidecar for TCP on the app port does the same": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(boundOn(80, "TCP"), listener("./*")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].port HiddenByOurs"},
		},
		"one listener of a Sidecar for HTTP distinguishes calls, and one for another port has none of ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{
					sidecar(egressListeners(boundOn(80, "http"), boundOn(5432, "TCP"), listener("./*"))),
				},
			},
		},
		"if sidecars resolve unknown hosts, a Sidecar must import the anchor": {
			others: mesh.Others{
				Mesh:     mesh.Config{DynamicDNS: true},
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./*.system.com")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar that imports the host and the listener imports ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./"+host, "./"+listenerHost)))},
			},
		},
		"a VirtualService that has the name of ours and no owner breaks ours, regardless of its content": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(vsHost("unrelated.example.com"), vsNamed(objectName)),
				},
			},
			want: []string{"VirtualService project/mtls-egress-external.system.com metadata.name BreaksOurs closes"},
		},
		"our label on an object that has our name does not make it ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(vsNamed(objectName), func(v *networkingv1.VirtualService) {
						v.Labels = map[string]string{egress.LabelManagedBy: egress.ValueManagedBy}
					}),
				},
			},
			want: []string{"VirtualService project/mtls-egress-external.system.com metadata.name BreaksOurs closes"},
		},
		"an object that has our name and belongs to the EgressTarget of another host breaks ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(
						vsNamed(objectName), func(v *networkingv1.VirtualService) { v.OwnerReferences = ownedBy("other.system.com") },
					),
				},
			},
			want: []string{"VirtualService project/mtls-egress-external.system.com metadata.name BreaksOurs closes"},
		},
		"our name in another namespace is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(vsNamed(objectName), vsHost("unrelated.example.com"), vsIn("other")),
				},
			},
		},
		"an older private VirtualService for the host with a trailing dot wins over ours for calls with a trailing dot": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsHost("external.system.com."), vsTo(".")), ourVirtualService(),
				},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"an older private VirtualService of the namespace wins over ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo(".")), ourVirtualService()},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"a VirtualService that exports to its own namespace by name is as private as one with a dot": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("project")), ourVirtualService()},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"a private VirtualService wins while ours is not written yet, however new it is": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(recent, vsTo("."))},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"of two equally old private VirtualServices the name decides, and theirs sorts after ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(sameAge, vsTo(".")), ourVirtualService()},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] HiddenByOurs"},
		},
		"of two equally old private VirtualServices the name decides, and theirs sorts before ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(sameAge, vsTo("."), vsNamed("legacy")), ourVirtualService(),
				},
			},
			want: []string{"VirtualService project/legacy spec.hosts[0] WinsOverOurs closes"},
		},
		"a newer private VirtualService is hidden by ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(recent, vsTo(".")), ourVirtualService()},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] HiddenByOurs"},
		},
		"an older public VirtualService of the namespace is hidden by ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old), ourVirtualService()},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] HiddenByOurs"},
		},
		"an asterisk among other namespaces makes a VirtualService public": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo(".", "*")), ourVirtualService()},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] HiddenByOurs"},
		},
		"a public VirtualService of another namespace is hidden by ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsIn("egress")), ourVirtualService()},
			},
			want: []string{"VirtualService egress/theirs spec.hosts[0] HiddenByOurs"},
		},
		"a VirtualService that another namespace exports to ours by name is hidden by ours": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsIn("egress"), vsTo("project")), ourVirtualService(),
				},
			},
			want: []string{"VirtualService egress/theirs spec.hosts[0] HiddenByOurs"},
		},
		"a VirtualService that is private to another namespace is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsIn("egress"), vsTo(".")), ourVirtualService(),
				},
			},
		},
		"a VirtualService that is exported to a third namespace is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsIn("egress"), vsTo("third")), ourVirtualService(),
				},
			},
		},
		"a VirtualService that is exported to no namespace is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("~")), ourVirtualService()},
			},
		},
		"an older private VirtualService for a wildcard that covers the host is hidden by ours, as the exact host wins": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsTo("."), vsHost("*.system.com")), ourVirtualService(),
				},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] HiddenByOurs"},
		},
		"a wildcard that only covers other hosts is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsHost("*.external.system.com")), ourVirtualService(),
				},
			},
		},
		"the exact host in any case takes precedence over an earlier wildcard": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsTo("."), vsHost("*.com", "External.System.COM")), ourVirtualService(),
				},
			},
			want: []string{"VirtualService project/theirs spec.hosts[1] WinsOverOurs closes"},
		},
		"a VirtualService only on a gateway is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsTo("."), vsGateways("istio-ingress/public")), ourVirtualService(),
				},
			},
		},
		"a VirtualService on a gateway and on the mesh wins": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsTo("."), vsGateways("istio-ingress/public", "mesh")), ourVirtualService(),
				},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"a VirtualService without HTTP routes is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsRoutes()), ourVirtualService()},
			},
		},
		"a VirtualService that only matches another port is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{Port: 8080})), ourVirtualService(),
				},
			},
		},
		"a VirtualService that matches the app port wins": {
			target: func(t *egress.Target) { t.AppPort = 8080 },
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{Port: 8080})), ourVirtualService(),
				},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"a VirtualService that only matches Pods with another value of our label is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(
						old,
						vsTo("."),
						vsMatch(&networking.HTTPMatchRequest{SourceLabels: map[string]string{egress.LabelInjected: "false"}}),
					),
					ourVirtualService(),
				},
			},
		},
		"a VirtualService that matches Pods by an unknown label wins": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(
						old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{SourceLabels: map[string]string{"app": "shop"}}),
					),
					ourVirtualService(),
				},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"a VirtualService that only matches Pods of another namespace is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsMatch(&networking.HTTPMatchRequest{SourceNamespace: "other"})), ourVirtualService(),
				},
			},
		},
		"with a gateway in the match Istio ignores its labels, so the VirtualService wins": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{Gateways: []string{"mesh"},
						SourceLabels: map[string]string{egress.LabelInjected: "false"}})),
					ourVirtualService(),
				},
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"a match on another gateway is not a conflict": {
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{
					virtualService(old, vsTo("."), vsMatch(&networking.HTTPMatchRequest{Gateways: []string{"istio-ingress/public"}})),
					ourVirtualService(),
				},
			},
		},
		"a Sidecar without egress imports everything": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners())},
			},
		},
		"a Sidecar that imports its own namespace imports ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./*", "istio-system/*")))},
			},
		},
		"a Sidecar that imports the namespace by name imports ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("project/*")))},
			},
		},
		"a Sidecar that imports everything imports ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("*/*")))},
			},
		},
		"a Sidecar that does not import the namespace hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("istio-system/*")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar that only imports other hosts of the namespace hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./*.example.com")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar that imports nothing hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("~/*")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar that imports only the host of all namespaces lacks the anchor": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("*/external.system.com")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar that only imports the host lacks the anchor": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./external.system.com")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar that imports the host and the anchor imports ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{
					sidecar(egressListeners(listener("./external.system.com", "./anchor.mtls-egress.internal"))),
				},
			},
		},
		"a Sidecar that imports the host, and a namespace that may have a service on port 80, is assumed to import ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./external.system.com", "istio-system/*")))},
			},
		},
		"on any app port but 80 a Sidecar must import the anchor": {
			target: func(t *egress.Target) { t.AppPort = 8080 },
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./external.system.com", "istio-system/*")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar that only excludes the host hides nothing, as another host of the VirtualService selects it": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./*", "~./external.system.com")))},
			},
		},
		"a Sidecar that excludes every host of the VirtualService hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("*/*", "~*/*.system.com", "~*/*.internal")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"an exclusion in another namespace is not a conflict": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("./*", "~egress/external.system.com")))},
			},
		},
		"only a listener for another port hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listenerOn(8080, "./*")))},
			},
			want: []string{"Sidecar project/theirs spec.egress HidesOurs"},
		},
		"only a listener for the app port lacks the ServiceEntry": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listenerOn(80, "./*")))},
			},
			want: []string{"Sidecar project/theirs spec.egress HidesOurs"},
		},
		"a listener for the app port and one for the partner port admit ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listenerOn(80, "./*"), listenerOn(443, "./*")))},
			},
		},
		"a listener for the app port and one for all other ports admit ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listenerOn(80, "./*"), listener("./*")))},
			},
		},
		"the listener for the app port takes precedence over the one for all other ports": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listenerOn(80, "istio-system/*"), listener("./*")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar with entries that cannot be parsed hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("", "external.system.com", "/*")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar that may select our Pods hides ours": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scSelects("app", "shop"), egressListeners(listener("istio-system/*")))},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar that selects another value of our label is not a conflict": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{
					sidecar(scSelects(egress.LabelInjected, "false"), egressListeners(listener("istio-system/*"))),
				},
			},
		},
		"the Sidecar of another namespace is not a conflict": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scIn("other"), egressListeners(listener("istio-system/*")))},
			},
		},
		"the Sidecar of the root namespace hides ours if the namespace has none": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(scIn("istio-system"), egressListeners(listener("istio-system/*")))},
			},
			want: []string{"Sidecar istio-system/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a dot in the Sidecar of the root namespace is the namespace of the Pods": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{
					sidecar(scIn("istio-system"), egressListeners(listener("./*", "istio-system/*"))),
				},
			},
		},
		"the Sidecar of the root namespace counts if that of the namespace selects only some Pods": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{
					sidecar(scIn("istio-config"), egressListeners(listener("istio-config/*"))),
					sidecar(scSelects("app", "shop"), egressListeners(listener("./*"))),
				},
				RootNamespace: "istio-config",
			},
			want: []string{"Sidecar istio-config/theirs spec.egress[0].hosts HidesOurs"},
		},
		"the Sidecar of the namespace takes precedence over that of the root namespace": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{
					sidecar(scIn("istio-system"), egressListeners(listener("istio-system/*"))),
					sidecar(egressListeners(listener("./*"))),
				},
			},
		},
		"of two Sidecars for all Pods the older counts": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{
					sidecar(scNew, scNamed("newer"), egressListeners(listener("istio-system/*"))),
					sidecar(egressListeners(listener("./*"))),
				},
			},
		},
		"of two Sidecars for all Pods the older counts in any order": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{
					sidecar(egressListeners(listener("./*"))),
					sidecar(scNew, scNamed("newer"), egressListeners(listener("istio-system/*"))),
				},
			},
		},
		"an exclusion does not import a service instead of the anchor": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{
					sidecar(egressListeners(listener("./external.system.com", "~other/shop.example.com"))),
				},
			},
			want: []string{"Sidecar project/theirs spec.egress[0].hosts HidesOurs"},
		},
		"a Sidecar of the root namespace with a selector does not apply": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{
					sidecar(scIn("istio-system"), scSelects("app", "shop"), egressListeners(listener("istio-system/*"))),
				},
			},
		},
		"without a namespace, as offline, messages have only names": {
			target: func(t *egress.Target) { t.Namespace = "" },
			others: mesh.Others{
				VirtualServices: []*networkingv1.VirtualService{virtualService(old, vsTo("."), vsIn(""))},
			},
			want: []string{"VirtualService theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"objects for another host are not conflicts": {
			others: mesh.Others{
				VirtualServices:  virtualServices(virtualService(vsHost("other.system.com"))),
				DestinationRules: destinationRules(destinationRule(drHost("other.system.com"))),
				ServiceEntries:   serviceEntries(serviceEntry(seHost("other.system.com"))),
			},
		},
		"DestinationRules and ServiceEntries for the partner's own host are not conflicts, regardless of their content": {
			others: mesh.Others{
				DestinationRules: destinationRules(
					destinationRule(drOld), destinationRule(drNamed("private"), drTo(".")), destinationRule(drHost("*.system.com")),
					destinationRule(drOld, drSelects(egress.HostLabel(host), "true"), drSubsets(mesh.SubsetName)),
					destinationRule(drIn("istio-system"))),
				ServiceEntries: serviceEntries(
					serviceEntry(), serviceEntry(seTo(".")), serviceEntry(seIn("egress")), serviceEntry(sePorts(80, 443)),
					serviceEntry(seHost("*.system.com")), serviceEntry(seResolution(networking.ServiceEntry_NONE))),
			},
		},
		"a DestinationRule that has the name of ours and no owner breaks ours, regardless of its content": {
			others: mesh.Others{DestinationRules: destinationRules(destinationRule(drNamed(objectName)))},
			want:   []string{"DestinationRule project/mtls-egress-external.system.com metadata.name BreaksOurs"},
		},
		"a DestinationRule that has the name and the host of ours closes the target": {
			others: mesh.Others{DestinationRules: destinationRules(destinationRule(drNamed(objectName), drHost(meshHost)))},
			want:   []string{"DestinationRule project/mtls-egress-external.system.com spec.host BreaksOurs closes"},
		},
		"a DestinationRule for the host of ours closes the target, older or newer": {
			others: mesh.Others{DestinationRules: destinationRules(
				destinationRule(drOld, drHost(meshHost)),
				destinationRule(drNew, drNamed("newer"), drHost(meshHost)),
				ourDestinationRule(),
			)},
			want: []string{
				"DestinationRule project/newer spec.host BreaksOurs closes",
				"DestinationRule project/theirs spec.host BreaksOurs closes",
			},
		},
		"a DestinationRule for the host of ours that may select our Pods closes the target": {
			others: mesh.Others{DestinationRules: destinationRules(destinationRule(drHost(meshHost), drSelects("app", "shop")))},
			want:   []string{"DestinationRule project/theirs spec.host BreaksOurs closes"},
		},
		"a DestinationRule for the host of ours that selects another value of our label is not a conflict": {
			others: mesh.Others{
				DestinationRules: destinationRules(destinationRule(drHost(meshHost), drSelects(egress.LabelInjected, "false"))),
			},
		},
		"a DestinationRule for the host of ours in another namespace is not a conflict, as Istio uses the caller's first": {
			others: mesh.Others{DestinationRules: destinationRules(destinationRule(drHost(meshHost), drIn("istio-system")))},
		},
		"a DestinationRule for a wildcard that covers the host of ours is not a conflict, as the exact host wins": {
			others: mesh.Others{
				DestinationRules: destinationRules(destinationRule(drHost("*.internal")), destinationRule(drHost("*"))),
			},
		},
		"a DestinationRule for a wildcard with our subset closes the target, as it replaces ours while that is missing": {
			others: mesh.Others{
				DestinationRules: destinationRules(
					destinationRule(drHost("*.internal"), drSubsets("mtls-egress")), ourDestinationRule(),
				),
			},
			want: []string{"DestinationRule project/theirs spec.host BreaksOurs closes"},
		},
		"one of the root namespace does the same, unless it is not exported": {
			others: mesh.Others{Mesh: mesh.Config{DestinationRuleExportTo: []string{"."}}, DestinationRules: destinationRules(
				destinationRule(drHost("*"), drSubsets("mtls-egress"), drIn("istio-system")),
				destinationRule(drHost("*"), drSubsets("mtls-egress"), drIn("istio-system"), func(d *networkingv1.DestinationRule) {
					d.Name, d.Spec.ExportTo = "exported", []string{"*"}
				}))},
			want: []string{"DestinationRule istio-system/exported spec.host BreaksOurs closes"},
		},
		"a DestinationRule for a wildcard with another subset, or of another namespace, is not a conflict": {
			others: mesh.Others{DestinationRules: destinationRules(
				destinationRule(drHost("*"), drSubsets("v1")),
				destinationRule(drHost("*"), drSubsets("mtls-egress"), drIn("other")),
			)},
		},
		"a ServiceEntry that has the name of ours and no owner breaks ours, regardless of its content": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(seHost("unrelated.example.com"), seNamed(objectName))),
			},
			want: []string{"ServiceEntry project/mtls-egress-external.system.com metadata.name BreaksOurs"},
		},
		"a ServiceEntry that has the name of the anchor and no owner breaks ours": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(seHost("unrelated.example.com"), seNamed("mtls-egress"))),
			},
			want: []string{"ServiceEntry project/mtls-egress metadata.name BreaksOurs"},
		},
		"the anchor of another EgressTarget is not a conflict": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(
					serviceEntry(seHost(egress.AnchorHost), seNamed("mtls-egress"), func(s *networkingv1.ServiceEntry) {
						s.OwnerReferences = ownedBy("other.system.com")
					}),
				),
			},
		},
		"a ServiceEntry for the host of ours in the namespace breaks ours, as Istio merges their endpoints": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(seHost("a.example.com", meshHost)), ourServiceEntry()),
			},
			want: []string{"ServiceEntry project/theirs spec.hosts[1] BreaksOurs"},
		},
		"a VirtualService for the host of ours, private like ours, closes the target": {
			others: mesh.Others{
				VirtualServices: virtualServices(virtualService(old, vsHost(meshHost), vsTo(".")), ourVirtualService()),
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] BreaksOurs closes"},
		},
		"a VirtualService of another namespace for the host of ours breaks ours but does not close the target": {
			others: mesh.Others{
				VirtualServices: virtualServices(
					virtualService(old, vsHost(meshHost), vsTo("*"), vsIn("other")), ourVirtualService(),
				),
			},
			want: []string{"VirtualService other/theirs spec.hosts[0] BreaksOurs"},
		},
		"a VirtualService with TCP routes for a wildcard over the listener breaks ours": {
			others: mesh.Others{
				VirtualServices: virtualServices(
					virtualService(vsHost("a.example.com", "*.internal"), func(v *networkingv1.VirtualService) {
						v.Spec.Tcp = []*networking.TCPRoute{{}}
					}),
					ourVirtualService(),
				),
			},
			want: []string{"VirtualService project/theirs spec.hosts[1] BreaksOurs"},
		},
		"a VirtualService with a TCP route for the sinkhole address and a wildcard over the listener closes the target": {
			others: mesh.Others{VirtualServices: virtualServices(tcpRoute("*.internal", sinkhole), ourVirtualService())},
			want:   []string{"VirtualService project/theirs spec.hosts[0] BreaksOurs closes"},
		},
		"the same with the address as a subnet": {
			others: mesh.Others{VirtualServices: virtualServices(tcpRoute("*", sinkhole+"/32"), ourVirtualService())},
			want:   []string{"VirtualService project/theirs spec.hosts[0] BreaksOurs closes"},
		},
		"a subnet around the sinkhole address breaks ours": {
			others: mesh.Others{VirtualServices: virtualServices(tcpRoute("*", "0.0.0.0/0"), ourVirtualService())},
			want:   []string{"VirtualService project/theirs spec.hosts[0] BreaksOurs"},
		},
		"a VirtualService with HTTP routes for a wildcard over the listener is not a conflict": {
			others: mesh.Others{VirtualServices: virtualServices(virtualService(vsHost("*.internal")), ourVirtualService())},
		},
		"a ServiceEntry that makes the host a service of the mesh closes the target": {
			others: mesh.Others{ServiceEntries: serviceEntries(serviceEntry(seIn("other"), seInternal))},
			want:   []string{"ServiceEntry other/theirs spec.hosts[0] BreaksOurs closes"},
		},
		"a ServiceEntry that makes the host a service of the mesh only for its own namespace is not a conflict": {
			others: mesh.Others{ServiceEntries: serviceEntries(serviceEntry(seIn("other"), seInternal, seTo(".")))},
		},
		"a ServiceEntry of another host with the sinkhole address closes the target": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(seHost("other.example.com"), seAddresses("10.0.0.1", sinkhole))),
			},
			want: []string{"ServiceEntry project/theirs spec.addresses[1] BreaksOurs closes"},
		},
		"a ServiceEntry of another host with a prefix around the sinkhole address closes the target, from any namespace": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(
					serviceEntry(seIn("other"), seHost("other.example.com"), seAddresses("240.0.0.0/4"), sePorts(80)),
				),
			},
			want: []string{"ServiceEntry other/theirs spec.addresses[0] BreaksOurs closes"},
		},
		"the sinkhole address written as IPv6 is the same address": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(seHost("other.example.com"), seAddresses("::ffff:"+sinkhole))),
			},
			want: []string{"ServiceEntry project/theirs spec.addresses[0] BreaksOurs closes"},
		},
		"the ServiceEntry of another target with the same sinkhole address is not a conflict": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(
					seHost("other.system.com.mtls-egress.internal"), seAddresses(sinkhole),
					func(s *networkingv1.ServiceEntry) {
						s.OwnerReferences = ownedBy("other.system.com")
					},
				)),
			},
		},
		"the sinkhole address on a port that no call uses is not a conflict": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(serviceEntry(seHost("other.example.com"), seAddresses(sinkhole), sePorts(5432))),
			},
		},
		"the sinkhole address in a ServiceEntry that is not exported here is not a conflict": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(
					serviceEntry(seIn("other"), seHost("other.example.com"), seAddresses(sinkhole), seTo(".")),
				),
			},
		},
		"invalid addresses are not conflicts": {
			others: mesh.Others{
				ServiceEntries: serviceEntries(
					serviceEntry(seHost("other.example.com"), seAddresses("", "254", "254.110.240.171/x")),
				),
			},
		},
		"a Service with the sinkhole address closes the target, from any namespace": {
			others: mesh.Others{Services: []mesh.Service{
				{Namespace: "other", Name: "shop", Addresses: []string{"203.0.113.1", sinkhole}},
				{Namespace: "other", Name: "harmless", Addresses: []string{"203.0.113.1"}},
			}},
			want: []string{"Service other/shop spec.externalIPs BreaksOurs closes"},
		},
		"a Service that the host names as NAME.NAMESPACE closes the target": {
			target: func(t *egress.Target) { *t = egress.FromEgressTarget("project", "pay.other", nil, egress.Sinkhole{}) },
			others: mesh.Others{
				Services: []mesh.Service{
					{Namespace: "other", Name: "pay"}, {Namespace: "other", Name: "shop"}, {Namespace: "pay", Name: "other"},
				},
			},
			want: []string{"Service other/pay metadata.name BreaksOurs closes"},
		},
		"an object that our control plane does not read is not a conflict": {
			others: mesh.Others{
				Revisions: []string{"stable"},
				VirtualServices: virtualServices(
					virtualService(old, vsTo("."), vsRevision("canary")),
					virtualService(old, vsNamed("b"), vsTo("."), vsRevision("stable")), ourVirtualService(),
				),
			},
			want: []string{"VirtualService project/b spec.hosts[0] WinsOverOurs closes"},
		},
		"an object of any revision counts while the revision of the Pods is unknown": {
			others: mesh.Others{
				VirtualServices: virtualServices(virtualService(old, vsTo("."), vsRevision("canary")), ourVirtualService()),
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"an object of another revision with our name prevents writing ours": {
			others: mesh.Others{
				Revisions:       []string{"stable"},
				VirtualServices: virtualServices(virtualService(vsNamed(objectName), vsRevision("canary"))),
			},
			want: []string{"VirtualService project/mtls-egress-external.system.com metadata.name BreaksOurs closes"},
		},
		"an owner reference does not make an object with another name ours": {
			others: mesh.Others{
				VirtualServices: virtualServices(
					virtualService(old, vsTo("."), func(v *networkingv1.VirtualService) { v.OwnerReferences = ownedBy(host) }),
					ourVirtualService(),
				),
			},
			want: []string{"VirtualService project/theirs spec.hosts[0] WinsOverOurs closes"},
		},
		"conflicts are sorted by kind, namespace and name": {
			others: mesh.Others{
				Sidecars: []*networkingv1.Sidecar{sidecar(egressListeners(listener("istio-system/*")))},
				ServiceEntries: serviceEntries(
					serviceEntry(seNamed("b"), seInternal),
					serviceEntry(seNamed("a"), seInternal),
					serviceEntry(seIn("egress"), seInternal),
				),
				VirtualServices:  virtualServices(virtualService()),
				DestinationRules: destinationRules(destinationRule(drHost(meshHost))),
				Services:         []mesh.Service{{Namespace: "other", Name: "shop", Addresses: []string{sinkhole}}},
			},
			want: []string{
				"DestinationRule project/theirs spec.host BreaksOurs closes",
				"Service other/shop spec.externalIPs BreaksOurs closes",
				"ServiceEntry egress/theirs spec.hosts[0] BreaksOurs closes",
				"ServiceEntry project/a spec.hosts[0] BreaksOurs closes",
				"ServiceEntry project/b spec.hosts[0] BreaksOurs closes",
				"Sidecar project/theirs spec.egress[0].hosts HidesOurs",
				"VirtualService project/theirs spec.hosts[0] HiddenByOurs",
			},
		},
	}
	messages := map[string]bool{}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			asked := exampleTarget()
			if test.target != nil {
				test.target(&asked)
			}
			var got []string
			for _, conflict := range mesh.Conflicts(asked, test.others) {
				got = append(got, line(conflict))
				messages[conflict.Message] = true
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("conflicts differ (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("the messages", func(t *testing.T) {
		golden.Compare(t, "testdata/conflict-messages.golden.txt",
			[]byte(strings.Join(slices.Sorted(maps.Keys(messages)), "\n")+"\n"))
	})
}

// line formats a conflict without its message as in the table of conflicts.
func line(c mesh.Conflict) string {
	text := fmt.Sprintf("%s %s %s", c.Reference(), c.Field, c.Effect)
	if c.Closes {
		text += " closes"
	}
	if c.Adoptable {
		text += " adoptable"
	}
	return text
}

func TestConflictsDoNotDependOnTheOrderOfTheOthers(t *testing.T) {
	others := manyOthers(50)
	want := mesh.Conflicts(exampleTarget(), others)
	if len(want) == 0 {
		t.Fatal("no conflict to put in order")
	}
	slices.Reverse(others.VirtualServices)
	slices.Reverse(others.DestinationRules)
	slices.Reverse(others.ServiceEntries)
	slices.Reverse(others.Sidecars)
	if diff := cmp.Diff(want, mesh.Conflicts(exampleTarget(), others)); diff != "" {
		t.Errorf("conflicts differ in reverse order (-first +reverse):\n%s", diff)
	}
}

func exampleTarget() egress.Target {
	return egress.FromEgressTarget("project", host, nil, egress.Sinkhole{})
}

func ownedBy(egressTarget string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "mtls.egress/v1alpha1", Kind: "EgressTarget", Name: egressTarget}}
}

// day returns a time that increases with n. Our own objects are created on day 2.
func day(n int) metav1.Time {
	return metav1.NewTime(time.Date(2026, time.January, n, 0, 0, 0, 0, time.UTC))
}

func ourVirtualService() *networkingv1.VirtualService {
	ours := mesh.VirtualService(exampleTarget())
	ours.CreationTimestamp, ours.OwnerReferences = day(2), ownedBy(host)
	return ours
}

func ourDestinationRule() *networkingv1.DestinationRule {
	ours := mesh.DestinationRule(
		exampleTarget(), egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"},
	)
	ours.CreationTimestamp, ours.OwnerReferences = day(2), ownedBy(host)
	return ours
}

func ourServiceEntry() *networkingv1.ServiceEntry {
	ours := mesh.ServiceEntry(exampleTarget())
	ours.CreationTimestamp, ours.OwnerReferences = day(2), ownedBy(host)
	return ours
}

func ourAnchor() *networkingv1.ServiceEntry {
	ours := mesh.Anchor("project", []int32{80})
	ours.CreationTimestamp, ours.OwnerReferences = day(2), ownedBy(host)
	return ours
}

func ourListener() *networkingv1.ServiceEntry {
	ours := mesh.Listener(exampleTarget())
	ours.CreationTimestamp, ours.OwnerReferences = day(2), ownedBy(host)
	return ours
}

// tcpRoute returns a foreign VirtualService with a TCP route for a subnet.
func tcpRoute(host, subnet string) *networkingv1.VirtualService {
	return virtualService(vsHost(host), func(v *networkingv1.VirtualService) {
		v.Spec.Http = nil
		v.Spec.Tcp = []*networking.TCPRoute{{Match: []*networking.L4MatchAttributes{{DestinationSubnets: []string{subnet}}}}}
	})
}

// siblingListener returns the listener of other.system.com with the sinkhole address of host.
func siblingListener(changes ...func(*networkingv1.ServiceEntry)) *networkingv1.ServiceEntry {
	theirs := mesh.Listener(egress.FromEgressTarget("project", "other.system.com", nil, egress.Sinkhole{}))
	theirs.OwnerReferences, theirs.Spec.Addresses = ownedBy("other.system.com"), []string{sinkhole}
	for _, change := range changes {
		change(theirs)
	}
	return theirs
}

func virtualServices(all ...*networkingv1.VirtualService) []*networkingv1.VirtualService { return all }

func destinationRules(all ...*networkingv1.DestinationRule) []*networkingv1.DestinationRule {
	return all
}

func serviceEntries(all ...*networkingv1.ServiceEntry) []*networkingv1.ServiceEntry { return all }

func virtualService(changes ...func(*networkingv1.VirtualService)) *networkingv1.VirtualService {
	theirs := &networkingv1.VirtualService{
		ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "theirs", CreationTimestamp: day(1)},
	}
	theirs.Spec.Hosts = []string{host}
	theirs.Spec.Http = []*networking.HTTPRoute{
		{Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "theirs"}}}},
	}
	for _, change := range changes {
		change(theirs)
	}
	return theirs
}

func old(v *networkingv1.VirtualService)     { v.CreationTimestamp = day(1) }
func sameAge(v *networkingv1.VirtualService) { v.CreationTimestamp = day(2) }
func recent(v *networkingv1.VirtualService)  { v.CreationTimestamp = day(3) }

func vsNamed(name string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Name = name }
}

func vsIn(namespace string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Namespace = namespace }
}

func vsHost(hosts ...string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Spec.Hosts = hosts }
}

func vsTo(exportTo ...string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Spec.ExportTo = exportTo }
}

func vsRevision(revision string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Labels = map[string]string{"istio.io/rev": revision} }
}

func vsGateways(gateways ...string) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Spec.Gateways = gateways }
}

func vsRoutes(routes ...*networking.HTTPRoute) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Spec.Http = routes }
}

func vsMatch(match *networking.HTTPMatchRequest) func(*networkingv1.VirtualService) {
	return func(v *networkingv1.VirtualService) { v.Spec.Http[0].Match = []*networking.HTTPMatchRequest{match} }
}

// byHand returns a hand-written set that leads calls to the host over mutual TLS.
func byHand(changes ...func(*networkingv1.VirtualService)) mesh.Others {
	route := vsRoutes(&networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{
		{Destination: &networking.Destination{Host: host, Port: &networking.PortSelector{Number: 443}}},
	}})
	return mesh.Others{
		VirtualServices:  virtualServices(virtualService(append([]func(*networkingv1.VirtualService){route}, changes...)...)),
		DestinationRules: destinationRules(destinationRule(drMutual)),
	}
}

func drMutual(d *networkingv1.DestinationRule) {
	d.Spec.TrafficPolicy = &networking.TrafficPolicy{
		PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{{
			Port: &networking.PortSelector{Number: 443},
			Tls:  &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_MUTUAL},
		}},
	}
}

func destinationRule(changes ...func(*networkingv1.DestinationRule)) *networkingv1.DestinationRule {
	theirs := &networkingv1.DestinationRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "theirs", CreationTimestamp: day(1)},
	}
	theirs.Spec.Host = host
	theirs.Spec.TrafficPolicy = &networking.TrafficPolicy{
		Tls: &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_SIMPLE},
	}
	for _, change := range changes {
		change(theirs)
	}
	return theirs
}

func drOld(d *networkingv1.DestinationRule) { d.CreationTimestamp = day(1) }
func drNew(d *networkingv1.DestinationRule) { d.CreationTimestamp = day(3) }

func drNamed(name string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) { d.Name = name }
}

func drIn(namespace string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) { d.Namespace = namespace }
}

func drHost(pattern string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) { d.Spec.Host = pattern }
}

func drTo(exportTo ...string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) { d.Spec.ExportTo = exportTo }
}

func drSelects(key, value string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) {
		d.Spec.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{key: value}}
	}
}

func drSubsets(names ...string) func(*networkingv1.DestinationRule) {
	return func(d *networkingv1.DestinationRule) {
		for _, name := range names {
			d.Spec.Subsets = append(d.Spec.Subsets, &networking.Subset{Name: name})
		}
	}
}

func serviceEntry(changes ...func(*networkingv1.ServiceEntry)) *networkingv1.ServiceEntry {
	theirs := &networkingv1.ServiceEntry{
		ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "theirs", CreationTimestamp: day(1)},
	}
	theirs.Spec.Hosts = []string{host}
	theirs.Spec.Resolution = networking.ServiceEntry_DNS
	theirs.Spec.Ports = []*networking.ServicePort{{Number: 443, Name: "tls", Protocol: "TLS"}}
	for _, change := range changes {
		change(theirs)
	}
	return theirs
}

func seInternal(s *networkingv1.ServiceEntry) {
	s.Spec.Location = networking.ServiceEntry_MESH_INTERNAL
}

func seNamed(name string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Name = name }
}

func seIn(namespace string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Namespace = namespace }
}

func seHost(hosts ...string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Spec.Hosts = hosts }
}

func seTo(exportTo ...string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Spec.ExportTo = exportTo }
}

func seAddresses(addresses ...string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Spec.Addresses = addresses }
}

func seResolution(resolution networking.ServiceEntry_Resolution) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Spec.Resolution = resolution }
}

func sePorts(numbers ...uint32) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) {
		s.Spec.Ports = nil
		for _, number := range numbers {
			s.Spec.Ports = append(s.Spec.Ports, &networking.ServicePort{Number: number, Name: "tcp", Protocol: "TCP"})
		}
	}
}

// seProtocol sets the protocol of the last port.
func seProtocol(protocol string) func(*networkingv1.ServiceEntry) {
	return func(s *networkingv1.ServiceEntry) { s.Spec.Ports[len(s.Spec.Ports)-1].Protocol = protocol }
}

func sidecar(changes ...func(*networkingv1.Sidecar)) *networkingv1.Sidecar {
	theirs := &networkingv1.Sidecar{
		ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "theirs", CreationTimestamp: day(1)},
	}
	for _, change := range changes {
		change(theirs)
	}
	return theirs
}

func scNew(s *networkingv1.Sidecar) { s.CreationTimestamp = day(3) }

func scNamed(name string) func(*networkingv1.Sidecar) {
	return func(s *networkingv1.Sidecar) { s.Name = name }
}

func scIn(namespace string) func(*networkingv1.Sidecar) {
	return func(s *networkingv1.Sidecar) { s.Namespace = namespace }
}

func scSelects(key, value string) func(*networkingv1.Sidecar) {
	return func(s *networkingv1.Sidecar) {
		s.Spec.WorkloadSelector = &networking.WorkloadSelector{Labels: map[string]string{key: value}}
	}
}

func egressListeners(listeners ...*networking.IstioEgressListener) func(*networkingv1.Sidecar) {
	return func(s *networkingv1.Sidecar) { s.Spec.Egress = listeners }
}

func listener(hosts ...string) *networking.IstioEgressListener {
	return &networking.IstioEgressListener{Hosts: hosts}
}

func listenerOn(port uint32, hosts ...string) *networking.IstioEgressListener {
	return &networking.IstioEgressListener{Hosts: hosts, Port: &networking.SidecarPort{Number: port, Name: "any"}}
}

// boundTo returns an egress listener for all services of the namespace on one address.
func boundTo(address string) *networking.IstioEgressListener {
	bound := listenerOn(80, "./*")
	bound.Bind = address
	return bound
}

// boundOn returns an egress listener for all services of the namespace on a port of every address.
func boundOn(port uint32, protocol string) *networking.IstioEgressListener {
	bound := listenerOn(port, "./*")
	bound.Bind, bound.Port.Protocol = "0.0.0.0", protocol
	return bound
}
