package mesh

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/scene"
)

// foreignClients are the programs of test/actor/clients, none of them in Go, and how each is
// started. Each calls $URL back to back, with its name as user agent.
func foreignClients() map[string][]string {
	return map[string][]string{
		"curl": {"sh", "/clients/curl.sh"}, // glibc
		"musl": {"musl-client"},
		// Less work for a program that is compiled when it starts and mostly waits.
		"java": {"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "/clients/Loop.java"},
		"node": {"node", "/clients/node.js"},
	}
}

// clientsLoaded makes sure that the image of the foreign clients, which is large and which few
// tests need, is loaded once.
var clientsLoaded struct {
	sync.Once
	err error
}

// clientsImage returns the image of the foreign clients, which is on the node then.
func clientsImage(t *testing.T, s *scene.Scene) string {
	t.Helper()
	if !s.Own {
		return s.Image("clients")
	}
	clientsLoaded.Do(func() { clientsLoaded.err = s.LoadImage(t.Context(), filepath.Join(s.Images(), "clients.tar")) })
	must(t, clientsLoaded.err)
	return "registry.local/clients:1" // as test/tools makes it
}

// withForeignClients adds a container for each foreign client to the app, calling the URL and the
// client's name. It needs the namespace to exist.
func withForeignClients(t *testing.T, s *scene.Scene, app scene.App, url string) scene.App {
	t.Helper()
	image := clientsImage(t, s)
	scripts := map[string]string{}
	for _, name := range []string{"curl.sh", "Loop.java", "node.js"} {
		content, err := os.ReadFile(filepath.Join(s.Root, "test", "actor", "clients", name))
		must(t, err)
		scripts[name] = string(content)
	}
	_, err := s.Client.CoreV1().ConfigMaps(app.Namespace).Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: app.Name + "-clients"}, Data: scripts}, metav1.CreateOptions{})
	must(t, err)
	for name, command := range foreignClients() {
		app.Containers = append(app.Containers, corev1.Container{
			Name: name, Image: image, Command: command, Env: []corev1.EnvVar{{Name: "URL", Value: url + "/" + name}},
			VolumeMounts: []corev1.VolumeMount{{Name: "clients", MountPath: "/clients", ReadOnly: true}},
		})
	}
	change := app.Spec
	app.Spec = func(spec *corev1.PodSpec) {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "clients", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: app.Name + "-clients"},
			},
		}})
		if change != nil {
			change(spec)
		}
	}
	return app
}

// foreignLog is what a foreign client has written.
type foreignLog struct {
	// Outcomes are those it has had, each when it changed.
	Outcomes []string
	// Calls and OK count in hundreds.
	Calls, OK int
}

// foreign reads what a foreign client has written.
func foreign(ctx context.Context, s *scene.Scene, pod *corev1.Pod, name string) (read foreignLog, err error) {
	content, err := s.Client.CoreV1().
		Pods(pod.Namespace).
		GetLogs(pod.Name, &corev1.PodLogOptions{Container: name}).
		DoRaw(ctx)
	for line := range strings.Lines(string(content)) {
		said, ofClient := strings.CutPrefix(strings.TrimSpace(line), name+" ")
		if !ofClient {
			continue
		}
		if n, _ := fmt.Sscanf(said, "calls=%d ok=%d", &read.Calls, &read.OK); n == 0 {
			read.Outcomes = append(read.Outcomes, said)
		}
	}
	return read, err
}

// foreignOverTLS waits until the partner has seen each foreign client, by its user agent, over
// mutual TLS with the certificate. Where the sidecar's connections live long it may no longer keep
// the requests that say so.
func foreignOverTLS(t *testing.T, s *scene.Scene, pod *corev1.Pod, path string, made scene.Credential) {
	t.Helper()
	for name := range foreignClients() {
		must(t, scene.Until(t.Context(), name+" over mutual TLS", func(ctx context.Context) error {
			connections, err := s.Partner().Connections(ctx, partner.Filter{Path: path + "/" + name, Remote: pod.Status.PodIP})
			if err != nil {
				return err
			}
			for _, connection := range connections {
				byName := func(request partner.Request) bool {
					return request.Path == path+"/"+name && request.Headers.Get("User-Agent") == name
				}
				if connection.Client != nil && connection.Client.SerialNumber == made.Serial() &&
					slices.ContainsFunc(connection.FirstRequests, byName) {
					return nil
				}
			}
			return fmt.Errorf("the partner has seen no such call on %d connections", len(connections))
		}))
	}
}

