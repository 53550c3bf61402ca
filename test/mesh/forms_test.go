package mesh

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/scene"
)

const (
	// otherHost leads to the same partner, whose certificate carries it too.
	otherHost = "api.example.org"
	// untilSuccesses is how many successful calls of each loop end a Job.
	untilSuccesses = 20
)

// asked is one target of an app, and the calls to it.
type asked struct {
	host string
	// secret is the Secret's name. Default: the one that host has by default.
	secret string
	// url is what the app calls, without a path.
	url string
	// port is the partner's.
	port int
}

func askedByDefault() []asked { return []asked{{host: host, url: "http://" + host, port: 443}} }

// form is a way to ask for targets.
type form struct {
	// app lacks only the namespace, the name and the loops.
	app scene.App
	// layout of the Secrets. Default: scene.LayoutCert.
	layout string
	// asks are the targets. Default: askedByDefault.
	asks []asked
	// spec of an EgressTarget for host that is there before the app, as YAML. Default: the controller
	// creates it.
	spec string
	// plain says that the sidecar is an ordinary container.
	plain bool
	// own is a mount of the user's in the sidecar, of the ConfigMap own-files.
	own *corev1.VolumeMount
}

func TestEveryFormOfWorkload(t *testing.T) {
	t.Parallel()
	s := play(t)
	plainSidecar := map[string]string{"sidecar.istio.io/nativeSidecar": "false"}
	ownMount := &corev1.VolumeMount{Name: "own-files", MountPath: "/etc/own-files", ReadOnly: true}
	for name, test := range map[string]form{
		"Deployment":                   {app: scene.App{Kind: "Deployment", Annotations: scene.Target(host)}},
		"Deployment, on the template":  {app: scene.App{Kind: "Deployment", PodAnnotations: scene.Target(host)}},
		"StatefulSet":                  {app: scene.App{Kind: "StatefulSet", Annotations: scene.Target(host)}},
		"StatefulSet, on the template": {app: scene.App{Kind: "StatefulSet", PodAnnotations: scene.Target(host)}},
		"DaemonSet":                    {app: scene.App{Kind: "DaemonSet", Annotations: scene.Target(host)}},
		"DaemonSet, on the template":   {app: scene.App{Kind: "DaemonSet", PodAnnotations: scene.Target(host)}},
		"ReplicaSet":                   {app: scene.App{Kind: "ReplicaSet", Annotations: scene.Target(host)}},
		"ReplicaSet, on the template":  {app: scene.App{Kind: "ReplicaSet", PodAnnotations: scene.Target(host)}},
		"Job":                          {app: scene.App{Kind: "Job", Annotations: scene.Target(host)}},
		"Job, on the template":         {app: scene.App{Kind: "Job", PodAnnotations: scene.Target(host)}},
		"CronJob":                      {app: scene.App{Kind: "CronJob", Annotations: scene.Target(host)}},
		"CronJob, on the template":     {app: scene.App{Kind: "CronJob", PodAnnotations: scene.Target(host)}},
		"bare Pod":                     {app: scene.App{Kind: "Pod", PodAnnotations: scene.Target(host)}},
		"plain container as sidecar": {
			app:   scene.App{Annotations: scene.Target(host), PodAnnotations: plainSidecar},
			plain: true,
		},
		"Job, plain container as sidecar": {
			app:   scene.App{Kind: "Job", Annotations: scene.Target(host), PodAnnotations: plainSidecar},
			plain: true,
		},
		"Secret with tls.crt": {app: scene.App{Annotations: scene.Target(host)}, layout: scene.LayoutTLS},
		"user volumes as a list": {
			own: ownMount,
			app: scene.App{Annotations: scene.Target(host), PodAnnotations: map[string]string{
				"sidecar.istio.io/userVolume": `[{"name":"own-files","configMap":{"name":"own-files"}}]`,
				// The odd spelling is that of published examples.
				"sidecar.istio.io/userVolumeMount": `[{"mountPath":"/etc/own-files","name":"own-files","readonly":true}]`,
			}},
		},
		"user volumes as a map": {
			own: ownMount,
			app: scene.App{Annotations: scene.Target(host), PodAnnotations: map[string]string{
				"sidecar.istio.io/userVolume":      `{"own-files":{"configMap":{"name":"own-files"}}}`,
				"sidecar.istio.io/userVolumeMount": `{"own-files":{"mountPath":"/etc/own-files","readonly":true}}`,
			}},
		},
		"partner's port 8443": {
			app:  scene.App{Annotations: scene.Target(host + ":8443")},
			asks: []asked{{host: host, url: "http://" + host, port: 8443}},
		},
		"app port 8080": {
			app:  scene.App{Annotations: scene.Target(host)},
			asks: []asked{{host: host, url: "http://" + host + ":8080", port: 443}},
			spec: "{appPort: 8080}",
		},
		"app port 8080, partner's port 8443": {
			app:  scene.App{Annotations: scene.Target(host)},
			asks: []asked{{host: host, url: "http://" + host + ":8080", port: 8443}},
			spec: "{appPort: 8080, port: 8443}",
		},
		"two targets": {
			app: scene.App{Annotations: map[string]string{
				egress.AnnotationTarget: host + "," + otherHost,
				egress.AnnotationSecret: host + "=one," + otherHost + "=another",
			}},
			asks: []asked{
				{host: host, secret: "one", url: "http://" + host, port: 443},
				{host: otherHost, secret: "another", url: "http://" + otherHost, port: 443},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.play(t, s, name)
		})
	}
}

