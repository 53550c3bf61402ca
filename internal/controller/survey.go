package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/internal/egress"
)

// DefaultSurveyInterval is the default interval of surveys.
const DefaultSurveyInterval = 10 * time.Minute

// surveyPage is the page size of lists of Pods.
const surveyPage = 500

// survey finds Pods that ask for a target but were not injected: they are older than the webhook,
// or they bypassed it. Their calls leave in plain text. They lack the label that the cache selects,
// and there is no selector for annotations. So the leader periodically lists the metadata of all
// other running Pods, in pages. See docs/decisions/0018-survey.md.
type survey struct {
	live     client.Reader
	interval time.Duration
	desc     *prometheus.Desc

	mutex  sync.Mutex
	counts map[string]int
}

func newSurvey(live client.Reader, interval time.Duration) *survey {
	desc := description("mtls_egress_pods_not_injected", []string{"namespace"},
		"The number of running Pods that ask for a target but were not injected, so that their calls leave in plain text, "+
			"by namespace, as of the last survey (--survey-interval); absent for namespaces without such Pods.")
	return &survey{live: live, interval: interval, desc: desc}
}

// NeedLeaderElection is part of manager.LeaderElectionRunnable.
func (s *survey) NeedLeaderElection() bool { return true }

// Start is part of manager.Runnable. If a survey fails, nothing is reported until the next one.
func (s *survey) Start(ctx context.Context) error {
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		counts, err := s.count(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			log.FromContext(ctx).Error(err, "can't find the Pods that were not injected")
		}
		s.mutex.Lock()
		s.counts = counts
		s.mutex.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (s *survey) count(ctx context.Context) (map[string]int, error) {
	unlabeled, err := labels.NewRequirement(egress.LabelInjected, selection.NotEquals, []string{egress.LabelValue})
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for more := ""; ; {
		var list metav1.PartialObjectMetadataList
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
		err := s.live.List(ctx, &list,
			client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*unlabeled)},
			client.MatchingFieldsSelector{Selector: fields.ParseSelectorOrDie("status.phase!=Succeeded,status.phase!=Failed")},
			client.Limit(surveyPage), client.Continue(more))
		if err != nil {
			return nil, fmt.Errorf("list the Pods without the label %s: %w", egress.LabelInjected, err)
		}
		for i := range list.Items {
			pod := &list.Items[i]
			if _, asks := pod.Annotations[egress.AnnotationTarget]; asks && pod.DeletionTimestamp.IsZero() {
				counts[pod.Namespace]++
			}
		}
		if more = list.Continue; more == "" {
			return counts, nil
		}
	}
}

// Describe is part of prometheus.Collector.
func (s *survey) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- s.desc }

// Collect is part of prometheus.Collector.
func (s *survey) Collect(metrics chan<- prometheus.Metric) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for namespace, count := range s.counts {
		metrics <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, float64(count), namespace)
	}
}
