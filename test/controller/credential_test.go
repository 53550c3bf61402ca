package controller

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/pki"
)

func TestASecretThatAppearsIsNoticed(t *testing.T) {
	w := newWorld(t)
	w.start(controller.Options{})
	w.pod("app", host)
	egressTarget := w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "SecretMissing")
	want := []metav1.Condition{
		{Type: "Ready", Status: "False", ObservedGeneration: 1, Reason: "SecretMissing"},
		{Type: "CredentialValid", Status: "False", ObservedGeneration: 1, Reason: "SecretMissing"},
		{
			Type:               "Programmed",
			Status:             "False",
			ObservedGeneration: 1,
			Reason:             "CredentialInvalid",
			Message: "the target is closed, and calls on its route get 503 from the sidecar until a credential is " +
				"usable; see the condition CredentialValid",
		},
		{
			Type:               "Conflicted",
			Status:             "False",
			ObservedGeneration: 1,
			Reason:             "NoConflict",
			Message:            "no conflicting Istio objects",
		},
		{
			Type:               "PodsOutdated",
			Status:             "False",
			ObservedGeneration: 1,
			Reason:             "PodsUpToDate",
			Message:            "all Pods are up to date",
		},
	}
	for i := range want[:2] {
		want[i].Message = "the Secret external-system-mtls-data doesn't exist in the namespace " + w.namespace +
			"; create it with: kubectl create secret generic external-system-mtls-data -n " + w.namespace +
			" --from-file=cert=client.crt --from-file=key=client.key --from-file=cacert=server-ca.crt; or from a .p12 " +
			"file with: mtls-egress-webhook credential import FILE.p12 --target external.system.com --server-ca " +
			"server-ca.crt -n " + w.namespace + " | kubectl apply -f -"
	}
	if diff := cmp.Diff(want, withoutTimes(egressTarget.Status.Conditions)); diff != "" {
		t.Errorf("the conditions (+) aren't as wanted (-):\n%s", diff)
	}
	w.programmed(w.closedSpecs(egress.Layout{}))
	await.Eventually(w, "", func() error {
		if diff := cmp.Diff(
			[]string{"Warning SecretMissing", "Warning CredentialInvalid"}, w.events(egressTarget),
		); diff != "" {
			return fmt.Errorf("the events (+) aren't as wanted (-):\n%s", diff)
		}
		return nil
	})

	w.credential(secret)
	w.ready()
	w.programmed(w.defaultSpecs())
}

func withoutTimes(conditions []metav1.Condition) []metav1.Condition {
	for i := range conditions {
		conditions[i].LastTransitionTime = metav1.Time{}
	}
	return conditions
}

func TestBadSecretsAreReportedAndCloseTheTarget(t *testing.T) {
	now := time.Now()
	ca := pki.NewCA(t, "partner CA")
	issued := func(change func(*pki.Template)) map[string][]byte {
		template := pki.Client("orders")
		change(&template)
		pair := ca.Issue(t, template)
		return map[string][]byte{"cert": pair.CertPEM, "key": pair.KeyPEM, "cacert": ca.CertPEM}
	}
	good := issued(func(*pki.Template) {})
	with := func(key string, value []byte) map[string][]byte {
		data := maps.Clone(good)
		data[key] = value
		return data
	}
	without := func(key string) map[string][]byte {
		data := maps.Clone(good)
		delete(data, key)
		return data
	}
	both := maps.Clone(good)
	maps.Copy(both, tlsLayout(good))
	tests := map[string]struct {
		data   map[string][]byte
		reason string
	}{
		"no keys at all": {map[string][]byte{}, "LayoutUnknown"},
		"keys of no layout": {
			map[string][]byte{"client.pem": good["cert"], "client.key": good["key"]}, "LayoutUnknown",
		},
		"two layouts":                {both, "LayoutAmbiguous"},
		"no certificate":             {without("cert"), "SecretKeyMissing"},
		"no private key":             {without("key"), "SecretKeyMissing"},
		"an empty private key":       {with("key", nil), "SecretKeyMissing"},
		"an invalid certificate":     {with("cert", []byte("certificate")), "CertificateUnreadable"},
		"an invalid private key":     {with("key", []byte("key")), "PrivateKeyUnreadable"},
		"the private key of another": {with("key", issued(func(*pki.Template) {})["key"]), "PrivateKeyMismatch"},
		"a certificate that has ended": {
			issued(func(c *pki.Template) { c.NotAfter = now.Add(-time.Hour) }),
			"CertificateExpired",
		},
		"a certificate that hasn't begun": {
			issued(func(c *pki.Template) { c.NotBefore = now.Add(time.Hour) }),
			"CertificateNotYetValid",
		},
		"a certificate for servers only": {
			issued(func(c *pki.Template) { c.ExtKeyUsage = pki.Server("a.b").ExtKeyUsage }),
			"NotForClientAuth",
		},
		"no CA of the server":                 {without("cacert"), "ServerCAMissing"},
		"an invalid CA of the server":         {with("cacert", []byte("CA")), "ServerCAUnreadable"},
		"a CA of the server whose time is up": {with("cacert", expiredCA(t, now)), "ServerCAExpired"},
	}
	w := newWorld(t)
	w.start(controller.Options{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: test.data})
			w.pod("app", host)
			egressTarget := w.settled(v1alpha1.ConditionCredentialValid, metav1.ConditionFalse, test.reason)
			w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, test.reason)
			w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "CredentialInvalid")
			if len(egressTarget.Status.Credentials) != 1 || egressTarget.Status.Credentials[0].Reason != test.reason {
				t.Errorf("credentials are %+v, want one with reason %s", egressTarget.Status.Credentials, test.reason)
			}
			w.programmed(w.closedSpecs(egress.Layout{}))
		})
	}
}

