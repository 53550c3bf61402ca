package controller

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
)

// collector counts objects in the cache at each scrape, so the metrics are correct after a restart.
// Only the leader reports, so that a sum over replicas counts everything once.
type collector struct {
	cache      informers.Cache
	elected    <-chan struct{}
	teamLabels []string // see Options

	ready              *prometheus.Desc
	owner              *prometheus.Desc
	credentialNotAfter *prometheus.Desc
	credentialEnds     *prometheus.Desc
	credentialValid    *prometheus.Desc
	serverCANotAfter   *prometheus.Desc
	serverCAEnds       *prometheus.Desc
	verified           *prometheus.Desc
	withoutSidecar     *prometheus.Desc
	conflicted         *prometheus.Desc
	notProgrammed      *prometheus.Desc
	notProgrammedSince *prometheus.Desc
}

// collectLimit limits the wait for a cache that isn't synced yet.
const collectLimit = 5 * time.Second

func newCollector(cache informers.Cache, elected <-chan struct{}, teamLabels []string) *collector {
	targetLabels, credentialLabels := []string{"namespace", "host"}, []string{"namespace", "host", "secret"}
	return &collector{
		cache:      cache,
		elected:    elected,
		teamLabels: teamLabels,
		ready: description("mtls_egress_target_ready", []string{"namespace", "host", "reason"},
			"1 if the condition Ready of a target is true, 0 if it isn't, with the reason of the condition; "+
				"without a reason if the target isn't processed yet."),
		owner: description("mtls_egress_target_owner", []string{"namespace", "host", "team"},
			"1, with the team that owns a target, from a label (--team-labels) of the EgressTarget or of its "+
				"namespace; absent if neither has one."),
		credentialNotAfter: description("mtls_egress_credential_not_after_timestamp_seconds", credentialLabels,
			"When the client certificate that Pods present for a host expires, in seconds since 1970; "+
				"absent while the certificate can't be read."),
		credentialEnds: description("mtls_egress_credential_ends_within_seconds", credentialLabels,
			"The shortest warning period (--expiry-warnings) within which the client certificate that Pods present "+
				"for a host expires, in seconds; absent until its warning begins, when at most a third of the "+
				"certificate's lifetime is left, or less for certificates that cert-manager renews."),
		serverCANotAfter: description("mtls_egress_credential_server_ca_not_after_timestamp_seconds", credentialLabels,
			"When the last certificate of the CA with which Pods authenticate the server of a host expires, in seconds since "+
				"1970; absent for the CAs of the system, and while the CA can't be read."),
		serverCAEnds: description("mtls_egress_credential_server_ca_ends_within_seconds", credentialLabels,
			"The shortest warning period (--expiry-warnings) within which that CA expires, in seconds; absent until its "+
				"warning begins, when at most a third of its lifetime is left."),
		credentialValid: description("mtls_egress_credential_valid", credentialLabels,
			"1 if the credential that Pods present for a host can be used, 0 if it can't; "+
				"see the status of the EgressTarget for the reason."),
		verified: description("mtls_egress_target_verified", targetLabels,
			"1 if the partner accepted the credentials of a target in a handshake, 0 if it didn't; "+
				"absent if no handshake is made or if it proves nothing."),
		withoutSidecar: description("mtls_egress_pods_without_sidecar", []string{"namespace"},
			"The number of running Pods that have a target but no sidecar, so that their calls are dropped, "+
				"by namespace; absent for namespaces without such Pods."),
		conflicted: description("mtls_egress_target_conflicted", targetLabels,
			"1 if other Istio objects conflict with a target; absent if none do."),
		notProgrammed: description("mtls_egress_pods_not_programmed", targetLabels,
			"The number of Pods that ask for a host whose target is not programmed, so that their calls fail; "+
				"absent if there are none."),
		notProgrammedSince: description("mtls_egress_pods_not_programmed_since_timestamp_seconds", targetLabels,
			"Since when the oldest of these Pods has waited, in seconds since 1970; absent if there are none."),
	}
}

