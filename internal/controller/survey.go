package controller

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/workload"
)

// DefaultSurveyInterval is the default interval of surveys.
const DefaultSurveyInterval = 10 * time.Minute

const (
	// surveyPage is the page size of lists.
	surveyPage = 500
	// surveyEvents limits the events of one survey.
	surveyEvents = 100
)

// reasonNotPropagated is the reason of the event on an owner whose annotation has no effect.
const reasonNotPropagated = "NotPropagated"

// survey finds running Pods whose calls leave in plain text although a user asked for a target:
//   - Pods that ask for a target but were not injected. They are older than the webhook, or they
//     bypassed it.
//   - Pods without the annotation, if one of their owners has it. Admission doesn't propagate the
//     annotation from an owner whose kind is not in kinds.
//
// They lack the label that the cache selects, and there is no selector for annotations. So the
// leader periodically lists the metadata of all other running Pods, in pages, and of their owners.
// See docs/project/decisions/0018-survey.md.
type survey struct {
	live   client.Reader
	events events.EventRecorder
	// mapper is nil if owners are not read.
	mapper   meta.RESTMapper
	kinds    map[schema.GroupKind]workload.Kind
	interval time.Duration

	notInjected   *prometheus.Desc
	notPropagated *prometheus.Desc
	unreadable    *prometheus.Desc

	mutex sync.Mutex
	last  findings
}

// findings are what one survey found.
type findings struct {
	// notInjected counts Pods by namespace.
	notInjected   map[string]int
	notPropagated []unpropagated
	// unreadable counts owners by kind.
	unreadable map[schema.GroupKind]int
}

// newSurvey returns a survey. With a nil mapper, it doesn't read the owners of Pods.
func newSurvey(
	live client.Reader, recorder events.EventRecorder, mapper meta.RESTMapper,
	kinds workload.Kinds, interval time.Duration,
) *survey {
	return &survey{
		live: live, events: recorder, mapper: mapper, kinds: kinds.ByKind(), interval: interval,
		notInjected: description("mtls_egress_pods_not_injected", []string{"namespace"},
			"The number of running Pods that ask for a target but were not injected, so that their calls leave in plain text, "+
				"by namespace, as of the last survey (--survey-interval); absent for namespaces without such Pods."),
		notPropagated: description("mtls_egress_pods_not_propagated", []string{"namespace"},
			"The number of running Pods without the annotation mtls.egress/target that have an owner with the annotation, of "+
				"a kind that is not in --workloads, so that their calls leave in plain text, by namespace, as of the last survey; "+
				"absent for namespaces without such Pods."),
		unreadable: description("mtls_egress_owners_unreadable", []string{"kind"},
			"The number of owners of running Pods that the last survey could not read, by kind, so that their annotations "+
				"are unknown; absent for kinds that it could read."),
	}
}

// NeedLeaderElection is part of manager.LeaderElectionRunnable.
func (s *survey) NeedLeaderElection() bool { return true }

// Start is part of manager.Runnable. If a survey fails, nothing is reported until the next one.
func (s *survey) Start(ctx context.Context) error {
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		found, err := s.find(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			log.FromContext(ctx).Error(err, "can't find the Pods that were not injected")
		}
		s.mutex.Lock()
		s.last = found
		s.mutex.Unlock()
		s.report(found.notPropagated)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (s *survey) find(ctx context.Context) (findings, error) {
	found := findings{notInjected: map[string]int{}}
	pods := ownedPods{}
	err := s.eachPod(ctx, func(pod *metav1.PartialObjectMetadata) {
		if _, asks := pod.Annotations[egress.AnnotationTarget]; asks {
			found.notInjected[pod.Namespace]++
			return
		}
		// The owner of a static Pod is its Node.
		_, static := pod.Annotations[corev1.MirrorPodAnnotationKey]
		if id := ownerOf(pod); id != nil && !static {
			pods[podOwner{pod.Namespace, *id}]++
		}
	})
	if err != nil {
		return findings{}, err
	}
	if s.mapper != nil {
		var owners map[ownerID]owner
		owners, found.unreadable = s.owners(ctx, pods)
		found.notPropagated = notPropagated(pods, owners, s.kinds)
	}
	return found, nil
}

// eachPod calls visit for each running Pod that was not injected.
func (s *survey) eachPod(ctx context.Context, visit func(*metav1.PartialObjectMetadata)) error {
	unlabeled, err := labels.NewRequirement(egress.LabelInjected, selection.NotEquals, []string{egress.LabelValue})
	if err != nil {
		return err
	}
	err = s.each(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), func(pod *metav1.PartialObjectMetadata) {
		if pod.DeletionTimestamp.IsZero() {
			visit(pod)
		}
	},
		client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*unlabeled)},
		client.MatchingFieldsSelector{Selector: fields.ParseSelectorOrDie("status.phase!=Succeeded,status.phase!=Failed")})
	if err != nil {
		return fmt.Errorf("list the Pods without the label %s: %w", egress.LabelInjected, err)
	}
	return nil
}

