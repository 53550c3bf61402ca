package controller

// What the controller may do in every namespace; the chart's ClusterRole is generated from these markers. Each line is as
// narrow as its use:
//   - Secrets, and ConfigMaps with the CA of a server, can be read by name only: without list and watch nobody who holds this account can
//     find out what there is.
//   - Certificates are cert-manager's, and written only where credential.issuerRef of an EgressTarget asks for one.
//   - Pods are read, never written.
//   - Update of Istio objects puts back a spec to which somebody added a field, which server-side apply alone would leave.
//
// The leader's Lease and the serving certificate are in the namespace of the webhook and the chart's business, and so is the
// ConfigMap of the mesh configuration, whose name is a value of the chart.
//
// +kubebuilder:rbac:groups="",resources=secrets;configmaps,verbs=get
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups=mtls.egress,resources=egresstargets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=mtls.egress,resources=egresstargets/status,verbs=update
// +kubebuilder:rbac:groups=networking.istio.io,resources=serviceentries;virtualservices;destinationrules,verbs=get;list;watch;create;patch;update;delete
// +kubebuilder:rbac:groups=networking.istio.io,resources=sidecars,verbs=get;list;watch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
