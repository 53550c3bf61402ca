package egress_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

func TestNamesOfAHost(t *testing.T) {
	type names struct{ label, object, volume, caVolume, mount, caMount, secret string }
	tests := map[string]struct {
		host string
		want names
	}{
		"an ordinary host": {
			"external.system.com",
			names{
				"to.mtls.egress/external.system.com",
				"mtls-egress-external.system.com",
				"mtls-egress-external-system-com",
				"mtls-ca-external-system-com",
				"/etc/mtls-egress/external.system.com",
				"/etc/mtls-egress-ca/external.system.com",
				"external-system-mtls-data",
			},
		},
		"a host of two labels": {
			"partner.example",
			names{
				"to.mtls.egress/partner.example",
				"mtls-egress-partner.example",
				"mtls-egress-partner-example",
				"mtls-ca-partner-example",
				"/etc/mtls-egress/partner.example",
				"/etc/mtls-egress-ca/partner.example",
				"partner-mtls-data",
			},
		},
		"hyphens are doubled where dots become hyphens": {
			"api-1.partner.example",
			names{
				"to.mtls.egress/api-1.partner.example",
				"mtls-egress-api-1.partner.example",
				"mtls-egress-api--1-partner-example",
				"mtls-ca-api--1-partner-example",
				"/etc/mtls-egress/api-1.partner.example",
				"/etc/mtls-egress-ca/api-1.partner.example",
				"api-1-partner-mtls-data",
			},
		},
		"a host too long for a label and a volume is shortened and gets a hash": {
			strings.Repeat("a", 62) + ".example",
			names{
				"to.mtls.egress/" + strings.Repeat("a", 52) + "-745393c19f",
				"mtls-egress-" + strings.Repeat("a", 62) + ".example",
				"mtls-egress-" + strings.Repeat("a", 40) + "-1e1f39dcc0",
				"mtls-ca-" + strings.Repeat("a", 44) + "-08b0b2b053",
				"/etc/mtls-egress/" + strings.Repeat("a", 62) + ".example",
				"/etc/mtls-egress-ca/" + strings.Repeat("a", 62) + ".example",
				strings.Repeat("a", 62) + "-mtls-data",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := names{
				egress.HostLabel(test.host),
				egress.ObjectName(test.host),
				egress.VolumeName(test.host),
				egress.CAVolumeName(test.host),
				egress.MountPath(test.host),
				egress.CAMountPath(test.host),
				egress.DefaultSecretName(test.host),
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(names{})); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNamesAreWhatKubernetesAccepts(t *testing.T) {
	for _, host := range hostsOfAllShapes() {
		for what, problems := range map[string][]string{
			"label":     validation.IsQualifiedName(egress.HostLabel(host)),
			"object":    validation.IsDNS1123Subdomain(egress.ObjectName(host)),
			"volume":    validation.IsDNS1123Label(egress.VolumeName(host)),
			"CA volume": validation.IsDNS1123Label(egress.CAVolumeName(host)),
			"mesh host": hostName(egress.MeshHost(host)),
			"listener":  validation.IsDNS1123Subdomain(egress.ListenerName(host)),
			"its host":  hostName(egress.ListenerHost(host, 65535)),
		} {
			if len(problems) > 0 {
				t.Errorf("%s of %s: %v", what, host, problems)
			}
		}
	}
}

// hostName returns the problems of name as the host of a ServiceEntry. Istio requires a DNS name
// whose labels are DNS labels
// (https://github.com/istio/istio/blob/1.30.3/pkg/config/validation/agent/validation.go,
// ValidateFQDN).
func hostName(name string) []string {
	problems := validation.IsDNS1123Subdomain(name)
	for label := range strings.SplitSeq(name, ".") {
		problems = append(problems, validation.IsDNS1123Label(label)...)
	}
	return problems
}

func TestTheMeshKnowsAHostByANameBelowOurDomain(t *testing.T) {
	tests := map[string]struct{ host, want string }{
		"an ordinary host": {"external.system.com", "external.system.com.mtls-egress.internal"},
		"a host that is too long is cut, and its hash follows as a number": {
			strings.Repeat(strings.Repeat("a", 49)+".", 5) + "com",
			strings.Repeat(strings.Repeat("a", 49)+".", 4) + "aaaaaaaaaaa.10567739470624858361.mtls-egress.internal",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := egress.MeshHost(test.host)
			if got != test.want || !egress.IsMeshHost(got) || !egress.IsMeshHost(strings.ToUpper(got)+".") {
				t.Errorf("MeshHost(%s) = %s, want %s", test.host, got, test.want)
			}
			if egress.IsMeshHost(test.host) || egress.IsMeshHost("a-"+egress.MeshDomain) {
				t.Errorf("IsMeshHost(%s) = true, want false", test.host)
			}
		})
	}
}

func TestNoTwoHostsShareAName(t *testing.T) {
	for what, name := range map[string]func(string) string{
		"label":     egress.HostLabel,
		"object":    egress.ObjectName,
		"volume":    egress.VolumeName,
		"CA volume": egress.CAVolumeName,
		"mesh host": egress.MeshHost,
		"listener":  egress.ListenerName,
		"listener's host": func(host string) string {
			return egress.ListenerHost(host,
				80)
		},
	} {
		owner := map[string]string{}
		for _, host := range hostsOfAllShapes() {
			if other, taken := owner[name(host)]; taken {
				t.Errorf("%s and %s share the %s %s", other, host, what, name(host))
			}
			owner[name(host)] = host
		}
	}
	for _, host := range hostsOfAllShapes() {
		for _, other := range hostsOfAllShapes() {
			if egress.VolumeName(host) == egress.CAVolumeName(other) {
				t.Errorf("the volume of %s is the CA volume of %s", host, other)
			}
			if egress.ObjectName(host) == egress.ListenerName(other) ||
				egress.MeshHost(host) == egress.ListenerHost(other, 80) {
				t.Errorf("an object of %s has the name or host of the listener of %s", host, other)
			}
		}
	}
}

// hostsOfAllShapes returns hosts that are easily confused: with hyphens in place of dots, and long
// ones that differ only at the end.
// TestOneHostIsRefusedTheDefaultSecretOfAnother compares what Resolve refuses with the names.
func TestOneHostIsRefusedTheDefaultSecretOfAnother(t *testing.T) {
	for _, host := range hostsOfAllShapes() {
		for _, other := range hostsOfAllShapes() {
			if host == other || !strings.Contains(host, ".") || !strings.Contains(other, ".") ||
				len(egress.DefaultSecretName(host)) > validation.DNS1123SubdomainMaxLength {
				continue
			}
			older := map[string]*v1alpha1.EgressTarget{other: {ObjectMeta: metav1.ObjectMeta{Name: other}}}
			_, errs := egress.Resolve("project", parse(t, map[string]string{egress.AnnotationTarget: host}), older,
				egress.Sinkhole{}, field.NewPath("annotations"))
			if want := egress.DefaultSecretName(host) == egress.DefaultSecretName(other); (len(errs) > 0) != want {
				t.Errorf("%s beside %s: %v, want an error: %t", host, other, errs, want)
			}
		}
	}
}

func hostsOfAllShapes() []string {
	return []string{
		"a.b.c",
		"a-b.c",
		"a.b-c",
		"a--b.c",
		"a.b--c",
		"a-b-c.d",
		"a.b.c.d",
		"a-b.c-d",
		"a--b--c.d",
		"ca.a.b",
		"egress.a.b",
		longHost(60),
		longHost(100),
		longHost(253),
		longHost(252),
		strings.Repeat("a", 51) + ".b",
		strings.Repeat("a", 52) + ".b",
		strings.Repeat("a", 50) + "-.b"[1:] + "c",
		strings.Repeat("x.", 60) + "y",
		strings.Repeat("x.", 60) + "z",
	}
}
