package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1alpha3"

	"mtls.egress/webhook/internal/mesh"
)

// undecodable returns the faults that keep an object from being decoded, as err says. In the spec
// of an Istio object, they are all fields with a wrong type or an unknown value.
func (i item) undecodable(err error) []fault {
	specs := map[string]proto.Message{
		mesh.KindVirtualService: &networking.VirtualService{}, mesh.KindDestinationRule: &networking.DestinationRule{},
		mesh.KindServiceEntry: &networking.ServiceEntry{}, mesh.KindSidecar: &networking.Sidecar{},
	}
	if spec, known := specs[i.kind.Kind]; known {
		if faults := faultsOfMessage(spec.ProtoReflect().Descriptor(), i.object["spec"], []any{"spec"}); len(faults) > 0 {
			return faults
		}
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return []fault{{ParsePath(wrong.Field), "is a " + wrong.Value + ", want another type"}}
	}
	return []fault{{message: "can't be decoded"}}
}

// faultsOfMessage returns the faults of a protobuf message in JSON. Unknown fields are allowed.
func faultsOfMessage(message protoreflect.MessageDescriptor, value any, at []any) []fault {
	if strings.HasPrefix(string(message.FullName()), "google.protobuf.") {
		return faultsOfWellKnown(message, value, at)
	}
	fields, isMap := value.(map[string]any)
	if !isMap {
		return wrongType(value, "a mapping", at, value == nil)
	}
	var faults []fault
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field := message.Fields().ByJSONName(name)
		if field == nil {
			field = message.Fields().ByTextName(name)
		}
		if field != nil && fields[name] != nil {
			faults = append(faults, faultsOfField(field, fields[name], append(slices.Clip(at), name))...)
		}
	}
	return faults
}

// faultsOfField returns the faults of a list, of a map, or of a single value.
func faultsOfField(field protoreflect.FieldDescriptor, value any, at []any) []fault {
	var faults []fault
	switch {
	case field.IsMap():
		entries, isMap := value.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			faults = append(faults, faultsOfValue(field.MapValue(), entries[key], append(slices.Clip(at), key))...)
		}
		return append(faults, wrongType(value, "a mapping", at, isMap)...)
	case field.IsList():
		elements, isList := value.([]any)
		for n, element := range elements {
			faults = append(faults, faultsOfValue(field, element, append(slices.Clip(at), n))...)
		}
		return append(faults, wrongType(value, "a list", at, isList)...)
	}
	return faultsOfValue(field, value, at)
}

func faultsOfValue(field protoreflect.FieldDescriptor, value any, at []any) []fault {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return faultsOfMessage(field.Message(), value, at)
	case protoreflect.EnumKind:
		name, isText := value.(string)
		values := field.Enum().Values()
		if !isText || values.ByName(protoreflect.Name(name)) != nil {
			return wrongType(value, "text", at, isText || isNumber(value))
		}
		var allowed []string
		for n := range values.Len() {
			allowed = append(allowed, string(values.Get(n).Name()))
		}
		return []fault{{at, fmt.Sprintf("has the unknown value %q, want one of %s", name, strings.Join(allowed, ", "))}}
	case protoreflect.StringKind, protoreflect.BytesKind:
		_, isText := value.(string)
		return wrongType(value, "text: "+quote, at, isText)
	case protoreflect.BoolKind:
		_, isBool := value.(bool)
		return wrongType(value, "true or false", at, isBool)
	default:
		return wrongType(value, "a number", at, isNumber(value))
	}
}

// faultsOfWellKnown returns the faults of a type that JSON has a form of its own for.
func faultsOfWellKnown(message protoreflect.MessageDescriptor, value any, at []any) []fault {
	switch message.Name() {
	case "Duration":
		text, isText := value.(string)
		if !isText {
			return wrongType(value, "a duration such as 5s", at, false)
		}
		if _, err := time.ParseDuration(text); err != nil {
			return []fault{{at, "is not a duration such as 5s"}}
		}
	case "BoolValue", "UInt32Value", "Int32Value", "UInt64Value", "Int64Value", "DoubleValue", "StringValue":
		return faultsOfValue(message.Fields().ByName("value"), value, at)
	}
	return nil
}

// isNumber reports whether the value is a number, also one in quotes, which protobuf reads too.
func isNumber(value any) bool {
	switch value := value.(type) {
	case int64, float64:
		return true
	case string:
		_, err := strconv.ParseFloat(value, 64)
		return err == nil
	}
	return false
}

// wrongType returns a fault unless the value is right.
func wrongType(value any, want string, at []any, right bool) []fault {
	if right {
		return nil
	}
	return []fault{{at, "is " + typeOf(value) + ", want " + want}}
}