// play deploys the app, lets it call, and compares what it got and what the partner saw.
func (f form) play(t *testing.T, s *scene.Scene, name string) {
	if f.asks == nil {
		f.asks = askedByDefault()
	}
	ns := namespace(t, s)
	f.app.Namespace, f.app.Name = ns, "shop"
	var want []sight
	serials := map[string]string{} // by URL
	for _, ask := range f.asks {
		made := f.prepare(t, s, ns, ask)
		path := "/forms/" + ns + "?item=a%2Fb"
		f.app.Loops = append(f.app.Loops, ask.url+path)
		serials[ask.url+path] = made.Serial()
		want = append(want, mutualTLS(ask.host, made, ask.port, path))
	}
	if f.own != nil {
		_, _, err := s.Kubectl(t.Context(), "--namespace", ns, "create", "configmap", f.own.Name, "--from-literal", "a=b")
		must(t, err)
	}
	if f.spec != "" {
		must(t, s.Apply(t.Context(), fmt.Sprintf(
			"apiVersion: mtls.egress/v1alpha1\nkind: EgressTarget\nmetadata: {name: %s, namespace: %s}\nspec: %s\n",
			host,
			ns,
			f.spec,
		)))
	}
	f.app.Args = []string{"--timeout", "5s"} // patient: busy starting Pods is not a fault
	ends := f.app.Kind == "Job" || f.app.Kind == "CronJob"
	if ends {
		f.app.Args = append(f.app.Args, "--until", strconv.Itoa(untilSuccesses))
	}
	must(t, s.Deploy(t.Context(), f.app))

	var pod *corev1.Pod
	var loops map[string]caller.State
	if ends {
		pod, loops = finished(t, s, ns, f.app.Name)
	} else {
		pod = calling(t, s, ns, f.app.Name)
		for url := range serials {
			answered(t, s, pod, caller.Call{URL: url, Count: 3})
		}
		var err error
		loops, err = s.Caller(pod).Loops(t.Context())
		must(t, err)
	}
	if f.app.Kind == "Job" && !f.plain {
		_, _, err := s.Kubectl(t.Context(), "--namespace", ns, "wait", "--for=condition=Complete",
			"job/"+f.app.Name, "--timeout=2m")
		must(t, err)
	}

	f.injected(t, pod)
	requests, failed := 0, 0
	for url, serial := range serials {
		requests += loops[url].Calls
		failed += loops[url].Calls - loops[url].ByOutcome["200"]
		onlyMutualTLS(t, url, loops[url], serial)
	}
	connections := fromPod(t, s, pod)
	if diff := gocmp.Diff(sorted(want), sights(connections)); diff != "" {
		t.Errorf("what the partner saw (-want +got):\n%s", diff)
	}
	neverPlain(t, summaryOf(connections),
		figures{Promise: "Every form of workload", Fault: name, Requests: requests, Failed: failed})
}

