package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
)

// lookTarget reports whether the controller has processed the target.
func lookTarget(f *Facts) finding {
	down := f.Controller.Read && !f.Controller.runs(f.Now)
	const start = "kubectl get pods -A -l " +
		"app.kubernetes.io/name=mtls-egress-webhook,app.kubernetes.io/component=controller"
	switch {
	case f.EgressTarget == nil && f.Unread[SourceEgressTarget] != "":
		return unknown(f.Unread[SourceEgressTarget])
	case f.EgressTarget == nil && down:
		return failed(ControllerDown, fmt.Sprintf("the EgressTarget %s doesn't exist, and no controller runs that could "+
			"create "+
			"it: none holds the Lease; start the controller", f.Host), start)
	case f.EgressTarget == nil:
		return failed(EgressTargetMissing, fmt.Sprintf("the EgressTarget %s doesn't exist in the namespace %s; the "+
			"controller "+
			"creates it within seconds after the first Pod starts: if it was deleted, recreate the Pod; otherwise read the "+
			"controller's log", f.Host, f.Namespace), f.restart())
	case f.condition(v1alpha1.ConditionProgrammed) == nil ||
		f.EgressTarget.Status.ObservedGeneration < f.EgressTarget.Generation:
		if down {
			return failed(ControllerDown, fmt.Sprintf("the EgressTarget %s is not processed, and no controller holds the "+
				"Lease; "+
				"start the controller", f.Host), start)
		}
		return failed(NotProcessed, fmt.Sprintf("the controller hasn't processed the EgressTarget %s yet, which takes "+
			"seconds; "+
			"if it stays so, read the controller's log", f.Host), "kubectl describe egt "+f.Host+" -n "+f.Namespace)
	case down:
		return fine("it is processed, but no controller holds the Lease now: new credentials and conflicts go unnoticed")
	case !f.EgressTarget.DeletionTimestamp.IsZero():
		return fine("it is being deleted, and stays until its last Pod is gone")
	}
	return fine("the controller has processed generation " + strconv.FormatInt(f.EgressTarget.Generation, 10))
}

func (f *Facts) condition(kind string) *metav1.Condition {
	if f.EgressTarget == nil {
		return nil
	}
	return meta.FindStatusCondition(f.EgressTarget.Status.Conditions, kind)
}

// lookCredential reports whether the Secret of the Pod can be used.
func lookCredential(f *Facts) finding {
	check := f.Credential
	if check == nil {
		return f.credentialAsSeen()
	}
	inspect := fmt.Sprintf("mtls-egress-webhook credential inspect secret/%s -n %s", check.SecretName, f.Namespace)
	if !check.Usable() {
		issued := f.condition(v1alpha1.ConditionCertificateIssued)
		if check.Reason == string(SecretMissing) && issued != nil && issued.Status != metav1.ConditionTrue {
			return failed(Cause(issued.Reason), issued.Message, "kubectl describe certificate,certificaterequest "+
				"-n "+f.Namespace)
		}
		if check.Reason == string(SecretMissing) {
			_, inspect, _ = strings.Cut(check.Message, "create it with: ")
			inspect, _, _ = strings.Cut(inspect, "; or from ")
		}
		return failed(Cause(check.Reason), check.Message, inspect)
	}
	if seen := f.condition(v1alpha1.ConditionCredentialValid); seen != nil && seen.Reason == string(LayoutsDiffer) {
		return failed(LayoutsDiffer, seen.Message, inspect)
	}
	detail := "the Secret " + check.SecretName
	if c := check.Credential; c != nil {
		detail += fmt.Sprintf(": %s, serial number %s, until %s", credential.Printable(c.Subject), c.SerialNumber,
			c.NotAfter.UTC().Format(time.RFC3339))
	}
	var warnings []string
	for _, warning := range f.Findings {
		warnings = append(warnings, string(warning.Reason))
	}
	if len(warnings) > 0 {
		detail += "; warnings: " + strings.Join(warnings, ", ") + " (" + inspect + ")"
	}
	return fine(detail)
}

// credentialAsSeen is lookCredential for a Secret that the user may not read: as the controller saw
// it.
func (f *Facts) credentialAsSeen() finding {
	why := f.Unread[SourceSecret]
	seen := f.condition(v1alpha1.ConditionCredentialValid)
	switch {
	case seen == nil && why == "":
		return skipped("there is no Pod and no EgressTarget")
	case seen == nil:
		return unknown(why)
	case seen.Status != metav1.ConditionTrue:
		return failed(Cause(seen.Reason), seen.Message, "kubectl describe egt "+f.Host+" -n "+f.Namespace)
	}
	return fine("as the controller saw it: " + seen.Message)
}

// lookProgrammed reports what the controller says about the target.
func lookProgrammed(f *Facts) finding {
	if f.EgressTarget == nil {
		return unknown("the EgressTarget was not read")
	}
	describe := "kubectl describe egt " + f.Host + " -n " + f.Namespace
	programmed, conflicted := f.condition(v1alpha1.ConditionProgrammed), f.condition(v1alpha1.ConditionConflicted)
	conflict := conflicted != nil && conflicted.Status == metav1.ConditionTrue
	switch {
	case programmed.Status != metav1.ConditionTrue && programmed.Reason == plan.ReasonCredentialInvalid:
		return f.closedForCredential(programmed.Message, describe)
	case programmed.Status != metav1.ConditionTrue && conflict:
		return failed(Cause(programmed.Reason), programmed.Message+": "+conflicted.Message, describe)
	case programmed.Status != metav1.ConditionTrue:
		return failed(Cause(programmed.Reason), programmed.Message, describe)
	case conflict:
		return failed(Cause(conflicted.Reason), conflicted.Message, describe)
	}
	return fine(programmed.Reason + ": " + programmed.Message)
}

