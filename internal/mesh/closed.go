package mesh

import (
	networking "istio.io/api/networking/v1alpha3"

	"mtls.egress/webhook/internal/target"
)

// closedStatus is what the sidecar answers calls with while the target is closed.
const closedStatus = 503

// Closed returns the objects of a target whose calls could leave without mutual TLS if Objects stood (see Conflict.Plaintext),
// in the order in which they have to be written, after the anchor of the namespace. There is no ServiceEntry among them: the
// one that stands is removed first, so that no route of anybody else's finds the host through it.
//
// The VirtualService leads the http calls nowhere: the sidecar answers them itself. It stays, rather than going too, as
// without it calls would follow a ServiceEntry of somebody else's that opens the app port, and as it would come back younger
// than objects that it is older than now. The DestinationRule, which is left out while layout is unknown, gives every port of
// the host mutual TLS, so that it covers routes of anybody else's. While a target is open it can't, as the app's own https
// calls would be wrapped twice; now they fail.
func Closed(t target.Target, layout target.Layout) []Object {
	virtualService := VirtualService(t)
	virtualService.Spec.Http = []*networking.HTTPRoute{{
		Name:  routeName,
		Match: virtualService.Spec.GetHttp()[0].GetMatch(),
		DirectResponse: &networking.HTTPDirectResponse{
			Status: closedStatus,
			Body: &networking.HTTPBody{Specifier: &networking.HTTPBody_String_{
				String_: "mtls-egress: the target is closed, so the call was stopped. The EgressTarget " + t.Host + " says why.\n",
			}},
		},
	}}
	if layout == (target.Layout{}) {
		return []Object{virtualService}
	}
	destinationRule := DestinationRule(t, layout)
	destinationRule.Spec.TrafficPolicy.Tls = mutualTLS(t, layout)
	return []Object{virtualService, destinationRule}
}
