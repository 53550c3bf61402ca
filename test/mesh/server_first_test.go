package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/scene"
)

const (
	// serverFirstPort is that of the server, and the app port of the target beside it.
	serverFirstPort = 5432
	// greets is a server that speaks first, as one of MySQL or SMTP does.
	greets = `require("net").createServer(connection => connection.end("ready\n")).listen(5432)`
	// listens connects again and again and says of each connection whether the server has spoken.
	listens = `const net = require("net")
function connect() {
  let heard = "silent"
  const connection = net.connect(5432, process.env.SERVER)
  const patience = setTimeout(() => connection.destroy(), 3000)
  connection.on("data", () => { heard = "greeted" })
  connection.on("error", error => { heard = error.code })
  connection.on("close", () => { clearTimeout(patience); console.log(heard); setTimeout(connect, 200) })
}
connect()`
)

// TestANeighborWhoseServerSpeaksFirst measures what the app port of a target does to a neighbor
// that calls a server outside the mesh on that port, in a protocol in which the server speaks
// first.
func TestANeighborWhoseServerSpeaksFirst(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns := namespace(t, s)
	// The first HTTP service on the port would be that of another test otherwise.
	applyIn(t, s, ns, ownNamespaceOnly(s.Mesh()))
	server := outsideServer(t, s, ns)
	must(t, s.Deploy(t.Context(), scene.App{Namespace: ns, Name: "neighbor", Kind: "Pod", Containers: []corev1.Container{{
		Name:    "client",
		Image:   clientsImage(t, s),
		Command: []string{"node", "-e", listens},
		Env:     []corev1.EnvVar{{Name: "SERVER", Value: server}},
	}}}))
	pod, err := s.ReadyPod(t.Context(), ns, "neighbor")
	must(t, err)
	hears(t, s, pod, "greeted")

	// A target without Pods gives the anchor no port.
	must(t, s.Apply(t.Context(), fmt.Sprintf(`
apiVersion: mtls.egress/v1alpha1
kind: EgressTarget
metadata: {name: %s, namespace: %s}
spec: {appPort: %d}
`, host, ns, serverFirstPort)))
	credential(t, s, ns, "shop")
	must(t, scene.Until(t.Context(), "the target to be ready", func(ctx context.Context) error {
		_, _, err := s.Kubectl(ctx, "--namespace", ns, "wait", "--for=condition=Ready", "--timeout=1s", "egresstarget/"+host)
		return err
	}))
	hears(t, s, pod, "greeted")

	// With a Pod the neighbor's sidecar reads HTTP on the port, and waits for a request that never
	// comes. The warning at admission and the limits mention it.
	url := "http://" + net.JoinHostPort(host, strconv.Itoa(serverFirstPort)) + "/server-first"
	must(t,
		s.Deploy(t.Context(), scene.App{Namespace: ns, Name: "shop", Annotations: scene.Target(host), Loops: []string{url}}))
	calling(t, s, ns, "shop")
	hears(t, s, pod, "silent")

	_, _, err = s.Kubectl(t.Context(), "--namespace", ns, "delete", "deployment/shop", "--timeout=1m")
	must(t, err)
	hears(t, s, pod, "greeted")
}

// outsideServer starts a Pod without a sidecar that greets, and returns its address, which no
// Service has.
func outsideServer(t *testing.T, s *scene.Scene, namespace string) (address string) {
	t.Helper()
	must(t, s.Deploy(t.Context(), scene.App{
		Namespace: namespace, Name: "server", Kind: "Pod", PodLabels: map[string]string{"sidecar.istio.io/inject": "false"},
		Containers: []corev1.Container{{Name: "server", Image: clientsImage(t, s), Command: []string{"node", "-e", greets}}},
	}))
	pod, err := s.ReadyPod(t.Context(), namespace, "server")
	must(t, err)
	return pod.Status.PodIP
}

// hears waits until each of three connections in a row has come to the same, and the sidecar
// listens accordingly.
func hears(t *testing.T, s *scene.Scene, pod *corev1.Pod, want string) {
	t.Helper()
	must(t, scene.Until(t.Context(), "the neighbor's connections to be "+want, func(ctx context.Context) error {
		results, err := s.Caller(pod).Call(ctx, caller.Call{URL: "http://localhost:15000/listeners"})
		if err != nil {
			return err
		}
		if listens := listensAnywhere(results[0].Body, serverFirstPort); listens != (want == "silent") {
			return fmt.Errorf("the sidecar listens on the port: %t", listens)
		}
		content, err := s.Client.CoreV1().
			Pods(pod.Namespace).
			GetLogs(pod.Name, &corev1.PodLogOptions{Container: "client"}).
			DoRaw(ctx)
		if err != nil {
			return err
		}
		heard := strings.Fields(string(content))
		if len(heard) < 3 {
			return errors.New("too few connections")
		}
		for _, each := range heard[len(heard)-3:] {
			if each != want {
				return fmt.Errorf("the last ones were %v", heard[len(heard)-3:])
			}
		}
		return nil
	}))
}
