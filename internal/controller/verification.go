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
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/policy/lookup"
	"mtls.egress/webhook/internal/target"
	"mtls.egress/webhook/internal/verify"
)

// VerifyTargets says which targets are verified by a handshake with the partner.
type VerifyTargets string

// The values of VerifyTargets.
const (
	// VerifyOff verifies none, whatever an EgressTarget asks for.
	VerifyOff VerifyTargets = "off"
	// VerifyMarked verifies those whose EgressTarget has spec.verify: true.
	VerifyMarked VerifyTargets = "marked"
	// VerifyAll verifies those whose EgressTarget doesn't have spec.verify: false.
	VerifyAll VerifyTargets = "all"
)

// DefaultVerifyInterval is how often a credential is tried that didn't change.
const DefaultVerifyInterval = time.Hour

// How often things are done to verify targets.
const (
	// readToVerify is the pause between two looks at the Secrets of a verified target, less up to a fifth, by which targets are spread. A kubelet brings a changed Secret to
	// the Pods after up to its sync period, a minute by default, and half of that on average, so most changes are tried before.
	readToVerify = 10 * time.Second
	// readsPerSecond bounds the looks at the Secrets of all verified targets together: with more than a thousand the pause grows.
	readsPerSecond = 100
	// retryVerify and retryVerifyMost bound the pause after a handshake that failed. It grows with the time for which that has been so.
	retryVerify     = 30 * time.Second
	retryVerifyMost = 15 * time.Minute
	// handshakesPerSecond bounds the handshakes with all partners together, and of those that are due for another reason than a change of the credential.
	handshakesPerSecond = 5
	// partnerPause is the time between two handshakes with one partner.
	partnerPause = time.Second
	// waitForTurn is how long a target waits at least that may not make a handshake now. With its spread it keeps many of them from asking again at one time.
	waitForTurn = 5 * time.Second
	// verifyWorkers is how many handshakes are made at a time. A partner that doesn't answer holds one of them for ten seconds.
	verifyWorkers = 32
)

// reasonVerificationOff is the reason of a condition Verified that is asked for and switched off; the others are verify.Reasons, and plan.ReasonCredentialInvalid
// where there is nothing to try.
const reasonVerificationOff = "VerificationOff"

// VerificationReconciler tries the credentials of a target in a TLS handshake with the partner, and writes what the partner said into the condition Verified. It is a controller
// of its own, so that a slow partner holds up nothing else. A request is an EgressTarget.
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
	probe func(context.Context, verify.Request) verify.Observation
	turns *turns

	mutex  sync.Mutex
	trials map[types.NamespacedName]map[string]trial
}

// trial is what came of trying one Secret.
type trial struct {
	// fingerprint stands for everything that the handshake depends on, certificate for the client certificate alone.
	fingerprint, certificate string
	at                       time.Time
	// failing is since when trials have failed; zero when the last one didn't.
	failing time.Time
	verdict verify.Verdict
}

// due says whether it is time for the next trial: something changed, or the last one is long ago.
func (t trial) due(fingerprint string, interval time.Duration, now time.Time) bool {
	return t.fingerprint != fingerprint || now.Sub(t.at) >= t.pause(interval)
}

// pause is how long a trial counts.
func (t trial) pause(interval time.Duration) time.Duration {
	if t.failing.IsZero() {
		return interval
	}
	return min(interval, max(retryVerify, min(t.at.Sub(t.failing)/4, retryVerifyMost)))
}

// Reconcile tries what is due of one target.
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
	// A handshake would show the partner who is there.
	if decision := rules.Decide(request.Name); !decision.Allowed {
		r.forget(request.NamespacedName)
		return again(0, r.write(ctx, &egressTarget, new(plan.Unknown(plan.ReasonNotAllowed, "no handshake is made: "+decision.Explain(request.Namespace, request.Name)))))
	}
	t := target.FromEgressTarget(request.Namespace, request.Name, &egressTarget)
	tried, waiting, err := r.try(ctx, &egressTarget, t)
	if err != nil {
		return reconcile.Result{}, err
	}
	pause, err := r.pause(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	if waiting {
		pause = waitForTurn + rand.N(pause) //nolint:gosec // it only keeps targets apart
	} else {
		pause -= plan.Spread(request.String(), pause/5)
	}
	if len(tried) == 0 && waiting {
		return reconcile.Result{RequeueAfter: pause}, nil
	}
	return again(pause, r.write(ctx, &egressTarget, verified(tried)))
}

// again says when to come back after a write: soon when the cache was behind, so that nothing is left as it was.
func again(pause time.Duration, err error) (reconcile.Result, error) {
	if apply.Stale(err) {
		return reconcile.Result{RequeueAfter: waitForCache}, nil
	}
	return reconcile.Result{RequeueAfter: pause}, err
}

// wanted says whether the target is to be verified, and otherwise what the condition says; nil is no condition.
func (r *VerificationReconciler) wanted(egressTarget *v1alpha1.EgressTarget) (wanted bool, otherwise *plan.Condition) {
	asked := egressTarget.Spec.Verify
	switch {
	case asked != nil && *asked && r.targets == VerifyOff:
		return false, new(plan.Unknown(reasonVerificationOff, "spec.verify asks for a handshake with the partner, and the controller "+
			"makes none: an admin allows it with controller.verifyTargets in the values of the chart (--verify-targets)"))
	case asked != nil:
		return *asked, nil
	}
	return r.targets == VerifyAll, nil
}