// closedForCredential is the result for a target that is closed because of its credential. If that
// is usable by now, the controller will see it.
func (f *Facts) closedForCredential(message, describe string) finding {
	if f.Credential != nil && !f.Credential.Usable() {
		return followsFrom(StepCredential)
	}
	if seen := f.condition(v1alpha1.ConditionCredentialValid); f.Credential == nil && seen != nil &&
		seen.Status != metav1.ConditionTrue {
		return followsFrom(StepCredential)
	}
	return failed(CredentialInvalid, message+"; the Secret of this Pod can be used: if it was changed just now, the "+
		"controller "+
		"sees that within five minutes, or at once after a change of the EgressTarget", describe)
}

// lookObjects compares the objects of the namespace with those that the controller writes.
func lookObjects(f *Facts) finding {
	if f.Objects == nil {
		return unknown(f.unread(SourceObjects))
	}
	if f.EgressTarget == nil {
		return unknown("the EgressTarget was not read")
	}
	describe := "kubectl describe egt " + f.Host + " -n " + f.Namespace
	decided := plan.Decide(f.planFacts())
	if len(decided.Conflicts) > 0 {
		conflict := decided.Conflicts[0]
		return failed(Conflict, conflict.Message,
			fmt.Sprintf("kubectl get %s %s -n %s -o yaml", lower(conflict.Kind), conflict.Name, conflict.Namespace))
	}
	if decided.Programmed.Status != metav1.ConditionTrue {
		return failed(Cause(decided.Programmed.Reason), decided.Programmed.Message, describe)
	}
	missing, changed, err := f.outOfSync(decided)
	switch {
	case err != nil:
		return unknown("the objects can't be compared: " + err.Error())
	case len(missing) > 0:
		return failed(ObjectsMissing, fmt.Sprintf("the generated objects are missing: %s; the controller writes them "+
			"again when "+
			"it runs", strings.Join(missing, ", ")), describe)
	case len(changed) > 0:
		return failed(ObjectsChanged, fmt.Sprintf("the generated objects were changed: %s; the controller puts them back "+
			"when it "+
			"runs, unless another writer changes them again", strings.Join(changed, ", ")), describe)
	}
	return fine(decided.Programmed.Message)
}

// planFacts are the facts for the decision about the target. If the Secret was not read, the
// credential is assumed to be as the DestinationRule says.
func (f *Facts) planFacts() plan.Facts {
	facts := plan.Facts{
		EgressTarget: f.EgressTarget, Siblings: f.Siblings, Demands: f.Demands, Others: f.Others, Now: f.Now,
		Sinkhole: f.Sinkhole(),
	}
	own := f.Objects[ObjectKey{mesh.KindDestinationRule, egress.ObjectName(f.Host)}]
	if standing, found := plan.ReadStanding(own, f.Host); found {
		facts.Standing = &standing
	}
	switch {
	case f.Credential != nil:
		facts.Credentials = []plan.CredentialCheck{*f.Credential}
	case facts.Standing != nil:
		facts.Credentials = []plan.CredentialCheck{{SecretName: f.Target().SecretName, Layout: facts.Standing.Layout}}
	default:
		facts.Credentials = []plan.CredentialCheck{plan.AssumedCredential(f.Target(), f.Target().SecretName, 0)}
	}
	return facts
}

// outOfSync returns the generated objects that are missing or differ from the plan.
func (f *Facts) outOfSync(decided plan.Plan) (missing, changed []string, err error) {
	if f.Objects[ObjectKey{mesh.KindServiceEntry, egress.AnchorName}] == nil {
		missing = append(missing, mesh.KindServiceEntry+" "+egress.AnchorName)
	}
	for _, object := range decided.Objects() {
		desired, err := mesh.Unstructured(object)
		if err != nil {
			return nil, nil, err
		}
		name := desired.GetKind() + " " + desired.GetName()
		present := f.Objects[ObjectKey{desired.GetKind(), desired.GetName()}]
		switch {
		case present == nil:
			missing = append(missing, name)
		case !mesh.OwnedFor(present, f.Host) || !sameSpec(present, desired) || markedForIstio(present):
			changed = append(changed, name)
		}
	}
	return missing, changed, nil
}

// sameSpec compares two specs, without the age of connections, which follows the clock.
func sameSpec(present, desired *unstructured.Unstructured) bool {
	return equality.Semantic.DeepEqual(withoutAge(present), withoutAge(desired))
}

func withoutAge(object *unstructured.Unstructured) any {
	spec := object.DeepCopy().Object["spec"]
	fields, _ := spec.(map[string]any)
	subsets, _ := fields["subsets"].([]any)
	for _, subset := range subsets {
		if content, ok := subset.(map[string]any); ok {
			unstructured.RemoveNestedField(content, "trafficPolicy", "connectionPool")
		}
	}
	return spec
}

// markedForIstio reports whether the object has a label with which Istio may ignore it.
func markedForIstio(object metav1.Object) bool {
	for key := range object.GetLabels() {
		if mesh.ReadByIstio(key) {
			return true
		}
	}
	return false
}

// unread returns the reason why a source was not read.
func (f *Facts) unread(source Source) string {
	if why := f.Unread[source]; why != "" {
		return why
	}
	return string(source) + " was not read"
}

// presentsOther reports whether the Pod mounts another Secret than it would if it were created now.
func (f *Facts) presentsOther() bool {
	return f.Pod != nil && slices.ContainsFunc(f.Demands, func(d plan.Demand) bool {
		return d.Pod == f.Pod.Name && d.Asks && d.SecretName != d.WantedSecret
	})
}
