package controller

// What the controller may do in every namespace; the chart's ClusterRole is generated from these markers. Each line is as
// narrow as its use, and templates/rbac-controller.yaml of the chart has the reason for it. What is read from the cache alone
// needs no get.
//
// The Lease of the leader is in the namespace of the controller and the chart's business, and so is the ConfigMap of the mesh
// configuration, whose name is a value of the chart.
//
// +kubebuilder:rbac:groups="",resources=secrets;configmaps,verbs=get
// +kubebuilder:rbac:groups="",resources=pods;services,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=mtls.egress,resources=egresstargets,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=mtls.egress,resources=egresstargets/status,verbs=patch
// +kubebuilder:rbac:groups=networking.istio.io,resources=serviceentries;virtualservices;destinationrules,verbs=get;list;watch;create;patch;update;delete
// +kubebuilder:rbac:groups=networking.istio.io,resources=sidecars,verbs=list;watch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
