package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/scene"
)

// TestTheSinkholeRangeIsOfTheOtherFamily gives a release whose Pods have IPv6 addresses only the
// default range, which is IPv4. The range is everybody's, so this one runs by itself.
func TestTheSinkholeRangeIsOfTheOtherFamily(t *testing.T) {
	s := play(t)
	if !cluster.IPv6() {
		t.Skip("is about a cluster with IPv6 addresses only")
	}
	t.Cleanup(func() { must(t, s.Install(context.WithoutCancel(t.Context()))) })
	const path = "/other-family"
	pod, _, _ := callsItself(t, s, "", path)
	l := &load{s: s, pod: pod, path: path, url: "http://" + host + path}
	if got := aliasOf(t, pod); !s.Sinkhole().Contains(got) {
		t.Errorf("the Pod has the address %s", got)
	}
	l.begin(t)
	args := slices.Concat([]string{"upgrade", scene.Release, s.Chart(), "--namespace", scene.Namespace},
		s.ChartValues("sinkholeRanges={"+egress.DefaultSinkholeRange+"}"))
	_, _, err := s.Helm(t.Context(), args...)
	must(t, err)
	for _, selector := range []string{scene.WebhookLabel, scene.ControllerLabel} {
		must(t, scene.Until(t.Context(), "a Pod that refuses to start: "+selector, func(ctx context.Context) error {
			logs, _, err := s.Kubectl(ctx, "--namespace", scene.Namespace, "logs", "--selector", selector, "--tail=20")
			if err == nil && !strings.Contains(logs, "none of the family of the sinkhole range 240.0.0.0/4") {
				err = fmt.Errorf("the logs are\n%s", logs)
			}
			return err
		}))
	}
	l.reached(t, 100)
	l.unharmed(t, "new webhooks and controllers don't start")
	row(t, s, "the chart gets an IPv4 range, with which webhook and controller don't start", path, l)
}
