package mesh

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/cli"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/scene"
)

// handForm is a form in which people write mutual TLS to a host by hand. In its objects ${HOST} is
// the host, ${NAMESPACE} the namespace and ${TLS} the settings that all forms have.
type handForm struct {
	objects string
	// layout and secret are those of the Secret, and mounted reports whether annotations mount it.
	layout, secret string
	mounted        bool
	workloads      []string
}

const (
	handTLS = `mode: MUTUAL, clientCertificate: /etc/by-hand/${CERT}, privateKey: /etc/by-hand/${KEY}, ` +
		`caCertificates: /etc/by-hand/${CA}, sni: ${HOST}`
	handEntry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: by-hand, namespace: ${NAMESPACE}}
spec:
  hosts: [${HOST}]
  exportTo: [${EXPORT}]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: ${PORTS}
---
`
	twoPorts   = `[{number: 80, name: http-port, protocol: HTTP}, {number: 443, name: https-port, protocol: HTTPS}]`
	targetPort = `[{number: 80, name: http, protocol: HTTP, targetPort: 443}]`
	handRoute  = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by-hand, namespace: ${NAMESPACE}}
spec:
  hosts: [${HOST}]
  exportTo: [${EXPORT}]
  http: [{match: [{port: 80}], route: [{destination: {host: ${HOST}, port: {number: 443}${SUBSET}}}]}]
---
`
	handRule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: by-hand, namespace: ${NAMESPACE}}
spec:
  host: ${HOST}
  exportTo: [${EXPORT}]
`
)

// handForms returns the forms by their names, which are part of their hosts.
func handForms() map[string]handForm {
	one, two := []string{"shop"}, []string{"shop", "billing"}
	onPort := handRule + "  trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {" + handTLS + "}}]}\n"
	seed := handForm{
		objects: fill(handEntry+handRoute+onPort, "${PORTS}", twoPorts, "${EXPORT}", `"*"`, "${SUBSET}", ""),
		layout:  scene.LayoutCert, mounted: true, workloads: one,
	}
	private := seed
	private.objects = fill(handEntry+handRoute+onPort, "${PORTS}", twoPorts, "${EXPORT}", `"."`, "${SUBSET}", "")
	both := seed
	both.workloads = two
	privateBoth := private
	privateBoth.workloads = two
	subset := handForm{
		objects: fill(handEntry+handRoute+handRule+
			"  subsets: [{name: mtls, trafficPolicy: {tls: {"+handTLS+", subjectAltNames: [${HOST}]}}}]\n",
			"${PORTS}", twoPorts, "${EXPORT}", `"*"`, "${SUBSET}", ", subset: mtls"),
		layout: scene.LayoutTLS, secret: "partner-client", mounted: true, workloads: one,
	}
	port := handForm{
		objects: fill(handEntry+handRule+
			"  trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {"+handTLS+"}}]}\n",
			"${PORTS}", targetPort, "${EXPORT}", `"*"`),
		layout: scene.LayoutCert, mounted: true, workloads: one,
	}
	fetched := handForm{
		objects: fill(handEntry, "${EXPORT}", `"*"`) + fill(handRule, "${EXPORT}", `"."`) + `
  workloadSelector: {matchLabels: {app: shop}}
  trafficPolicy: {tls: {mode: MUTUAL, credentialName: partner-client, sni: ${HOST}, subjectAltNames: [${HOST}]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: by-hand, namespace: ${NAMESPACE}}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: by-hand, namespace: ${NAMESPACE}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: by-hand}
