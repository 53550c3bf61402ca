// Package workload has the kinds of objects that create Pods, and the places of their Pod
// templates.
package workload

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Kind describes the objects of one kind. At least one of Templates and Annotations is not empty.
type Kind struct {
	// Kind is the name of the kind, such as Deployment.
	Kind string `json:"kind"`
	// Templates are the paths of the Pod templates (PodTemplateSpec). An object has at least one of
	// them.
	Templates []Path `json:"templates,omitempty"`
	// Annotations are the paths of maps that the controller of the kind copies to the annotations of
	// its Pods. They are for kinds without a Pod template, or with an optional one. A map that an
	// object lacks is added. These paths have no lists.
	Annotations []Path `json:"annotations,omitempty"`
	// Immutable means that the API server refuses another Pod template in an existing object.
	Immutable bool `json:"immutable,omitempty"`
}

// Path is a path of fields, separated by dots, as in spec.template. The suffix [*] of a field
// stands for all elements of a list, as in spec.tasks[*].template. There is at most one.
type Path string

// OfWorkload returns the path of the annotations of the workload that a template belongs to, if
// that is part of another workload: spec.jobTemplate.metadata.annotations of a CronJob, whose Jobs
// get that metadata, and thereby propagate it. Otherwise found is false.
func (p Path) OfWorkload() (path Path, found bool) {
	part, found := strings.CutSuffix(string(p), ".spec.template")
	return Path(part + ".metadata.annotations"), found
}

// Elements is the suffix of a field of a Path that is a list.
const Elements = "[*]"

// fieldName is a field in the Go convention for JSON, which all Kubernetes APIs follow.
const fieldName = `[A-Za-z][A-Za-z0-9]*`

var (
	templatePath   = regexp.MustCompile(`^` + fieldName + `(\.` + fieldName + `)*(\[\*\](\.` + fieldName + `)+)?$`)
	annotationPath = regexp.MustCompile(`^` + fieldName + `(\.` + fieldName + `)+$`)
)

// Kinds are the kinds of workloads by resource, as in kubectl: RESOURCE.GROUP, or RESOURCE alone
// for the core group.
type Kinds map[string]Kind

// Known returns the well-known kinds. They are also the default of the chart's value workloads.
func Known() Kinds {
	template := []Path{"spec.template"}
	return Kinds{
		"deployments.apps":       {Kind: "Deployment", Templates: template},
		"statefulsets.apps":      {Kind: "StatefulSet", Templates: template},
		"daemonsets.apps":        {Kind: "DaemonSet", Templates: template},
		"replicasets.apps":       {Kind: "ReplicaSet", Templates: template},
		"replicationcontrollers": {Kind: "ReplicationController", Templates: template},
		"jobs.batch":             {Kind: "Job", Templates: template, Immutable: true},
		"cronjobs.batch":         {Kind: "CronJob", Templates: []Path{"spec.jobTemplate.spec.template"}},

		"rollouts.argoproj.io":          {Kind: "Rollout", Templates: template},
		"workflows.argoproj.io":         {Kind: "Workflow", Annotations: []Path{"spec.podMetadata.annotations"}},
		"workflowtemplates.argoproj.io": {Kind: "WorkflowTemplate", Annotations: []Path{"spec.podMetadata.annotations"}},
		"cronworkflows.argoproj.io": {
			Kind: "CronWorkflow", Annotations: []Path{"spec.workflowSpec.podMetadata.annotations"},
		},
		"services.serving.knative.dev":        {Kind: "Service", Templates: template},
		"deploymentconfigs.apps.openshift.io": {Kind: "DeploymentConfig", Templates: template},
		"clonesets.apps.kruise.io":            {Kind: "CloneSet", Templates: template},
		"statefulsets.apps.kruise.io":         {Kind: "StatefulSet", Templates: template},
		"daemonsets.apps.kruise.io":           {Kind: "DaemonSet", Templates: template},
		"jobsets.jobset.x-k8s.io": {
			Kind: "JobSet", Templates: []Path{"spec.replicatedJobs[*].template.spec.template"}, Immutable: true,
		},
		"leaderworkersets.leaderworkerset.x-k8s.io": {
			Kind:      "LeaderWorkerSet",
			Templates: []Path{"spec.leaderWorkerTemplate.leaderTemplate", "spec.leaderWorkerTemplate.workerTemplate"},
		},
		"jobs.batch.volcano.sh": {Kind: "Job", Templates: []Path{"spec.tasks[*].template"}, Immutable: true},
		"sparkapplications.sparkoperator.k8s.io": {
			Kind: "SparkApplication", Annotations: []Path{"spec.driver.annotations", "spec.executor.annotations"},
		},
		"scheduledsparkapplications.sparkoperator.k8s.io": {
			Kind:        "ScheduledSparkApplication",
			Annotations: []Path{"spec.template.driver.annotations", "spec.template.executor.annotations"},
		},
		"flinkdeployments.flink.apache.org": {
			Kind: "FlinkDeployment", Annotations: []Path{"spec.podTemplate.metadata.annotations"},
		},
	}
}

