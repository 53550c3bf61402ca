package docs

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
)

// podPage starts from a Pod that is missing or not ready.
const podPage = root + "/docs/how-to/pods-do-not-start.md"

// books is an installation to which somebody does what the documents say.
type books struct {
	*testing.T
	*installation.Installation
}

// TestBooks runs the commands of the documents that need a running webhook, from top to bottom, and
// sees that what they say follows. The chart's Deployments are there, and no controller that would
// make their Pods: both processes run beside the API server.
func TestBooks(t *testing.T) {
	i, err := installation.Start(t.Context(), installation.Options{Values: []string{
		"webhook.deployment.enabled=true", "controller.deployment.enabled=true",
		"policy.allowedEndpoints={partner.acme.svc.cluster.local}",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Stop(); err != nil {
			t.Error(err)
		}
	})
	b := &books{T: t, Installation: i}
	b.apply(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "project"}}`)
	b.apply(deploymentThatAsks("shop"))
	b.wantPod("project", asks("before"), "")
	b.kubectl("wait", "--for=create", "virtualservice/mtls-egress-external.system.com", "--namespace=project",
		"--timeout="+await.Patience.String())
	// What the Deployment controller would say of the chart's, whatever their generations.
	for _, name := range []string{installation.Release, installation.ControllerName} {
		b.kubectl(
			"patch", "deployment", name, "--namespace="+installation.Namespace, "--subresource=status", "--type=merge",
			`--patch={"status": {"observedGeneration": 1000, "replicas": 2, "updatedReplicas": 2, `+
				`"readyReplicas": 2, "availableReplicas": 2}}`,
		)
	}

	for _, book := range []struct {
		name string
		read func(*books)
	}{
		{"egresstarget", egressTarget}, {"first call", firstCall}, {"annotating", annotating},
		{"operations", operations}, {"upgrade", upgrade}, {"emergency", emergency},
	} {
		t.Run(book.name, func(t *testing.T) { book.read(&books{T: t, Installation: i}) })
	}
}

// egressTarget waits for a target that is not ready while it has no credential. Nothing here
// injects sidecars, so the Pod brings its own.
func egressTarget(b *books) {
	b.kubectl("delete", "pods", "--namespace=project", "--all", "--force")
	b.kubectl("wait", "--for=condition=Ready=false", "egresstarget/external.system.com", "--namespace=project",
		"--timeout="+await.Patience.String())
	proxied := asks("proxied")
	proxied.Spec.Containers = append(proxied.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: "proxyv2"})
	b.wantPod("project", proxied, "")
	dir := b.TempDir()
	if err := installation.WriteCredential(dir, time.Now()); err != nil {
		b.Fatal(err)
	}
	if _, err := b.KubectlIn(b.Context(), dir, "create", "secret", "generic", "external-system-mtls-data",
		"--namespace=project", "--from-file=cert=client.crt", "--from-file=key=client.key",
		"--from-file=cacert=server-ca.crt"); err != nil {
		b.Fatal(err)
	}
	for _, command := range commandsOf(b.T, "../../docs/reference/egresstarget.md") {
		command.run(b.T, b.Server, "")
	}
}

// operations makes the refusals that the decision tree tells apart.
func operations(b *books) {
	for _, command := range slices.Concat(
		commandsOf(b.T, "../../docs/how-to/operations.md"), commandsOf(b.T, podPage),
	) {
		printed := command.run(b.T, b.Server, "")
		if strings.Contains(command.line, "run probe") && !strings.Contains(printed, `"mtls.egress/injected":"true"`) {
			b.Errorf("%s prints %s", command.place, printed)
		}
	}
	mistaken := asks("mistaken")
	mistaken.Spec.HostNetwork = true
	b.wantRefusal("project", mistaken, `admission webhook "pods.mtls.egress" denied the request`)

	b.apply(
		`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "restricted", "labels": ` +
			`{"pod-security.kubernetes.io/enforce": "restricted"}}}`,
	)
	b.wantRefusal("restricted", asks("insecure"), "violates PodSecurity")

	b.apply(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "full"}}`)
	b.apply(
		`{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": ` +
			`"full"}, "spec": {"hard": {"pods": "0"}}}`,
	)
	b.kubectl("patch", "resourcequota/none", "--namespace=full", "--subresource=status", "--type=merge",
		`--patch={"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}`)
	await.True(b, "the quota is full", func(ctx context.Context) bool {
		return strings.Contains(b.create(ctx, "full", asks("many"), true), "exceeded quota")
	})
	b.wantRefusal("full", asks("many"), "exceeded quota")
}

