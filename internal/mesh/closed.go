package mesh

import (
	networking "istio.io/api/networking/v1alpha3"

	"mtls.egress/webhook/internal/egress"
)

// closedStatus is what the sidecar answers calls with while the target is closed.
const closedStatus = 503

// Closed returns the objects of a closed target, in the order in which they have to be written: the
// VirtualService, if layout is known the DestinationRule, and the listener, unless t shares its
// address. The ServiceEntry of the partner's port is not among them. It goes once the
// VirtualService is closed, which stops calls by itself.
//
// The closed VirtualService answers http calls in the sidecar with 503, and leads the app's own
// https calls to a cluster that does not exist. It stays, rather than going too, since without it
// calls would follow a ServiceEntry of another owner that opens the app port, and since it would
// come back younger than objects that it is older than now. The DestinationRule stays as the record
// of the last credential that worked.
func Closed(t egress.Target, layout egress.Layout) []Object {
	virtualService := routing(t)
	virtualService.Spec.Http[0].DirectResponse = &networking.HTTPDirectResponse{
		Status: closedStatus,
		Body: &networking.HTTPBody{Specifier: &networking.HTTPBody_String_{
			String_: "mtls-egress: the target is closed, so the call was stopped. The EgressTarget " + t.Host + " says why.\n",
		}},
	}
	virtualService.Spec.Tls[0].Route = []*networking.RouteDestination{{Destination: destination(t, closedSubset)}}
	objects := []Object{virtualService}
	if layout != (egress.Layout{}) {
		objects = append(objects, DestinationRule(t, layout))
	}
	return append(objects, listeners(t)...)
}
