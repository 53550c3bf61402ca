package mesh_test

import (
	"fmt"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// manyOthers returns n objects of each kind, one in ten of them for the host of exampleTarget.
func manyOthers(n int) mesh.Others {
	var others mesh.Others
	for i := range n {
		name, asked := fmt.Sprintf("theirs-%d", i), fmt.Sprintf("host-%d.system.com", i)
		if i%10 == 0 {
			asked = host
		}
		others.VirtualServices = append(others.VirtualServices, virtualService(vsNamed(name), vsHost(asked)))
		others.DestinationRules = append(others.DestinationRules, destinationRule(drNamed(name), drHost(asked)))
		others.ServiceEntries = append(others.ServiceEntries, serviceEntry(seNamed(name), seHost(asked)))
		others.Sidecars = append(
			others.Sidecars, sidecar(scNamed(name), scSelects("app", name), egressListeners(listener("./*", "istio-system/*"))),
		)
	}
	return others
}

func BenchmarkObjects(b *testing.B) {
	asked, layout := exampleTarget(), egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
	b.ReportAllocs()
	for b.Loop() {
		mesh.Objects(asked, layout)
	}
}

func BenchmarkUnstructured(b *testing.B) {
	objects := mesh.Objects(exampleTarget(), egress.Layout{})
	b.ReportAllocs()
	for b.Loop() {
		for _, obj := range objects {
			if _, err := mesh.Unstructured(obj); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkConflicts looks through 1,000 objects, 250 of each kind.
func BenchmarkConflicts(b *testing.B) {
	others := manyOthers(250)
	b.Run("one in ten for the host", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mesh.Conflicts(exampleTarget(), others)
		}
	})
	b.Run("none for the host", func(b *testing.B) {
		quiet := mesh.Others{Sidecars: others.Sidecars}
		for i := range others.VirtualServices {
			if i%10 != 0 {
				quiet.VirtualServices = append(quiet.VirtualServices, others.VirtualServices[i])
				quiet.DestinationRules = append(quiet.DestinationRules, others.DestinationRules[i])
				quiet.ServiceEntries = append(quiet.ServiceEntries, others.ServiceEntries[i])
			}
		}
		quiet.VirtualServices = append(quiet.VirtualServices, (*networkingv1.VirtualService)(nil))
		b.ReportAllocs()
		for b.Loop() {
			mesh.Conflicts(exampleTarget(), quiet)
		}
	})
}
