package controller

// The controller's permissions in every namespace. The chart's ClusterRole is generated from these
// markers. Each line is as narrow as possible, and templates/rbac-controller.yaml of the chart has
// the reason for it. Resources that are only read from the cache need no get.
//
// The chart defines the permissions for the leader's Lease, which is in the controller's namespace,
// and for the ConfigMap of the mesh configuration, whose name is a chart value.
//
// +kubebuilder:rbac:groups="",resources=secrets;configmaps,verbs=get
// +kubebuilder:rbac:groups="",resources=pods;services,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list
// +kubebuilder:rbac:groups=networking.k8s.io,resources=servicecidrs,verbs=list
// +kubebuilder:rbac:groups=mtls.egress,resources=egresstargets,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=mtls.egress,resources=egresstargets/status,verbs=patch
// +kubebuilder:rbac:groups=networking.istio.io,resources=serviceentries;virtualservices;destinationrules,verbs=get;list;watch;create;patch;update;delete
// +kubebuilder:rbac:groups=networking.istio.io,resources=sidecars,verbs=list;watch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
