package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/adopt"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// apply takes the sets over, one after the other. Each is read again, because those before it
// changed shared objects.
func (c *adoptCluster) apply(ctx context.Context, proposals []adopt.Proposal, tell func(string)) error {
	for _, proposal := range proposals {
		world, err := c.read(ctx)
		if err != nil {
			return err
		}
		again := adopt.Propose(world, []string{proposal.Host})
		if len(again) != 1 || len(again[0].Refused) > 0 {
			return notFine(fmt.Errorf("%s: the objects changed meanwhile; run the command again", proposal.Host))
		}
		for _, workload := range again[0].Workloads {
			if workload.ByHand {
				return notFine(fmt.Errorf("the Pods of the %s %s are not replaced when it is annotated; see --dry-run, "+
					"recreate it with the annotation, and then delete the objects",
					workload.Kind.Kind, workload.Location.Name))
			}
		}
		steps, err := adopt.Steps(again[0])
		if err != nil {
			return err
		}
		if err := c.adoption(proposal.Host, steps).checkOthers(ctx); err != nil {
			return err
		}
		if err := c.run(ctx, proposal.Host, steps, tell); err != nil {
			return err
		}
		tell(fmt.Sprintf("%s is taken over. To go back: %s adopt --live -n %s %s --back", proposal.Host, name, c.namespace,
			proposal.Host))
	}
	return nil
}

// back restores the hand-written objects of the hosts.
func (c *adoptCluster) back(ctx context.Context, hosts []string, dryRun bool, tell func(string)) error {
	for _, given := range hosts {
		host, err := egress.NormalizeHost(given)
		if err != nil {
			return wrongCommandLine(fmt.Errorf("HOST %s %w", printable(given), err))
		}
		record := &unstructured.Unstructured{}
		record.SetAPIVersion("v1")
		record.SetKind("ConfigMap")
		key := client.ObjectKey{Namespace: c.namespace, Name: adopt.RecordName(host)}
		if err := c.Get(ctx, key, record); err != nil {
			return fmt.Errorf("reading what adopt --apply recorded of %s: %w", host, err)
		}
		var problem error
		steps, err := adopt.Back(identified(record), func(workload map[string]any) map[string]string {
			live, err := c.live(ctx, workload)
			if err != nil {
				problem = errors.Join(problem, err)
				return nil
			}
			return live.GetAnnotations()
		})
		if err := errors.Join(problem, err); err != nil {
			return err
		}
		if dryRun {
			tell(strings.TrimSuffix(adopt.StepsText(steps), "\n"))
			continue
		}
		if err := c.run(ctx, host, steps, tell); err != nil {
			return err
		}
		tell(host + " is served by the hand-written objects again.")
	}
	return nil
}

// identified returns a ConfigMap with its name and data alone.
func identified(record *unstructured.Unstructured) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": record.Object["data"],
		"metadata": map[string]any{"name": record.GetName(), "namespace": record.GetNamespace()},
	}
}

// run takes the steps for a host.
func (c *adoptCluster) run(ctx context.Context, host string, steps []adopt.Step, tell func(string)) error {
	run := c.adoption(host, steps)
	if err := run.begin(ctx); err != nil {
		return err
	}
	err := adopt.Run(ctx, steps, run, tell)
	if ctx.Err() != nil || isUnanswered(err) {
		return err
	}
	return notFine(err)
}

// isUnanswered reports whether the API server failed or refused a request. That an object doesn't
// exist is an answer.
func isUnanswered(err error) bool {
	status, refused := errors.AsType[*apierrors.StatusError](err)
	_, failed := errors.AsType[*url.Error](err)
	return failed || refused && !absent.Object(status)
}

// adoption returns what does the steps.
func (c *adoptCluster) adoption(host string, steps []adopt.Step) *adoption {
	run := &adoption{adoptCluster: c, host: host, failed: map[string]uint64{}}
	for _, step := range steps {
		if step.Do.Verb == adopt.Annotate {
			run.selectors = append(run.selectors, step.Do.Pods)
		}
	}
	return run
}

// adoption does the actions for one host.
type adoption struct {
	*adoptCluster

	host string
	// selectors are the labels of the Pods of the workloads.
	selectors []map[string]string
	// failed is the number of failed calls that the sidecar of each Pod had counted, by the Pod's
	// UID.
	failed map[string]uint64
}

// Do takes an action and waits for its proof. It stops at the first call that fails.
func (a *adoption) Do(ctx context.Context, action adopt.Action) error {
	// From the ServiceEntry on, Pods without the annotation lose the host.
	takes := action.Verb == adopt.Delete || action.Verb == adopt.DropHost
	if takes && !action.Undoing && action.Object["kind"] == mesh.KindServiceEntry {
		if err := a.checkOthers(ctx); err != nil {
			return err
		}
	}
	if err := a.change(ctx, action); err != nil {
		return err
	}
	if action.Proof == adopt.Nothing {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	const between = time.Second
	var missing error
	defer a.shown.wait("waiting for the proof that " + string(action.Proof))()
	begun := time.Now()
	err := wait.PollUntilContextCancel(ctx, between, true, func(ctx context.Context) (bool, error) {
		if !action.Undoing {
			if err := a.checkCalls(ctx); err != nil {
				return false, err
			}
		}
		// Sidecars hear of a change within this time, and calls show it.
		const settling = 3 * time.Second
		missing = a.prove(ctx, action)
		return missing == nil && time.Since(begun) >= settling, nil
	})
	if missing != nil && wait.Interrupted(err) {
		return fmt.Errorf("not proven within %s that %s: %w", a.timeout, action.Proof, missing)
	}
	if err == nil && action.Undoing {
		return a.begin(ctx)
	}
	return err
}

// change takes an action.
func (a *adoption) change(ctx context.Context, action adopt.Action) error {
	object := &unstructured.Unstructured{Object: action.Object}
	switch action.Verb {
	case adopt.Record:
		err := a.Create(ctx, object.DeepCopy(), client.FieldOwner(adopt.FieldManager))
		if apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("the ConfigMap %s exists, so the host is taken over already, or a run didn't end; go back "+
				"with --back, or delete it", object.GetName())
		}
		return err
	case adopt.Forget, adopt.Remove:
		return absent.Ignore(a.Delete(ctx, object.DeepCopy()))
	case adopt.Write, adopt.Restore:
		return a.applyObject(ctx, object)
	case adopt.Copy:
		return a.copy(ctx, object)
	case adopt.Delete:
		return a.remove(ctx, object, action.Undoing)
	case adopt.DropHost:
		return a.dropHost(ctx, object)
	case adopt.Annotate:
		return a.annotate(ctx, action)
	}
	return fmt.Errorf("the action %q is unknown", action.Verb)
}

