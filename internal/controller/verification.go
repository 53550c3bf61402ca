package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/apply"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/policy/lookup"
	"mtls.egress/webhook/internal/verify"
)

// VerifyTargets selects the targets to verify with a handshake with the partner.
type VerifyTargets string

// The values of VerifyTargets.
const (
	// VerifyOff verifies no target, regardless of spec.verify.
	VerifyOff VerifyTargets = "off"
	// VerifyMarked verifies targets with spec.verify: true.
	VerifyMarked VerifyTargets = "marked"
	// VerifyAll verifies all targets without spec.verify: false.
	VerifyAll VerifyTargets = "all"
)

// DefaultVerifyInterval is the default interval of handshakes with an unchanged credential.
const DefaultVerifyInterval = time.Hour

// Intervals and limits of verification.
const (
	// readToVerify is the interval of reads of the Secrets of a verified target. Up to a fifth is
	// subtracted to spread the targets. The kubelet updates a changed Secret in Pods within its sync
	// period: a minute by default, and half of that on average. So most changes are verified before.
	readToVerify = 10 * time.Second
	// readsPerSecond limits the reads of Secrets of all verified targets together. With more than a
	// thousand targets, the interval grows.
	readsPerSecond = 100
	// retryVerify and retryVerifyMost are the bounds of the delay after a failed handshake. It grows
	// with the time that handshakes have been failing.
	retryVerify     = 30 * time.Second
	retryVerifyMost = 15 * time.Minute
	// handshakesPerSecond limits the handshakes with all partners together. Handshakes because of a
	// changed credential and all others have a limit each.
	handshakesPerSecond = 5
	// partnerPause is the minimum time between two handshakes with one partner.
	partnerPause = time.Second
	// waitForTurn is the minimum delay of a target that is over the limit. A random addition prevents
	// many targets from retrying at the same time.
	waitForTurn = 5 * time.Second
	// verifyWorkers is the number of concurrent handshakes. A partner that doesn't answer occupies a
	// worker for ten seconds.
	verifyWorkers = 32
)

// reasonVerificationOff is the reason of the condition Verified if spec.verify is true but
// verification is disabled. Other reasons are verify.Reasons, and plan.ReasonCredentialInvalid if
// there is nothing to verify.
const reasonVerificationOff = "VerificationOff"

// VerificationReconciler verifies the credentials of a target in a TLS handshake with the partner,
// and writes the result to the condition Verified. It is a separate controller, so that a slow
// partner delays nothing else. A request is an EgressTarget.
type VerificationReconciler struct {
	cache  informers.Cache
	live   client.Reader
	client client.Client
	events events.EventRecorder
	clock  clock.PassiveClock
	policy policy.Cluster

	targets  VerifyTargets
	interval time.Duration
	// probe makes one handshake.
	probe           func(context.Context, verify.Request) verify.Observation
	handshakeLimits *handshakeLimits

	mutex  sync.Mutex
	trials map[types.NamespacedName]map[string]trial
}

// trial is the result of a handshake with the credential of one Secret.
type trial struct {
	// fingerprint is a digest of all inputs of the handshake. certificate is a digest of the client
	// certificate only.
	fingerprint, certificate string
	at                       time.Time
	// failing is the time since which trials have failed. It is zero if the last one succeeded.
	failing time.Time
	outcome verify.Outcome
}

// due reports whether the next trial is due, because an input changed or the interval is over.
func (t trial) due(fingerprint string, interval time.Duration, now time.Time) bool {
	return t.fingerprint != fingerprint || now.Sub(t.at) >= t.pause(interval)
}

// pause returns the time until the next trial.
func (t trial) pause(interval time.Duration) time.Duration {
	if t.failing.IsZero() {
		return interval
	}
	return min(interval, max(retryVerify, min(t.at.Sub(t.failing)/4, retryVerifyMost)))
}

