package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/scene"
)

// TestTheSinkholeRangeIsChangedUnderLoad gives new Pods addresses in another range, while Pods
// with addresses in the former one call, and then does without the former one. The range is
// everybody's, so this one runs by itself.
func TestTheSinkholeRangeIsChangedUnderLoad(t *testing.T) {
	s := play(t)
	t.Cleanup(func() { must(t, s.Install(context.WithoutCancel(t.Context()))) })
	const path = "/sinkhole-range"
	// Both are reserved (RFC 2544, RFC 9780).
	former, other := s.Sinkhole().String(), netip.MustParsePrefix(ofFamily("198.18.0.0/15", "100:0:0:1::/64"))
	pod, _, _ := callsItself(t, s, "", path+"/older")
	ns := pod.Namespace
	older := &load{s: s, pod: pod, path: path + "/older", url: "http://" + host + path + "/older"}
	older.begin(t)

	must(t, s.Install(t.Context(), "sinkholeRanges={"+other.String()+","+former+"}"))
	app := scene.App{
		Namespace: ns, Name: "younger", Annotations: scene.Target(host), Spec: withOwnSecret,
		Loops: []string{"http://" + host + path + "/younger"}, Args: []string{"--timeout", "5s"},
	}
	must(t, s.Deploy(t.Context(), app))
	younger := &load{s: s, pod: calling(t, s, ns, app.Name), path: path + "/younger", url: app.Loops[0]}
	younger.begin(t)
	if got := aliasOf(t, younger.pod); !other.Contains(got) {
		t.Errorf("a new Pod has the address %s", got)
	}
	both := []string{aliasOf(t, younger.pod).String(), aliasOf(t, older.pod).String()}
	hasAddresses(t, s, ns, both)
	for _, l := range []*load{older, younger} {
		encryptsItself(t, l, "two sinkhole ranges")
		l.reached(t, 100)
		l.unharmed(t, "the sinkhole range is changed")
	}
	row(t, s, "the range of the sinkhole addresses is changed", path, older, younger)

	must(t, s.Client.AppsV1().Deployments(ns).Delete(t.Context(), "shop", metav1.DeleteOptions{}))
	hasAddresses(t, s, ns, both[:1])
	must(t, s.Install(t.Context(), "sinkholeRanges={"+other.String()+"}"))
	encryptsItself(t, younger, "one sinkhole range")
	younger.reached(t, 100)
	younger.unharmed(t, "the former sinkhole range is removed")
	row(t, s, "the former range of the sinkhole addresses is removed", path, younger)
}

// aliasOf returns the address of the host in the Pod.
func aliasOf(t *testing.T, pod *corev1.Pod) netip.Addr {
	t.Helper()
	for _, alias := range pod.Spec.HostAliases {
		if slices.Contains(alias.Hostnames, host) {
			address, err := netip.ParseAddr(alias.IP)
			must(t, err)
			return address
		}
	}
	t.Fatalf("the Pod %s has no alias for %s: %v", pod.Name, host, pod.Spec.HostAliases)
	return netip.Addr{}
}

// hasAddresses waits until the ServiceEntry of the target has the addresses.
func hasAddresses(t *testing.T, s *scene.Scene, namespace string, want []string) {
	t.Helper()
	must(t, scene.Until(t.Context(), "the addresses of the ServiceEntry", func(ctx context.Context) error {
		got, _, err := s.Kubectl(ctx, "--namespace", namespace, "get", "serviceentry", egress.ObjectName(host),
			"--output=jsonpath={.spec.addresses[*]}")
		if err == nil && got != strings.Join(want, " ") {
			err = fmt.Errorf("%s, not %v", got, want)
		}
		return err
	}))
}

// encryptsItself waits until the app's own https calls are answered, because the sidecar hears of
// an address later than the API server.
func encryptsItself(t *testing.T, l *load, while string) {
	t.Helper()
	must(t, scene.Until(t.Context(), "own https, "+while, func(ctx context.Context) error {
		result, err := l.s.Caller(l.pod).Bench(ctx, ownHTTPS(l.path+"/own-https"))
		if err != nil {
			return err
		}
		if diff := gocmp.Diff(map[caller.Outcome]int{"200": 3}, result.ByOutcome); diff != "" {
			return errors.New(diff)
		}
		return nil
	}))
}
