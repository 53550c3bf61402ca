package mesh_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

const closedRoute = `directResponse:
  body:
    string: |
      mtls-egress: the target is closed, so the call was stopped. See the status of the EgressTarget ` +
	`external.system.com.
  status: 503
match:
- port: 80
  sourceLabels:
    to.mtls.egress/external.system.com: "true"
name: mtls-egress
`

func TestAClosedRouteAnswersCallsItself(t *testing.T) {
	closed := closedVirtualService(t, mesh.Closed(exampleTarget(), egress.Layout{}))
	got, err := yaml.Marshal(closed.Spec.Http[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(closedRoute, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestClosedObjectsDifferFromOpenOnesInWhatClosesThem checks for every target that Closed changes
// only what closes it: the objects keep their names, hosts and selectors.
func TestClosedObjectsDifferFromOpenOnesInWhatClosesThem(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		g := generate(random)
		closed := mesh.Closed(g.target, g.layout)
		wantKinds := []string{mesh.KindVirtualService, mesh.KindDestinationRule, mesh.KindServiceEntry}
		if g.layout == (egress.Layout{}) {
			wantKinds = []string{mesh.KindVirtualService, mesh.KindServiceEntry}
		}
		var kinds []string
		for _, object := range closed {
			kinds = append(kinds, object.GetObjectKind().GroupVersionKind().Kind)
		}
		if diff := cmp.Diff(wantKinds, kinds); diff != "" {
			t.Fatalf("kinds with the layout %+v (-want +got):\n%s", g.layout, diff)
		}

		virtualService := closedVirtualService(t, closed)
		routes := virtualService.Spec.Http
		if len(routes) != 1 || routes[0].DirectResponse.GetStatus() != 503 {
			t.Fatalf("the routes are %v", routes)
		}
		if tls := virtualService.Spec.Tls; len(tls) != 1 || tls[0].Route[0].Destination.Subset == "" ||
			tls[0].Route[0].Destination.Subset == mesh.SubsetName {
			t.Fatalf("the routes of the app's own https are %v, want a subset that does not exist", tls)
		}
		asOpen := g.virtualService.DeepCopy()
		asOpen.Spec.Tls[0].Route = virtualService.Spec.Tls[0].Route
		asOpen.Spec.Http = []*networking.HTTPRoute{{
			Name:           routes[0].GetName(),
			Match:          lastRoute(g.virtualService).GetMatch(),
			DirectResponse: routes[0].GetDirectResponse(),
		}}
		if diff := cmp.Diff(asYAML(t, asOpen), asYAML(t, virtualService)); diff != "" {
			t.Fatalf("the VirtualService (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(asYAML(t, g.listener), asYAML(t, closed[len(closed)-1])); diff != "" {
			t.Fatalf("the listener (-want +got):\n%s", diff)
		}
		if len(closed) == 2 {
			continue
		}

		destinationRule, ok := closed[1].(*networkingv1.DestinationRule)
		if !ok {
			t.Fatalf("%T", closed[1])
		}
		if diff := cmp.Diff(asYAML(t, g.destinationRule), asYAML(t, destinationRule)); diff != "" {
			t.Fatalf("the DestinationRule (-want +got):\n%s", diff)
		}
	}
}

func closedVirtualService(t *testing.T, closed []mesh.Object) *networkingv1.VirtualService {
	t.Helper()
	virtualService, ok := closed[0].(*networkingv1.VirtualService)
	if !ok {
		t.Fatalf("the first object is a %T", closed[0])
	}
	return virtualService
}

func asYAML(t *testing.T, object any) string {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAConflictIsReferredToByKindAndName(t *testing.T) {
	tests := map[string]struct {
		conflict mesh.Conflict
		want     string
	}{
		"in a namespace": {mesh.Conflict{Kind: "Sidecar", Namespace: "project", Name: "theirs"}, "Sidecar project/theirs"},
		"without one":    {mesh.Conflict{Kind: "Sidecar", Name: "theirs"}, "Sidecar theirs"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.conflict.Reference(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
