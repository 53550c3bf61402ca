package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// Group is the API group of every type in this package.
	Group = "mtls.egress"
	// Version is the API version of every type in this package.
	Version = "v1alpha1"
	// Kind is the kind of EgressTarget.
	Kind = "EgressTarget"
)

// GroupVersion returns mtls.egress/v1alpha1.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: Version}
}

// AddToScheme registers the types of this package with scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion(), &EgressTarget{}, &EgressTargetList{})
	metav1.AddToGroupVersion(scheme, GroupVersion())
	return nil
}