// prepare writes the Secret of a target.
func (f form) prepare(t *testing.T, s *scene.Scene, namespace string, ask asked) scene.Credential {
	t.Helper()
	made, err := s.Credential("shop of " + ask.host)
	must(t, err)
	name := cmp.Or(ask.secret, egress.DefaultSecretName(ask.host))
	must(t, s.WriteSecret(t.Context(), namespace, name, made.Data(cmp.Or(f.layout, scene.LayoutCert))))
	return made
}

// injected asserts what the Pod's containers have mounted of ours and the user's, and where the
// sidecar stands.
func (f form) injected(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	var want []corev1.VolumeMount
	sources := map[string]corev1.VolumeSource{}
	if f.own != nil {
		want = append(want, *f.own)
		sources[f.own.Name] = corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: f.own.Name}, DefaultMode: new(int32(0o644)),
		}}
	}
	for _, ask := range f.asks {
		want = append(want,
			corev1.VolumeMount{Name: egress.VolumeName(ask.host), MountPath: egress.MountPath(ask.host), ReadOnly: true})
		sources[egress.VolumeName(ask.host)] = corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: cmp.Or(ask.secret, egress.DefaultSecretName(ask.host)), DefaultMode: new(int32(0o644)),
		}}
	}
	sidecars, others := pod.Spec.InitContainers, pod.Spec.Containers
	if f.plain {
		sidecars, others = others, sidecars
	}
	named := func(container corev1.Container) bool { return container.Name == "istio-proxy" }
	i := slices.IndexFunc(sidecars, named)
	if i < 0 || slices.ContainsFunc(others, named) {
		t.Fatalf("the sidecar is not among the containers where it should be (plain container: %v)", f.plain)
	}
	wanted := func(mount corev1.VolumeMount) bool {
		_, found := sources[mount.Name]
		return found
	}
	mounts := slices.DeleteFunc(slices.Clone(sidecars[i].VolumeMounts),
		func(mount corev1.VolumeMount) bool { return !wanted(mount) })
	byPath := func(a, b corev1.VolumeMount) int { return cmp.Compare(a.MountPath, b.MountPath) }
	slices.SortFunc(want, byPath)
	slices.SortFunc(mounts, byPath)
	if diff := gocmp.Diff(want, mounts); diff != "" {
		t.Errorf("mounts of the sidecar (-want +got):\n%s", diff)
	}
	got := map[string]corev1.VolumeSource{}
	for _, volume := range pod.Spec.Volumes {
		if _, found := sources[volume.Name]; found {
			got[volume.Name] = volume.VolumeSource
		}
	}
	if diff := gocmp.Diff(sources, got); diff != "" {
		t.Errorf("volumes of the Pod (-want +got):\n%s", diff)
	}
	// The app has no part in the private key.
	for _, container := range slices.Concat(sidecars, others) {
		if container.Name != "istio-proxy" && slices.ContainsFunc(container.VolumeMounts, wanted) {
			t.Errorf("the container %s has a mount of the sidecar's: %v", container.Name, container.VolumeMounts)
		}
	}
}

func TestTwoWorkloadsPresentTheirOwnCertificatesToOneHost(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns := namespace(t, s)
	url := "http://" + host + "/two-workloads/" + ns
	made := map[string]scene.Credential{}
	for _, name := range []string{"shop", "billing"} {
		made[name] = form{}.prepare(t, s, ns, asked{host: host, secret: name})
		must(t, s.Deploy(t.Context(), scene.App{
			Namespace:   ns,
			Name:        name,
			Annotations: map[string]string{egress.AnnotationTarget: host, egress.AnnotationSecret: name},
			Loops:       []string{url},
			Args:        []string{"--timeout", "5s"},
		}))
	}
	presentsItsOwn(t, s, url, "two certificates for one host in a namespace",
		map[string]scene.Credential{ns + "/shop": made["shop"], ns + "/billing": made["billing"]})
}

