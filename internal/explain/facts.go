package explain

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
)

// Source is something that a caller reads for the facts.
type Source string

// The sources. Each is the name of a fact in a sentence.
const (
	SourceNamespace    Source = "the Namespace"
	SourceWorkload     Source = "the workload"
	SourceEvents       Source = "the events"
	SourceEgressTarget Source = "the EgressTarget"
	SourceSecret       Source = "the Secret"
	SourceObjects      Source = "the Istio objects"
	SourceController   Source = "the controller's Lease"
	SourceEnvoy        Source = "the sidecar's admin interface"
	SourceLog          Source = "the sidecar's access log"
)

// Facts are all inputs of an explanation. A fact that could not be read is left out, and Unread has
// the reason.
type Facts struct {
	Namespace string
	// Host is the partner's host, or "" if nothing asks for any.
	Host string
	Now  time.Time
	// Workload is the owner of the Pod, or the workload that the user named. Nil for a single Pod.
	Workload *Workload
	// Pod is the Pod to explain, or nil without one.
	Pod *corev1.Pod
	// Pods is the number of Pods that the Pod was chosen from.
	Pods int
	// NamespaceObject is the Namespace.
	NamespaceObject *corev1.Namespace
	// Misplaced lists Services that have the annotation, as in "the Service shop".
	Misplaced []string
	// Events are the events of the Pod and the workload, the oldest first.
	Events []Event
	// EgressTarget is the EgressTarget of the host, or nil if it doesn't exist.
	EgressTarget *v1alpha1.EgressTarget
	// Siblings are the other targets of the namespace.
	Siblings []egress.Target
	// Demands are the demands of the host's Pods.
	Demands []plan.Demand
	// Credential is the check of the Secret that the Pod presents, and Findings are warnings about it.
	Credential *plan.CredentialCheck
	Findings   []credential.Finding
	// Objects are the Istio objects of the namespace by kind and name, and Others the same ones.
	Objects map[ObjectKey]*unstructured.Unstructured
	Others  mesh.Others
	// Interception are the mesh settings of the injector.
	Interception interception.Settings
	// Controller is the state of the controller.
	Controller Controller
	// Sidecar is what the Pod's sidecar has for the host, or nil if it was not read.
	Sidecar *Sidecar
	// Calls are the last calls to the host in the access log, the oldest first. Nil if there is no
	// access log.
	Calls []Call
	// Unread has the reason for each source that could not be read, as a sentence without a full stop.
	Unread map[Source]string
}

// ObjectKey identifies an Istio object of the namespace.
type ObjectKey struct{ Kind, Name string }

// Workload is an object that creates Pods.
type Workload struct {
	Kind, Name string
	// Annotations and Labels are its own, and Template the annotations of its Pod template.
	Annotations, Labels, Template map[string]string
	// Replicas is the number of Pods that it asks for, or nil if it has no such field.
	Replicas *int64
}

// Event is an event of a Pod, a workload or a ReplicaSet.
type Event struct {
	Object, Reason, Message string
	Time                    time.Time
}

// Controller is the state of the controller.
type Controller struct {
	// Read reports whether its Lease was read. Present reports whether the Lease exists.
	Read, Present bool
	// Holder is the replica that holds the Lease. Renewed and Duration say until when.
	Holder   string
	Renewed  time.Time
	Duration time.Duration
}

// runs reports whether a replica holds the Lease. If it died, the Lease ends after its duration.
func (c Controller) runs(now time.Time) bool {
	return c.Present && c.Holder != "" && now.Before(c.Renewed.Add(2*c.Duration))
}

// Target is the target of the host as the EgressTarget describes it, with the address that the host
// has in the Pod.
func (f *Facts) Target() egress.Target {
	t := TargetOf(f.Namespace, f.Host, f.EgressTarget)
	if f.Pod != nil {
		for _, alias := range f.Pod.Spec.HostAliases {
			address, err := netip.ParseAddr(alias.IP)
			if err == nil && slices.Contains(alias.Hostnames, f.Host) {
				t.Addresses = []netip.Addr{address}
			}
		}
	}
	return t.Among(f.Siblings)
}

// TargetOf returns a target with the address in its status. The ranges of the sinkhole addresses
// needn't be known for that.
func TargetOf(namespace, host string, egressTarget *v1alpha1.EgressTarget) egress.Target {
	t := egress.FromEgressTarget(namespace, host, egressTarget, egress.Sinkhole{})
	if egressTarget == nil {
		return t
	}
	if address, err := netip.ParseAddr(egressTarget.Status.Address); err == nil {
		t.Addresses = []netip.Addr{address}
	}
	return t
}

// Sinkhole returns the ranges of the sinkhole addresses as far as the EgressTarget and its
// ServiceEntry show them: users may not read the settings of the controller.
func (f *Facts) Sinkhole() egress.Sinkhole {
	var texts []string
	if f.EgressTarget != nil {
		texts = append(texts, f.EgressTarget.Status.Address)
	}
	if own := f.Objects[ObjectKey{mesh.KindServiceEntry, egress.ObjectName(f.Host)}]; own != nil {
		held, _, _ := unstructured.NestedStringSlice(own.Object, "spec", "addresses") // none if malformed
		texts = append(texts, held...)
	}
	var addresses []netip.Addr
	for _, text := range texts {
		if address, err := netip.ParseAddr(text); err == nil {
			addresses = append(addresses, address)
		}
	}
	return egress.ObservedSinkhole(addresses)
}

// annotations are those of the Pod or, without a Pod, of the workload's Pod template.
func (f *Facts) annotations() map[string]string {
	switch {
	case f.Pod != nil:
		return f.Pod.Annotations
	case f.Workload != nil && f.Workload.Template[egress.AnnotationTarget] != "":
		return f.Workload.Template
	case f.Workload != nil:
		return f.Workload.Annotations
	}
	return nil
}

// subject names the Pod or the workload in a sentence.
func (f *Facts) subject() string {
	switch {
	case f.Pod != nil:
		return "the Pod " + f.Pod.Name
	case f.Workload != nil:
		return "the " + f.Workload.Kind + " " + f.Workload.Name
	}
	return "the EgressTarget " + f.Host
}

// restart is the command that recreates the Pod.
func (f *Facts) restart() string {
	if f.Workload != nil {
		switch f.Workload.Kind {
		case "Deployment", "StatefulSet", "DaemonSet":
			return "kubectl rollout restart " + lower(f.Workload.Kind) + "/" + f.Workload.Name + " -n " + f.Namespace
		}
	}
	name := "POD"
	if f.Pod != nil {
		name = f.Pod.Name
	}
	return "kubectl delete pod " + name + " -n " + f.Namespace
}
