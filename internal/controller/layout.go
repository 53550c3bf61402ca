package controller

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// presented is what a DestinationRule that stands in the cluster makes sidecars present: the last set that was good.
type presented struct {
	layout   target.Layout
	serverCA target.ServerCA
}

// presentedBy reads back what mesh.DestinationRule wrote for host; false when there is nothing of that form.
func presentedBy(destinationRule *unstructured.Unstructured, host string) (presented, bool) {
	if destinationRule == nil {
		return presented{}, false
	}
	subsets, _, err := unstructured.NestedSlice(destinationRule.Object, "spec", "subsets")
	if err != nil {
		return presented{}, false
	}
	for _, subset := range subsets {
		content, ok := subset.(map[string]any)
		if !ok || content["name"] != mesh.SubsetName {
			continue
		}
		tls, _, err := unstructured.NestedMap(content, "trafficPolicy", "tls")
		if err != nil {
			return presented{}, false
		}
		return presentedByTLS(tls, host)
	}
	return presented{}, false
}

func presentedByTLS(tls map[string]any, host string) (presented, bool) {
	path := func(name string) string {
		// A field that is missing or no string is no path of ours.
		text, _ := tls[name].(string)
		return text
	}
	mount := target.MountPath(host) + "/"
	certificate, ok := strings.CutPrefix(path("clientCertificate"), mount)
	privateKey, ok2 := strings.CutPrefix(path("privateKey"), mount)
	if !ok || !ok2 {
		return presented{}, false
	}
	p := presented{layout: target.Layout{Certificate: certificate, PrivateKey: privateKey}}
	ca := path("caCertificates")
	if key, inSecret := strings.CutPrefix(ca, mount); inSecret {
		p.layout.ServerCA, p.serverCA = key, target.ServerCA{SecretKey: key}
		return p, true
	}
	if key, inConfigMap := strings.CutPrefix(ca, target.CAMountPath(host)+"/"); inConfigMap {
		// Which ConfigMap it is stands in the Pods; of the objects only the key is part.
		p.serverCA = target.ServerCA{ConfigMap: v1alpha1.ConfigMapKey{Name: "mounted", Key: key}}
		return p, true
	}
	p.serverCA = target.ServerCA{System: true}
	return p, ca == "system"
}

// chooseLayout returns the layout to program among those of the usable credentials, and whether they all have it. One
// DestinationRule serves all Pods of a namespace, so Pods whose Secret has another layout can't call. The layout that is
// programmed stays while a usable credential has it, as changing it would break Pods that work; otherwise the one that most
// Pods present wins, the first Secret by name among equals. False: no credential is usable.
func chooseLayout(findings []finding, current presented) (layout target.Layout, uniform, found bool) {
	usable := slices.DeleteFunc(slices.Clone(findings), func(f finding) bool { return !f.usable() })
	if len(usable) == 0 {
		return target.Layout{}, true, false
	}
	pods := map[target.Layout]int32{}
	for _, f := range usable {
		pods[f.layout] += f.pods
	}
	slices.SortFunc(usable, func(a, b finding) int {
		return cmp.Or(cmp.Compare(pods[b.layout], pods[a.layout]), strings.Compare(a.secretName, b.secretName))
	})
	uniform = len(pods) == 1
	for _, f := range usable {
		if f.layout.Certificate == current.layout.Certificate && f.layout.PrivateKey == current.layout.PrivateKey {
			return f.layout, uniform, true
		}
	}
	return usable[0].layout, uniform, true
}