// Reconcile makes the handshakes of one target that are due.
func (r *VerificationReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var egressTarget v1alpha1.EgressTarget
	err := r.cache.Get(ctx, request.NamespacedName, &egressTarget)
	if absent.Object(err) {
		r.forget(request.NamespacedName)
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("read the EgressTarget: %w", err)
	}
	if wanted, off := r.wanted(&egressTarget); !wanted {
		r.forget(request.NamespacedName)
		return again(0, r.write(ctx, &egressTarget, off))
	}
	rules, err := lookup.Rules(ctx, r.cache, nil, r.policy, request.Namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	// A handshake would reveal the client to the partner.
	if decision := rules.Decide(request.Name); !decision.Allowed {
		r.forget(request.NamespacedName)
		c := plan.Unknown(plan.ReasonNotAllowed, "no handshake is made: "+decision.Explain(request.Namespace, request.Name))
		return again(0, r.write(ctx, &egressTarget, &c))
	}
	t := egress.FromEgressTarget(request.Namespace, request.Name, &egressTarget, egress.Sinkhole{})
	if problems := rules.EndpointProblems(t.Host, t.Endpoints); len(problems) > 0 {
		r.forget(request.NamespacedName)
		reason, why := plan.EndpointReason(problems)
		c := plan.Unknown(reason, "no handshake is made: "+why)
		return again(0, r.write(ctx, &egressTarget, &c))
	}
	tried, waiting, err := r.try(ctx, &egressTarget, t)
	if err != nil {
		return reconcile.Result{}, err
	}
	pause, err := r.pause(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	if waiting {
		pause = waitForTurn + rand.N(pause) //nolint:gosec // it only spreads the targets
	} else {
		pause -= plan.Spread(request.String(), pause/5)
	}
	if len(tried) == 0 && waiting {
		return reconcile.Result{RequeueAfter: pause}, nil
	}
	return again(pause, r.write(ctx, &egressTarget, verified(tried)))
}

// again returns the result of Reconcile after a write. If the cache was stale, it requeues soon.
func again(pause time.Duration, err error) (reconcile.Result, error) {
	if apply.Stale(err) {
		return reconcile.Result{RequeueAfter: waitForCache}, nil
	}
	return reconcile.Result{RequeueAfter: pause}, err
}

// wanted reports whether to verify the target. If not, otherwise is the condition to write, or nil
// for none.
func (r *VerificationReconciler) wanted(egressTarget *v1alpha1.EgressTarget) (wanted bool, otherwise *plan.Condition) {
	asked := egressTarget.Spec.Verify
	switch {
	case asked != nil && *asked && r.targets == VerifyOff:
		return false, new(plan.Unknown(reasonVerificationOff, "spec.verify is true, but the controller makes no handshakes: "+
			"an admin can enable them with controller.verifyTargets in the chart's values (--verify-targets)"))
	case asked != nil:
		return *asked, nil
	}
	return r.targets == VerifyAll, nil
}

// try makes the handshakes that are due. It returns the trials by Secret, and whether a handshake
// must wait because of the limits. It skips unusable Secrets, which the condition CredentialValid
// reports.
func (r *VerificationReconciler) try(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, t egress.Target,
) (tried map[string]trial, waiting bool, err error) {
	key := client.ObjectKeyFromObject(egressTarget)
	requests, err := r.requests(ctx, t)
	if err != nil {
		return nil, false, err
	}
	before := r.trialsOf(key)
	after := map[string]trial{}
	for _, secretName := range slices.Sorted(maps.Keys(requests)) {
		request := requests[secretName]
		last, known := before[secretName]
		if known && !last.due(request.fingerprint, r.interval-plan.Spread(key.String(), r.interval/5), r.clock.Now()) {
			after[secretName] = last
			continue
		}
		if !r.handshakeLimits.allow(request.partner(), known && last.certificate != request.certificate, r.clock.Now()) {
			waiting = true
			if known {
				after[secretName] = last
			}
			continue
		}
		next := trial{
			fingerprint: request.fingerprint,
			certificate: request.certificate,
			outcome:     verify.Evaluate(r.probe(ctx, request.Request)),
			at:          r.clock.Now(),
		}
		if next.outcome.Reason == verify.ProbeInterrupted {
			return nil, false, context.Cause(ctx)
		}
		if !next.outcome.Verified {
			next.failing = next.at
			if known && !last.failing.IsZero() {
				next.failing = last.failing
			}
		}
		after[secretName] = next
		r.recordTrial(egressTarget, secretName, last, next)
	}
	r.remember(key, after)
	return after, waiting, nil
}

// recordTrial records an event for a trial whose result differs from the previous one, and for each
// changed Secret, because its Pods get it soon. For the first trial after a start, the condition
// has the previous result.
func (r *VerificationReconciler) recordTrial(egressTarget *v1alpha1.EgressTarget, secretName string, last, next trial) {
	first := last.fingerprint == ""
	known := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionVerified)
	if first && known != nil && known.Reason == string(next.outcome.Reason) {
		return
	}
	n := plan.Event{
		Type: corev1.EventTypeNormal, Reason: string(next.outcome.Reason), Action: "Verify",
		SecretName: secretName, Note: next.outcome.Message,
	}
	if !next.outcome.Verified {
		n.Type = corev1.EventTypeWarning
	}
	switch {
	case !first && last.certificate != next.certificate:
		n.Note = "the Secret " + secretName + " changed, and its Pods get the change within about a minute: " + n.Note
	case last.outcome.Reason == next.outcome.Reason:
		return
	default:
		n.Note = "the Secret " + secretName + ": " + n.Note
	}
	record(r.events, egressTarget, n)
}

// probeRequest is a handshake to make.
type probeRequest struct {
	verify.Request

	fingerprint, certificate string
}

// partner returns the address of the partner.
func (r probeRequest) partner() string {
	return net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port)))
}

