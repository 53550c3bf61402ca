package informers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// The indexes of the cache.
const (
	// indexPodLabel finds Pods by the label of a host.
	indexPodLabel = "hostLabel"
	// indexClaim finds Istio objects by their claims. See claims.
	indexClaim = "claim"
	// IndexConcern finds EgressTargets by the claims that concern them. See concerns.
	IndexConcern = "concern"
)

func addIndexes(ctx context.Context, indexer client.FieldIndexer, sinkhole egress.Sinkhole) error {
	err := indexer.IndexField(ctx, &v1alpha1.EgressTarget{}, IndexConcern, func(object client.Object) []string {
		egressTarget, _ := object.(*v1alpha1.EgressTarget)
		return concernsOf(egress.FromEgressTarget(object.GetNamespace(), object.GetName(), egressTarget, sinkhole))
	})
	if err != nil {
		return fmt.Errorf("index EgressTargets (is their CRD installed?): %w", err)
	}
	if err := indexer.IndexField(ctx, &corev1.Service{}, indexClaim, serviceClaims); err != nil {
		return fmt.Errorf("index Services: %w", err)
	}
	return nil
}

func addIstioIndexes(ctx context.Context, indexer client.FieldIndexer, sinkhole egress.Sinkhole) error {
	for _, kind := range mesh.HostKinds() {
		if err := indexer.IndexField(ctx, mesh.NewUnstructured(kind), indexClaim, claimsToFind(sinkhole)); err != nil {
			return fmt.Errorf("index the objects of kind %s: %w", kind, err)
		}
	}
	return nil
}
