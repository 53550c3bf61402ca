package mesh_test

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/mesh"
)

// lastRoute is the HTTP route that takes all calls that the others leave.
func lastRoute(virtualService *networkingv1.VirtualService) *networking.HTTPRoute {
	return virtualService.Spec.Http[len(virtualService.Spec.Http)-1]
}

// TestTheHostHeaderThatThePartnerGets does what Envoy does: it follows the first route that matches
// the whole header.
func TestTheHostHeaderThatThePartnerGets(t *testing.T) {
	for name, test := range map[string]struct{ chosen, sent, want string }{
		"the host":                            {sent: "external.system.com", want: "external.system.com"},
		"with the port of the URL":            {sent: "external.system.com:80", want: "external.system.com"},
		"with another port":                   {sent: "external.system.com:8080", want: "external.system.com"},
		"with a trailing dot":                 {sent: "external.system.com.", want: "external.system.com"},
		"with a trailing dot and a port":      {sent: "external.system.com.:80", want: "external.system.com"},
		"with a port, in upper case":          {sent: "External.System.Com:80", want: "external.system.com"},
		"in upper case":                       {sent: "External.System.Com", want: "External.System.Com"},
		"another one of the app's":            {sent: "tenant.system.com:80", want: "tenant.system.com:80"},
		"one that the host's dots don't mean": {sent: "externalxsystem.com:80", want: "externalxsystem.com:80"},
		"one that ends like the host":         {sent: "an.external.system.com:80", want: "an.external.system.com:80"},
		"the one of the EgressTarget":         {"other.system.com:8443", "external.system.com", "other.system.com:8443"},
	} {
		t.Run(name, func(t *testing.T) {
			target := exampleTarget()
			target.HTTPHost = test.chosen
			got := test.sent
			for _, route := range mesh.VirtualService(target).Spec.Http {
				pattern := route.Match[0].GetAuthority().GetRegex()
				if pattern == "" || regexp.MustCompile("^(?:"+pattern+")$").MatchString(test.sent) {
					if rewritten := route.GetRewrite().GetAuthority(); rewritten != "" {
						got = rewritten
					}
					break
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
