package mesh

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/certmanager"
	"mtls.egress/webhook/test/pki"
	"mtls.egress/webhook/test/scene"
)

const (
	// maxAge is the age of connections in these tests, in place of five minutes, so that they don't
	// last as long.
	maxAge = 3 * time.Second
	// ageSlack is what a connection may live longer than maxAge on a busy machine: Envoy closes it
	// after the call that is under way.
	ageSlack = 10 * time.Second
	// workersApart is how long one thread of Envoy may use the old certificate after another has got
	// the new one. It is milliseconds on an idle machine.
	workersApart = 2 * time.Second
	// rotations is how often the Secret changes.
	rotations = 3
)

// rotating is a target whose Pod calls all the time.
type rotating struct {
	*scene.Scene
	host, namespace, secret string
	pod                     *corev1.Pod
	loops                   []string
}

func newRotating(t *testing.T, s *scene.Scene, host, path string, made scene.Credential) *rotating {
	t.Helper()
	r := &rotating{Scene: s, host: host, namespace: namespace(t, s), secret: "rotating"}
	r.write(t, made.Data(scene.LayoutCert))
	r.begin(t, path, fmt.Sprintf("credential: {secretName: %s}", r.secret))
	return r
}

// begin lets a Pod call a target with the fields, and returns when it is answered.
func (r *rotating) begin(t *testing.T, path, fields string) {
	t.Helper()
	for _, loop := range []string{"/one", "/two"} {
		r.loops = append(r.loops, "http://"+r.host+path+loop)
	}
	r.specify(t, fields)
	r.pod = deployed(t, r.Scene, scene.App{
		Namespace:   r.namespace,
		Name:        "shop",
		Annotations: scene.Target(r.host),
		Loops:       r.loops,
		Args:        []string{"--pause", "10ms", "--timeout", "10s"},
	})
	must(t, r.becomes(t.Context(), metav1.ConditionTrue, "Ready", "Valid", "Programmed"))
	must(t, scene.Until(t.Context(), "the first answer", func(ctx context.Context) error {
		_, err := expect(ctx, r.Caller(r.pod), caller.Call{URL: r.loops[0]}, "200")
		return err
	}))
	must(t, r.Caller(r.pod).ResetLoop(t.Context(), ""))
}

// specify writes the EgressTarget with the fields of a spec, as YAML.
func (r *rotating) specify(t *testing.T, fields string) {
	t.Helper()
	must(t, r.Apply(t.Context(), fmt.Sprintf(`
apiVersion: mtls.egress/v1alpha1
kind: EgressTarget
metadata: {name: %s, namespace: %s}
spec: {%s, connection: {maxAge: %s}}
`, r.host, r.namespace, fields, maxAge)))
}

func (r *rotating) write(t *testing.T, data map[string][]byte) {
	t.Helper()
	must(t, r.WriteSecret(t.Context(), r.namespace, r.secret, data))
}

// becomes waits until the conditions Ready, CredentialValid and Programmed have their reasons.
func (r *rotating) becomes(ctx context.Context, ready metav1.ConditionStatus, reasons ...string) error {
	return scene.Until(ctx, "the conditions", func(ctx context.Context) error {
		status, err := r.status(ctx)
		if err != nil {
			return err
		}
		for i, kind := range []string{
			v1alpha1.ConditionReady, v1alpha1.ConditionCredentialValid, v1alpha1.ConditionProgrammed,
		} {
			if condition := meta.FindStatusCondition(status.Conditions, kind); condition == nil ||
				condition.Reason != reasons[i] {
				return fmt.Errorf("the condition %s is %+v, its reason must be %s", kind, condition, reasons[i])
			}
		}
		if !meta.IsStatusConditionPresentAndEqual(status.Conditions, v1alpha1.ConditionReady, ready) {
			return fmt.Errorf("the condition Ready isn't %s", ready)
		}
		return nil
	})
}