// requests returns the handshakes for the usable Secrets in use, by Secret.
func (r *VerificationReconciler) requests(ctx context.Context, t egress.Target) (map[string]probeRequest, error) {
	pods, err := r.cache.Pods.Of(ctx, t.Namespace, t.Host)
	if err != nil {
		return nil, err
	}
	inConfigMap := t.ServerCA.ConfigMap
	var authority []byte
	if inConfigMap.Name != "" {
		configMap, err := absent.ReadByName[corev1.ConfigMap](ctx, r.live, t.Namespace, inConfigMap.Name)
		if err != nil {
			return nil, err
		}
		if configMap == nil {
			return nil, nil
		}
		if _, err := credential.CheckConfigMap(configMap, inConfigMap.Key, r.clock.Now()); err != nil {
			return nil, nil //nolint:nilerr // CredentialValid has the reason.
		}
		authority = credential.ConfigMapData(configMap)[inConfigMap.Key]
	}
	requests := map[string]probeRequest{}
	for secretName := range plan.SecretsInUse(t, plan.DemandsOf(t, pods)) {
		secret, err := absent.ReadByName[corev1.Secret](ctx, r.live, t.Namespace, secretName)
		if err != nil {
			return nil, err
		}
		if secret == nil {
			continue
		}
		if request, ok := requestOf(t, secret, authority, r.clock.Now()); ok {
			requests[secretName] = request
		}
	}
	return requests, nil
}

// requestOf returns the handshake for t's credential in a Secret, or false if the credential can't
// be used. authority is the CA of the server if a ConfigMap has it.
func requestOf(t egress.Target, secret *corev1.Secret, authority []byte, now time.Time) (probeRequest, bool) {
	layout, _, err := credential.CheckSecret(t, secret, now)
	if err != nil {
		return probeRequest{}, false
	}
	request, err := verify.RequestFor(t, secret.Data, layout, authority)
	if err != nil {
		return probeRequest{}, false
	}
	if layout.ServerCA != "" {
		authority = secret.Data[layout.ServerCA]
	}
	return probeRequest{request, fingerprintOf(request, authority), digest("%x", request.Certificate.Certificate)}, true
}