// TestClientsThatAreNotInGoSpeakMutualTLS has clients with the C libraries and HTTP stacks that
// apps are written with call from the first moment of their processes. The control is a Pod that
// didn't ask: the same clients in it are seen in plain text.
func TestClientsThatAreNotInGoSpeakMutualTLS(t *testing.T) {
	t.Parallel()
	for sidecar, annotations := range map[string]map[string]string{
		"native sidecar":          nil,
		"sidecar beside the apps": {"sidecar.istio.io/nativeSidecar": "false"},
	} {
		t.Run(sidecar, func(t *testing.T) {
			t.Parallel()
			s := play(t)
			ns := namespace(t, s)
			made := credential(t, s, ns, "foreign")
			// New connections every second, as the partner keeps the first requests of each only.
			must(t, s.Apply(
				t.Context(),
				"apiVersion: mtls.egress/v1alpha1\nkind: EgressTarget\nmetadata: {name: "+host+", namespace: "+
					ns+"}\nspec: {connection: {maxAge: 1s}}\n",
			))
			path := "/clients-" + strings.Fields(sidecar)[0]
			app := scene.App{Namespace: ns, Name: "asked", Annotations: scene.Target(host), PodAnnotations: annotations}
			must(t, s.Deploy(t.Context(), withForeignClients(t, s, app, "http://"+host+path)))
			pod, err := s.ReadyPod(t.Context(), ns, "asked")
			must(t, err)
			foreignOverTLS(t, s, pod, path, made)
			saw := seen(t, s, partner.Filter{Remote: pod.Status.PodIP})
			// The clients count in hundreds, so that the calls of a hundred that isn't over are the
			// partner's to count.
			calls, failed := foreignCounts(t, s, pod)
			neverPlain(t, saw, figures{
				Promise:  "Never plaintext",
				Fault:    "clients: curl, musl, Java, Node; " + sidecar,
				Requests: max(calls, saw.Requests+failed),
				Failed:   failed,
			})
		})
	}
	t.Run("control: who didn't ask is seen", func(t *testing.T) {
		t.Parallel()
		s := play(t)
		ns := namespace(t, s)
		must(t, s.Deploy(t.Context(),
			withForeignClients(t, s, scene.App{Namespace: ns, Name: "neighbor"}, "http://"+host+"/clients-control")))
		pod, err := s.ReadyPod(t.Context(), ns, "neighbor")
		must(t, err)
		for name := range foreignClients() {
			must(t, scene.Until(t.Context(), name+" in plain text", func(ctx context.Context) error {
				saw, err := s.Partner().Summary(ctx, partner.Filter{Path: "/clients-control/" + name, Remote: pod.Status.PodIP})
				if err == nil && (saw.PlainRequests == 0 || saw.PlaintextBytes == 0) {
					err = fmt.Errorf("the partner saw %+v", saw)
				}
				return err
			}))
		}
	})
}

// foreignCounts are the calls of all foreign clients of a Pod, and how many of them failed, in
// hundreds each.
func foreignCounts(t *testing.T, s *scene.Scene, pod *corev1.Pod) (calls, failed int) {
	t.Helper()
	for name := range foreignClients() {
		read, err := foreign(t.Context(), s, pod, name)
		must(t, err)
		calls += read.Calls
		failed += read.Calls - read.OK
	}
	return calls, failed
}