// has waits until a condition has its status and reason.
func (r *rotating) has(ctx context.Context, kind string, want metav1.ConditionStatus, reason string) error {
	return hasCondition(ctx, r.Scene, r.namespace, r.host, kind, want, reason)
}

// status is that of the EgressTarget.
func (r *rotating) status(ctx context.Context) (v1alpha1.EgressTargetStatus, error) {
	egressTarget, err := r.EgressTarget(ctx, r.namespace, r.host)
	if err != nil {
		return v1alpha1.EgressTargetStatus{}, err
	}
	return egressTarget.Status, nil
}

// connections are those of the Pod to the partner.
func (r *rotating) connections(ctx context.Context, after int64) ([]partner.Connection, error) {
	connections, err := r.Partner().Connections(ctx, partner.Filter{Remote: r.pod.Status.PodIP, After: after})
	// A connection is only of use here once its certificate is known.
	return slices.DeleteFunc(connections,
		func(c partner.Connection) bool { return c.Client == nil && c.HandshakeError == "" }), err
}

// last is the number of the Pod's last connection.
func (r *rotating) last(t *testing.T) (last int64) {
	t.Helper()
	connections, err := r.connections(t.Context(), 0)
	must(t, err)
	for _, connection := range connections {
		last = max(last, connection.ID)
	}
	return last
}