func expiredCA(t *testing.T, now time.Time) []byte {
	t.Helper()
	return pki.SelfSigned(t, pki.Template{IsCA: true, NotAfter: now.Add(-time.Hour)}).CertPEM
}

func TestTheLastGoodSetStaysWhenTheCredentialGoesBad(t *testing.T) {
	w := newWorld(t)
	data := goodData(t)
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: tlsLayout(data)})
	clock := clocktesting.NewFakePassiveClock(time.Now())
	w.start(controller.Options{Clock: clock})
	w.pod("app", host)
	w.ready()
	want := w.wantSpecs(egress.FromEgressTarget(w.namespace, host, nil, egress.Sinkhole{}),
		egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"})
	w.programmed(want)

	clock.SetTime(time.Date(2121, 1, 1, 0, 0, 0, 0, time.UTC))
	w.pod("app-2", host) // something that makes the controller look
	w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "CertificateExpired")
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionTrue, "LastGoodKept")
	virtualService, err := w.istio(generated()[1].kind, generated()[1].name)
	if err != nil {
		t.Fatal(err)
	}
	w.remove(virtualService)
	w.programmed(want)
}

// TestACertificateNearItsEndIsTold follows a certificate through its warnings, and connections that
// are never older than it has left.
func TestACertificateNearItsEndIsTold(t *testing.T) {
	w := newWorld(t)
	end := time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)
	// The CA has a warning of its own.
	ca := pki.SelfSigned(t, pki.Template{
		Subject: pkix.Name{CommonName: "partner CA"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		NotAfter: end.AddDate(10, 0, 0),
	})
	template := pki.Client("orders")
	template.NotBefore, template.NotAfter = end.AddDate(-1, 0, 0), end
	client := ca.Issue(t, template)
	w.create(
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: secret},
			Data:       map[string][]byte{"cert": client.CertPEM, "key": client.KeyPEM, "cacert": ca.CertPEM},
		},
	)
	clock := clocktesting.NewFakePassiveClock(end.AddDate(0, 0, -40))
	running := w.start(controller.Options{Clock: clock})
	w.pod("app", host)
	w.ready()
	for n, left := range []time.Duration{29 * 24 * time.Hour, 6 * 24 * time.Hour, 4 * time.Minute} {
		clock.SetTime(end.Add(-left))
		w.pod(fmt.Sprintf("app-%d", n), host) // something that makes the controller look
		egressTarget := w.settled(v1alpha1.ConditionReady, metav1.ConditionTrue, "ExpiresSoon")
		var want []string
		for range n + 1 {
			want = append(want, "Warning ExpiresSoon")
		}
		await.Eventually(w, "", func() error {
			if diff := cmp.Diff(want, w.events(egressTarget)); diff != "" {
				return fmt.Errorf("the events (+) aren't as wanted (-):\n%s", diff)
			}
			return nil
		})
	}
	shortened := egress.FromEgressTarget(w.namespace, host, nil, egress.Sinkhole{})
	shortened.MaxConnectionAge = 150 * time.Second
	w.programmed(w.wantSpecs(shortened, egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}))

	want := map[string]float64{
		"mtls_egress_credential_not_after_timestamp_seconds":           float64(end.Unix()),
		"mtls_egress_credential_ends_within_seconds":                   86400,
		"mtls_egress_credential_valid":                                 1,
		"mtls_egress_credential_server_ca_not_after_timestamp_seconds": float64(ca.Certificate.NotAfter.Unix()),
	}
	if diff := cmp.Diff(want, w.credentialMetrics(running)); diff != "" {
		t.Errorf("the metrics (+) aren't as wanted (-):\n%s", diff)
	}
	clock.SetTime(end.Add(time.Hour))
	w.pod("app-late", host)
	w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "CertificateExpired")
	want["mtls_egress_credential_valid"] = 0
	await.Eventually(w, "", func() error {
		if diff := cmp.Diff(want, w.credentialMetrics(running)); diff != "" {
			return fmt.Errorf("the metrics (+) aren't as wanted (-):\n%s", diff)
		}
		return nil
	})
}

