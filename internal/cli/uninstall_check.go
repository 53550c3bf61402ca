package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/workload"
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
	workloads := &workloadFlag{}
	output := ""
	cmd := &cobra.Command{
		Use:   "uninstall-check [flags]",
		Short: "Fail if anything in the cluster needs the webhook",
		Long: `Check all namespaces for injected Pods and for workloads with a target, and fail
if there are any. Without the webhook and its policies, the next Pod of such a
workload would call in plain text. The chart runs this command before helm
uninstall removes anything.

The command checks Pods with the label mtls.egress/injected, and workloads of
the kinds that the cluster has. Other kinds that create Pods are covered by
their Pods.

Exit codes: 0 nothing needs the webhook; 1 something does; 2 invalid command
line or kubeconfig, or the cluster could not be read or changed.`,
		Example: `  mtls-egress-webhook uninstall-check -o wide`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kinds, err := workloads.kinds()
			if err != nil {
				return err
			}
			c, err := connection.client(usersTimeout, corev1.AddToScheme, v1alpha1.AddToScheme)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			err = checkUninstall(ctx, c, kinds, output, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil || !deleteTargets {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, defaultCleanupTimeout)
			defer cancel()
			defer connection.progress(cmd.ErrOrStderr()).wait("waiting until all EgressTargets are deleted")()
			return deleteAllTargets(ctx, c)
		},
	}
	connection.add(cmd)
	workloads.addFlag(cmd.Flags())
	cmd.Flags().BoolVar(&deleteTargets, "delete-targets", false,
		"if nothing needs the webhook, delete all EgressTargets and wait until the controller has removed their "+
			"objects; for crds.keep: false in the chart")
	addOutput(cmd, &output, outputText, "wide (all rows)", outputYAML, outputJSON)
	return cmd
}

// checkUninstall returns an error if anything needs the webhook, or if it can't find out.
func checkUninstall(
	ctx context.Context, c client.Client, kinds workload.Kinds, output string, stdout, stderr io.Writer,
) error {
	users, err := findUsers(ctx, c, kinds)
	if err != nil {
		return err
	}
	sortUsers(users)
	shown := shownUsers
	if output == outputWide {
		shown = len(users)
	}
	encoded, err := encodeResult(userLines(users), output, func() string {
		if len(users) == 0 {
			return "nothing in the cluster needs the webhook\n"
		}
		return usersTable(users, shown)
	})
	if err != nil {
		return err
	}
	// In a Job, the table belongs to the error.
	if isTable := output == outputText || output == outputWide; isTable && len(users) > 0 {
		stdout = stderr
	}
	if _, err := stdout.Write(encoded); err != nil {
		return err
	}
	return notFine(inUse(users))
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

func findUsers(ctx context.Context, c client.Client, kinds workload.Kinds) ([]user, error) {
	var users []user
	err := listAll(ctx, c, &corev1.PodList{}, "Pods in all namespaces", func(item client.Object) error {
		if pod, ok := item.(*corev1.Pod); ok {
			if found, needs := podUser(pod); needs {
				users = append(users, found)
			}
		}
		return nil
	}, client.MatchingLabels{egress.LabelInjected: egress.LabelValue})
	if err != nil {
		return nil, err
	}
	for _, resource := range slices.Sorted(maps.Keys(kinds)) {
		kind := kinds[resource]
		group := schema.ParseGroupResource(resource).Group
		mapping, err := c.RESTMapper().RESTMapping(schema.GroupKind{Group: group, Kind: kind.Kind})
		if meta.IsNoMatchError(err) {
			continue // the cluster has no such kind
		}
		if err != nil {
			return nil, fmt.Errorf("looking for the kind %s (%s): %w", kind.Kind, resource, err)
		}
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := listAll(ctx, c, list, resource+" in all namespaces", func(item client.Object) error {
			object, ok := item.(*unstructured.Unstructured)
			if !ok {
				return nil
			}
			found, needs, err := workloadUser(kind, object)
			if needs {
				users = append(users, found)
			}
			return err
		}); err != nil {
			return nil, err
		}
	}
	return users, nil
}

// listAll calls found with the objects, in pages. what names them in an error.
func listAll(
	ctx context.Context, reader client.Reader, list client.ObjectList, what string,
	found func(client.Object) error, options ...client.ListOption,
) error {
	for page := ""; ; {
		within := slices.Concat(options, []client.ListOption{client.Limit(usersPage), client.Continue(page)})
		if err := reader.List(ctx, list, within...); err != nil {
			return fmt.Errorf("listing the %s: %w", what, err)
		}
		if err := meta.EachListItem(list, func(item runtime.Object) error {
			if object, ok := item.(client.Object); ok {
				return found(object)
			}
			return nil
		}); err != nil {
			return err
		}
		if page = list.GetContinue(); page == "" {
			return nil
		}
	}
}
