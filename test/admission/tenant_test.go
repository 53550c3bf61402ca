package admission_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
)

// TestATenantCantLoosenWhatRuns tries, on the product as it is installed, what the people of a
// namespace could do to calls of Pods that run. What the policies say of every other way to write
// it is in test/chart.
func TestATenantCantLoosenWhatRuns(t *testing.T) {
	w := newWorld(t)
	w.credential()
	w.create(annotated("shop", withSidecar))
	w.create(plain("plain"))
	w.programmed()
	denied := func(resource, name, policy, said string) string {
		policy = "mtls-egress-webhook-" + policy
		return fmt.Sprintf("%s %q is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s",
			resource, name, policy, policy, said)
	}
	kept := denied(
		"pods", "shop", "injected",
		`the labels mtls.egress/injected and to.mtls.egress/HOST and the annotations mtls.egress/target and `+
			`mtls.egress/secret of the Pod shop cannot be changed while it exists: its sidecar depends on them, `+
			`so calls would fail or leave in plain text. Change the annotations of the workload that creates the `+
			`Pod, or delete the Pod and create it again`,
	)
	forged := func(label string) string {
		return denied(
			"pods", "plain", "injected",
			`the Pod has the label `+label+`, which its annotation mtls.egress/target does not ask for. The webhook `+
				`0-mtls-egress-webhook sets these labels itself, so remove them from the Pod or its template; to call a host `+
				`over mutual TLS, write the host into the annotation`,
		)
	}
	generated := func(name, said string) string {
		return denied(
			"virtualservices.networking.istio.io", name, "generated-objects",
			"VirtualService "+name+" "+said+` To write this object anyway, an administrator must exempt the namespace `+
				`in two places: the chart's value policy.exemptNamespaces, and its label: kubectl label namespace `+
				w.namespace+` mtls.egress/protection=off`,
		)
	}
	taken := func(resource, kind, field string) string {
		return denied(
			resource, "theirs", "sinkhole",
			kind+` theirs uses `+address+` (`+field+`), but 240.0.0.0/4 is reserved for the sinkhole addresses of `+
				`mtls-egress-webhook, where calls are dropped that no sidecar intercepts. With this object, such calls from Pods `+
				`of every namespace would arrive in plain text. Use another address`,
		)
	}
	const ours = "mtls-egress-" + host
	virtualService := func(metadata, hosts string) string {
		return `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"theirs"` + metadata + `},
			"spec":{"hosts":["` + hosts + `"],"http":[{"route":[{"destination":{"host":"theirs.example.com"}}]}]}}`
	}
	tests := map[string]struct {
		args     string
		manifest string
		want     string
	}{
		"the label of the host goes":    {args: "label pod shop to.mtls.egress/" + host + "-", want: kept},
		"the label of the host says no": {args: "label pod shop --overwrite to.mtls.egress/" + host + "=false", want: kept},
		"the label of all goes":         {args: "label pod shop mtls.egress/injected-", want: kept},
		"the annotation goes":           {args: "annotate pod shop mtls.egress/target-", want: kept},
		"another Secret":                {args: "annotate pod shop mtls.egress/secret=other", want: kept},
		"a label for another host":      {args: "label pod shop to.mtls.egress/other.system.com=true", want: kept},
		"a label on another Pod": {
			args: "label pod plain to.mtls.egress/" + host + "=true",
			want: forged("to.mtls.egress/" + host),
		},
		"another Pod is counted": {
			args: "label pod plain mtls.egress/injected=true",
			want: forged("mtls.egress/injected"),
		},
		"labels of somebody's own": {args: "label pod shop app=shop"},
		"another revision of Istio": {
			args: "label virtualservice " + ours + " istio.io/rev=nobody",
			want: generated(
				ours,
				`is generated from an EgressTarget and provides mutual TLS for Pods: without it, or with another spec, owner, `+
					`finalizer, or Istio label or annotation, their calls fail or leave in plain text. Change the EgressTarget `+
					`instead, or delete it when no Pod uses the host anymore.`,
			),
		},
		"a generated object's host": {
			args: "create -f -", manifest: virtualService("", host+".mtls-egress.internal"),
			want: generated(
				"theirs",
				"is for "+host+`.mtls-egress.internal, but the domain mtls-egress.internal is reserved for the `+
					`controller of mtls-egress-webhook: Istio could use the object instead of a generated one, so calls `+
					`could fail or leave in plain text. Use the host of the partner, such as external.system.com, and `+
					`configure its calls in the EgressTarget.`,
			),
		},
		"a generated object's owner": {
			args: "create -f -",
			manifest: virtualService(
				`,"ownerReferences":[{"apiVersion":"mtls.egress/v1alpha1","kind":"EgressTarget","name":"`+host+
					`","uid":"0c4f9bb0-57a8-4d3b-8a4c-4d3c8d1c6b52"}]`,
				host,
			),
			want: generated(
				"theirs",
				"has the owner EgressTarget "+host+`, but only the controller of mtls-egress-webhook can create objects that an `+
					`EgressTarget owns. Remove the owner from metadata.ownerReferences.`,
			),
		},
		"the label of generated objects is free": {
			args:     "create -f -",
			manifest: virtualService(`,"labels":{"app.kubernetes.io/managed-by":"mtls-egress-webhook"}`, "theirs.example.com"),
		},
		"a Service takes the sinkhole": {
			args: "create -f -",
			manifest: `{"apiVersion":"v1","kind":"Service","metadata":{"name":"theirs"},` +
				`"spec":{"ports":[{"port":80}],"externalIPs":["` + address + `"]}}`,
			want: taken("services", "Service", "spec.externalIPs, spec.loadBalancerIP or status.loadBalancer"),
		},
		"a ServiceEntry takes the sinkhole": {
			args: "create -f -", want: taken("serviceentries.networking.istio.io", "ServiceEntry", "spec.addresses"),
			manifest: `{"apiVersion":"networking.istio.io/v1","kind":"ServiceEntry","metadata":{"name":"theirs"},
				"spec":{"hosts":["theirs.example.com"],"addresses":["` + address + `"],
				"ports":[{"number":80,"name":"tcp","protocol":"TCP"}],"resolution":"STATIC","endpoints":[{"address":"10.0.0.7"}]}}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			args := append(strings.Fields(test.args), "--namespace", w.namespace, "--dry-run=server")
			var err error
			if test.manifest != "" {
				_, err = installed.KubectlWith(t.Context(), test.manifest, args...)
			} else {
				_, _, err = installed.Kubectl(t.Context(), args...)
			}
			got := ""
			if err != nil {
				_, got, _ = strings.Cut(strings.TrimSpace(err.Error()), "Error from server (Forbidden): ")
				got = cmp.Or(strings.TrimPrefix(got, `error when creating "STDIN": `), err.Error())
			}
			if diff := gocmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestThePolicyTakesWhatTheWebhookWrites: the label of a long host has a hash that the policy can't
// compute.
func TestThePolicyTakesWhatTheWebhookWrites(t *testing.T) {
	w := newWorld(t)
	hosts := map[string]string{
		"as long as a label":       strings.Repeat("a", 51) + ".example.com",
		"longer":                   strings.Repeat("a", 52) + ".example.com",
		"as long as a host":        strings.Repeat(strings.Repeat("a", 60)+".", 4)[:240] + "x.example.com",
		"cut at a dot":             strings.Repeat("a", 51) + ".partner.example.com",
		"cut at a hyphen":          strings.Repeat("a", 51) + "-partner.example.com",
		"cut in a run of hyphens":  strings.Repeat("a", 20) + strings.Repeat("-", 40) + "b.example.com",
		"cut after many a hyphen":  strings.Repeat("a-", 25) + "a-b.example.com",
		"in upper case, and a dot": strings.Repeat("A", 52) + ".Example.COM.",
		"written twice":            strings.Repeat("a", 52) + ".example.com," + strings.Repeat("a", 52) + ".example.com",
	}
	for name, asked := range hosts {
		t.Run(name, func(t *testing.T) {
			pod := annotated("long", func(pod *corev1.Pod) {
				pod.Annotations[egress.AnnotationTarget] = asked
				pod.Annotations[egress.AnnotationSecret] = "one"
			})
			pod.Namespace = w.namespace
			if err := w.Create(t.Context(), pod, client.DryRunAll); err != nil {
				t.Fatal(err)
			}
			host, err := egress.NormalizeHost(strings.Split(asked, ",")[0])
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{egress.LabelInjected: egress.LabelValue, egress.HostLabel(host): egress.LabelValue}
			if diff := gocmp.Diff(want, pod.Labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
		})
	}
}