func TestTwoNamespacesHaveTheSameHost(t *testing.T) {
	t.Parallel()
	s := play(t)
	url := "http://" + host + "/two-namespaces/" + t.Name()
	made := map[string]scene.Credential{}
	for range 2 {
		ns := namespace(t, s)
		made[ns+"/shop"] = credential(t, s, ns, "shop of "+ns)
		must(t, s.Deploy(t.Context(), scene.App{
			Namespace:   ns,
			Name:        "shop",
			Loops:       []string{url},
			Args:        []string{"--timeout", "5s"},
			Annotations: scene.Target(host),
		}))
	}
	presentsItsOwn(t, s, url, "one host in two namespaces", made)
}

// presentsItsOwn asserts that the partner sees each app, as namespace/name, with its own
// certificate and no other.
func presentsItsOwn(t *testing.T, s *scene.Scene, url, what string, apps map[string]scene.Credential) {
	t.Helper()
	path := strings.TrimPrefix(url, "http://"+host)
	for app, made := range apps {
		ns, name, _ := strings.Cut(app, "/")
		pod := calling(t, s, ns, name)
		answered(t, s, pod, caller.Call{URL: url, Count: 10, Parallel: 5})
		loop, err := s.Caller(pod).Loop(t.Context(), url)
		must(t, err)
		onlyMutualTLS(t, app, loop, made.Serial())
		connections := fromPod(t, s, pod)
		if diff := gocmp.Diff([]sight{mutualTLS(host, made, 443, path)}, sights(connections)); diff != "" {
			t.Errorf("what the partner saw of %s (-want +got):\n%s", app, diff)
		}
		neverPlain(t, summaryOf(connections), figures{
			Promise:  "Every form of workload",
			Fault:    what,
			Requests: loop.Calls,
			Failed:   loop.Calls - loop.ByOutcome["200"],
		})
	}
}

// sight is what the partner saw of a connection and one kind of request on it, without what differs
// between two that are alike.
type sight struct {
	Kind                  partner.Kind
	Port                  int
	TLSVersion, SNI, ALPN string
	HandshakeError        string
	// Serial of the client certificate, empty for none.
	Serial string
	// Of the request; empty when the connection carried none.
	Method, Host, Path, HTTPVersion string
}

// mutualTLS is the sight of a GET that a sidecar led into mutual TLS. Its Host header is the host,
// whatever the port of the app's URL.
func mutualTLS(sni string, made scene.Credential, port int, path string) sight {
	return sight{
		Kind: partner.KindTLS, Port: port, TLSVersion: "TLS 1.3", SNI: sni, ALPN: "http/1.1", Serial: made.Serial(),
		Method: "GET", Host: sni, Path: path, HTTPVersion: "HTTP/1.1",
	}
}

// sights are the different sights of connections, sorted. Mutual TLS without a request is left out:
// a sidecar with many calls opens a connection more than it comes to need.
func sights(connections []partner.Connection) []sight {
	different := map[sight]struct{}{}
	for _, connection := range connections {
		seen := sight{
			Kind:           connection.Kind,
			Port:           connection.Port,
			TLSVersion:     connection.TLSVersion,
			SNI:            connection.SNI,
			ALPN:           connection.ALPN,
			HandshakeError: connection.HandshakeError,
		}
		if connection.Client != nil {
			seen.Serial = connection.Client.SerialNumber
		}
		if len(connection.FirstRequests) == 0 && (connection.Kind != partner.KindTLS || connection.HandshakeError != "") {
			different[seen] = struct{}{}
		}
		for _, request := range connection.FirstRequests {
			seen.Method, seen.Host, seen.Path, seen.HTTPVersion = request.Method, request.Host, request.Path, request.HTTPVersion
			different[seen] = struct{}{}
		}
	}
	return sorted(slices.Collect(maps.Keys(different)))
}

