package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"mtls.egress/webhook/test/await"
)

func TestInstallUpgradeUninstall(t *testing.T) {
	c := startCluster(t)
	manifests, problems, err := template(t, release, "--no-hooks")
	if err != nil {
		t.Fatalf("%v\n%s", err, problems)
	}
	rendered := read(t, manifests).names()

	t.Run("kubectl applies the rendered manifests, and a second time changes nothing", func(t *testing.T) {
		c.kubectl(t, "create", "namespace", namespace)
		file := writeFile(t, "chart.yaml", manifests)
		lines := func() []string {
			return strings.Split(strings.TrimSpace(c.kubectl(t, "apply", "--server-side", "--filename", file)), "\n")
		}
		for _, line := range lines() {
			if !strings.HasSuffix(line, " serverside-applied") {
				t.Error(line)
			}
		}
		before := c.kubectl(t, "get", "--output=json", "--filename", file)
		if got := len(lines()); got != len(rendered) {
			t.Errorf("%d objects applied, want %d", got, len(rendered))
		}
		if diff := cmp.Diff(before, c.kubectl(t, "get", "--output=json", "--filename", file)); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
		c.kubectl(t, "delete", "--wait", "--filename", file)
	})

	t.Run("Helm installs it", func(t *testing.T) {
		notes := c.helm(t, "install", release, chartDir, "--namespace", namespace, image)
		if !strings.Contains(notes, "mtls.egress/target=") {
			t.Errorf("the notes do not name the annotation:\n%s", notes)
		}
		installed := writeFile(t, "installed.yaml", c.helm(t, "get", "manifest", release, "--namespace", namespace))
		found := strings.Fields(c.kubectl(t, "get", "--output=name", "--filename", installed))
		if len(found) != len(rendered) {
			t.Errorf("objects %q: want %d", found, len(rendered))
		}
		c.kubectl(t, "wait", "--for=condition=Established", "--timeout="+await.Patience.String(),
			"crd/egresstargets.mtls.egress")
	})

	t.Run("an upgrade changes what the values say and keeps the caBundle that the webhook wrote", func(t *testing.T) {
		bundle := startStub(t).bundle()
		c.trust(t, bundle)
		type facts struct {
			Timeout int32
			Policy  admissionregistrationv1.FailurePolicyType
			URL     string
			Service bool
			CA      string
		}
		read := func() []facts {
			var all []facts
			for _, webhook := range c.configuration(t).Webhooks {
				f := facts{
					Timeout: *webhook.TimeoutSeconds, Policy: *webhook.FailurePolicy,
					Service: webhook.ClientConfig.Service != nil, CA: string(webhook.ClientConfig.CABundle),
				}
				if webhook.ClientConfig.URL != nil {
					f.URL = *webhook.ClientConfig.URL
				}
				all = append(all, f)
			}
			return all
		}
		both := func(f facts) []facts { return []facts{f, f} }

		c.helm(t, "upgrade", release, chartDir, "--namespace", namespace, image,
			"--set", "webhook.timeoutSeconds=7,webhook.failurePolicy=Ignore")
		want := both(facts{Timeout: 7, Policy: admissionregistrationv1.Ignore, Service: true, CA: string(bundle)})
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("other values (-want +got):\n%s", diff)
		}

		c.helm(t, "upgrade", release, chartDir, "--namespace", namespace, image,
			"--set", "webhook.deployment.enabled=false,controller.deployment.enabled=false,webhook.url=https://127.0.0.1:9443")
		want = both(
			facts{Timeout: 5, Policy: admissionregistrationv1.Fail, URL: "https://127.0.0.1:9443/mutate", CA: string(bundle)},
		)
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("outside the cluster (-want +got):\n%s", diff)
		}
		if found := c.kubectl(
			t, "get", "deployments,services,poddisruptionbudgets", "--namespace", namespace, "--output=name",
		); found != "" {
			t.Errorf("left of the Deployments: %s", found)
		}
	})

	t.Run("an upgrade upgrades the CustomResourceDefinition", func(t *testing.T) {
		c.kubectl(t, "patch", "crd", "egresstargets.mtls.egress", "--type=json",
			`--patch=[{"op": "remove", "path": "/spec/names/shortNames"}]`)
		c.helm(t, "upgrade", release, chartDir, "--namespace", namespace, image)
		if got := c.kubectl(
			t, "get", "crd", "egresstargets.mtls.egress", "--output=jsonpath={.spec.names.shortNames}",
		); got != `["egt"]` {
			t.Errorf("short names %s", got)
		}
	})

	t.Run(
		"what is uninstalled leaves the EgressTargets and nothing that could refuse a Pod, and comes back",
		func(t *testing.T) {
			target := writeFile(t, "target.yaml",
				"{apiVersion: mtls.egress/v1alpha1, kind: EgressTarget, metadata: {name: external.system.com, namespace: default}}")
			c.kubectl(t, "apply", "--filename", target)
			// Nothing here would run the Job that looks whether the webhook is in use; TestUninstall does.
			c.helm(t, "uninstall", release, "--namespace", namespace, "--no-hooks")
			kinds := "mutatingwebhookconfigurations,validatingadmissionpolicies," +
				"validatingadmissionpolicybindings,clusterroles,clusterrolebindings,crds"
			left := strings.Fields(
				c.kubectl(t, "get", kinds, "--selector=app.kubernetes.io/part-of=mtls-egress-webhook", "--output=name"),
			)
			if diff := cmp.Diff(
				[]string{"customresourcedefinition.apiextensions.k8s.io/egresstargets.mtls.egress"}, left,
			); diff != "" {
				t.Errorf("left in the cluster (-want +got):\n%s", diff)
			}
			c.helm(t, "install", release, chartDir, "--namespace", namespace, image)
			got := c.kubectl(t, "get", "egt", "--output=name")
			if !slices.Equal(strings.Fields(got), []string{"egresstarget.mtls.egress/external.system.com"}) {
				t.Errorf("EgressTargets after the installation: %s", got)
			}
		},
	)
}
