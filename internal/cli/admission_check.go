package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
)

const (
	// probeTimeout bounds one request. The API server waits up to 30 seconds for each webhook.
	probeTimeout = 2 * time.Minute
	// probeInterval is the time between two attempts.
	probeInterval = time.Second
	// podsWebhook is the name of the webhook for Pods in the configuration, which the API server's
	// errors contain.
	podsWebhook = "pods.mtls.egress"
)

// probe describes the Pod of the dry run.
type probe struct {
	namespace, host, image string
}

func newAdmissionCheckCommand() *cobra.Command {
	connection := &connectionFlags{}
	asked := probe{}
	patience := time.Duration(0)
	cmd := &cobra.Command{
		Use:   "admission-check [flags]",
		Short: "Fail unless a Pod with a target is injected",
		Long: `Ask the API server for a Pod with the annotation mtls.egress/target as a dry
run, and fail unless the response shows that it would be injected. Nothing is
created or called. The error states what is wrong. The chart runs this command
in helm test, and with test.afterInstall after each installation.

If the webhook was installed just now, the command retries until --timeout is
over.

Exit codes: 0 the Pod is injected; 1 it is not; 2 invalid command line or
kubeconfig, or the API server doesn't answer or rejects the Pod for another
reason.`,
		Example: `  mtls-egress-webhook admission-check --namespace project \
    --target external.system.com`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := egress.NormalizeHost(asked.host)
			if err != nil {
				return wrongCommandLine(fmt.Errorf("--target: %w", err))
			}
			asked.host = host
			writer, err := connection.client(probeTimeout, corev1.AddToScheme)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return checkAdmission(ctx, writer, asked, patience, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&asked.namespace, "namespace", "default",
		"the namespace of the Pod; the webhook must serve it")
	cmd.Flags().StringVar(&asked.host, "target", "external.system.com",
		"the target of the Pod; the namespace must be allowed to reach it")
	cmd.Flags().StringVar(&asked.image, "image", name,
		"the image of the Pod, which is never pulled; for clusters that admit only certain images")
	cmd.Flags().DurationVar(&patience, "timeout", 30*time.Second,
		"how long to retry while the webhook is not called or can't be called")
	connection.add(cmd)
	return cmd
}

// checkAdmission retries until the Pod is injected, until it is rejected for a permanent reason, or
// until patience is over.
func checkAdmission(
	ctx context.Context,
	writer client.Writer,
	asked probe,
	patience time.Duration,
	stdout io.Writer,
) error {
	var outcome error
	err := wait.PollUntilContextTimeout(ctx, probeInterval, patience, true, func(ctx context.Context) (bool, error) {
		pod := asked.pod()
		passes, problem := asked.check(pod, writer.Create(ctx, pod, client.DryRunAll))
		// If the time is over during a retry, the previous result is more useful.
		if outcome == nil || ctx.Err() == nil {
			outcome = problem
		}
		return !passes, nil
	})
	if err := cmp.Or(outcome, err); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "a Pod with the target %[2]s in the namespace %[1]s is injected\n", asked.namespace,
		asked.host)
	return err
}

// check evaluates the response of the API server. It returns the problem, and whether it may be
// temporary. pod is the Pod after admission.
func (p probe) check(pod *corev1.Pod, refusal error) (passes bool, problem error) {
	if refusal == nil {
		if p.injected(pod) {
			return false, nil
		}
		return true, notFine(fmt.Errorf(
			"the API server admits a Pod with the target %[2]s in the namespace %[1]s, but it is not injected, so "+
				"its calls could leave in plain text. Either the webhook excludes "+
				"the namespace (webhook.namespaceSelector in the chart's values), or it can't be called while "+
				"webhook.failurePolicy is Ignore", p.namespace, p.host))
	}
	text := refusal.Error()
	switch {
	case strings.Contains(text, fmt.Sprintf("failed calling webhook %q", podsWebhook)):
		return true, notFine(fmt.Errorf(
			"the API server can't call the webhook. Its Pods must be ready and the API server must reach them on the port "+
				"webhook.port of the chart's values, 9443 by default, which firewalls of managed clusters often close: %w",
			refusal))
	case strings.Contains(text, fmt.Sprintf("admission webhook %q denied the request", podsWebhook)):
		return false, notFine(fmt.Errorf(
			"the webhook rejects the target %s in the namespace %s. Set test.target and test.namespace in the "+
				"chart's values to others: %w", p.host, p.namespace, refusal))
	case strings.Contains(text, "ValidatingAdmissionPolicy") && strings.Contains(text, "-injected'"):
		return true, notFine(fmt.Errorf(
			"the webhook is not called for a Pod in the namespace %s, so a policy of the chart rejects it: %w",
			p.namespace, refusal))
	}
	return false, fmt.Errorf("the API server rejects a Pod in the namespace %s: %w", p.namespace, refusal)
}

func (p probe) injected(pod *corev1.Pod) bool {
	return pod.Labels[egress.LabelInjected] == egress.LabelValue &&
		slices.ContainsFunc(pod.Spec.HostAliases, func(alias corev1.HostAlias) bool {
			return slices.Contains(alias.Hostnames, p.host)
		})
}

// pod returns a Pod that the restricted Pod Security Standard, quotas and limit ranges admit.
func (p probe) pod() *corev1.Pod {
	amount := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("10m"),
		corev1.ResourceMemory: resource.MustParse("16Mi"),
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:    p.namespace,
			GenerateName: name + "-admission-check-",
			Annotations:  map[string]string{egress.AnnotationTarget: p.host},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   new(true),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "never-started", Image: p.image,
				Resources: corev1.ResourceRequirements{Requests: amount, Limits: amount},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false),
					ReadOnlyRootFilesystem:   new(true),
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}
