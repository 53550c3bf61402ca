package mutate

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// notProgrammed returns an error for each host whose target is not programmed. It applies to a mesh
// in which sidecars resolve unknown hosts (outboundTrafficPolicy ALLOW_ANY_DYNAMIC_DNS). Such a
// sidecar queries DNS and ignores /etc/hosts, so calls to http://HOST./ leave in plain text until
// the anchor and the VirtualService exist.
func notProgrammed(hosts []string, egressTargets map[string]*v1alpha1.EgressTarget) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("metadata", "annotations").Key(egress.AnnotationTarget)
	for _, host := range hosts {
		if !programmed(egressTargets[host]) {
			errs = append(errs, field.Forbidden(at, fmt.Sprintf(
				"the sidecars of this mesh resolve unknown hosts (outboundTrafficPolicy ALLOW_ANY_DYNAMIC_DNS), and "+
					"the target %s is not programmed yet, so calls to it could leave in plain text. "+
					"Create the EgressTarget %s, and create Pods after it is programmed: kubectl wait "+
					"--for=condition=Programmed egresstarget/%s", host, host, host)))
		}
	}
	return because(ReasonNotProgrammed, errs)
}

// programmed reports whether the objects of the target exist, whether open or closed.
func programmed(egressTarget *v1alpha1.EgressTarget) bool {
	if egressTarget == nil {
		return false
	}
	condition := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionProgrammed)
	return condition != nil && condition.Reason != v1alpha1.ReasonWriteFailed &&
		condition.Reason != v1alpha1.ReasonNameTaken
}