// applyObject applies the fields of the object, and takes them over from other managers.
func (a *adoption) applyObject(ctx context.Context, object *unstructured.Unstructured) error {
	return a.Apply(ctx, client.ApplyConfigurationFromUnstructured(object.DeepCopy()),
		client.ForceOwnership, client.FieldOwner(adopt.FieldManager))
}

// copy creates an object that is younger than the generated VirtualService. Istio compares whole
// seconds, and then names.
func (a *adoption) copy(ctx context.Context, object *unstructured.Unstructured) error {
	generated := &unstructured.Unstructured{}
	generated.SetGroupVersionKind(mesh.GroupVersion().WithKind(mesh.KindVirtualService))
	key := client.ObjectKey{Namespace: a.namespace, Name: egress.ObjectName(a.host)}
	if err := a.Get(ctx, key, generated); err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, time.Second, a.timeout, true, func(ctx context.Context) (bool, error) {
		created := object.DeepCopy()
		if err := a.Create(ctx, created, client.FieldOwner(adopt.FieldManager)); err != nil {
			return false, err
		}
		age := generated.GetCreationTimestamp()
		if younger := created.GetCreationTimestamp(); age.Before(&younger) {
			return true, nil
		}
		return false, a.Delete(ctx, created)
	})
}

// remove deletes an object if nobody changed it since it was read.
func (a *adoption) remove(ctx context.Context, object *unstructured.Unstructured, undoing bool) error {
	live, err := a.live(ctx, object.Object)
	if absent.Object(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !undoing && !reflect.DeepEqual(live.Object["spec"], object.Object["spec"]) {
		return fmt.Errorf("the %s %s changed meanwhile; run the command again", object.GetKind(), object.GetName())
	}
	version, uid := live.GetResourceVersion(), live.GetUID()
	return absent.Ignore(a.Delete(ctx, live, client.Preconditions{UID: &uid, ResourceVersion: &version}))
}

// dropHost removes the host from an object.
func (a *adoption) dropHost(ctx context.Context, object *unstructured.Unstructured) error {
	live, err := a.live(ctx, object.Object)
	if err != nil {
		return err
	}
	hosts, _, err := unstructured.NestedStringSlice(live.Object, "spec", "hosts")
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(hosts, func(other string) bool {
		return strings.EqualFold(strings.TrimSuffix(other, "."), a.host)
	})
	if err := unstructured.SetNestedStringSlice(live.Object, left, "spec", "hosts"); err != nil {
		return err
	}
	return a.Update(ctx, live, client.FieldOwner(adopt.FieldManager))
}

// annotate sets annotations of a workload, and removes those without a value.
func (a *adoption) annotate(ctx context.Context, action adopt.Action) error {
	live, err := a.live(ctx, action.Object)
	if err != nil {
		return err
	}
	set, removed := map[string]string{}, live.DeepCopy()
	annotations := removed.GetAnnotations()
	for name, value := range action.Annotations {
		if value != "" {
			set[name] = value
		} else {
			delete(annotations, name)
		}
	}
	removed.SetAnnotations(annotations)
	if err := a.Patch(ctx, removed, client.MergeFrom(live), client.FieldOwner(adopt.FieldManager)); err != nil {
		return err
	}
	if len(set) == 0 {
		return nil
	}
	configuration := &unstructured.Unstructured{Object: action.Object}
	configuration = configuration.DeepCopy()
	configuration.SetAnnotations(set)
	return a.applyObject(ctx, configuration)
}

// live returns the object in the cluster.
func (c *adoptCluster) live(ctx context.Context, object map[string]any) (*unstructured.Unstructured, error) {
	named := &unstructured.Unstructured{Object: object}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(named.GroupVersionKind())
	return live, c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: named.GetName()}, live)
}

// pods returns the Pods of the workloads with these labels that haven't ended.
func (a *adoption) pods(ctx context.Context, selectors []map[string]string) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	if err := a.List(ctx, list, client.InNamespace(a.namespace)); err != nil {
		return nil, fmt.Errorf("listing the Pods: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool {
		return isOver(&pod) || !isSelected(&pod, selectors)
	}), nil
}

func isOver(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// isSelected reports whether the Pod has the labels of a workload. A template without labels, as a
// CronJob can have, selects none: its Pods can't be told from others.
func isSelected(pod *corev1.Pod, selectors []map[string]string) bool {
	return slices.ContainsFunc(selectors, func(selector map[string]string) bool {
		return len(selector) > 0 && labels.SelectorFromSet(selector).Matches(labels.Set(pod.Labels))
	})
}
