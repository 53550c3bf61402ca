package plan

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// Standing is the credential that a DestinationRule in the cluster configures: the last usable one.
type Standing struct {
	Layout   egress.Layout
	ServerCA egress.ServerCA
}

// ReadStanding parses what mesh.DestinationRule wrote for host. It returns false if the object does
// not have that form.
func ReadStanding(destinationRule *unstructured.Unstructured, host string) (Standing, bool) {
	if destinationRule == nil {
		return Standing{}, false
	}
	subsets, _, err := unstructured.NestedSlice(destinationRule.Object, "spec", "subsets")
	if err != nil {
		return Standing{}, false
	}
	for _, subset := range subsets {
		content, ok := subset.(map[string]any)
		if !ok || content["name"] != mesh.SubsetName {
			continue
		}
		tls, _, err := unstructured.NestedMap(content, "trafficPolicy", "tls")
		if err != nil {
			return Standing{}, false
		}
		return standingByTLS(tls, host)
	}
	return Standing{}, false
}

func standingByTLS(tls map[string]any, host string) (Standing, bool) {
	path := func(name string) string {
		// A field that is missing or not a string is not a path of ours.
		text, _ := tls[name].(string)
		return text
	}
	mount := egress.MountPath(host) + "/"
	certificate, ok := strings.CutPrefix(path("clientCertificate"), mount)
	privateKey, ok2 := strings.CutPrefix(path("privateKey"), mount)
	if !ok || !ok2 {
		return Standing{}, false
	}
	standing := Standing{Layout: egress.Layout{Certificate: certificate, PrivateKey: privateKey}}
	ca := path("caCertificates")
	if key, inSecret := strings.CutPrefix(ca, mount); inSecret {
		standing.Layout.ServerCA, standing.ServerCA = key, egress.ServerCA{SecretKey: key}
		return standing, true
	}
	if key, inConfigMap := strings.CutPrefix(ca, egress.CAMountPath(host)+"/"); inConfigMap {
		// Only the Pods name the ConfigMap. The objects contain only the key.
		standing.ServerCA = egress.ServerCA{ConfigMap: v1alpha1.ConfigMapKey{Name: "mounted", Key: key}}
		return standing, true
	}
	standing.ServerCA = egress.ServerCA{System: true}
	return standing, ca == "system"
}

// chooseLayout returns the layout to program among those of the usable credentials, and whether it
// is the only one. One DestinationRule serves all Pods of a namespace, so Pods whose Secret has
// another layout can't call. The programmed layout stays while a usable credential has it, because
// changing it would break working Pods. Otherwise the layout that most Pods present wins; the
// Secret's name breaks ties. If no credential is usable, found is false.
func chooseLayout(checks []CredentialCheck, standing Standing) (layout egress.Layout, uniform, found bool) {
	usable := slices.DeleteFunc(slices.Clone(checks), func(c CredentialCheck) bool { return !c.Usable() })
	if len(usable) == 0 {
		return egress.Layout{}, true, false
	}
	pods := map[egress.Layout]int32{}
	for _, c := range usable {
		pods[c.Layout] += c.Pods
	}
	slices.SortFunc(usable, func(a, b CredentialCheck) int {
		return cmp.Or(cmp.Compare(pods[b.Layout], pods[a.Layout]), strings.Compare(a.SecretName, b.SecretName))
	})
	uniform = len(pods) == 1
	for _, c := range usable {
		if c.Layout.Certificate == standing.Layout.Certificate && c.Layout.PrivateKey == standing.Layout.PrivateKey {
			return c.Layout, uniform, true
		}
	}
	return usable[0].Layout, uniform, true
}
