package controller

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/verify"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/nameserver"
	"mtls.egress/webhook/test/pki"
)

// partner is a TLS server that demands a certificate of clientCA, and keeps what it saw.
type partner struct {
	serverCA, clientCA *pki.CA
	port               int32

	mutex sync.Mutex
	// clients are the serial numbers of the certificates that it took; refused counts the handshakes
	// that failed, and data the bytes after a handshake.
	clients       []string
	refused, data int
}

func newPartner(t *testing.T) *partner {
	t.Helper()
	p := &partner{serverCA: pki.NewCA(t, "partner CA"), clientCA: pki.NewCA(t, "client CA")}
	pair := p.serverCA.Issue(t, pki.Server(host))
	certificate, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{
			certificate,
		}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.clientCA.Pool(), MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	p.port = int32(number)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			if secured, ok := connection.(*tls.Conn); ok {
				go p.serve(t, secured)
			}
		}
	}()
	return p
}

func (p *partner) serve(t *testing.T, connection *tls.Conn) {
	defer func() { _ = connection.Close() }()
	err := connection.HandshakeContext(t.Context())
	var data int64
	if err == nil {
		data, _ = io.Copy(io.Discard, connection)
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.data += int(data)
	if err != nil {
		p.refused++
		return
	}
	p.clients = append(p.clients, connection.ConnectionState().PeerCertificates[0].SerialNumber.Text(16))
}

func (p *partner) saw() (clients []string, refused, data int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.clients, p.refused, p.data
}

// sawOnly waits until the partner has noted these handshakes, which it does when their connections
// have ended, and no data.
func (w *world) sawOnly(p *partner, refused int, clients ...string) {
	w.Helper()
	await.Eventually(w, "", func() error {
		took, failed, data := p.saw()
		if diff := cmp.Diff(clients, took); diff != "" || failed != refused || data != 0 {
			return fmt.Errorf("the partner refused %d and got %d bytes, want %d and none; it took (-want +got):\n%s",
				failed, data, refused, diff)
		}
		return nil
	})
}

func (p *partner) secretData(t *testing.T, issuer *pki.CA, commonName string) (data map[string][]byte, serial string) {
	t.Helper()
	client := issuer.Issue(t, pki.Client(commonName))
	return map[string][]byte{
		"cert":   client.CertPEM,
		"key":    client.KeyPEM,
		"cacert": p.serverCA.CertPEM,
	}, client.Certificate.SerialNumber.Text(16)
}

// verifying are options with which names lead to this machine.
func verifying(t *testing.T, targets controller.VerifyTargets) controller.Options {
	t.Helper()
	return controller.Options{VerifyTargets: targets, Prober: &verify.Prober{
		AllowLoopback: true,
		Patience:      await.Patience,
		Resolver:      nameserver.Resolver(t, map[string][]string{host + ".": {"127.0.0.1"}}),
	}}
}

func (w *world) verifiedTarget(p *partner) {
	w.Helper()
	w.create(
		&v1alpha1.EgressTarget{
			ObjectMeta: metav1.ObjectMeta{Name: host},
			Spec:       v1alpha1.EgressTargetSpec{Port: p.port, Verify: new(true)},
		},
	)
}

// TestACredentialIsTriedWithThePartnerBeforePodsGetIt follows a credential that the partner takes,
// its change to one that it doesn't, and back.
func TestACredentialIsTriedWithThePartnerBeforePodsGetIt(t *testing.T) {
	w, p := newWorld(t), newPartner(t)
	good, serial := p.secretData(t, p.clientCA, "orders")
	credential := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: good}
	w.create(credential)
	w.verifiedTarget(p)
	running := w.start(verifying(t, controller.VerifyMarked))

	egressTarget := w.settled(v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
	message := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionVerified).Message
	want := fmt.Sprintf(
		`the Secret external-system-mtls-data: the server at 127.0.0.1:%d asked for a client certificate and accepted `+
			`ours; its own is for "external.system.com" and chains to the expected CA; TLS 1.3; the server's certificate `+
			`expires on 2120-01-01T00:00:00Z (%d days left), ours on 2120-01-01T00:00:00Z (%[2]d days left); our issuer `+
			`"CN=client CA" is the only CA that it names`,
		p.port, daysUntil(2120),
	)
	if diff := cmp.Diff(want, message); diff != "" {
		t.Errorf("the message (+) isn't as wanted (-):\n%s", diff)
	}
	w.verifiedMetric(running, 1)

	stranger, _ := p.secretData(t, pki.NewCA(t, "another CA"), "orders")
	credential.Data = stranger
	if err := w.Update(t.Context(), credential); err != nil {
		t.Fatal(err)
	}
	w.settled(v1alpha1.ConditionVerified, metav1.ConditionFalse, "IssuerNotAccepted")
	w.verifiedMetric(running, 0)
	w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "IssuerNotAccepted")

	credential.Data = good
	if err := w.Update(t.Context(), credential); err != nil {
		t.Fatal(err)
	}
	w.settled(v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
	await.Eventually(w, "", func() error {
		var told []string
		for _, reason := range w.events(egressTarget) {
			if strings.HasSuffix(reason, " Verified") || strings.HasSuffix(reason, " IssuerNotAccepted") {
				told = append(told, reason)
			}
		}
		if diff := cmp.Diff([]string{"Normal Verified", "Warning IssuerNotAccepted", "Normal Verified"}, told); diff != "" {
			return fmt.Errorf("the events (+) aren't as wanted (-):\n%s", diff)
		}
		return nil
	})
	w.sawOnly(p, 1, serial, serial)

	w.patch(egressTarget, map[string]any{"spec": map[string]any{"verify": false}})
	await.Eventually(w, "", func() error {
		egressTarget, err := w.egressTarget()
		if condition := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionVerified); err != nil ||
			condition != nil {
			return fmt.Errorf("the condition is %+v, want none (error %w)", condition, err)
		}
		return nil
	})
}

func daysUntil(year int) int {
	return int(time.Until(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)).Hours() / 24)
}

func (w *world) verifiedMetric(running *running, want float64) {
	w.Helper()
	w.metrics(running, "mtls_egress_target_verified",
		map[string]float64{fmt.Sprintf("{host=%q, namespace=%q}", host, w.namespace): want})
}

func TestNoHandshakeIsMadeUnlessAnAdminAllowsIt(t *testing.T) {
	w, p := newWorld(t), newPartner(t)
	data, _ := p.secretData(t, p.clientCA, "orders")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: data})
	w.verifiedTarget(p)
	w.start(verifying(t, controller.VerifyOff))
	w.settled(v1alpha1.ConditionVerified, metav1.ConditionUnknown, "VerificationOff")
	w.ready()
	if clients, refused, _ := p.saw(); len(clients)+refused > 0 {
		t.Errorf("the partner saw %d handshakes, want none", len(clients)+refused)
	}
}

func TestACredentialThatCannotBeUsedIsNotTried(t *testing.T) {
	w, p := newWorld(t), newPartner(t)
	w.verifiedTarget(p)
	w.start(verifying(t, controller.VerifyMarked))
	w.settled(v1alpha1.ConditionVerified, metav1.ConditionUnknown, "CredentialInvalid")
	data, serial := p.secretData(t, p.clientCA, "orders")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: data})
	w.settled(v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
	w.sawOnly(p, 0, serial)
}
