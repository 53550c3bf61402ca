package alerts

import (
	"cmp"
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/installation"
)

// picture is where the drawn dashboard is kept. Without it, it is drawn all the same.
const picture = "MTLS_EGRESS_DASHBOARD_PICTURE"

// troubles are the alerts whose causes the picture shows at its end.
func troubles() []string {
	return []string{"MTLSEgressConflict", "MTLSEgressPodsWithoutSidecar", "MTLSEgressCredentialExpires", "MTLSEgressTargetNotVerified"}
}

// showsTheDashboard draws the dashboard over the time of the test, which had the cause of every
// alert, and at its end some of them again, while there is much to do. The program that draws is in
// the directory painter.
func (s scene) showsTheDashboard(prometheus *server, causes []cause, painter string) {
	s.Helper()
	causes = slices.DeleteFunc(slices.Clone(causes), func(c cause) bool { return !slices.Contains(troubles(), c.alert) })
	for _, c := range causes {
		c.make(s)
	}
	s.pod("payments", "external.system.com", nil) // has no Secret
	s.busy()
	for _, c := range causes {
		prometheus.waitFor(s.T, c.alert, c.severity, true)
	}
	prometheus.waitFor(s.T, "MTLSEgressTargetNotProgrammed", "critical", true)
	s.draw(prometheus, painter)
}

// busy is long enough that a rate can be told of it: Pods are created, some of them with a mistake, somebody deletes generated objects, and somebody knocks at the webhook's port.
func (s scene) busy() {
	s.Helper()
	s.renew("shop")
	s.kubectl("wait", "--for=create", "--timeout="+patience.String(), "--namespace=shop", "egresstarget/external.system.com")
	s.kubectl("wait", "--for=condition=Ready", "--timeout="+patience.String(), "--namespace=shop", "egresstargets", "--all")
	knocker := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	ctx, cancel := context.WithTimeout(s.Context(), 6*apiServerInterval)
	defer cancel()
	for n := 0; ctx.Err() == nil || n < 40; n++ { // each of them twice at least
		switch {
		case n%10 == 9:
			if err := s.create("shop", "https://external.system.com", []string{metav1.DryRunAll}); err == nil {
				s.Error("a host with a scheme was admitted")
			}
		case n%20 == 4:
			s.kubectl("delete", "serviceentries,destinationrules", "--all", "--namespace=shop", "--as="+installation.User) // others may not
		case n%20 == 14:
			response, err := knocker.Get("https://" + s.Replicas[0].Address() + "/mutate")
			if err != nil {
				s.Fatal(err)
			}
			_ = response.Body.Close() // whatever it says, it is counted
		default:
			s.pod("shop", "external.system.com", []string{metav1.DryRunAll})
		}
		time.Sleep(50 * time.Millisecond) // the rate is no matter, as long as there is one
	}
}

// draw fails when Prometheus refuses a query of the dashboard, and when one brings nothing.
func (s scene) draw(prometheus *server, painter string) {
	s.Helper()
	path := cmp.Or(os.Getenv(picture), filepath.Join(s.TempDir(), "dashboard.png"))
	last := time.Since(prometheus.started).Round(time.Second)
	command := exec.CommandContext(s.Context(), filepath.Join(painter, "dashboard"),
		"-dashboard", filepath.Join(s.Root, "charts", "mtls-egress-webhook", "files", "dashboards", "mtls-egress.json"),
		"-prometheus", prometheus.address, "-scrape-interval", apiServerInterval.String(), "-last", last.String(), "-picture", path)
	if _, _, err := apiserver.Output(command); err != nil {
		s.Error(err)
	}
}