// moves waits until every open connection presents the certificate, and checks that they all moved
// to it as promised.
func (r *rotating) moves(t *testing.T, written time.Time, serial string) {
	t.Helper()
	var first, lastBegan, lastEnded time.Time
	must(t, scene.Until(t.Context(), "the new certificate on every connection", func(ctx context.Context) error {
		connections, err := r.connections(ctx, 0)
		if err != nil {
			return err
		}
		first, lastBegan, lastEnded = time.Time{}, time.Time{}, time.Time{}
		for _, connection := range connections {
			switch fresh := connection.Client != nil && connection.Client.SerialNumber == serial; {
			case fresh && (first.IsZero() || connection.Began.Before(first)):
				first = connection.Began
			case fresh:
			case connection.Ended.IsZero():
				return fmt.Errorf("connection %d, of %s, still presents another", connection.ID, connection.Began)
			default:
				lastBegan, lastEnded = latest(lastBegan, connection.Began), latest(lastEnded, connection.Ended)
			}
		}
		if first.IsZero() {
			return errors.New("no connection presents it")
		}
		return nil
	}))
	t.Logf(
		"%s: the first connection with it %.2f s after the Secret was written, the last without it begun %.2f s and ended "+
			"%.2f s after that one",
		serial[:8], first.Sub(written).Seconds(), lastBegan.Sub(first).Seconds(), lastEnded.Sub(first).Seconds(),
	)
	if apart := lastBegan.Sub(first); apart > workersApart {
		t.Errorf("%s after the first connection with the new certificate one began with the old", apart)
	}
	if gone := lastEnded.Sub(first); gone > maxAge+ageSlack {
		t.Errorf("the old certificate was presented for %s after the first connection with the new one, want %s at most",
			gone, maxAge)
	}
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// unharmed checks that no call has failed, and keeps the figures.
func (r *rotating) unharmed(t *testing.T, path, fault string) {
	t.Helper()
	row := figures{Promise: "Rotation", Fault: fault}
	for _, loop := range r.loops {
		state, err := r.Caller(r.pod).Loop(t.Context(), loop)
		must(t, err)
		row.Requests += state.Calls
		row.Failed += state.Calls - state.ByOutcome["200"]
		if state.Calls != state.ByOutcome["200"] || state.Calls != state.TLSAnswers {
			t.Errorf("of %d calls to %s some failed: %v", state.Calls, loop, state.ByOutcome)
		}
	}
	neverPlain(t, seen(t, r.Scene, partner.Filter{Path: path}), row)
}

// TestTheSecretChangesUnderLoad changes the client certificate three times, then to a pair that
// doesn't belong together, and then to a good one again. Where the sidecars of the mesh take one
// change alone, it ends after that.
func TestTheSecretChangesUnderLoad(t *testing.T) {
	t.Parallel()
	s := play(t)
	const path = "/rotation"
	current, err := s.Credential("rotation 0")
	must(t, err)
	r := newRotating(t, s, host, path, current)
	rotate := func(name string) {
		current, err = s.Credential(name)
		must(t, err)
		written := time.Now()
		r.write(t, current.Data(scene.LayoutCert))
		r.moves(t, written, current.Serial())
	}
	rotate("rotation 1")
	if s.Mesh().OneRotation {
		r.unharmed(t, path, "the Secret changes once")
		return
	}
	for i := 1; i < rotations; i++ {
		rotate(fmt.Sprintf("rotation %d", i+1))
	}
	r.unharmed(t, path, "the Secret changes three times")

	other, err := s.Credential("rotation, broken")
	must(t, err)
	broken := other.Data(scene.LayoutCert)
	broken["key"] = current.KeyPEM
	r.write(t, broken)
	r.lookNow(t)
	must(t, r.becomes(t.Context(), metav1.ConditionFalse, "PrivateKeyMismatch", "PrivateKeyMismatch", "LastGoodKept"))
	must(t, r.warned(t.Context(), "PrivateKeyMismatch"))
	must(t, r.mounts(t.Context(), "cert", broken["cert"]))
	r.keeps(t, current.Serial())
	rotate("rotation, repaired")
	must(t, r.becomes(t.Context(), metav1.ConditionTrue, "Ready", "Valid", "Programmed"))
	r.unharmed(t, path, "the Secret becomes a broken pair and a good one again")
}

// lookNow makes the controller read the Secret. It does so by itself within five minutes, and after
// any change of the EgressTarget.
func (r *rotating) lookNow(t *testing.T) {
	t.Helper()
	_, _, err := r.Kubectl(t.Context(), "--namespace", r.namespace, "annotate", "--overwrite", "egresstarget",
		r.host, "example.com/look=now")
	must(t, err)
}

// warned waits for an event about the EgressTarget.
func (r *rotating) warned(ctx context.Context, reason string) error {
	return scene.Until(ctx, "the event "+reason, func(ctx context.Context) error {
		events, err := r.Client.EventsV1().Events(r.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.Regarding.Kind == "EgressTarget" && event.Regarding.Name == r.host && event.Reason == reason &&
				event.Type == corev1.EventTypeWarning {
				return nil
			}
		}
		return fmt.Errorf("it isn't among %d", len(events.Items))
	})
}

// mounts waits until the sidecar finds a file of the Secret with the content.
func (r *rotating) mounts(ctx context.Context, key string, content []byte) error {
	return scene.Until(ctx, "the kubelet", func(ctx context.Context) error {
		found, _, err := r.Kubectl(ctx, "--namespace", r.namespace, "exec", r.pod.Name, "--container", "istio-proxy", "--",
			"cat", "/etc/mtls-egress/"+r.host+"/"+key)
		if err == nil && found != string(content) {
			err = errors.New("the file " + key + " is still the old one")
		}
		return err
	})
}

// keeps waits for new connections and checks their certificate.
func (r *rotating) keeps(t *testing.T, serial string) {
	t.Helper()
	after := r.last(t)
	var connections []partner.Connection
	must(t, scene.Until(t.Context(), "new connections", func(ctx context.Context) (err error) {
		if connections, err = r.connections(ctx, after); err == nil && len(connections) < 2*len(r.loops) {
			err = fmt.Errorf("there are %d", len(connections))
		}
		return err
	}))
	for _, connection := range connections {
		if connection.Client == nil || connection.Client.SerialNumber != serial {
			t.Errorf("a new connection presents %+v, want the last good certificate %s", connection.Client, serial)
		}
	}
}

// TestTheServersCAChangesUnderLoad lets the partner move to a certificate of another CA: the Secret
// has both CAs before, and the new one alone afterwards.
func TestTheServersCAChangesUnderLoad(t *testing.T) {
	t.Parallel()
	s := play(t)
	const (
		path     = "/ca-rotation"
		rotating = "rotating.system.com"
	)
	made, err := s.Credential("ca rotation")
	must(t, err)
	r := newRotating(t, s, rotating, path, made)
	next := pki.NewCA(t, "Partner Server CA 2")
	trust := func(cas ...*pki.CA) {
		made.ServerCA = nil
		var serials []string
		for _, ca := range cas {
			made.ServerCA = append(made.ServerCA, ca.CertPEM...)
			serials = append(serials, ca.Certificate.SerialNumber.Text(16))
		}
		r.write(t, made.Data(scene.LayoutCert))
		must(t, r.trusts(t.Context(), serials))
	}
	trust(s.ServerCA, next)
	serve(t, s, rotating, next)
	must(t, scene.Until(t.Context(), "the partner's new certificate", func(ctx context.Context) error {
		_, err := expect(ctx, s.Caller(r.pod), caller.Call{
			URL:           "https://" + rotating + path + "/own",
			CAPEM:         string(next.CertPEM),
			ClientCertPEM: string(made.CertPEM),
			ClientKeyPEM:  string(made.KeyPEM),
		}, "200")
		return err
	}))
	r.keeps(t, made.Serial())
	trust(next)
	r.keeps(t, made.Serial())
	r.unharmed(t, path, "the server's certificate moves to another CA")

	// That the sidecar asks for the CA at all: the old one alone no longer does.
	trust(s.ServerCA)
	must(t, scene.Until(t.Context(), "the refusal", func(ctx context.Context) error {
		_, err := expect(ctx, s.Caller(r.pod), caller.Call{URL: r.loops[0], Count: 3}, "503")
		return err
	}))
	neverPlain(t, seen(t, s, partner.Filter{Path: path}),
		figures{Promise: "Rotation", Fault: "the CA in the Secret is no longer the server's", Requests: 3, Failed: 3})
}

// TestTheServersCAMovesToAConfigMap has an EgressTarget ask for the CA of a ConfigMap, as
// trust-manager writes one, while its Pod mounts the Secret alone, and starts that Pod again.
func TestTheServersCAMovesToAConfigMap(t *testing.T) {
	t.Parallel()
	s := play(t)
	const path = "/ca-of-a-configmap"
	made, err := s.Credential("the CA of a ConfigMap")
	must(t, err)
	r := newRotating(t, s, "bundled.system.com", path, made)
	// A second CA in the bundle tells it from the one in the Secret.
	serial, other := s.ServerCA.Certificate.SerialNumber.Text(16), pki.NewCA(t, "Another Server CA")
	r.bundle(t, s.ServerCA, other)
	r.specify(t, fmt.Sprintf("credential: {secretName: %s}, serverCA: {configMap: {name: bundle, key: ca.pem}}", r.secret))
	must(t, r.has(t.Context(), v1alpha1.ConditionPodsOutdated, metav1.ConditionTrue, "ServerCANotMounted"))
	must(t, r.becomes(t.Context(), metav1.ConditionFalse, "PodsOutdated", "Valid", "PodsOutdated"))
	r.programmedCA(t, egress.MountPath(r.host)+"/cacert")
	r.keeps(t, made.Serial())
	must(t, r.trusts(t.Context(), []string{serial}))
	r.unharmed(t, path, "the CA is to come from a ConfigMap that the Pod doesn't mount")

	_, _, err = s.Kubectl(t.Context(), "--namespace", r.namespace, "rollout", "restart", "deployment/shop")
	must(t, err)
	must(t, s.Rollout(t.Context(), r.namespace, "deployment/shop"))
	r.pod = calling(t, s, r.namespace, "shop")
	must(t, r.has(t.Context(), v1alpha1.ConditionPodsOutdated, metav1.ConditionFalse, "PodsUpToDate"))
	must(t, r.becomes(t.Context(), metav1.ConditionTrue, "Ready", "Valid", "Programmed"))
	r.programmedCA(t, egress.CAMountPath(r.host)+"/ca.pem")
	must(t, r.trusts(t.Context(), []string{serial, other.Certificate.SerialNumber.Text(16)}))
	r.keeps(t, made.Serial())
	r.unharmed(t, path, "the Pod is started again, and the CA comes from the ConfigMap")
}

// programmedCA checks where the DestinationRule has the CA of the server. That a file isn't there
// doesn't show in calls: a sidecar goes on with what it had.
func (r *rotating) programmedCA(t *testing.T, file string) {
	t.Helper()
	found, _, err := r.Kubectl(t.Context(), "--namespace", r.namespace, "get", "destinationrules",
		"--output", "jsonpath={.items[*].spec.subsets[*].trafficPolicy.tls.caCertificates}")
	must(t, err)
	if found != file {
		t.Errorf("the CA of the server is programmed as %q, want %q", found, file)
	}
}

// bundle writes a ConfigMap with CAs.
func (r *rotating) bundle(t *testing.T, cas ...*pki.CA) {
	t.Helper()
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bundle"}, Data: map[string]string{}}
	for _, ca := range cas {
		configMap.Data["ca.pem"] += string(ca.CertPEM)
	}
	_, err := r.Client.CoreV1().ConfigMaps(r.namespace).Create(t.Context(), configMap, metav1.CreateOptions{})
	must(t, err)
}

// TestCertManagerRenewsUnderLoad has cert-manager issue the credential, and renew it as often as it
// can be asked to: a certificate is valid for an hour at least, and renewed when half a minute of
// it is over. The CA of the server is in a ConfigMap.
func TestCertManagerRenewsUnderLoad(t *testing.T) {
	t.Parallel()
	s := play(t)
	if !s.Own {
		skip(t, "cert-manager runs beside the API server, and the one of the cluster in KUBECONFIG wouldn't reach it")
	}
	const path = "/renewal"
	running, err := certmanager.Start(t.Context(),
		certmanager.Options{Kubeconfig: s.Kubeconfig, Dir: t.TempDir(), Tools: filepath.Dir(s.Program("kubectl"))})
	must(t, err)
	t.Cleanup(func() { must(t, running.Stop()) })
	r := &rotating{Scene: s, host: "renewed.system.com", namespace: namespace(t, s)}
	r.bundle(t, s.ServerCA)
	issuer := s.ClientCA.Intermediate(t, "Partner Client Issuer")
	must(t, s.WriteSecret(t.Context(), r.namespace, "issuer",
		map[string][]byte{"tls.crt": slices.Concat(issuer.CertPEM, s.ClientCA.CertPEM), "tls.key": issuer.KeyPEM}))
	must(t, s.Apply(t.Context(), fmt.Sprintf(
		"{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: partner, namespace: %s}, spec: {ca: "+
			"{secretName: issuer}}}",
		r.namespace,
	)))
	must(t, running.AwaitReady(t.Context(), r.namespace, "issuer/partner"))
	r.begin(
		t, path,
		`credential: {issuerRef: {name: partner}, certificate: {commonName: shop,
    dnsNames: [shop.example.com], duration: 1h, renewBefore: 59m30s}},
  serverCA: {configMap: {name: bundle, key: ca.pem}}`,
	)
	must(t, r.has(t.Context(), v1alpha1.ConditionCertificateIssued, metav1.ConditionTrue, "Issued"))
	r.renews(t)
	must(t, r.has(t.Context(), v1alpha1.ConditionCertificateIssued, metav1.ConditionTrue, "Issued"))
	must(t, r.has(t.Context(), v1alpha1.ConditionCredentialValid, metav1.ConditionTrue, "Valid"))
	r.unharmed(t, path, "cert-manager renews the certificate")
}

// renews waits until the partner has seen a certificate and two after it, the last of which is the
// one in the status, and checks whom they name.
func (r *rotating) renews(t *testing.T) {
	t.Helper()
	serials := map[string]bool{}
	var connections []partner.Connection
	must(t, scene.Until(t.Context(), "the third certificate", func(ctx context.Context) (err error) {
		if connections, err = r.connections(ctx, 0); err != nil {
			return err
		}
		var last string
		for _, connection := range connections {
			if connection.Client != nil {
				last = connection.Client.SerialNumber
				serials[last] = true
			}
		}
		status, err := r.status(ctx)
		if err == nil && (len(serials) <= 2 || len(status.Credentials) != 1 || status.Credentials[0].SerialNumber != last) {
			err = fmt.Errorf("the partner has seen %d, the last is %s, and the status has %+v",
				len(serials), last, status.Credentials)
		}
		return err
	}))
	t.Logf("%d certificates on %d connections", len(serials), len(connections))
	for _, connection := range connections {
		var got partner.ClientCertificate
		if connection.Client != nil {
			got = *connection.Client
			got.SerialNumber, got.SHA256 = "", ""
		}
		if diff := cmp.Diff(partner.ClientCertificate{
			Subject:  "CN=shop",
			Issuer:   "CN=Partner Client Issuer",
			DNSNames: []string{"shop.example.com"},
		}, got); diff != "" {
			t.Errorf("connection %d (-want +got):\n%s", connection.ID, diff)
		}
	}
}

// serve gives the partner a certificate of the CA for a name of its zone, until the end of the
// test.
func serve(t *testing.T, s *scene.Scene, name string, ca *pki.CA) {
	t.Helper()
	patch := func(ctx context.Context, certificate, key any) error {
		content, err := json.Marshal(map[string]any{"data": map[string]any{name + ".crt": certificate, name + ".key": key}})
		if err != nil {
			return err
		}
		_, err = s.Client.CoreV1().
			Secrets(scene.PartnerNamespace).
			Patch(ctx, "partner", types.MergePatchType, content, metav1.PatchOptions{})
		return err
	}
	pair := ca.Issue(t, pki.Server(name))
	must(t,
		patch(t.Context(), base64.StdEncoding.EncodeToString(pair.CertPEM), base64.StdEncoding.EncodeToString(pair.KeyPEM)))
	t.Cleanup(func() { must(t, patch(context.WithoutCancel(t.Context()), nil, nil)) })
}

// trusts waits until the sidecar has loaded exactly these CAs for the target.
func (r *rotating) trusts(ctx context.Context, serials []string) error {
	slices.Sort(serials)
	return scene.Until(ctx, "the sidecar's CAs", func(ctx context.Context) error {
		stdout, _, err := r.Kubectl(ctx, "--namespace", r.namespace, "exec", r.pod.Name, "--container", "istio-proxy", "--",
			"pilot-agent", "request", "GET", "certs")
		if err != nil {
			return err
		}
		// https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/certs.proto
		var loaded struct {
			Certificates []struct {
				CACert []struct {
					Path         string `json:"path"`
					SerialNumber string `json:"serial_number"`
				} `json:"ca_cert"`
			} `json:"certificates"`
		}
		if err := json.Unmarshal([]byte(stdout), &loaded); err != nil {
			return err
		}
		var found [][]string
		for _, context := range loaded.Certificates {
			var these []string
			for _, ca := range context.CACert {
				these = append(these, strings.TrimLeft(ca.SerialNumber, "0"))
			}
			slices.Sort(these)
			if slices.Equal(these, serials) {
				return nil
			}
			found = append(found, these)
		}
		return fmt.Errorf("it has %v, and not %v", found, serials)
	})
}
