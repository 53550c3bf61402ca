package mesh

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"mtls.egress/webhook/internal/envoyadmin"
	"mtls.egress/webhook/test/scene"
)

// TestTheAdminInterfaceIsAskedInTwoWays asks a real sidecar with the right to create
// pods/portforward, and with the one to create pods/exec.
func TestTheAdminInterfaceIsAskedInTwoWays(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns := namespace(t, s)
	pod := deployed(t, s, scene.App{Namespace: ns, Name: "shop"})
	const there, missing = "/server_info", "/nowhere"
	for way, ask := range map[string]func(
		context.Context, *rest.Config, *corev1.Pod, ...string,
	) (envoyadmin.Answers, error){"port-forward": envoyadmin.Forward, "exec": envoyadmin.Exec} {
		t.Run(way, func(t *testing.T) {
			answers, err := ask(t.Context(), s.Config, pod, there, missing)
			must(t, err)
			if !strings.Contains(string(answers[there]), `"state": "LIVE"`) || answers[missing] != nil {
				t.Errorf("%s: %s\n%s: %s", there, answers[there], missing, answers[missing])
			}
		})
	}
}