// try makes the handshakes that are due and returns the trials by Secret, and whether one has to wait for its turn. Secrets that can't be used are not tried: the condition
// CredentialValid speaks of them.
func (r *VerificationReconciler) try(ctx context.Context, egressTarget *v1alpha1.EgressTarget, t target.Target) (tried map[string]trial, waiting bool, err error) {
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
		if !r.turns.take(request.partner(), known && last.certificate != request.certificate, r.clock.Now()) {
			waiting = true
			if known {
				after[secretName] = last
			}
			continue
		}
		next := trial{fingerprint: request.fingerprint, certificate: request.certificate, verdict: verify.Judge(r.probe(ctx, request.Request)), at: r.clock.Now()}
		if next.verdict.Reason == verify.ProbeInterrupted {
			return nil, false, context.Cause(ctx)
		}
		if !next.verdict.Verified {
			next.failing = next.at
			if known && !last.failing.IsZero() {
				next.failing = last.failing
			}
		}
		after[secretName] = next
		r.tell(egressTarget, secretName, last, next)
	}
	r.remember(key, after)
	return after, waiting, nil
}

// tell raises an event about a trial that ended otherwise than the one before, and about each changed Secret that the partner doesn't take: its Pods get it soon. Of the first
// trial after a start the condition knows already what it would tell.
func (r *VerificationReconciler) tell(egressTarget *v1alpha1.EgressTarget, secretName string, last, next trial) {
	first := last.fingerprint == ""
	if known := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionVerified); first && known != nil && known.Reason == string(next.verdict.Reason) {
		return
	}
	n := plan.Event{
		Type: corev1.EventTypeNormal, Reason: string(next.verdict.Reason), Action: "Verify", SecretName: secretName, Note: next.verdict.Message,
	}
	if !next.verdict.Verified {
		n.Type = corev1.EventTypeWarning
	}
	switch {
	case !first && last.certificate != next.certificate:
		n.Note = "the Secret " + secretName + " was changed, and its Pods get it within about a minute: " + n.Note
	case last.verdict.Reason == next.verdict.Reason:
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

// partner is the other side of the handshake.
func (r probeRequest) partner() string {
	return net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port)))
}

// requests are the handshakes of the Secrets in use that can be tried, by Secret.
func (r *VerificationReconciler) requests(ctx context.Context, t target.Target) (map[string]probeRequest, error) {
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
		if usable := configMap != nil && credential.JudgeConfigMap(configMap, inConfigMap.Key, r.clock.Now()) == nil; !usable {
			return nil, nil
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

// requestOf is the handshake in which t's credential in a Secret is tried; false when it can't be used. authority is the CA of the server where a ConfigMap has it.
func requestOf(t target.Target, secret *corev1.Secret, authority []byte, now time.Time) (probeRequest, bool) {
	layout, _, err := credential.JudgeSecret(t, secret, now)
	if err != nil {
		return probeRequest{}, false
	}
	certificate, err := verify.Certificate(secret.Data, layout)
	if err != nil {
		return probeRequest{}, false
	}
	request := verify.Request{
		Host: t.Host, Port: t.Port, ServerName: t.SNI, SubjectAltNames: t.SubjectAltNames, Certificate: certificate,
		System: t.ServerCA.System, HTTP2: t.HTTPVersion == v1alpha1.HTTPVersion2,
	}
	if layout.ServerCA != "" {
		authority = secret.Data[layout.ServerCA]
	}
	if !request.System {
		if request.ServerCA, err = credential.ReadServerCA(layout.ServerCA, authority); err != nil {
			return probeRequest{}, false
		}
	}
	return probeRequest{request, fingerprintOf(request, authority), digest("%x", request.Certificate.Certificate)}, true
}

// fingerprintOf stands for all that a handshake depends on. The private key is in it by its certificate.
func fingerprintOf(request verify.Request, authority []byte) string {
	return digest("%q %d %q %q %t %t %x %x", request.Host, request.Port, request.ServerName, request.SubjectAltNames, request.System, request.HTTP2, request.Certificate.Certificate, authority)
}

func digest(format string, values ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, format, values...))
	return hex.EncodeToString(sum[:])
}

// verified is what the condition Verified says after trials. The first that failed by the name of its Secret gives the reason.
func verified(trials map[string]trial) *plan.Condition {
	if len(trials) == 0 {
		return new(plan.Unknown(plan.ReasonCredentialInvalid, "there is no credential that could be tried; see the condition CredentialValid"))
	}
	var good, unproven, bad []string
	var reason verify.Reason
	for _, secretName := range slices.Sorted(maps.Keys(trials)) {
		v := trials[secretName].verdict
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

// write brings the condition Verified into the status; nil takes it out. What else stands there doesn't matter to it, so it is
// not bound to the version that was read.
func (r *VerificationReconciler) write(ctx context.Context, egressTarget *v1alpha1.EgressTarget, c *plan.Condition) error {
	old := slices.DeleteFunc(slices.Clone(egressTarget.Status.Conditions), func(condition metav1.Condition) bool {
		return condition.Type != v1alpha1.ConditionVerified
	})
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

// pause is the time to the next look at the Secrets of a target: longer the more targets there are.
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
