package v1alpha1

// Endpoint is a place to which the sidecars connect in place of the host: a relay, a gateway or a
// private address of the partner. TLS still ends at the partner: the server name, the accepted
// names, the CA and the client certificate are those of the target.
type Endpoint struct {
	// The DNS name or the IP address to connect to, without a port. A name is resolved as it is,
	// without search domains. For a Service of the cluster, write its full name, for example
	// egress-gateway.istio-egress.svc.cluster.local. An administrator must allow it.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z]([-a-z0-9]{0,61}[a-z0-9])?$') || self.matches('^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$') || self.matches('^[0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,7}$')",message="address must be an IP address, or a host name of at least two labels of lowercase letters, digits and inner hyphens, without scheme, port and trailing dot"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(0|127|22[4-9]|23[0-9])[.][0-9.]+$|^169[.]254[.][0-9.]+$|^(0{0,4}:)+0{0,3}[01]?$|^fe[89ab][0-9a-f]:|^ff[0-9a-f]{2}:')",message="address can't be an unspecified, loopback, link-local or multicast address: set an address at which the partner, a relay or a gateway answers"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[.]svc$')",message="address must be the full name of a Service, because search domains don't apply: set NAME.NAMESPACE.svc.cluster.local, with the domain of the cluster"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[.]mtls-egress[.]internal$')",message="address can't be below mtls-egress.internal, which is reserved for the controller"
	Address string `json:"address"`

	// The port to connect to. Default: the port of the target.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`

	// 0 or 1. An endpoint with 1 is only used while no endpoint with 0 can be reached. Calls are
	// spread over the endpoints with the same priority.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1
	// +optional
	Priority int32 `json:"priority,omitempty"`
}
