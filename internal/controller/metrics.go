package controller

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
)

// collector counts what is in the cache whenever metrics are asked for, so the figures need no
// upkeep and are right after a restart. Only the leader reports, so that a sum over replicas counts
// everything once.
type collector struct {
	cache   informers.Cache
	elected <-chan struct{}

	targets            *prometheus.Desc
	credentialNotAfter *prometheus.Desc
	credentialEnds     *prometheus.Desc
	credentialValid    *prometheus.Desc
	verified           *prometheus.Desc
	withoutSidecar     *prometheus.Desc
	conflicted         *prometheus.Desc
	notProgrammed      *prometheus.Desc
	notProgrammedSince *prometheus.Desc
}

// collectLimit bounds the wait for a cache that isn't filled yet.
const collectLimit = 5 * time.Second

func newCollector(cache informers.Cache, elected <-chan struct{}) *collector {
	credentialLabels := []string{"namespace", "host", "secret"}
	return &collector{
		cache:   cache,
		elected: elected,
		targets: prometheus.NewDesc("mtls_egress_targets",
			"The number of EgressTargets, by whether they are ready (true, false, unknown) and the reason in their condition Ready.", []string{"ready", "reason"}, nil),
		credentialNotAfter: prometheus.NewDesc("mtls_egress_credential_not_after_timestamp_seconds",
			"When the client certificate that Pods present for a host expires, in seconds since 1970; left out while the certificate can't be read.", credentialLabels, nil),
		credentialEnds: prometheus.NewDesc("mtls_egress_credential_ends_within_seconds",
			"The shortest warning period (--expiry-warnings) within which the client certificate that Pods present for a host expires, in seconds; left out until its warning begins, "+
				"for which a third of its life at most is left, and less for what cert-manager renews.", credentialLabels, nil),
		credentialValid: prometheus.NewDesc("mtls_egress_credential_valid",
			"1 when the credential that Pods present for a host can be used, 0 when it can't; the status of the EgressTarget says why.", credentialLabels, nil),
		verified: prometheus.NewDesc("mtls_egress_target_verified",
			"1 when the partner took the credentials of a target in a handshake, 0 when it didn't; left out where that isn't tried or proves nothing.", []string{"namespace", "host"}, nil),
		withoutSidecar: prometheus.NewDesc("mtls_egress_pods_without_sidecar",
			"The number of running Pods that have a target and no sidecar, so that their calls end nowhere, by namespace; namespaces without any are left out.", []string{"namespace"}, nil),
		conflicted: prometheus.NewDesc("mtls_egress_target_conflicted",
			"1 if other Istio objects conflict with a target; absent if none do.", []string{"namespace", "host"}, nil),
		notProgrammed: prometheus.NewDesc("mtls_egress_pods_not_programmed",
			"The number of Pods that ask for a host whose target is not programmed, so that their calls fail; left out when there are none.", []string{"namespace", "host"}, nil),
		notProgrammedSince: prometheus.NewDesc("mtls_egress_pods_not_programmed_since_timestamp_seconds",
			"Since when the oldest of these Pods has waited, in seconds since 1970; left out when there are none.", []string{"namespace", "host"}, nil),
	}
}

// Describe is part of prometheus.Collector.
func (c *collector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.targets
	descriptions <- c.credentialNotAfter
	descriptions <- c.credentialEnds
	descriptions <- c.credentialValid
	descriptions <- c.verified
	descriptions <- c.withoutSidecar
	descriptions <- c.conflicted
	descriptions <- c.notProgrammed
	descriptions <- c.notProgrammedSince
}

// Collect is part of prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	select {
	case <-c.elected:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectLimit)
	defer cancel()
	c.collectPods(ctx, metrics, c.collectTargets(ctx, metrics))
}

// programming is what the condition Programmed says of targets, by namespace and the label of their
// Pods; nil while it says nothing.
type programming map[labelOfPods]*metav1.Condition

type labelOfPods struct{ namespace, label string }