func description(name string, labels []string, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func gauge(metrics chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// Describe is part of prometheus.Collector.
func (c *collector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.ready
	descriptions <- c.owner
	descriptions <- c.credentialNotAfter
	descriptions <- c.credentialEnds
	descriptions <- c.credentialValid
	descriptions <- c.serverCANotAfter
	descriptions <- c.serverCAEnds
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

// programming has the conditions Programmed of targets by namespace and Pod label. nil means that a
// target has no such condition yet.
type programming map[labelOfPods]*metav1.Condition

type labelOfPods struct{ namespace, label string }

func (c *collector) collectTargets(ctx context.Context, metrics chan<- prometheus.Metric) programming {
	var list v1alpha1.EgressTargetList
	if err := c.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		metrics <- prometheus.NewInvalidMetric(c.ready, err)
		return nil
	}
	c.collectOwners(ctx, list.Items, metrics)
	programmed := make(programming, len(list.Items))
	for i := range list.Items {
		c.collectReady(&list.Items[i], metrics)
		conditions := list.Items[i].Status.Conditions
		of := labelOfPods{list.Items[i].Namespace, egress.HostLabel(list.Items[i].Name)}
		programmed[of] = meta.FindStatusCondition(conditions, v1alpha1.ConditionProgrammed)
		if meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionConflicted) {
			gauge(metrics, c.conflicted, 1, list.Items[i].Namespace, list.Items[i].Name)
		}
		c.collectCredentials(&list.Items[i], metrics)
		c.collectVerified(&list.Items[i], metrics)
	}
	return programmed
}

func (c *collector) collectReady(egressTarget *v1alpha1.EgressTarget, metrics chan<- prometheus.Metric) {
	var value float64
	var reason string
	if ready := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		value, reason = map[bool]float64{true: 1}[ready.Status == metav1.ConditionTrue], ready.Reason
	}
	gauge(metrics, c.ready, value, egressTarget.Namespace, egressTarget.Name, reason)
}

func (c *collector) collectOwners(
	ctx context.Context, egressTargets []v1alpha1.EgressTarget, metrics chan<- prometheus.Metric,
) {
	if len(c.teamLabels) == 0 {
		return
	}
	namespaces := &metav1.PartialObjectMetadataList{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := c.cache.List(ctx, namespaces, client.UnsafeDisableDeepCopy); err != nil {
		metrics <- prometheus.NewInvalidMetric(c.owner, err)
		return
	}
	labels := make(map[string]map[string]string, len(namespaces.Items))
	for i := range namespaces.Items {
		labels[namespaces.Items[i].Name] = namespaces.Items[i].Labels
	}
	for i := range egressTargets {
		namespace, host := egressTargets[i].Namespace, egressTargets[i].Name
		if team := team(c.teamLabels, egressTargets[i].Labels, labels[namespace]); team != "" {
			gauge(metrics, c.owner, 1, namespace, host, team)
		}
	}
}

// team returns the value of the first of keys that the first of sources has, or "" if none has any.
func team(keys []string, sources ...map[string]string) string {
	for _, source := range sources {
		for _, key := range keys {
			if value := source[key]; value != "" {
				return value
			}
		}
	}
	return ""
}

func (c *collector) collectCredentials(egressTarget *v1alpha1.EgressTarget, metrics chan<- prometheus.Metric) {
	number := map[bool]float64{true: 1}
	for _, one := range egressTarget.Status.Credentials {
		labels := []string{egressTarget.Namespace, egressTarget.Name, one.SecretName}
		gauge(metrics, c.credentialValid, number[one.Reason == ""], labels...)
		if one.NotAfter != nil {
			gauge(metrics, c.credentialNotAfter, float64(one.NotAfter.Unix()), labels...)
		}
		if one.EndsWithin != nil {
			gauge(metrics, c.credentialEnds, one.EndsWithin.Seconds(), labels...)
		}
		if ca := one.ServerCA; ca != nil && ca.NotAfter != nil {
			gauge(metrics, c.serverCANotAfter, float64(ca.NotAfter.Unix()), labels...)
			if ca.EndsWithin != nil {
				gauge(metrics, c.serverCAEnds, ca.EndsWithin.Seconds(), labels...)
			}
		}
	}
}

func (c *collector) collectVerified(egressTarget *v1alpha1.EgressTarget, metrics chan<- prometheus.Metric) {
	verified := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionVerified)
	if verified == nil || verified.Status == metav1.ConditionUnknown {
		return
	}
	number := map[bool]float64{true: 1}
	value := number[verified.Status == metav1.ConditionTrue]
	gauge(metrics, c.verified, value, egressTarget.Namespace, egressTarget.Name)
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
		gauge(metrics, c.withoutSidecar, float64(count), namespace)
	}
	if programmed == nil {
		return // the list of EgressTargets failed
	}
	for of, waiting := range programmed.waiting(pods) {
		host := strings.TrimPrefix(of.label, egress.LabelHostPrefix)
		gauge(metrics, c.notProgrammed, float64(waiting.pods), of.namespace, host)
		gauge(metrics, c.notProgrammedSince, float64(waiting.since.Unix()), of.namespace, host)
	}
}

// waiting is the number of Pods that wait for a target, and since when the oldest one waits.
type waiting struct {
	pods  int
	since time.Time
}

// waiting returns the targets that Pods wait for: they are not programmed or have no EgressTarget
// yet. A Pod waits since its creation, or since the target is no longer programmed.
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
