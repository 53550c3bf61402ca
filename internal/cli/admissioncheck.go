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
	// probeTimeout bounds one request: the API server waits up to 30 seconds for each webhook.
	probeTimeout = 2 * time.Minute
	// probeInterval is the time between two tries.
	probeInterval = time.Second
	// podsWebhook is the name of the webhook for Pods in the configuration, by which the API server
	// speaks of it.
	podsWebhook = "pods.mtls.egress"
)

// probe is the Pod that is asked for.
type probe struct {
	namespace, host, image string
}

func newAdmissionCheckCommand() *cobra.Command {
	connection := &connectionFlags{}
	asked := probe{}
	patience := time.Duration(0)
	cmd := &cobra.Command{
		Use:   "admission-check [flags]",
		Short: "Fail unless a Pod that asks for a target is injected",
		Long: `Ask the API server for a Pod with the annotation mtls.egress/target, as a dry run, so that nothing is made and nothing called,
and fail unless the Pod that it would make is injected. It says what is wrong otherwise. The chart runs it on helm test.

A webhook that was installed a moment ago is waited for: it is tried again until --timeout is over.

Exit codes: 0 the Pod is injected; 1 it isn't, or the cluster could not be asked; 2 wrong command line or unreadable kubeconfig.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := egress.NormalizeHost(asked.host)
			if err != nil {
				return usageError(fmt.Errorf("--target: %w", err))
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
	cmd.Flags().StringVar(&asked.namespace, "namespace", "default", "the namespace of the Pod; the webhook has to serve it")
	cmd.Flags().StringVar(&asked.host, "target", "external.system.com", "the host that the Pod asks for; the namespace has to be allowed to reach it")
	cmd.Flags().StringVar(&asked.image, "image", name, "the image of the Pod, which nobody pulls; for clusters that admit certain images only")
	cmd.Flags().DurationVar(&patience, "timeout", 30*time.Second, "how long it is tried again while the webhook can't be called or isn't")
	connection.add(cmd)
	return cmd
}

// checkAdmission asks for the Pod until it is injected, until it is refused for a reason that
// doesn't pass by itself, or until patience is over.
func checkAdmission(ctx context.Context, writer client.Writer, asked probe, patience time.Duration, stdout io.Writer) error {
	var verdict error
	err := wait.PollUntilContextTimeout(ctx, probeInterval, patience, true, func(ctx context.Context) (bool, error) {
		pod := asked.pod()
		passes, problem := asked.check(pod, writer.Create(ctx, pod, client.DryRunAll))
		// When the time is over during a later try, what the one before found says more.
		if verdict == nil || ctx.Err() == nil {
			verdict = problem
		}
		return !passes, nil
	})
	if err := cmp.Or(verdict, err); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "a Pod of the namespace %s that asks for %s is injected\n", asked.namespace, asked.host)
	return err
}

// judge says what is wrong with the API server's answer, and whether that may pass by itself. The
// Pod is the one that it would make.
func (p probe) check(pod *corev1.Pod, refusal error) (passes bool, problem error) {
	if refusal == nil {
		if p.injected(pod) {
			return false, nil
		}
		return true, fmt.Errorf("the API server admits a Pod of the namespace %s that asks for %s, but it isn't injected, so its calls could leave in plain text. Either the webhook leaves out "+
			"the namespace (webhook.namespaceSelector in the chart's values), or it can't be called while webhook.failurePolicy is Ignore", p.namespace, p.host)
	}
	text := refusal.Error()
	switch {
	case strings.Contains(text, fmt.Sprintf("failed calling webhook %q", podsWebhook)):
		return true, fmt.Errorf("the API server can't call the webhook. Its Pods have to be ready, and to be reached by the API server on the port 9443, which firewalls of managed clusters "+
			"often close: %w", refusal)
	case strings.Contains(text, fmt.Sprintf("admission webhook %q denied the request", podsWebhook)):
		return false, fmt.Errorf("the webhook answers, and refuses the target %s in the namespace %s. Choose others for the test, with test.target and test.namespace in the chart's values: %w",
			p.host, p.namespace, refusal)
	case strings.Contains(text, "ValidatingAdmissionPolicy") && strings.Contains(text, "-injected'"):
		return true, fmt.Errorf("the webhook isn't called for a Pod of the namespace %s, which a policy of the chart then refuses: %w", p.namespace, refusal)
	}
	return false, fmt.Errorf("the API server refuses a Pod of the namespace %s: %w", p.namespace, refusal)
}

func (p probe) injected(pod *corev1.Pod) bool {
	address := egress.SinkholeAddress(p.host).String()
	return pod.Labels[egress.LabelInjected] == egress.LabelValue && slices.ContainsFunc(pod.Spec.HostAliases, func(alias corev1.HostAlias) bool {
		return alias.IP == address && slices.Contains(alias.Hostnames, p.host)
	})
}

// pod is what Pod security restricted, quotas and limit ranges admit.
func (p probe) pod() *corev1.Pod {
	amount := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.namespace, GenerateName: name + "-admission-check-", Annotations: map[string]string{egress.AnnotationTarget: p.host},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "never-started", Image: p.image,
				Resources: corev1.ResourceRequirements{Requests: amount, Limits: amount},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}
