package manifests

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/charts"
)

// validator validates EgressTargets against the CRD with the API server's own packages and in the
// same order. Render therefore rejects what a cluster rejects, with the same messages.
//
// https://github.com/kubernetes/apiextensions-apiserver/blob/v0.36.3/pkg/registry/customresource/strategy.go
type validator struct {
	schema  *structuralschema.Structural
	openAPI validation.SchemaValidator
	rules   *cel.Validator
}

// newValidator compiles the CRD. This takes as long as validating a hundred EgressTargets, so one
// validator serves the whole input.
func newValidator() (*validator, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(charts.EgressTargetCRD()), crd); err != nil {
		return nil, fmt.Errorf("reading the CRD: %w", err)
	}
	at := slices.IndexFunc(crd.Spec.Versions, func(version apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return version.Name == v1alpha1.Version
	})
	if at < 0 {
		return nil, fmt.Errorf("the CRD has no version %s", v1alpha1.Version)
	}
	internal := &apiextensions.CustomResourceValidation{}
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(
		crd.Spec.Versions[at].Schema, internal, nil); err != nil {
		return nil, fmt.Errorf("converting the CRD: %w", err)
	}
	structural, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, fmt.Errorf("the schema of the CRD: %w", err)
	}
	openAPI, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, fmt.Errorf("the schema of the CRD: %w", err)
	}
	return &validator{
		schema:  structural,
		openAPI: openAPI,
		rules:   cel.NewValidator(structural, true, celconfig.PerCallLimit),
	}, nil
}

// egressTargetValidator returns the validator of this input. The first EgressTarget creates it.
func (r *renderer) egressTargetValidator() (*validator, error) {
	if r.validator != nil {
		return r.validator, nil
	}
	made, err := newValidator()
	r.validator = made
	return made, err
}

// validate returns the EgressTarget with defaults, as the API server would store it, or all
// problems with their fields.
func (v *validator) validate(item item) (*v1alpha1.EgressTarget, []fault) {
	object, err := item.copy()
	if err != nil {
		return nil, []fault{{message: err.Error()}}
	}
	if problem := unreadable(object); problem != nil {
		return nil, []fault{{ParsePath(problem.Field), problem.Error()}}
	}
	unknown, err := v.coerce(object)
	if err != nil {
		return nil, []fault{{message: err.Error()}}
	}
	var problems []fault
	if len(unknown) > 0 {
		problems = append(problems, fault{ParsePath(unknown[0]), unknownFields(unknown)})
	}
	// An API server stops at an unknown field. Here all other problems are reported, too.
	for _, problem := range v.check(object, item.namespace()) {
		problems = append(problems, fault{ParsePath(problem.Field), message(problem)})
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b fault) int { return strings.Compare(a.message, b.message) })
		return nil, problems
	}
	egressTarget := &v1alpha1.EgressTarget{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, egressTarget); err != nil {
		return nil, []fault{{message: err.Error()}}
	}
	return egressTarget, nil
}

// copy returns the object as an API server decodes it from JSON, with integers as such.
func (i item) copy() (*unstructured.Unstructured, error) {
	encoded, err := i.json()
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	return object, json.Unmarshal(encoded, &object.Object)
}

// unreadable returns an error for an object that can't be validated: one with a version that the
// CRD lacks, or one with a generated name, whose host is unknown. The latter is valid in a cluster.
func unreadable(object *unstructured.Unstructured) *field.Error {
	if apiVersion := v1alpha1.GroupVersion().String(); object.GetAPIVersion() != apiVersion {
		return field.Invalid(field.NewPath("apiVersion"), object.GetAPIVersion(), "must be "+apiVersion)
	}
	if object.GetName() == "" && object.GetGenerateName() != "" {
		return field.Invalid(field.NewPath("metadata", "generateName"), object.GetGenerateName(),
			"the name of an EgressTarget is its host, and only a cluster generates names: set "+
				"metadata.name to the host")
	}
	return nil
}

// unknownFields is the API server's message for fields that the schema doesn't know.
func unknownFields(paths []string) string {
	problems := make([]error, len(paths))
	for n, path := range paths {
		problems[n] = fmt.Errorf("unknown field %q", path)
	}
	return runtime.NewStrictDecodingError(problems).Error()
}

// coerce removes the fields that the schema doesn't know and returns their paths. Then it
// applies the defaults. Invalid metadata is a separate error.
//
// https://github.com/kubernetes/apiextensions-apiserver/blob/v0.36.3/pkg/apiserver/customresource_handler.go#L1406
func (v *validator) coerce(object *unstructured.Unstructured) ([]string, error) {
	_, _, unknown, err := objectmeta.GetObjectMetaWithOptions(object.Object,
		objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, err
	}
	unknown = append(
		unknown,
		pruning.PruneWithOptions(object.Object, v.schema, true,
			structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	defaulting.PruneNonNullableNullsWithoutDefaults(object.Object, v.schema)
	defaulting.Default(object.Object, v.schema)
	return unknown, nil
}

// check validates the object as the API server does on create.
func (v *validator) check(object *unstructured.Unstructured, namespace string) field.ErrorList {
	// Users don't set the status, so the API server drops it without validation. The client that
	// applies an object without a namespace sets one.
	unstructured.RemoveNestedField(object.Object, "status")
	object.SetGeneration(1)
	object.SetNamespace(cmp.Or(namespace, metav1.NamespaceDefault))
	problems := apivalidation.ValidateObjectMetaAccessor(object, true, apivalidation.NameIsDNSSubdomain,
		field.NewPath("metadata"))
	problems = append(problems, validation.ValidateCustomResource(nil, object.Object, v.openAPI)...)
	problems = append(problems, listtype.ValidateListSetsAndMaps(nil, v.schema, object.Object)...)
	if slices.ContainsFunc(problems, blocksRules) {
		return append(
			problems,
			field.Invalid(nil, nil,
				"some validation rules were not checked because the object was invalid; correct the existing "+
					"errors to complete validation"),
		)
	}
	broken, _ := v.rules.Validate(context.Background(), nil, v.schema, object.Object, nil,
		celconfig.RuntimeCELCostBudget)
	return append(problems, broken...)
}

// blocksRules reports whether the problem prevents the evaluation of CEL rules.
//
// https://github.com/kubernetes/apiextensions-apiserver/blob/v0.36.3/pkg/registry/customresource/strategy.go#L405
func blocksRules(problem *field.Error) bool {
	switch problem.Type {
	case field.ErrorTypeNotSupported,
		field.ErrorTypeRequired,
		field.ErrorTypeTooLong,
		field.ErrorTypeTooMany,
		field.ErrorTypeTypeInvalid:
		return true
	default:
		return false
	}
}

// message omits the field of a problem with the whole object, which would be printed as <nil>.
func message(problem *field.Error) string {
	return strings.TrimPrefix(problem.Error(), (*field.Path)(nil).String()+": ")
}