// credentialMetrics are the values of the metrics about the credential of the test's namespace,
// whose labels are checked.
func (w *world) credentialMetrics(running *running) map[string]float64 {
	w.Helper()
	families, err := running.registry.Gather()
	if err != nil {
		w.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "mtls_egress_credential_") {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, pair := range metric.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			if cmp.Equal(labels, map[string]string{"namespace": w.namespace, "host": host, "secret": secret}) {
				values[family.GetName()] = metric.GetGauge().GetValue()
			}
		}
	}
	return values
}

func TestSecretsOfDifferentLayouts(t *testing.T) {
	w := newWorld(t)
	w.credential("first")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "second"}, Data: tlsLayout(goodData(t))})
	w.start(controller.Options{})
	w.pod("app", host, presenting("first"))
	w.ready()
	w.programmed(w.defaultSpecs())

	// More Pods with another layout don't take the programmed one away from those that work.
	w.pod("app-2", host, presenting("second"))
	w.pod("app-3", host, presenting("second"))
	egressTarget := w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "LayoutsDiffer")
	if len(egressTarget.Status.Credentials) != 2 {
		t.Errorf("credentials are %+v, want two", egressTarget.Status.Credentials)
	}
	w.programmed(w.defaultSpecs())

	w.remove(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}})
	w.ready()
	w.programmed(w.wantSpecs(egress.FromEgressTarget(w.namespace, host, nil, egress.Sinkhole{}),
		egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"}))
}

func TestACAThatPodsDoNotMountIsNotProgrammedUnderThem(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{})
	old := w.pod("app", host)
	egressTarget := w.ready()
	w.patch(egressTarget, map[string]any{"spec": map[string]any{"sni": "sni.system.com",
		"serverCA": map[string]any{"configMap": map[string]any{"name": "partner-ca", "key": "ca.pem"}}}})
	w.settled(v1alpha1.ConditionCredentialValid, metav1.ConditionFalse, "ConfigMapMissing")
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionTrue, "LastGoodKept")
	bundle := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "partner-ca"},
		Data:       map[string]string{"ca.pem": "no certificate"},
	}
	w.create(bundle)
	w.settled(v1alpha1.ConditionCredentialValid, metav1.ConditionFalse, "ServerCAUnreadable")
	w.patch(bundle, map[string]any{"data": map[string]any{"ca.pem": string(goodData(t)["cacert"])}})
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "PodsOutdated")
	egressTarget = w.settled(v1alpha1.ConditionPodsOutdated, metav1.ConditionTrue, "ServerCANotMounted")
	message := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionPodsOutdated).Message
	if diff := cmp.Diff("the Pod app started without the ConfigMap partner-ca; restart the Pods to use its CA",
		message); diff != "" {
		t.Errorf("the message (+) isn't as wanted (-):\n%s", diff)
	}
	wanted := egress.FromEgressTarget(w.namespace, host, egressTarget, egress.Sinkhole{})
	kept := wanted
	kept.ServerCA = egress.ServerCA{}
	w.programmed(w.wantSpecs(kept, egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}))

	w.pod("app-2", host, func(pod *corev1.Pod) {
		pod.Annotations["sidecar.istio.io/userVolume"] = fmt.Sprintf(
			`{%q:{"secret":{"secretName":%q}},%q:{"configMap":{"name":"partner-ca"}}}`,
			egress.VolumeName(host),
			secret,
			egress.CAVolumeName(host),
		)
	})
	w.remove(old)
	w.ready()
	w.settled(v1alpha1.ConditionPodsOutdated, metav1.ConditionFalse, "PodsUpToDate")
	w.programmed(w.wantSpecs(wanted, egress.Layout{Certificate: "cert", PrivateKey: "key"}))
}

