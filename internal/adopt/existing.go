package adopt

import (
	"encoding/json"
	"fmt"
	"reflect"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// compareTarget refuses the set if the namespace has an EgressTarget for the host with other
// settings.
func (s *set) compareTarget() {
	for _, object := range s.world.Objects {
		if object.Kind.Group != v1alpha1.GroupVersion().Group || object.Kind.Kind != v1alpha1.Kind ||
			object.Location.Namespace != s.namespace || object.Location.Name != s.host {
			continue
		}
		existing := &v1alpha1.EgressTarget{}
		encoded, err := json.Marshal(object.Content)
		if err != nil || json.Unmarshal(encoded, existing) != nil {
			continue
		}
		s.proposal.TargetExists = true
		existing.Status = v1alpha1.EgressTargetStatus{}
		// The API server has set defaults in the existing one.
		if !reflect.DeepEqual(egress.FromEgressTarget(s.namespace, s.host, existing, egress.Sinkhole{}),
			egress.FromEgressTarget(s.namespace, s.host, s.proposal.EgressTarget, egress.Sinkhole{})) {
			s.refuse(fmt.Sprintf("the EgressTarget %s exists and has other settings than the hand-written objects; make "+
				"them equal, or delete it", s.host))
		}
	}
}
