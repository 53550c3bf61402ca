package controller

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/mesh"
)

// Istio's objects are read as unstructured ones, because a generated object has to be compared with what was written to the
// last field: a field that a newer Istio knows and our types don't can make it mean something else.

func newIstioList(kind string) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(mesh.GroupVersion().WithKind(kind + "List"))
	return list
}