// each calls visit for the metadata of each object of a kind. It holds one page in memory.
func (s *survey) each(
	ctx context.Context, kind schema.GroupVersionKind, visit func(*metav1.PartialObjectMetadata),
	options ...client.ListOption,
) error {
	for more := ""; ; {
		var list metav1.PartialObjectMetadataList
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		page := append([]client.ListOption{client.Limit(surveyPage), client.Continue(more)}, options...)
		if err := s.live.List(ctx, &list, page...); err != nil {
			return err
		}
		for i := range list.Items {
			visit(&list.Items[i])
		}
		if more = list.Continue; more == "" {
			return nil
		}
	}
}

// owners reads the owners of Pods. It lists each kind of a level once, whatever the number of Pods.
// unreadable counts the owners whose kind can't be listed.
func (s *survey) owners(ctx context.Context, pods ownedPods) (map[ownerID]owner, map[schema.GroupKind]int) {
	owners, unreadable := map[ownerID]owner{}, map[schema.GroupKind]int{}
	for {
		wanted := missingOwners(pods, owners)
		if len(wanted) == 0 || ctx.Err() != nil {
			return owners, unreadable
		}
		for kind, uids := range wanted {
			found, err := s.ownersOf(ctx, kind, uids)
			if err != nil {
				if unreadable[kind] == 0 {
					log.FromContext(ctx).Info("Can't read owners of Pods, so annotations of this kind are not found; "+
						"add the kind to the ClusterRole view, with the label rbac.authorization.k8s.io/aggregate-to-view",
						"kind", kind.String(), "owners", len(uids), "reason", err.Error())
				}
				unreadable[kind] += len(uids)
			}
			// Those that don't exist are not wanted again.
			for uid := range uids {
				owners[ownerID{kind, uid}] = owner{}
			}
			maps.Copy(owners, found)
		}
	}
}

// ownersOf lists a kind and returns the owners with these UIDs.
func (s *survey) ownersOf(
	ctx context.Context, kind schema.GroupKind, uids map[types.UID]bool,
) (map[ownerID]owner, error) {
	mapping, err := s.mapper.RESTMapping(kind)
	if err != nil {
		return nil, err
	}
	found := map[ownerID]owner{}
	err = s.each(ctx, mapping.GroupVersionKind, func(object *metav1.PartialObjectMetadata) {
		if uids[object.UID] {
			_, asks := object.Annotations[egress.AnnotationTarget]
			found[ownerID{kind, object.UID}] = owner{
				namespace: object.Namespace, name: object.Name, asks: asks, above: ownerOf(object),
			}
		}
	})
	return found, err
}

// report records one event on each owner, for the first surveyEvents owners.
func (s *survey) report(owners []unpropagated) {
	reported := map[ownerID]bool{}
	for _, one := range owners {
		if reported[one.id] || len(reported) == surveyEvents {
			continue
		}
		mapping, err := s.mapper.RESTMapping(one.id.kind)
		if err != nil {
			continue // the kind was removed since
		}
		reported[one.id] = true
		regarding := &metav1.PartialObjectMetadata{
			ObjectMeta: metav1.ObjectMeta{Namespace: one.namespace, Name: one.name, UID: one.id.uid},
		}
		regarding.SetGroupVersionKind(mapping.GroupVersionKind)
		note := notPropagatedNote(mapping.Resource.GroupResource(), one.id.kind.Kind, one.pods)
		s.events.Eventf(regarding, nil, corev1.EventTypeWarning, reasonNotPropagated, "Survey", "%s",
			plan.Shorten(note, plan.MaxEventNote))
	}
}

// Describe is part of prometheus.Collector.
func (s *survey) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- s.notInjected
	descriptions <- s.notPropagated
	descriptions <- s.unreadable
}

// Collect is part of prometheus.Collector.
func (s *survey) Collect(metrics chan<- prometheus.Metric) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for namespace, count := range s.last.notInjected {
		gauge(metrics, s.notInjected, float64(count), namespace)
	}
	counts := map[string]int{}
	for _, one := range s.last.notPropagated {
		counts[one.podNamespace] += one.pods
	}
	for namespace, count := range counts {
		gauge(metrics, s.notPropagated, float64(count), namespace)
	}
	for kind, count := range s.last.unreadable {
		gauge(metrics, s.unreadable, float64(count), kind.String())
	}
}