// upgrade sees that neither it nor the way back changes anything of a workload and its target.
func upgrade(b *books) {
	const theirs = "deployments,replicasets,pods,virtualservices.networking.istio.io," +
		"destinationrules.networking.istio.io,serviceentries.networking.istio.io"
	before := b.kubectl("get", theirs, "--namespace=project", "--output=json")
	for _, command := range commandsOf(b.T, "../../docs/how-to/upgrade.md") {
		printed := command.run(b.T, b.Server, "")
		if strings.Contains(command.line, "run probe") && !strings.Contains(printed, `"mtls.egress/injected":"true"`) {
			b.Errorf("%s prints %s", command.place, printed)
		}
		if diff := cmp.Diff(before, b.kubectl("get", theirs, "--namespace=project", "--output=json")); diff != "" {
			b.Fatalf("%s changes (-before +after):\n%s", command.place, diff)
		}
	}
	await.True(b, "annotated Pods are injected", b.injects)
}

func emergency(b *books) {
	commands := commandsOf(b.T, "../../docs/how-to/emergency.md")
	do := func(heading string) (printed []string) {
		b.Helper()
		for _, command := range commands {
			if command.heading == heading {
				printed = append(printed, command.run(b.T, b.Server, ""))
			}
		}
		if len(printed) == 0 {
			b.Fatalf("no commands under %q", heading)
		}
		return printed
	}
	do("Is it the webhook at all?")

	if err := b.StopWebhook(); err != nil {
		b.Fatal(err)
	}
	b.wantRefusal("project", asks("unreachable"), `failed calling webhook "pods.mtls.egress"`)
	b.wantPod("project", plain("plain-unreachable"), "")
	if _, _, err := b.Kubectl(
		b.Context(), "annotate", "deployment/shop", "--namespace=project", "mtls.egress/target-",
	); err == nil {
		b.Error("the annotation can be taken out while the webhook is down and called")
	}
	if err := b.StartWebhook(b.Context()); err != nil {
		b.Fatal(err)
	}

	do("Out in one command")
	const policy = "ValidatingAdmissionPolicy 'mtls-egress-webhook-injected'"
	await.True(b, "an annotated Pod is refused by the policy", func(ctx context.Context) bool {
		return strings.Contains(b.create(ctx, "project", asks("out"), true), policy)
	})
	b.wantRefusal("project", asks("out"), policy)
	b.wantPod("project", plain("plain-out"), "")
	b.kubectl("scale", "deployment/shop", "--namespace=project", "--replicas=3")
	b.kubectl("annotate", "deployment/shop", "--namespace=project", "note=mine")
	_, err := b.KubectlWith(b.Context(), deploymentThatAsks("other"), "apply", "--filename=-")
	if want := "ValidatingAdmissionPolicy 'mtls-egress-webhook-propagated'"; err == nil ||
		!strings.Contains(err.Error(), want) {
		b.Errorf("a Deployment whose annotation nobody propagates: error %v, want one with %q", err, want)
	}

	do("To start Pods without mutual TLS")
	if left := b.kubectl("get", "deployment/shop", "--namespace=project",
		`--output=jsonpath={.metadata.annotations.mtls\.egress/target}{.spec.template.metadata.annotations}`); left != "" {
		b.Errorf("the Deployment still has annotations of ours: %s", left)
	}
	await.True(b, "the policies are out of force",
		func(ctx context.Context) bool { return b.create(ctx, "project", asks("plaintext"), true) == "" })
	b.wantPod("project", asks("plaintext"), "")
	if aliases := b.kubectl(
		"get", "pod/plaintext", "--namespace=project", "--output=jsonpath={.spec.hostAliases}",
	); aliases != "" {
		b.Errorf("a Pod that nobody injected has the aliases %s", aliases)
	}

	printed := do("Back")
	if got := printed[len(printed)-1]; got != "project plaintext\n" {
		b.Errorf("Pods that were started without mutual TLS: %q, want the one", got)
	}
	await.True(b, "annotated Pods are injected again", b.injects)

	b.kubectl("delete", "mutatingwebhookconfiguration", installation.WebhookConfiguration)
	if _, _, err := b.Helm(
		b.Context(), "rollback", installation.Release, "--namespace", installation.Namespace,
	); err != nil {
		b.Fatal(err)
	}
	await.True(b, "annotated Pods are injected after a rollback", b.injects)

	remove := []string{
		"delete", "virtualservice/mtls-egress-external.system.com", "--namespace=project", "--dry-run=server",
	}
	if _, _, err := b.Kubectl(b.Context(), remove...); err == nil ||
		!strings.Contains(err.Error(), "mtls-egress-webhook-generated-objects") {
		b.Errorf("a generated object is deleted: error %v, want the policy's", err)
	}
	removable := func(ctx context.Context) bool {
		_, _, err := b.Kubectl(ctx, remove...)
		return err == nil
	}
	open := false
	for _, command := range commands {
		if command.heading != "In one namespace alone" {
			continue
		}
		command.run(b.T, b.Server, "")
		switch {
		case strings.HasSuffix(command.line, "mtls.egress/protection=off"):
			await.True(b, "a generated object can be deleted with both keys", removable)
			open = true
		case open && strings.HasPrefix(command.line, "helm"):
			await.True(b, "a generated object can't be deleted with the label alone",
				func(ctx context.Context) bool { return !removable(ctx) })
		}
	}
	if !open {
		b.Error("no command gives both keys to a namespace")
	}
	do("A generated object has to be changed")
	await.True(b, "a generated object can be deleted", removable)
}

