package chart

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/cli"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/certmanager"
)

const checkName = "mtls-egress-webhook-uninstall"

// TestUninstall has no kubelet: the test does what a Job's Pod and the Job controller would do.
func TestUninstall(t *testing.T) {
	c := startCluster(t)
	c.istio(t)
	c.namespace(t, namespace, nil)
	c.namespace(t, "project", nil)
	c.namespace(t, "unused", nil)
	deployment := newWorkload("Deployment", "project", "orders")
	annotateTemplate(t, deployment, "mtls.egress/target", "external.system.com")
	cronJob := newWorkload("CronJob", "project", "report")
	cronJob.SetAnnotations(map[string]string{"mtls.egress/target": "external.system.com, b.example.com:8443"})
	pod := injectedPod("default", "by-hand")
	pod.Labels[egress.HostLabel("external.system.com")] = egress.LabelValue
	// More of a kind than one page holds, and the one that counts at the end.
	for number := range 500 {
		if err := c.Create(t.Context(), newWorkload("CronJob", "project", fmt.Sprintf("plain-%03d", number))); err != nil {
			t.Fatal(err)
		}
	}
	users := []client.Object{deployment, cronJob, pod}
	for _, object := range users {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	installed := installedRelease{cluster: c, targets: newTargetClient(t, c.Config), command: buildCommand(t)}
	t.Run("a check that can't look refuses", func(t *testing.T) {
		c.kubectl(t, "create", "serviceaccount", "nobody", "--namespace", "project")
		said, err := installed.check(t.Context(), t.TempDir(), "project", "nobody", "uninstall-check")
		want := "error: listing the Pods in all namespaces: pods is forbidden: "
		var exit *exec.ExitError
		if !strings.HasPrefix(said, want) || !errors.As(err, &exit) || exit.ExitCode() != cli.ExitUnable {
			t.Errorf("it ends with %v, want exit code %d; it says %q, want it to begin with %q", err, cli.ExitUnable, said, want)
		}
	})

	installed.install(t)
	before := installed.objects(t)

	said, problem := installed.uninstall(t)
	if want := "job " + checkName + " failed"; !strings.Contains(problem, want) {
		t.Errorf("Helm says %q, want %q", problem, want)
	}
	if diff := cmp.Diff(usersSaid, said); diff != "" {
		t.Errorf("the check says (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, installed.objects(t)); diff != "" {
		t.Errorf("objects of the release (-before +after the refusal):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"job.batch/" + checkName}, installed.leftOfTheHooks(t)); diff != "" {
		t.Errorf("left of the check, for its log (-want +got):\n%s", diff)
	}

	// Helm takes the release for one that is being uninstalled; it doesn't come back of itself.
	if _, _, err := c.Helm(t.Context(), "upgrade", release, chartDir, "--namespace", namespace, image); err == nil {
		t.Error("Helm upgrades the release after the refusal: the documentation needn't say how to keep it")
	}
	c.helm(t, "rollback", release, "1", "--namespace", namespace)
	c.helm(t, "upgrade", release, chartDir, "--namespace", namespace, image)

	c.helm(t, "uninstall", release, "--namespace", namespace, "--no-hooks")
	if left := installed.objects(t); len(left) != 1 || left[0] != crdName {
		t.Errorf("without hooks there is left %q, want the CRD", left)
	}
	installed.program(t, "default", false)
	installed.program(t, "project", true)
	installed.program(t, "unused", false)
	said, err := installed.cleanUp(t)
	if want := "not deleted, because Pods in their namespaces use some of them: " +
		"default/external.system.com\n"; said != want ||
		err != nil {
		t.Errorf("the cleanup ends with %v and says %q, want %q", err, said, want)
	}
	installed.wantProgrammed(t, "after the cleanup by hand",
		map[string][]string{"default": all(), "project": nil, "unused": {targetName}})
	installed.wantAbandoned(t, "unused")

	for _, object := range users {
		if err := c.Delete(t.Context(), object, client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
	}
	installed.install(t)
	installed.program(t, "project", true)
	await.True(t, "the protection of what is generated", func(ctx context.Context) bool {
		return denied(c.Delete(ctx, generated("project", mesh.KindServiceEntry), client.DryRunAll),
			"mtls-egress-webhook-generated-objects")
	})
	if said, err := installed.cleanUp(t, "--timeout=10s"); err == nil ||
		!strings.Contains(said, "is generated from an EgressTarget and provides mutual TLS for Pods") {
		t.Errorf("the cleanup of what is installed ends with %v and says %q; want it refused", err, said)
	}
	said, problem = installed.uninstall(t)
	if diff := cmp.Diff("nothing in the cluster needs the webhook\n", said); diff != "" || problem != "" {
		t.Errorf("Helm says %q, the check says (-want +got):\n%s", problem, diff)
	}
	if left := installed.objects(t); len(left) != 1 || left[0] != crdName {
		t.Errorf("there is left %q, want the CRD", left)
	}
	if left := installed.leftOfTheHooks(t); len(left) > 0 {
		t.Errorf("left of the hooks: %q", left)
	}
	installed.wantProgrammed(t, "after helm uninstall",
		map[string][]string{"default": {targetName}, "project": nil, "unused": {targetName}})
	installed.wantAbandoned(t, "default")
}

// TestUninstallLeavesNoSecretOfCertManager has a cert-manager that issues the webhook's own
// certificate.
func TestUninstallLeavesNoSecretOfCertManager(t *testing.T) {
	c := startCluster(t)
	c.istio(t)
	c.namespace(t, namespace, nil)
	manager, err := certmanager.Start(t.Context(), certmanager.Beside(c.Server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := manager.Stop(); err != nil {
			t.Error(err)
		}
	})
	installed := installedRelease{cluster: c, targets: newTargetClient(t, c.Config), command: buildCommand(t)}
	installed.install(t, "--set", "servingCertificate.provider=cert-manager")
	secrets := func() []string {
		return strings.Fields(
			c.kubectl(t, "get", "secrets", "--namespace", namespace, "--field-selector=type=kubernetes.io/tls", "--output=name"),
		)
	}
	issued := []string{"secret/mtls-egress-webhook-serving", "secret/mtls-egress-webhook-serving-ca"}
	await.True(t, "the Secrets of the webhook's own certificate",
		func(context.Context) bool { return slices.Equal(secrets(), issued) })
	if _, problem := installed.uninstall(t); problem != "" {
		t.Errorf("Helm says %q", problem)
	}
	if left := secrets(); len(left) > 0 {
		t.Errorf("there is left %q", left)
	}
	if left := installed.leftOfTheHooks(t); len(left) > 0 {
		t.Errorf("left of the hooks: %q", left)
	}
}

// buildCommand builds the webhook.
func buildCommand(t *testing.T) string {
	t.Helper()
	command := filepath.Join(t.TempDir(), "webhook")
	if output, err := exec.CommandContext(
		t.Context(), "go", "build", "-o", command, "mtls.egress/webhook/cmd/webhook",
	).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	return command
}

const (
	crdName   = "customresourcedefinition.apiextensions.k8s.io/egresstargets.mtls.egress"
	usersSaid = `NAMESPACE   KIND         NAME      TARGETS
project     CronJob      report    external.system.com,b.example.com
project     Deployment   orders    external.system.com
default     Pod          by-hand   external.system.com
error: the webhook is in use: 2 workloads and 1 Pod request mutual TLS. ` +
		"Without the webhook and its policies, their next Pods would call in plain text. Remove the annotation " +
		"mtls.egress/target from the workloads and wait until their Pods are gone, then uninstall again. " +
		"helm uninstall --no-hooks skips this check. helm rollback to the last revision (helm list --all) keeps the release\n"
)

type installedRelease struct {
	cluster
	// targets is a client that knows EgressTargets.
	targets client.Client
	// command is the built command.
	command string
	// manifest is the file with the objects of the release.
	manifest string
}

func (r *installedRelease) install(t *testing.T, values ...string) {
	t.Helper()
	r.helm(t, append([]string{"install", release, chartDir, "--namespace", namespace, image}, values...)...)
	r.manifest = writeFile(t, "installed.yaml", r.helm(t, "get", "manifest", release, "--namespace", namespace))
}

// objects are those of the release that are in the cluster.
func (r *installedRelease) objects(t *testing.T) []string {
	t.Helper()
	return strings.Fields(r.kubectl(t, "get", "--output=name", "--ignore-not-found", "--filename", r.manifest))
}

// leftOfTheHooks are their objects that are in the cluster.
func (r *installedRelease) leftOfTheHooks(t *testing.T) []string {
	t.Helper()
	return strings.Fields(r.kubectl(t, "get", "jobs,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings",
		"--output=name", "--all-namespaces", "--selector=app.kubernetes.io/name in ("+checkName+","+cleanupName+")"))
}

// uninstall runs helm uninstall, and the check and the cleanup that it starts, with the rights that
// the chart gives them. It returns what the check says, and Helm's complaint.
func (r *installedRelease) uninstall(t *testing.T) (said, problem string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	checked, cleaned := make(chan string, 1), make(chan string, 1)
	go func() { checked <- r.runJob(ctx, t, checkName) }()
	go func() { cleaned <- r.runJob(ctx, t, cleanupName) }()
	_, stderr, err := r.Helm(t.Context(), "uninstall", release, "--namespace", namespace)
	cancel()
	if err != nil {
		problem = stderr
	}
	if said := <-cleaned; problem != "" && said != "" {
		problem += said
	}
	return <-checked, problem
}

// runJob waits for a Job, does what it says, and writes into its status what the Job controller
// would. It returns what the Job's Pod would have logged.
func (r *installedRelease) runJob(ctx context.Context, t *testing.T, name string) string {
	job := &batchv1.Job{}
	for r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, job) != nil || len(job.Status.Conditions) > 0 {
		select {
		case <-ctx.Done():
			return ""
		case <-time.After(20 * time.Millisecond):
		}
	}
	said, err := r.check(ctx, t.TempDir(), namespace, job.Spec.Template.Spec.ServiceAccountName,
		job.Spec.Template.Spec.Containers[0].Args...)
	now := metav1.Now()
	condition := func(kind batchv1.JobConditionType) batchv1.JobCondition {
		return batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: "Test", LastTransitionTime: now}
	}
	job.Status.StartTime = &now
	if err != nil {
		job.Status.Failed = 1
		job.Status.Conditions = []batchv1.JobCondition{condition(batchv1.JobFailureTarget), condition(batchv1.JobFailed)}
	} else {
		job.Status.Succeeded, job.Status.CompletionTime = 1, &now
		job.Status.Conditions = []batchv1.JobCondition{
			condition(batchv1.JobSuccessCriteriaMet), condition(batchv1.JobComplete),
		}
	}
	if err := r.Status().Update(ctx, job); err != nil {
		t.Error(err)
	}
	return said
}

// check runs the built command as a service account, and returns what it prints.
func (r *installedRelease) check(
	ctx context.Context,
	dir, accountNamespace, account string,
	args ...string,
) (said string, problem error) {
	token, _, err := r.Kubectl(ctx, "create", "token", account, "--namespace", accountNamespace)
	if err != nil {
		return "", err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{"c": {Server: r.Config.Host, CertificateAuthorityData: r.Config.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{"c": {Token: strings.TrimSpace(token)}},
		Contexts:       map[string]*api.Context{"c": {Cluster: "c", AuthInfo: "c"}},
		CurrentContext: "c",
	}, kubeconfig); err != nil {
		return "", err
	}
	printed, problem := exec.CommandContext(ctx, r.command, append(slices.Clone(args), "--kubeconfig="+kubeconfig)...).
		CombinedOutput()
	return string(printed), problem
}