// Parse reads Kinds in YAML or JSON. It returns all problems at once, each with its field.
func Parse(text []byte) (Kinds, error) {
	var kinds Kinds
	if err := yaml.UnmarshalStrict(text, &kinds); err != nil {
		return nil, fmt.Errorf("is not a map of RESOURCE.GROUP to kind, templates, annotations and immutable: %w", err)
	}
	return kinds, kinds.validate().ToAggregate()
}

func (k Kinds) validate() field.ErrorList {
	var errs field.ErrorList
	resources := map[schema.GroupKind]string{}
	for _, resource := range slices.Sorted(maps.Keys(k)) {
		at := (*field.Path)(nil).Key(resource)
		kind := k[resource]
		errs = append(errs, kind.validate(resource, at)...)
		id := kind.groupKind(resource)
		if other, again := resources[id]; again {
			errs = append(errs, field.Invalid(at.Child("kind"), kind.Kind, "is also the kind of "+other+"; keep one of the two"))
		}
		resources[id] = resource
	}
	return errs
}

func (k Kind) validate(resource string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	name, group, _ := strings.Cut(resource, ".")
	if len(validation.IsDNS1123Label(name)) > 0 || (group != "" && len(validation.IsDNS1123Subdomain(group)) > 0) {
		errs = append(errs, field.Invalid(at, resource, "is not RESOURCE.GROUP, as in deployments.apps"))
	}
	if resource == "pods" {
		errs = append(errs, field.Invalid(at, resource, "Pods are not workloads, and always included; remove them"))
	}
	if !regexp.MustCompile(`^` + fieldName + `$`).MatchString(k.Kind) {
		errs = append(errs, field.Invalid(at.Child("kind"), k.Kind, "is not the name of a kind, as in Deployment"))
	}
	if len(k.Templates)+len(k.Annotations) == 0 {
		errs = append(errs, field.Required(at.Child("templates"),
			"has neither templates nor annotations; write the path of the Pod template, as in spec.template"))
	}
	for n, path := range k.Templates {
		if !templatePath.MatchString(string(path)) {
			errs = append(errs, field.Invalid(at.Child("templates").Index(n), string(path),
				"is not a path of fields, as in spec.template or spec.tasks[*].template"))
		}
	}
	for n, path := range k.Annotations {
		if !annotationPath.MatchString(string(path)) {
			errs = append(errs, field.Invalid(at.Child("annotations").Index(n), string(path),
				"is not a path of fields without lists, as in spec.podMetadata.annotations"))
		}
	}
	return errs
}

func (k Kind) groupKind(resource string) schema.GroupKind {
	_, group, _ := strings.Cut(resource, ".")
	return schema.GroupKind{Group: group, Kind: k.Kind}
}

// ByKind returns the kinds by group and kind.
func (k Kinds) ByKind() map[schema.GroupKind]Kind {
	kinds := make(map[schema.GroupKind]Kind, len(k))
	for resource, kind := range k {
		kinds[kind.groupKind(resource)] = kind
	}
	return kinds
}
