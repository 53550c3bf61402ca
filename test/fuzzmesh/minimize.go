package fuzzmesh

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"mtls.egress/webhook/internal/mesh"
)

// minimize takes out of w whatever finding doesn't need: objects, settings of the mesh and fields
// of others' objects. It returns what is left, and the finding there.
func minimize(t *testing.T, w World, finding Finding) (World, Finding) {
	shows := func(smaller World) bool {
		found := judge(t, smaller, &count{})
		i := slices.IndexFunc(found, func(other Finding) bool {
			return finding.same(other) &&
				other.limit(smaller) == finding.limit(w)
		})
		if i >= 0 {
			finding = found[i]
		}
		return i >= 0
	}
	for smaller := true; smaller; {
		smaller = false
		for _, candidate := range slices.Concat(fewerObjects(w), plainerMesh(w), fewerFields(w)) {
			// A candidate was made from an earlier w: what has become smaller since is tried again
			// in the next round.
			if shows(candidate) {
				w, smaller = candidate, true
				break
			}
		}
	}
	return w, finding
}

func fewerObjects(w World) []World {
	var worlds []World
	for i := range w.Theirs {
		smaller := w
		smaller.Theirs = slices.Delete(slices.Clone(w.Theirs), i, i+1)
		worlds = append(worlds, smaller)
	}
	for i := range w.Services {
		smaller := w
		smaller.Services = slices.Delete(slices.Clone(w.Services), i, i+1)
		worlds = append(worlds, smaller)
	}
	for i := range w.Targets {
		if len(w.Targets) == 1 {
			break
		}
		smaller := w
		smaller.Targets = slices.Delete(slices.Clone(w.Targets), i, i+1)
		smaller.Ours = slices.DeleteFunc(slices.Clone(w.Ours), func(object mesh.Object) bool {
			return sameName(object,
				w.Targets[i].virtualService())
		})
		worlds = append(worlds, smaller)
	}
	for i := range w.Ours {
		smaller := w
		smaller.Ours = slices.Delete(slices.Clone(w.Ours), i, i+1)
		worlds = append(worlds, smaller)
	}
	return worlds
}

func plainerMesh(w World) []World {
	var worlds []World
	try := func(change func(*Mesh)) {
		smaller := w
		change(&smaller.Mesh)
		if smaller.Mesh.differs(w.Mesh) {
			worlds = append(worlds, smaller)
		}
	}
	try(func(m *Mesh) { m.Mode = "ALLOW_ANY" })
	try(func(m *Mesh) { m.DNSCapture = false })
	try(func(m *Mesh) { m.VirtualServiceExportTo = nil })
	try(func(m *Mesh) { m.DestinationRuleExportTo = nil })
	try(func(m *Mesh) { m.ServiceExportTo = nil })
	return worlds
}

func (m Mesh) differs(other Mesh) bool {
	return m.Mode != other.Mode || m.DNSCapture != other.DNSCapture ||
		len(m.VirtualServiceExportTo) != len(other.VirtualServiceExportTo) ||
		len(m.DestinationRuleExportTo) != len(other.DestinationRuleExportTo) ||
		len(m.ServiceExportTo) != len(other.ServiceExportTo)
}

// fewerFields returns w with one field less in one object of others.
func fewerFields(w World) []World {
	var worlds []World
	for i, object := range w.Theirs {
		for field := 0; !isGateway(object); field++ {
			changed := object.DeepCopyObject().(mesh.Object)
			_, spec := schemaOf(changed)
			left := field
			if !clearField(spec.(proto.Message).ProtoReflect(), &left) {
				break
			}
			if valid(changed) {
				worlds = append(worlds, w.with(i, changed))
			}
		}
		for _, change := range []func(mesh.Object){
			func(o mesh.Object) { o.SetLabels(nil) },
			func(o mesh.Object) { o.SetOwnerReferences(nil) },
		} {
			changed := object.DeepCopyObject().(mesh.Object)
			if change(changed); len(changed.GetLabels()) != len(object.GetLabels()) ||
				len(changed.GetOwnerReferences()) != len(object.GetOwnerReferences()) {
				worlds = append(worlds, w.with(i, changed))
			}
		}
	}
	return worlds
}

// with returns w with another object in the place of the i'th of others.
func (w World) with(i int, object mesh.Object) World {
	w.Theirs = slices.Clone(w.Theirs)
	w.Theirs[i] = object
	return w
}

// clearField clears the left'th field of message, counted depth first, and reports whether it has
// so many.
func clearField(message protoreflect.Message, left *int) bool {
	cleared := false
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if *left == 0 {
			message.Clear(field)
			cleared = true
			return false
		}
		*left--
		switch {
		case field.IsList() && field.Message() != nil:
			for i := 0; i < value.List().Len() && !cleared; i++ {
				cleared = clearField(value.List().Get(i).Message(), left)
			}
		case field.Message() != nil && !field.IsMap() && !field.IsList():
			cleared = clearField(value.Message(), left)
		}
		return !cleared
	})
	return cleared
}