// TestANameWithATrailingDot: C libraries look such a name up in DNS, past the sinkhole, so the
// objects alone keep the call from leaving in plain text. With a credential it is mutual TLS, and
// without one the sidecar answers 503 itself.
func TestANameWithATrailingDot(t *testing.T) {
	t.Parallel()
	const dotted = "http://" + host + "."
	t.Run("programmed", func(t *testing.T) {
		t.Parallel()
		s := play(t)
		ns := namespace(t, s)
		made := credential(t, s, ns, "dot")
		const path = "/trailing-dot"
		app := scene.App{
			Namespace:   ns,
			Name:        "waits",
			Annotations: scene.Target(host),
			Loops:       []string{"http://" + host + path + "/waits"},
		}
		must(t, s.Deploy(t.Context(), app))
		_, err := s.ReadyPod(t.Context(), ns, "waits")
		must(t, err)
		_, _, err = s.Kubectl(t.Context(), "--namespace", ns, "wait", "--for=condition=Ready",
			"egresstarget/"+host, "--timeout=120s")
		must(t, err)
		// These start when all is programmed.
		app = scene.App{
			Namespace:   ns,
			Name:        "dot",
			Annotations: scene.Target(host),
			Loops:       []string{dotted + path + "/go"},
			Args:        []string{"--timeout", patient},
		}
		must(t, s.Deploy(t.Context(), withForeignClients(t, s, app, dotted+path)))
		pod, err := s.ReadyPod(t.Context(), ns, "dot")
		must(t, err)
		for _, name := range append(slices.Collect(maps.Keys(foreignClients())), "go") {
			must(t, scene.Until(t.Context(), name+" over mutual TLS", func(ctx context.Context) error {
				saw, err := s.Partner().Summary(ctx, partner.Filter{Path: path + "/" + name})
				if err == nil && saw.ByClientSerial[made.Serial()].Requests == 0 {
					err = fmt.Errorf("the partner saw %+v", saw)
				}
				return err
			}))
		}
		loop, err := s.Caller(pod).Loop(t.Context(), dotted+path+"/go")
		must(t, err)
		calls, failed := foreignCounts(t, s, pod)
		neverPlain(t, seen(t, s, partner.Filter{Path: path}), figures{
			Promise:  "Never plaintext",
			Fault:    "the host is written with a trailing dot, all is programmed",
			Requests: calls + loop.Calls,
			Failed:   failed + loop.Calls - loop.ByOutcome["200"],
		})
	})
	t.Run("there is no credential yet", func(t *testing.T) {
		t.Parallel()
		s := play(t)
		ns := namespace(t, s)
		must(t, s.WriteSecret(t.Context(), ns, secretName,
			map[string][]byte{"cert": []byte("garbage"), "key": []byte("garbage"), "cacert": []byte("garbage")}))
		must(t, s.Deploy(t.Context(), scene.App{Namespace: ns, Name: "waits", Annotations: scene.Target(host)}))
		_, _, err := s.Kubectl(t.Context(), "--namespace", ns, "wait", "--for=create",
			"virtualservice/mtls-egress-"+host, "--timeout=120s")
		must(t, err)
		// These start when the target is closed.
		const path = "/no-credential-yet"
		app := scene.App{
			Namespace:   ns,
			Name:        "dot",
			Annotations: scene.Target(host),
			Loops:       []string{dotted + path + "/go", "http://" + host + path + "/undotted"},
			Args:        []string{"--timeout", patient},
		}
		must(t, s.Deploy(t.Context(), withForeignClients(t, s, app, dotted+path)))
		pod, err := s.ReadyPod(t.Context(), ns, "dot")
		must(t, err)
		for name := range foreignClients() {
			must(t, scene.Until(t.Context(), "503 for "+name, func(ctx context.Context) error {
				read, err := foreign(ctx, s, pod, name)
				if err == nil && !slices.Contains(read.Outcomes, "503") {
					err = fmt.Errorf("its outcomes are %q", read.Outcomes)
				}
				return err
			}))
		}
		results, err := s.Caller(pod).Call(t.Context(), caller.Call{URL: "http://" + host + path + "/asked"})
		must(t, err)
		if results[0].Status != 503 || !strings.Contains(results[0].Body, "See the status of the EgressTarget "+host+".") {
			t.Errorf("the answer is %d %q, want 503 with a sentence that names the EgressTarget",
				results[0].Status, results[0].Body)
		}
		loops, err := s.Caller(pod).Loops(t.Context())
		must(t, err)
		calls := len(results)
		for url, loop := range loops {
			calls += loop.Calls
			if loop.ByOutcome["503"] == 0 || loop.ByOutcome["200"] != 0 {
				t.Errorf("the outcomes of %s are %v, want 503", url, loop.ByOutcome)
			}
		}
		saw := seen(t, s, partner.Filter{Path: path})
		if saw.Connections != 0 {
			t.Errorf("the partner saw %+v, want nothing", saw)
		}
		neverPlain(t, saw, figures{
			Promise:  "Never plaintext",
			Fault:    "there is no credential yet; the host with and without a trailing dot",
			Requests: calls,
			Failed:   calls,
		})
	})
}
