package chart

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// notes are what Helm prints after an installation. It renders them for a cluster only, even when
// it is to install nothing.
func (c cluster) notes(t *testing.T, args ...string) string {
	t.Helper()
	printed := c.helm(t,
		append([]string{"install", release, chartDir, "--namespace", namespace, "--dry-run=client", image}, args...)...)
	_, notes, found := strings.Cut(printed, "\nNOTES:\n")
	if !found {
		t.Fatalf("no notes in:\n%s", printed)
	}
	return notes
}

func TestNotesTellTheNextStep(t *testing.T) {
	c := startCluster(t)
	c.prometheus(t)
	tests := map[string]struct {
		set          string
		first        []string
		reservations []string
	}{
		"by default": {
			set: `log={}`,
			first: []string{
				"1. Wait until the Pods are ready, and check that admission works:",
				"",
				"   kubectl -n mtls-egress rollout status deployment/mtls-egress-webhook",
				"   kubectl -n mtls-egress rollout status deployment/mtls-egress-webhook-controller",
				"   helm -n mtls-egress test mtls-egress-webhook --logs",
				"",
			},
			reservations: []string{"prometheusRule.enabled is off"},
		},
		"with alerts there is nothing to note": {
			set:   `prometheusRule.enabled=true`,
			first: []string{"1. Wait until the Pods are ready, and check that admission works:"},
		},
		"both processes elsewhere": {
			set: `webhook.deployment={"enabled": false, "replicas": 1},controller.deployment.enabled=false,` +
				`webhook.url="https://127.0.0.1:9443",uninstall.refuseWhileInUse=false`,
			first: []string{
				"1. Start the webhook and the controller. The API server calls the webhook at https://127.0.0.1:9443",
				"",
			},
			reservations: []string{"prometheusRule.enabled is off"},
		},
		"the webhook elsewhere": {
			set: `webhook.deployment.enabled=false,webhook.url="https://127.0.0.1:9443"`,
			first: []string{
				"1. Wait until the Pods are ready:",
				"",
				"   kubectl -n mtls-egress rollout status deployment/mtls-egress-webhook-controller",
				"",
			},
			reservations: []string{
				"webhook.deployment.enabled is off: start the webhook elsewhere. The API server calls it at https://127.0.0.1:9443",
				"prometheusRule.enabled is off",
			},
		},
		"the controller elsewhere": {
			set: `controller.deployment.enabled=false`,
			first: []string{
				"1. Wait until the Pods are ready, and check that admission works:",
				"",
				"   kubectl -n mtls-egress rollout status deployment/mtls-egress-webhook",
				"   helm -n mtls-egress test mtls-egress-webhook --logs",
				"",
			},
			reservations: []string{"controller.deployment.enabled is off", "prometheusRule.enabled is off"},
		},
		"one replica of the webhook": {
			set:          `webhook.deployment.replicas=1`,
			reservations: []string{"webhook.deployment.replicas is 1", "prometheusRule.enabled is off"},
		},
		"one replica of the controller": {
			set:          `controller.deployment.replicas=1`,
			reservations: []string{"prometheusRule.enabled is off"},
		},
		"a webhook in the network of the nodes": {
			set: `webhook.deployment.hostNetwork=true,prometheusRule.enabled=true`,
			reservations: []string{
				"webhook.deployment.hostNetwork is on: NetworkPolicies don't apply to the webhook, so all clients that reach the " +
					"nodes reach its ports 9443, 8080 and 8081.",
			},
		},
		"a webhook that may be down": {
			set: `webhook.failurePolicy="Ignore"`,
			reservations: []string{
				"webhook.failurePolicy is Ignore: while the webhook is down, a policy rejects annotated Pods",
				"prometheusRule.enabled is off",
			},
		},
		"a webhook that may be down, and nothing in its place": {
			set: `webhook.failurePolicy="Ignore",policy.requireInjected=false`,
			reservations: []string{
				"webhook.failurePolicy is Ignore and policy.requireInjected is off",
				"prometheusRule.enabled is off",
			},
		},
		"a cluster that denies by default": {
			set: `policy={"otherTargets": "Deny", "allowedTargets": ["*.bank.example", "a.example"]}`,
			reservations: []string{
				"policy.otherTargets is Deny: namespaces can reach *.bank.example, a.example, and the hosts in their annotation " +
					"mtls.egress/allowed-targets. helm test uses the target ",
				"prometheusRule.enabled is off"},
		},
		"a cluster that refuses Pods without a sidecar": {
			set: `policy.requireInjection=true,test.namespace="shop"`,
			reservations: []string{
				"policy.requireInjection is on: helm test fails unless the namespace shop has sidecars. Set test.namespace to one",
				"prometheusRule.enabled is off",
			},
		},
		"namespaces that are exempt": {
			set: `policy.exemptNamespaces=["shop","project"]`,
			reservations: []string{
				"policy.exemptNamespaces has shop, project: users who can label these namespaces can disable",
				"prometheusRule.enabled is off",
			},
		},
		"namespaces that are exempt from nothing": {
			set:          `policy={"exemptNamespaces": ["shop"], "protectGenerated": false}`,
			reservations: []string{"policy.protectGenerated is off", "prometheusRule.enabled is off"},
		},
		"everything switched off": {
			set: `policy.requireInjected=false,policy.protectGenerated=false,policy.protectSinkhole=false,` +
				`crds.enabled=false,uninstall.refuseWhileInUse=false`,
			reservations: []string{
				"policy.requireInjected is off", "policy.protectGenerated is off", "policy.protectSinkhole is off",
				"crds.enabled is off", "uninstall.refuseWhileInUse is off", "prometheusRule.enabled is off",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			printed := c.notes(t, "--set-json", test.set)
			steps, noted, _ := strings.Cut(printed, "\nNote:\n")
			lines := strings.Split(steps, "\n")
			if diff := cmp.Diff(test.first, lines[:min(len(test.first), len(lines))]); test.first != nil && diff != "" {
				t.Errorf("first step (-want +got):\n%s", diff)
			}
			for _, command := range []string{"mtls.egress/target=external.system.com", "create secret generic " +
				"external-system-mtls-data", "credential import FILE.p12", "get egresstargets"} {
				if !strings.Contains(steps, command) {
					t.Errorf("the steps do not say %q:\n%s", command, steps)
				}
			}
			var got []string
			for line := range strings.Lines(noted) {
				got = append(got, strings.TrimPrefix(strings.TrimSpace(line), "- "))
			}
			if len(got) != len(test.reservations) {
				t.Fatalf("notes: %q, want %q", got, test.reservations)
			}
			for i, want := range test.reservations {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("note: %q, want it to begin with %q", got[i], want)
				}
			}
		})
	}
}