func (c *collector) collectTargets(ctx context.Context, metrics chan<- prometheus.Metric) programming {
	var list v1alpha1.EgressTargetList
	if err := c.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		metrics <- prometheus.NewInvalidMetric(c.targets, err)
		return nil
	}
	programmed := make(programming, len(list.Items))
	type labels struct{ ready, reason string }
	counts := map[labels]int{}
	for i := range list.Items {
		l := labels{ready: "unknown"}
		if ready := meta.FindStatusCondition(list.Items[i].Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			l = labels{ready: map[bool]string{true: "true", false: "false"}[ready.Status == "True"], reason: ready.Reason}
		}
		counts[l]++
		conditions := list.Items[i].Status.Conditions
		programmed[labelOfPods{list.Items[i].Namespace, egress.HostLabel(list.Items[i].Name)}] = meta.FindStatusCondition(conditions, v1alpha1.ConditionProgrammed)
		if meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionConflicted) {
			metrics <- prometheus.MustNewConstMetric(c.conflicted, prometheus.GaugeValue, 1, list.Items[i].Namespace, list.Items[i].Name)
		}
		c.collectCredentials(&list.Items[i], metrics)
		c.collectVerified(&list.Items[i], metrics)
	}
	for l, count := range counts {
		metrics <- prometheus.MustNewConstMetric(c.targets, prometheus.GaugeValue, float64(count), l.ready, l.reason)
	}
	return programmed
}

func (c *collector) collectCredentials(egressTarget *v1alpha1.EgressTarget, metrics chan<- prometheus.Metric) {
	number := map[bool]float64{true: 1}
	for _, one := range egressTarget.Status.Credentials {
		labels := []string{egressTarget.Namespace, egressTarget.Name, one.SecretName}
		metrics <- prometheus.MustNewConstMetric(c.credentialValid, prometheus.GaugeValue, number[one.Reason == ""], labels...)
		if one.NotAfter != nil {
			metrics <- prometheus.MustNewConstMetric(c.credentialNotAfter, prometheus.GaugeValue, float64(one.NotAfter.Unix()), labels...)
		}
		if one.EndsWithin != nil {
			metrics <- prometheus.MustNewConstMetric(c.credentialEnds, prometheus.GaugeValue, one.EndsWithin.Seconds(), labels...)
		}
	}
}

func (c *collector) collectVerified(egressTarget *v1alpha1.EgressTarget, metrics chan<- prometheus.Metric) {
	verified := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionVerified)
	if verified == nil || verified.Status == metav1.ConditionUnknown {
		return
	}
	number := map[bool]float64{true: 1}
	metrics <- prometheus.MustNewConstMetric(c.verified, prometheus.GaugeValue, number[verified.Status == metav1.ConditionTrue], egressTarget.Namespace, egressTarget.Name)
}

func (c *collector) collectPods(ctx context.Context, metrics chan<- prometheus.Metric, programmed programming) {
	pods, err := c.cache.Pods.All(ctx)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(c.withoutSidecar, err)
		return
	}
	counts := map[string]int{}
	for _, pod := range pods {
		if lacksSidecar(pod) {
			counts[pod.Namespace]++
		}
	}
	for namespace, count := range counts {
		metrics <- prometheus.MustNewConstMetric(c.withoutSidecar, prometheus.GaugeValue, float64(count), namespace)
	}
	if programmed == nil {
		return // the list of EgressTargets failed
	}
	for of, waiting := range programmed.waiting(pods) {
		host := strings.TrimPrefix(of.label, egress.LabelHostPrefix)
		metrics <- prometheus.MustNewConstMetric(c.notProgrammed, prometheus.GaugeValue, float64(waiting.pods), of.namespace, host)
		metrics <- prometheus.MustNewConstMetric(c.notProgrammedSince, prometheus.GaugeValue, float64(waiting.since.Unix()), of.namespace, host)
	}
}

// waiting is how many Pods wait for a target, and since when the oldest does.
type waiting struct {
	pods  int
	since time.Time
}

// waiting returns what Pods wait for: targets that are not programmed or have no EgressTarget yet.
// A Pod waits since it was created, or since the target isn't programmed any more.
func (p programming) waiting(pods []*informers.Pod) map[labelOfPods]waiting {
	found := map[labelOfPods]waiting{}
	for _, pod := range pods {
		if pod.Ended() {
			continue
		}
		for _, label := range informers.HostLabels(pod) {
			of := labelOfPods{pod.Namespace, label}
			condition := p[of]
			since := pod.CreationTimestamp.Time
			if condition != nil {
				if condition.Status == metav1.ConditionTrue {
					continue
				}
				if condition.LastTransitionTime.After(since) {
					since = condition.LastTransitionTime.Time
				}
			}
			all := found[of]
			if all.pods == 0 || since.Before(all.since) {
				all.since = since
			}
			all.pods++
			found[of] = all
		}
	}
	return found
}
