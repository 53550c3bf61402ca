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

// errHeld says that an object has been deleted and is still there.
var errHeld = errors.New("somebody's finalizer holds an object of it")

// TearDownUnused takes down what the controller made, when no controller runs any more: the objects
// of every EgressTarget, its finalizer, and the EgressTarget itself if the controller made it.
// EgressTargets of users stay, without status. A namespace in which a Pod uses one of its targets
// is left as it is, as calls go on there over what is programmed; used holds its EgressTargets as
// NAMESPACE/NAME.
//
// c knows api/v1alpha1, and the kinds of Istio also where nothing serves them. unserved reports
// whether the API server has said that it serves no EgressTargets, so that there is nothing to do;
// no error of c is taken for that. The error tells of all namespaces that aren't done;
// TearDownUnused can be called again.
func TearDownUnused(ctx context.Context, c client.Client, unserved func(context.Context) (bool, error)) (used []string, err error) {
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
					problems = append(problems, fmt.Errorf("take down the EgressTarget %s/%s: %w", namespace, egressTarget.Name, err))
				}
			}
		}
	}
	slices.Sort(used)
	return used, errors.Join(problems...)
}

// uninstaller removes what the controller made.
type uninstaller struct {
	client client.Client
	writer *apply.Writer
}

// noAnchor is for namespaces in which no EgressTarget stays.
func noAnchor(context.Context, metav1.Object) (*networkingv1.ServiceEntry, error) {
	return nil, nil //nolint:nilnil // nobody needs one
}

func (u uninstaller) anyUsed(ctx context.Context, targets []*v1alpha1.EgressTarget) (bool, error) {
	for _, egressTarget := range targets {
		if inUse, err := used(ctx, u.client, egressTarget); err != nil || inUse {
			return inUse, err
		}
	}
	return false, nil
}

// remove takes down one EgressTarget of a namespace that uses none.
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
	if egressTarget.DeletionTimestamp.IsZero() && !equality.Semantic.DeepEqual(egressTarget.Status, v1alpha1.EgressTargetStatus{}) {
		egressTarget.Status = v1alpha1.EgressTargetStatus{}
		if err := u.client.Status().Update(ctx, egressTarget); err != nil {
			return fmt.Errorf("empty the status: %w", err)
		}
	}
	return removeFinalizer(ctx, u.client, egressTarget)
}