// fingerprintOf returns a digest of all inputs of a handshake. The certificate represents the
// private key.
func fingerprintOf(request verify.Request, authority []byte) string {
	return digest("%q %d %v %q %q %t %q %x %x",
		request.Host, request.Port, request.Endpoints, request.ServerName, request.SubjectAltNames,
		request.System, request.HTTPVersion, request.Certificate.Certificate, authority)
}

func digest(format string, values ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, format, values...))
	return hex.EncodeToString(sum[:])
}

// verified returns the condition Verified for trials. The reason is that of the first failed trial,
// by the name of its Secret.
func verified(trials map[string]trial) *plan.Condition {
	if len(trials) == 0 {
		return new(plan.Unknown(plan.ReasonCredentialInvalid,
			"no credential can be verified; see the condition CredentialValid"))
	}
	var good, unproven, bad []string
	var reason verify.Reason
	for _, secretName := range slices.Sorted(maps.Keys(trials)) {
		v := trials[secretName].outcome
		message := "the Secret " + secretName + ": " + v.Message
		switch {
		case v.Verified:
			good = append(good, message)
		case v.Reason == verify.IssuerNotNamed:
			unproven = append(unproven, message)
		default:
			if len(bad) == 0 {
				reason = v.Reason
			}
			bad = append(bad, message)
		}
	}
	switch {
	case len(bad) > 0:
		return new(plan.False(string(reason), strings.Join(bad, "; ")))
	case len(unproven) > 0:
		return new(plan.Unknown(string(verify.IssuerNotNamed), strings.Join(unproven, "; ")))
	}
	return new(plan.True(string(verify.Verified), strings.Join(good, "; ")))
}

// VerificationFieldManager is the field manager of the condition Verified.
const VerificationFieldManager = FieldManager + "-verification"

// write writes the condition Verified to the status. nil removes it. It is independent of the rest
// of the status, so the write does not carry the resource version that was read.
func (r *VerificationReconciler) write(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, c *plan.Condition,
) error {
	isOther := func(condition metav1.Condition) bool { return condition.Type != v1alpha1.ConditionVerified }
	old := slices.DeleteFunc(slices.Clone(egressTarget.Status.Conditions), isOther)
	var conditions []metav1.Condition
	if c != nil {
		conditions = slices.Clone(old)
		c.Set(&conditions, v1alpha1.ConditionVerified, egressTarget.Generation, r.clock.Now())
	}
	if equality.Semantic.DeepEqual(old, conditions) {
		return nil
	}
	unbound := &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{
		Namespace: egressTarget.Namespace, Name: egressTarget.Name, UID: egressTarget.UID,
	}}
	return apply.Conditions(ctx, r.client, unbound, conditions, VerificationFieldManager)
}

// pause returns the interval of reads of a target's Secrets. It grows with the number of verified
// targets.
func (r *VerificationReconciler) pause(ctx context.Context) (time.Duration, error) {
	var list v1alpha1.EgressTargetList
	if err := r.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list the EgressTargets: %w", err)
	}
	verified := 0
	for i := range list.Items {
		if wanted, _ := r.wanted(&list.Items[i]); wanted {
			verified++
		}
	}
	return max(readToVerify, time.Duration(verified)*time.Second/readsPerSecond), nil
}

func (r *VerificationReconciler) trialsOf(key types.NamespacedName) map[string]trial {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.trials[key]
}

func (r *VerificationReconciler) remember(key types.NamespacedName, trials map[string]trial) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.trials[key] = trials
}

func (r *VerificationReconciler) forget(key types.NamespacedName) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.trials, key)
}
