package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/apply"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
)

// errHeld means that an object was deleted but still exists.
var errHeld = errors.New("a finalizer of another owner prevents the deletion of one of its objects; remove it")

// TearDownUnused deletes what the controller created, after the controller was stopped: the objects
// of every EgressTarget, its finalizer, and the EgressTarget itself if the controller created it.
// EgressTargets of users stay, without status. It leaves a namespace alone if a Pod uses one of its
// targets, because calls continue with the programmed objects. used lists the EgressTargets of
// these namespaces as NAMESPACE/NAME.
//
// c must know api/v1alpha1, and Istio's kinds even if the API server doesn't serve them. unserved
// reports whether the API server confirms that it serves no EgressTargets, so that there is nothing
// to do. Errors of c don't count as that confirmation. The returned error joins the errors of all
// namespaces that are not done. TearDownUnused can be called again.
func TearDownUnused(
	ctx context.Context, c client.Client, unserved func(context.Context) (bool, error),
) (used []string, err error) {
	if none, err := unserved(ctx); err != nil || none {
		return nil, err
	}
	var list v1alpha1.EgressTargetList
	if err := c.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the EgressTargets: %w", err)
	}
	byNamespace := map[string][]*v1alpha1.EgressTarget{}
	for i := range list.Items {
		byNamespace[list.Items[i].Namespace] = append(byNamespace[list.Items[i].Namespace], &list.Items[i])
	}
	uninstaller := uninstaller{client: c, writer: apply.NewWriter(apply.Writer{
		Cached: informers.Cache{Reader: c}.IstioObject, Live: c, Client: c,
	})}
	var problems []error
	for namespace, targets := range byNamespace {
		inUse, err := uninstaller.anyUsed(ctx, targets)
		switch {
		case err != nil:
			problems = append(problems, err)
		case inUse:
			for _, egressTarget := range targets {
				used = append(used, namespace+"/"+egressTarget.Name)
			}
		default:
			for _, egressTarget := range targets {
				if err := uninstaller.remove(ctx, egressTarget); err != nil {
					problems = append(problems, fmt.Errorf("tear down the EgressTarget %s/%s: %w", namespace, egressTarget.Name, err))
				}
			}
		}
	}
	slices.Sort(used)
	return used, errors.Join(problems...)
}

// uninstaller deletes what the controller created.
type uninstaller struct {
	client client.Client
	writer *apply.Writer
}

// noAnchor is the AnchorOf for namespaces whose EgressTargets are all torn down.
func noAnchor(context.Context, metav1.Object) (*networkingv1.ServiceEntry, error) {
	return nil, nil //nolint:nilnil // no EgressTarget needs an anchor
}

func (u uninstaller) anyUsed(ctx context.Context, targets []*v1alpha1.EgressTarget) (bool, error) {
	for _, egressTarget := range targets {
		if inUse, err := used(ctx, u.client, egressTarget); err != nil || inUse {
			return inUse, err
		}
	}
	return false, nil
}

// remove tears down one EgressTarget of a namespace that uses none.
func (u uninstaller) remove(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	if egress.MadeByController(egressTarget) && egressTarget.DeletionTimestamp.IsZero() {
		if err := u.client.Delete(ctx, egressTarget, client.Preconditions{UID: &egressTarget.UID}); err != nil {
			return absent.Ignore(err)
		}
		if err := u.client.Get(ctx, client.ObjectKeyFromObject(egressTarget), egressTarget); err != nil {
			return absent.Ignore(err)
		}
	}
	done, err := u.writer.RemoveAll(ctx, egressTarget, noAnchor)
	if err != nil {
		return err
	}
	if !done {
		return errHeld
	}
	if egressTarget.DeletionTimestamp.IsZero() &&
		!equality.Semantic.DeepEqual(egressTarget.Status, v1alpha1.EgressTargetStatus{}) {
		egressTarget.Status = v1alpha1.EgressTargetStatus{}
		if err := u.client.Status().Update(ctx, egressTarget); err != nil {
			return fmt.Errorf("clear the status: %w", err)
		}
	}
	return removeFinalizer(ctx, u.client, egressTarget)
}
