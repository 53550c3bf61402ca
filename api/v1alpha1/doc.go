// Package v1alpha1 is the API of mtls-egress-webhook: one namespaced type, EgressTarget.
//
// +kubebuilder:object:generate=true
// +groupName=mtls.egress
package v1alpha1
