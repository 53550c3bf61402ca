package adopt

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/mesh"
)

// Unreadable returns an error for each hand-written object of Istio that can't be decoded. Such an
// object may be part of a set, and without it the proposal would be wrong.
func Unreadable(world *check.World) []error {
	var problems []error
	for _, object := range world.Objects {
		if object.Kind.Group != mesh.GroupVersion().Group || isGenerated(object) {
			continue
		}
		if fields := unreadableFields(object.Kind.Kind, object.Content); len(fields) > 0 {
			problems = append(problems, fmt.Errorf("%s: can't be decoded: %s has a value of the wrong type, or one that "+
				"Istio doesn't know; correct it", object.Location, strings.Join(fields, " and ")))
		}
	}
	return problems
}

// unreadableFields returns the fields of an object that can't be decoded. It leaves the errors of
// the decoder out, because they name no field and can contain values.
func unreadableFields(kind string, content map[string]any) []string {
	if isReadable(kind, content) {
		return nil
	}
	var fields []string
	spec, _ := content["spec"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(spec)) {
		if !isReadable(kind, map[string]any{"spec": map[string]any{name: spec[name]}}) {
			fields = append(fields, "spec."+name)
		}
	}
	if len(fields) > 0 {
		return fields
	}
	for _, name := range slices.Sorted(maps.Keys(content)) {
		if !isReadable(kind, map[string]any{name: content[name]}) {
			fields = append(fields, name)
		}
	}
	return fields
}

// isReadable reports whether an object of a kind can be decoded. Other kinds than those of a set
// don't matter.
func isReadable(kind string, content map[string]any) bool {
	encoded, err := json.Marshal(content)
	if err != nil {
		return false
	}
	switch kind {
	case mesh.KindDestinationRule:
		err = json.Unmarshal(encoded, &networkingv1.DestinationRule{})
	case mesh.KindVirtualService:
		err = json.Unmarshal(encoded, &networkingv1.VirtualService{})
	case mesh.KindServiceEntry:
		err = json.Unmarshal(encoded, &networkingv1.ServiceEntry{})
	}
	return err == nil
}
