package mesh

import (
	networking "istio.io/api/networking/v1alpha3"

	"mtls.egress/webhook/internal/egress"
)

// closedStatus is the sidecar's response status while the target is closed.
const closedStatus = 503

// Closed returns the objects of a closed target in the order in which they must be written: the
// VirtualService, the DestinationRule if layout is known, and the listener unless t shares its
// address. The ServiceEntry of the partner's port is not among them. The controller deletes it
// after it closed the VirtualService, which alone stops calls.
//
// The closed VirtualService answers http calls with 503 in the sidecar, and routes the app's own
// https calls to a cluster that does not exist. It is not deleted, for two reasons. Without it,
// calls would follow any ServiceEntry that opens the app port. And among VirtualServices for one
// host the oldest wins, so a recreated one could lose. The DestinationRule stays as the record of
// the last usable credential.
func Closed(t egress.Target, layout egress.Layout) []Object {
	virtualService := routing(t)
	virtualService.Spec.Http[0].DirectResponse = &networking.HTTPDirectResponse{
		Status: closedStatus,
		Body: &networking.HTTPBody{Specifier: &networking.HTTPBody_String_{
			String_: "mtls-egress: the target is closed, so the call was stopped. " +
				"See the status of the EgressTarget " + t.Host + ".\n",
		}},
	}
	virtualService.Spec.Tls[0].Route = []*networking.RouteDestination{{Destination: destination(t, closedSubset)}}
	objects := []Object{virtualService}
	if layout != (egress.Layout{}) {
		objects = append(objects, DestinationRule(t, layout))
	}
	return append(objects, listeners(t)...)
}