func TestPodsThatGotSomethingElseThanIsAskedForNowAreNamed(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.credential("renamed")
	w.create(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: host}})
	w.start(controller.Options{})
	w.pod("other-port", host+":8443")
	egressTarget := w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "PortsDiffer")
	message := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionReady).Message
	want := "the Pod other-port: the annotation mtls.egress/target names a port other than 443; write " +
		"external.system.com:443 or external.system.com there, or change spec.port here, which applies to every workload " +
		"of the namespace that calls the host"
	if diff := cmp.Diff(want, message); diff != "" {
		t.Errorf("the message (+) isn't as wanted (-):\n%s", diff)
	}
	w.pod("mounts-the-default", host, func(pod *corev1.Pod) {
		pod.Annotations["sidecar.istio.io/userVolume"] = fmt.Sprintf(`[{"name":%q,"secret":{"secretName":%q}}]`,
			egress.VolumeName(host), secret)
	})
	w.patch(egressTarget, map[string]any{"spec": map[string]any{"credential": map[string]any{"secretName": "renamed"}}})
	w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "PodsOutdated")
	w.settled(v1alpha1.ConditionPodsOutdated, metav1.ConditionTrue, "SecretNotMounted")
}

// TestTheCAOfCertManagersSecretsIsAskedFor has a Secret as cert-manager writes it.
func TestTheCAOfCertManagersSecretsIsAskedFor(t *testing.T) {
	w := newWorld(t)
	w.create(
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Name:        secret,
				Annotations: map[string]string{"cert-manager.io/certificate-name": "orders"},
			},
			Data: tlsLayout(goodData(t)),
		},
	)
	w.create(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: host}})
	w.start(controller.Options{})
	w.pod("app", host)
	egressTarget := w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "ServerCANotChosen")
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "CredentialInvalid")
	w.patch(egressTarget, map[string]any{"spec": map[string]any{"serverCA": map[string]any{"secretKey": "ca.crt"}}})
	w.ready()
}

// TestWithoutCertManagerATargetThatAsksForItSaysSo, and works with what the Secret holds.
func TestWithoutCertManagerATargetThatAsksForItSaysSo(t *testing.T) {
	w := newWorld(t)
	w.create(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: host}, Spec: v1alpha1.EgressTargetSpec{
		Credential: v1alpha1.Credential{
			IssuerRef:   &v1alpha1.IssuerRef{Name: "partner-ca"},
			Certificate: &v1alpha1.IssuedCertificate{CommonName: "orders"},
		},
		ServerCA: &v1alpha1.ServerCA{SecretKey: "ca.crt"},
	}})
	w.start(controller.Options{})
	w.pod("app", host)
	egressTarget := w.settled(v1alpha1.ConditionCertificateIssued, metav1.ConditionFalse, "CertManagerMissing")
	want := "the Secret external-system-mtls-data doesn't exist yet in the namespace " + w.namespace + "; waiting for " +
		"cert-manager to issue it, see the condition CertificateIssued"
	if diff := cmp.Diff(
		want, meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionReady).Message,
	); diff != "" {
		t.Errorf("the message (+) isn't as wanted (-):\n%s", diff)
	}
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: tlsLayout(goodData(t))})
	egressTarget = w.ready()

	w.patch(egressTarget,
		map[string]any{"spec": map[string]any{"credential": map[string]any{"issuerRef": nil, "certificate": nil}}})
	await.Eventually(w, "", func() error {
		egressTarget, err := w.egressTarget()
		condition := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionCertificateIssued)
		if err != nil || condition != nil {
			return fmt.Errorf("the condition is %+v, want none (error %w)", condition, err)
		}
		return nil
	})
}

func TestKeysAndSourcesOfTheCA(t *testing.T) {
	data := goodData(t)
	yes := true
	tests := map[string]struct {
		spec   v1alpha1.EgressTargetSpec
		data   map[string][]byte
		layout egress.Layout
	}{
		"keys that the EgressTarget names": {
			v1alpha1.EgressTargetSpec{
				Credential: v1alpha1.Credential{
					Keys: &v1alpha1.CredentialKeys{Certificate: "client.pem", PrivateKey: "client.key"},
				},
			},
			map[string][]byte{"client.pem": data["cert"], "client.key": data["key"], "ca.crt": data["cacert"]},
			egress.Layout{Certificate: "client.pem", PrivateKey: "client.key", ServerCA: "ca.crt"},
		},
		"a CA under a key of its own": {
			v1alpha1.EgressTargetSpec{ServerCA: &v1alpha1.ServerCA{SecretKey: "partner.pem"}},
			map[string][]byte{"cert": data["cert"], "key": data["key"], "partner.pem": data["cacert"]},
			egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "partner.pem"},
		},
		"the CAs of the system": {
			v1alpha1.EgressTargetSpec{ServerCA: &v1alpha1.ServerCA{System: &yes}},
			map[string][]byte{"tls.crt": data["cert"], "tls.key": data["key"]},
			egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: test.data})
			w.create(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: host}, Spec: test.spec})
			w.start(controller.Options{})
			w.programmed(w.wantSpecs(egress.FromEgressTarget(w.namespace, host, w.ready(), egress.Sinkhole{}), test.layout))
		})
	}
}