func (b *books) apply(manifest string) {
	b.Helper()
	if _, err := b.KubectlWith(b.Context(), manifest, "apply", "--filename=-"); err != nil {
		b.Fatal(err)
	}
}

func (b *books) kubectl(args ...string) string {
	b.Helper()
	stdout, _, err := b.Kubectl(b.Context(), args...)
	if err != nil {
		b.Fatal(err)
	}
	return stdout
}

// create returns the API server's answer to a Pod, empty when it takes it.
func (b *books) create(ctx context.Context, namespace string, pod *corev1.Pod, dryRun bool) string {
	options := metav1.CreateOptions{}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	if _, err := b.Admin.CoreV1().Pods(namespace).Create(ctx, pod, options); err != nil {
		return err.Error()
	}
	return ""
}

func (b *books) injects(ctx context.Context) bool {
	pod, err := b.Admin.CoreV1().
		Pods("project").
		Create(ctx, asks("injected"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err == nil && pod.Labels["mtls.egress/injected"] == "true"
}

func (b *books) wantPod(namespace string, pod *corev1.Pod, refusal string) {
	b.Helper()
	if got := b.create(b.Context(), namespace, pod, false); (got == "") != (refusal == "") ||
		!strings.Contains(got, refusal) {
		b.Errorf("the Pod %s: answer %q, want %q", pod.Name, got, refusal)
	}
}

// wantRefusal wants an answer to a Pod that the table of docs/how-to/pods-do-not-start.md has a row
// for.
func (b *books) wantRefusal(namespace string, pod *corev1.Pod, words string) {
	b.Helper()
	b.wantPod(namespace, pod, words)
	tree, err := os.ReadFile(podPage)
	if err != nil {
		b.Fatal(err)
	}
	if !strings.Contains(string(tree), words) {
		b.Errorf("%s has no row for %q", podPage, words)
	}
}

func deploymentThatAsks(name string) string {
	return strings.ReplaceAll(`{"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": {"name": "NAME", "namespace": "project", "annotations": {"mtls.egress/target": "external.system.com"}},
		"spec": {"selector": {"matchLabels": {"app": "NAME"}},
			"template": {"metadata": {"labels": {"app": "NAME"}},
				"spec": {"containers": [{"name": "app", "image": "app"}]}}}}`, "NAME", name)
}

func plain(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
}

func asks(name string) *corev1.Pod {
	pod := plain(name)
	pod.Annotations = map[string]string{"mtls.egress/target": "external.system.com"}
	return pod
}
