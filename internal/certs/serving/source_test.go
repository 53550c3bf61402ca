package serving

import (
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"mtls.egress/webhook/test/pki"
)

// TestReadyOnlyWithACertificateThatIsAccepted follows one replica through the lifetime of a
// certificate from files. There is no API server, so no caBundle is ever read.
func TestReadyOnlyWithACertificateThatIsAccepted(t *testing.T) {
	ca := ourCA(t, moment())
	template := pki.Server(servedName)
	template.NotBefore, template.NotAfter = moment(), moment().Add(time.Hour)
	directory := t.TempDir()
	mount(t, directory, secretData(ca.Issue(t, template), ca.CertPEM))
	source, err := New(&rest.Config{Host: "https://192.0.2.1"}, Options{
		Directory:                directory,
		DNSNames:                 []string{servedName},
		WebhookConfigurationName: "0-mtls-egress-webhook",
		Logger:                   logr.Discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	now := moment()
	found := source.newest.(*files)
	found.now, source.now = func() time.Time { return now }, func() time.Time { return now }

	want := func(when, problem string) {
		t.Helper()
		err := source.Check(nil)
		if problem == "" && err != nil || problem != "" && (err == nil || err.Error() != problem) {
			t.Errorf("%s: error %v, want %q", when, err, problem)
		}
	}
	want("at first", "serving certificate: the files have not been read yet")
	found.reload()
	want("not yet trusted",
		"serving certificate: the MutatingWebhookConfiguration 0-mtls-egress-webhook has not been read yet: "+
			"check that the service account may list and watch it")
	source.bundle.synced = nil // read, and no MutatingWebhookConfiguration is there
	want("trusted", "")
	now = moment().Add(time.Hour + time.Second)
	found.reload()
	want("expired", "serving certificate: expired on 2026-07-01T13:00:00Z")

	template.NotBefore, template.NotAfter = now, now.Add(time.Hour)
	mount(t, directory, secretData(ca.Issue(t, template), ca.CertPEM))
	found.reload()
	want("renewed", "")
}
