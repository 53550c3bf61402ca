package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/egress"
)

const (
	// usersPage is the page size of lists, so that a large cluster doesn't have to fit into memory.
	usersPage = 500
	// usersTimeout bounds one request.
	usersTimeout = time.Minute
)

func newUninstallCheckCommand() *cobra.Command {
	connection := &connectionFlags{}
	deleteTargets := false
	cmd := &cobra.Command{
		Use:   "uninstall-check [flags]",
		Short: "Fail if anything in the cluster needs the webhook",
		Long: `Check all namespaces for injected Pods and for workloads with a target, and fail if there are any.
Without the webhook and its policies, the next Pod of such a workload would call in plain text. The
chart runs this command before helm uninstall removes anything.

The command checks Pods with the label mtls.egress/injected, and Deployments, StatefulSets,
DaemonSets, ReplicaSets, Jobs and CronJobs. Other kinds that create Pods are covered by their Pods.

Exit codes: 0 nothing needs the webhook; 1 something does, listed on standard error, or the cluster
could not be read; 2 invalid command line or kubeconfig.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connection.client(usersTimeout, corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme,
				v1alpha1.AddToScheme)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if err := checkUninstall(ctx, c, cmd.OutOrStdout(), cmd.ErrOrStderr()); err != nil || !deleteTargets {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, defaultCleanupTimeout)
			defer cancel()
			return deleteAllTargets(ctx, c)
		},
	}
	connection.add(cmd)
	cmd.Flags().BoolVar(&deleteTargets, "delete-targets", false,
		"if nothing needs the webhook, delete all EgressTargets and wait until the controller has removed their "+
			"objects; for crds.keep: false in the chart")
	return cmd
}

// checkUninstall returns an error if anything needs the webhook, or if it can't find out.
func checkUninstall(ctx context.Context, reader client.Reader, stdout, stderr io.Writer) error {
	users, err := findUsers(ctx, reader)
	if err != nil {
		return err
	}
	if err := inUse(users); err != nil {
		return errors.Join(writeUsers(stderr, users), err)
	}
	_, err = fmt.Fprintln(stdout, "nothing in the cluster needs the webhook")
	return err
}

// deleteAllTargets deletes all EgressTargets and waits until the running controller has removed
// their finalizers.
func deleteAllTargets(ctx context.Context, c client.Client) error {
	const between = time.Second
	left := ""
	err := wait.PollUntilContextCancel(ctx, between, true, func(ctx context.Context) (bool, error) {
		var list v1alpha1.EgressTargetList
		if err := c.List(ctx, &list); err != nil {
			return false, fmt.Errorf("listing the EgressTargets: %w", err)
		}
		for i := range list.Items {
			egressTarget := &list.Items[i]
			left = egressTarget.Namespace + "/" + egressTarget.Name
			if !egressTarget.DeletionTimestamp.IsZero() {
				continue
			}
			err := c.Delete(ctx, egressTarget, client.Preconditions{UID: &egressTarget.UID})
			if err != nil && !absent.Object(err) && !apierrors.IsConflict(err) {
				return false, fmt.Errorf("deleting the EgressTarget %s: %w", left, err)
			}
		}
		return len(list.Items) == 0, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the EgressTarget %s is being deleted but still exists: check that the controller runs "+
			"and that no Pod uses it: %w", left, err)
	}
	return err
}

func findUsers(ctx context.Context, reader client.Reader) ([]user, error) {
	var users []user
	for _, kind := range []struct {
		plural  string
		newList func() client.ObjectList
		options []client.ListOption
	}{
		{"Pods", func() client.ObjectList { return &corev1.PodList{} },
			[]client.ListOption{client.MatchingLabels{egress.LabelInjected: egress.LabelValue}}},
		{"Deployments", func() client.ObjectList { return &appsv1.DeploymentList{} }, nil},
		{"StatefulSets", func() client.ObjectList { return &appsv1.StatefulSetList{} }, nil},
		{"DaemonSets", func() client.ObjectList { return &appsv1.DaemonSetList{} }, nil},
		{"ReplicaSets", func() client.ObjectList { return &appsv1.ReplicaSetList{} }, nil},
		{"Jobs", func() client.ObjectList { return &batchv1.JobList{} }, nil},
		{"CronJobs", func() client.ObjectList { return &batchv1.CronJobList{} }, nil},
	} {
		for page := ""; ; {
			list := kind.newList()
			if err := reader.List(
				ctx,
				list,
				slices.Concat(kind.options,
					[]client.ListOption{client.Limit(usersPage), client.Continue(page)})...); err != nil {
				return nil, fmt.Errorf("listing the %s in all namespaces: %w", kind.plural, err)
			}
			if err := meta.EachListItem(list, func(item runtime.Object) error {
				if object, ok := item.(client.Object); ok {
					if found, needs := userOf(object); needs {
						users = append(users, found)
					}
				}
				return nil
			}); err != nil {
				return nil, err
			}
			if page = list.GetContinue(); page == "" {
				break
			}
		}
	}
	return users, nil
}