subjects: [{kind: ServiceAccount, name: default, namespace: ${NAMESPACE}}]
`,
		layout: scene.LayoutTLS, secret: "partner-client", workloads: one,
	}
	fetched.objects = fill(fetched.objects, "${PORTS}", targetPort)
	return map[string]handForm{
		"seed": seed, "seed-two": both, "private": private, "private-two": privateBoth,
		"subset": subset, "target-port": port, "credential-name": fetched,
	}
}

func fill(text string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(text) }

// TestAdoptReplacesAHandWrittenSetAndBack takes a set over with adopt --apply and restores it with
// --back, while its workloads call constantly.
func TestAdoptReplacesAHandWrittenSetAndBack(t *testing.T) {
	s := play(t)
	for name, form := range handForms() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			adoptAndBack(t, s, name, form)
		})
	}
}

func adoptAndBack(t *testing.T, s *scene.Scene, name string, form handForm) {
	t.Helper()
	ns, host := namespace(t, s), name+".system.com"
	secret := form.secret
	if secret == "" {
		secret = name + "-system-mtls-data"
	}
	made, err := s.Credential("by hand")
	must(t, err)
	must(t, s.WriteSecret(t.Context(), ns, secret, made.Data(form.layout)))
	files := []string{"${CERT}", "cert", "${KEY}", "key", "${CA}", "cacert"}
	if form.layout == scene.LayoutTLS {
		files = []string{"${CERT}", "tls.crt", "${KEY}", "tls.key", "${CA}", "ca.crt"}
	}
	must(t, s.Apply(t.Context(), fill(fill(form.objects, files...), "${HOST}", host, "${NAMESPACE}", ns)))
	url := "http://" + host + "/adopt"
	watch := &watchedCalls{scene: s, namespace: ns, url: url, last: map[string]caller.State{}}
	for _, app := range form.workloads {
		deployed := scene.App{
			Namespace: ns, Name: app, Loops: []string{url}, Args: []string{"--pause", "20ms", "--timeout", "5s"},
		}
		if form.mounted {
			deployed.PodAnnotations = map[string]string{
				"sidecar.istio.io/userVolume":      `[{"name":"by-hand","secret":{"secretName":"` + secret + `"}}]`,
				"sidecar.istio.io/userVolumeMount": `[{"name":"by-hand","mountPath":"/etc/by-hand","readonly":true}]`,
			}
		}
		must(t, s.Deploy(t.Context(), deployed))
	}
	for _, app := range form.workloads {
		moreCalls(t, s, calling(t, s, ns, app), url, 50)
	}
	stop := watch.start(t)
	adoptCommand(t, s, ns, host, "--apply")
	for _, app := range form.workloads {
		moreCalls(t, s, calling(t, s, ns, app), url, 50)
	}
	hasNone(t, s, ns, "serviceentry.networking.istio.io/by-hand", "destinationrule.networking.istio.io/by-hand",
		"virtualservice.networking.istio.io/by-hand")
	must(t, hasCondition(t.Context(), s, ns, host, "Ready", metav1.ConditionTrue, "Ready"))
	adoptCommand(t, s, ns, host, "--back")
	for _, app := range form.workloads {
		moreCalls(t, s, calling(t, s, ns, app), url, 50)
	}
	hasNone(t, s, ns, "egresstarget/"+host)
	stop()
	calls, failed := watch.count(t, made.Serial())
	neverPlain(t, watch.partnerSaw(t), figures{
		Promise: "Only those who asked", Fault: "adopt --apply and --back, " + name, Requests: calls, Failed: failed,
	})
	if failed > 0 {
		t.Errorf("%d of %d calls failed", failed, calls)
	}
}

// TestAdoptGoesBackWhenCallsFail takes over a set whose DestinationRule accepts any name of the
// partner. A target doesn't, so calls of the first new Pod fail.
func TestAdoptGoesBackWhenCallsFail(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns, host, url := namespace(t, s), scene.OtherName, "http://"+scene.OtherName+"/undone"
	made, err := s.Credential("by hand")
	must(t, err)
	must(t, s.WriteSecret(t.Context(), ns, "other-name-example-mtls-data", made.Data(scene.LayoutCert)))
	must(t, s.Apply(t.Context(), fill(fill(handForms()["seed"].objects, "${CERT}", "cert", "${KEY}", "key",
		"${CA}", "cacert"), "${HOST}", host, "${NAMESPACE}", ns)))
	must(t, s.Deploy(t.Context(), scene.App{
		Namespace: ns, Name: "shop", Loops: []string{url}, Args: []string{"--pause", "20ms", "--timeout", "5s"},
		PodAnnotations: map[string]string{
			"sidecar.istio.io/userVolume":      `[{"name":"by-hand","secret":{"secretName":"other-name-example-mtls-data"}}]`,
			"sidecar.istio.io/userVolumeMount": `[{"name":"by-hand","mountPath":"/etc/by-hand","readonly":true}]`,
		},
	}))
	moreCalls(t, s, calling(t, s, ns, "shop"), url, 50)
	out, err := adoptOutput(t, s, ns, host, "--apply")
	t.Log(out)
	if err == nil || !strings.Contains(err.Error(), " of the Pod shop-") ||
		!strings.Contains(err.Error(), "the steps before it are undone") {
		t.Fatalf("%v, want failed calls", err)
	}
	moreCalls(t, s, calling(t, s, ns, "shop"), url, 50)
	hasNone(t, s, ns, "egresstarget/"+host, "configmap/adopted-mtls-egress-"+host)
	kept, _, err := s.Kubectl(t.Context(), "--namespace", ns, "get", "--output=name",
		"serviceentry.networking.istio.io/by-hand", "destinationrule.networking.istio.io/by-hand",
		"virtualservice.networking.istio.io/by-hand")
	must(t, err)
	if strings.Count(kept, "by-hand") != 3 {
		t.Errorf("the objects that are left: %s", kept)
	}
}

// adoptCommand runs adopt with the cluster's kubeconfig.
func adoptCommand(t *testing.T, s *scene.Scene, namespace, host, verb string) {
	t.Helper()
	begin := time.Now()
	out, err := adoptOutput(t, s, namespace, host, verb)
	t.Logf("%s in %.1fs\n%s", verb, time.Since(begin).Seconds(), out)
	must(t, err)
}

func adoptOutput(t *testing.T, s *scene.Scene, namespace, host, verb string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	command := cli.NewRootCommand()
	command.SetArgs([]string{
		"adopt", "--live", "--kubeconfig", s.Kubeconfig, "-n", namespace, host, verb, "--timeout", "3m",
	})
	command.SetOut(&out)
	command.SetErr(&out)
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

// hasNone fails if one of the objects exists.
func hasNone(t *testing.T, s *scene.Scene, namespace string, names ...string) {
	t.Helper()
	out, _, err := s.Kubectl(t.Context(), append([]string{"--namespace", namespace, "get", "--ignore-not-found",
		"--output=name"}, names...)...)
	must(t, err)
	if len(strings.TrimSpace(out)) > 0 {
		t.Errorf("still there: %s", out)
	}
}

// watchedCalls keeps what the loops of all Pods of a namespace have seen, also of Pods that end.
type watchedCalls struct {
	scene          *scene.Scene
	namespace, url string

	sync.Mutex
	last map[string]caller.State
	pods map[string]*corev1.Pod
}

// start looks at the loops until the returned function is called.
func (w *watchedCalls) start(t *testing.T) (stop func()) {
	t.Helper()
	w.pods = map[string]*corev1.Pod{}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			w.look(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	return func() { w.look(t.Context()); cancel(); done.Wait() }
}

func (w *watchedCalls) look(ctx context.Context) {
	pods, err := w.scene.Client.CoreV1().Pods(w.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for _, pod := range pods.Items {
		// Calls that are under way when a container is killed fail.
		if pod.DeletionTimestamp != nil || pod.Status.PodIP == "" {
			continue
		}
		state, err := w.scene.Caller(&pod).Loop(ctx, w.url)
		if err != nil {
			continue
		}
		w.Lock()
		w.last[pod.Name], w.pods[pod.Name] = state, &pod
		w.Unlock()
	}
}

// count returns the calls of all Pods, and how many failed. Answers come from the partner, over TLS
// with the certificate.
func (w *watchedCalls) count(t *testing.T, serial string) (calls, failed int) {
	t.Helper()
	w.Lock()
	defer w.Unlock()
	for name, state := range w.last {
		calls += state.Calls
		failed += state.Calls - state.ByOutcome["200"]
		if state.PlainAnswers+state.UnknownAnswers > 0 || state.ByClientSerial[serial] != state.TLSAnswers {
			t.Errorf("%s: %d plain answers, %d of another server, and certificates %v", name, state.PlainAnswers,
				state.UnknownAnswers, state.ByClientSerial)
		}
		if state.Calls != state.ByOutcome["200"] {
			t.Logf("%s: %v, %+v", name, state.ByOutcome, state.Transitions)
		}
	}
	return calls, failed
}

// partnerSaw returns what came to the partner from the Pods.
func (w *watchedCalls) partnerSaw(t *testing.T) partner.Summary {
	t.Helper()
	w.Lock()
	defer w.Unlock()
	var all []partner.Connection
	for _, pod := range w.pods {
		all = append(all, fromPod(t, w.scene, pod)...)
	}
	return summaryOf(all)
}