func sorted(all []sight) []sight {
	slices.SortFunc(all, func(a, b sight) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return all
}

// fromPod are the connections that came from a Pod. Addresses of Pods that have ended are used
// again, so earlier connections are left out.
func fromPod(t *testing.T, s *scene.Scene, pod *corev1.Pod) (connections []partner.Connection) {
	t.Helper()
	must(t, scene.Until(t.Context(), "the handshakes with the partner to end", func(ctx context.Context) (err error) {
		connections, err = s.Partner().Connections(ctx, partner.Filter{Remote: pod.Status.PodIP})
		connections = slices.DeleteFunc(connections,
			func(c partner.Connection) bool { return c.Began.Before(pod.CreationTimestamp.Time) })
		for _, c := range connections {
			switch {
			case c.Kind == partner.KindEmpty && c.Ended.IsZero():
				return fmt.Errorf("connection %d has been accepted, and no byte of it has arrived", c.ID)
			case c.Kind == partner.KindTLS && c.TLSVersion == "" && c.HandshakeError == "":
				return fmt.Errorf("connection %d is in its handshake", c.ID)
			}
		}
		return err
	}))
	return connections
}

// summaryOf counts what neverPlain looks at.
func summaryOf(connections []partner.Connection) partner.Summary {
	summary := partner.Summary{Connections: len(connections)}
	for _, connection := range connections {
		summary.PlaintextBytes += connection.PlaintextBytes
		if connection.Kind == partner.KindPlain {
			summary.PlainConnections++
			summary.PlainRequests += connection.Requests
		}
	}
	return summary
}

// calling waits until the last call of each loop of an app was answered, and returns its Pod.
func calling(t *testing.T, s *scene.Scene, namespace, app string) *corev1.Pod {
	t.Helper()
	pod, err := s.ReadyPod(t.Context(), namespace, app)
	must(t, err)
	must(t, scene.Until(t.Context(), namespace+"/"+app+" to have its calls answered", func(ctx context.Context) error {
		loops, err := s.Caller(pod).Loops(ctx)
		for url, loop := range loops {
			if len(loop.Transitions) == 0 || !loop.Transitions[len(loop.Transitions)-1].To.Success() {
				return fmt.Errorf("%s: %v", url, loop.ByOutcome)
			}
		}
		return err
	}))
	return pod
}

// answered makes calls of which each must be answered 200, and returns what the partner said.
func answered(t *testing.T, s *scene.Scene, pod *corev1.Pod, calls caller.Call) []caller.Result {
	t.Helper()
	results, err := s.Caller(pod).Call(t.Context(), calls)
	must(t, err)
	for _, result := range results {
		if result.Outcome != "200" {
			t.Errorf("%s %s: %s %s", cmp.Or(calls.Method, "GET"), calls.URL, result.Outcome, result.Error)
		}
	}
	return results
}

// onlyMutualTLS asserts of a loop that every answer came over TLS with one client certificate, and
// that once there was one, no call failed.
func onlyMutualTLS(t *testing.T, what string, loop caller.State, serial string) {
	t.Helper()
	successes := loop.ByOutcome["200"]
	if successes == 0 || loop.TLSAnswers != successes || loop.PlainAnswers != 0 || loop.UnknownAnswers != 0 {
		t.Errorf("%s: %d answers 200, of these %d over TLS, %d plain, %d of somebody else",
			what, successes, loop.TLSAnswers, loop.PlainAnswers, loop.UnknownAnswers)
	}
	if diff := gocmp.Diff(map[string]int{serial: successes}, loop.ByClientSerial); diff != "" {
		t.Errorf("%s: certificates that the partner saw (-want +got):\n%s", what, diff)
	}
	for _, transition := range loop.Transitions {
		if transition.From.Success() {
			t.Errorf("%s: call %d failed after the target was programmed: %s", what, transition.Call, transition.To)
		}
	}
}

// finished waits until the caller of a Pod has ended as it was asked to, and returns the Pod and
// the last state of the loops.
func finished(t *testing.T, s *scene.Scene, namespace, app string) (pod *corev1.Pod, loops map[string]caller.State) {
	t.Helper()
	must(t, scene.Until(t.Context(), "the app container of "+namespace+"/"+app+" to end", func(ctx context.Context) error {
		pods, err := s.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil {
			return err
		}
		for i := range pods.Items {
			pod = &pods.Items[i]
			for _, status := range pod.Status.ContainerStatuses {
				if ended := status.State.Terminated; status.Name == "app" && ended != nil && ended.ExitCode == 0 {
					return nil
				}
			}
		}
		return fmt.Errorf("none of %d Pods has", len(pods.Items))
	}))
	logs, _, err := s.Kubectl(t.Context(), "--namespace", namespace, "logs", pod.Name, "--container", "app", "--tail=1")
	must(t, err)
	var last caller.Loops
	must(t, json.Unmarshal([]byte(logs), &last))
	return pod, last.Loops
}
