// Package load_test creates Pods, 10,000 or more and 50 at a time, while what can happen to the
// webhook, to the controller and to the API server happens, and counts those that were admitted
// without being injected and those that failed. They are dry runs, which pass all of admission.
// Three webhooks run behind a Service that learns of their readiness as late as a cluster's does;
// two of them run except during a rollout. Two controllers run beside them.
package load_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/crowd"
	"mtls.egress/webhook/test/installation"
)

const (
	creates  = 10_000
	parallel = 50
	// interval is from the beginning of 50 creates to that of the next 50, so that 10,000 take as long
	// as everything that happens meanwhile.
	interval = 700 * time.Millisecond
	// after is how long Pods are still created when something has happened.
	after = 3 * time.Second
	// outage is longer than the leading controller may take to renew its Lease.
	outage = 12 * time.Second
)

type load struct {
	*testing.T
	*installation.Installation
	ledger ledger
	// killings are the times from the death of a webhook to the moment from which it isn't called any
	// more.
	killings []span
	// outages are the times in which the API server wasn't there.
	outages []span
}

type span struct{ from, to time.Time }

func (s span) overlaps(c call) bool { return c.begun.Before(s.to) && c.ended.After(s.from) }

func TestNoPodIsMissedAndNoneFailsWhateverHappensToReplicas(t *testing.T) {
	// The policy that refuses Pods which were not injected is off: it would hide those that the
	// webhook misses.
	installed, err := installation.Start(t.Context(), installation.Options{Replicas: 3, Controllers: 2, Values: []string{
		"policy.requireInjected=false",
		// How long an answer takes is nothing to fail for; the machine is busy.
		"webhook.timeoutSeconds=30",
		"webhook.deployment.shutdownDelay=10s", "webhook.deployment.extraArgs={--certificate-duration=30s," +
			"--certificate-adoption-delay=2s}",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := installed.Stop(); err != nil {
			t.Error(err)
		}
	})
	l := &load{T: t, Installation: installed}
	l.do(l.Replicas[2].Stop())

	stop := l.create()
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"nothing happens", func() { time.Sleep(5 * time.Second) }},
		{"a rolling restart", l.roll},
		{"a webhook's Pod is deleted, and then the " +
			"other's", func() { l.everyWebhook(func(webhook *installation.Replica) error { return webhook.Stop() }) }},
		{"the leading controller's Pod is deleted, twice", func() { l.everyLeader((*installation.Process).Stop) }},
		{"every certificate is replaced", l.leaves},
		{"the certificate authority is replaced", l.authority},
		{"the API server restarts", func() { l.outage(0) }},
		{fmt.Sprintf("the API server is away for %s", outage), func() { l.outage(outage) }},
		{"a webhook is killed, and then the other", func() { l.everyWebhook(l.kill) }},
		{"the leading controller is killed, twice", func() { l.everyLeader((*installation.Process).Kill) }},
		{"nothing happens any more", func() {
			for created := l.ledger.created(); created < creates; {
				l.await("another Pod", func(context.Context) error {
					if last := l.ledger.created(); last > created {
						created = last
						return nil
					}
					return fmt.Errorf("there are %d", created)
				})
			}
		}},
	} {
		l.ledger.begin(step.name)
		time.Sleep(interval) // those under way are of the phase before
		step.do()
		time.Sleep(after)
	}
	stop()
	taken, lost := l.Connections()
	t.Logf("%d connections were made, %d of them to a webhook that was gone\n%s", taken, lost, &l.ledger)
	l.judge()
	l.wouldSeeMissedPods()
}

// create keeps creating until stop is called.
func (l *load) create() (stop func()) {
	clients := make([]kubernetes.Interface, parallel)
	for n := range clients {
		own := rest.CopyConfig(l.Config)
		own.QPS = -1
		// client-go shares connections between clients that don't bring their own dialer.
		own.Dial = (&net.Dialer{}).DialContext
		var err error
		if clients[n], err = kubernetes.NewForConfig(own); err != nil {
			l.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(l.Context())
	ended := make(chan struct{})
	l.ledger.begin("the creating begins")
	go func() {
		defer close(ended)
		ticks := time.NewTicker(interval)
		defer ticks.Stop()
		for ctx.Err() == nil {
			l.burst(context.WithoutCancel(ctx), clients)
			select {
			case <-ctx.Done():
			case <-ticks.C:
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// burst creates a Pod with every client at once.
func (l *load) burst(ctx context.Context, clients []kubernetes.Interface) {
	phase := l.ledger.current()
	var all sync.WaitGroup
	for _, client := range clients {
		all.Go(func() {
			begun := time.Now()
			pod, err := client.CoreV1().
				Pods(metav1.NamespaceDefault).
				Create(ctx, crowd.Pod("external.system.com"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			l.ledger.write(phase, begun, pod, err)
		})
	}
	all.Wait()
}

func (l *load) do(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *load) await(what string, reached func(context.Context) error) {
	l.Helper()
	l.do(await.Until(l.Context(), await.Patience, what, reached))
}

// roll does what a Deployment does that may surge by one: a new Pod first, and when it is ready an
// old one goes.
func (l *load) roll() {
	var going sync.WaitGroup
	next := l.Replicas[2]
	for _, old := range l.Replicas[:2] {
		l.do(l.StartProcess(l.Context(), next.Process))
		going.Go(func() {
			if err := old.Stop(); err != nil {
				l.Error(err)
			}
		})
		if next == l.Replicas[2] { // its address is free only when it is gone
			going.Wait()
		}
		next = old
	}
	going.Wait()
}

// everyWebhook ends a webhook and starts it again, and, when the Service has it again, the other
// one.
func (l *load) everyWebhook(end func(*installation.Replica) error) {
	for _, webhook := range l.Replicas[:2] {
		l.do(end(webhook))
		l.do(l.StartProcess(l.Context(), webhook.Process))
		l.await("the Service has the webhook again", func(context.Context) error {
			if !l.InService(webhook) {
				return errors.New("it hasn't")
			}
			return nil
		})
	}
}

// everyLeader ends the controller that is the leader, waits until the other one is, and starts it
// again, twice.
func (l *load) everyLeader(end func(*installation.Process) error) {
	for range 2 {
		before := l.leader(nil)
		l.do(end(before))
		l.leader(before)
		l.do(l.StartProcess(l.Context(), before))
	}
}

// leader waits until a controller leads that is not the one before, and returns it.
func (l *load) leader(before *installation.Process) (leader *installation.Process) {
	l.Helper()
	l.await("a leader", func(ctx context.Context) error {
		if leader = l.Leader(ctx); leader == nil || leader == before {
			return errors.New("there is none")
		}
		return nil
	})
	return leader
}

func (l *load) kill(webhook *installation.Replica) error {
	from := time.Now()
	l.do(webhook.Kill())
	err := await.Until(l.Context(), await.Patience, "the Service drops the webhook", func(context.Context) error {
		if l.InService(webhook) {
			return errors.New("it has it")
		}
		return nil
	})
	l.killings = append(l.killings, span{from, time.Now()})
	l.Logf("a webhook that was killed was called for %s more", time.Since(from).Round(10*time.Millisecond))
	return err
}

// leaves waits until every replica has another certificate than now.
func (l *load) leaves() {
	for replica, before := range l.certificates() {
		l.await("another certificate", func(context.Context) error {
			if l.certificate(replica).Equal(before) {
				return errors.New("it is the same one")
			}
			return nil
		})
	}
}

// authority deletes the certificate authority, and waits until every replica has a certificate of
// the next one.
func (l *load) authority() {
	before := l.certificates()
	secrets := l.Admin.CoreV1().Secrets(installation.Namespace)
	l.do(secrets.Delete(l.Context(), installation.Release+"-ca", metav1.DeleteOptions{}))
	for replica, before := range before {
		l.await("a certificate of another authority", func(context.Context) error {
			if string(l.certificate(replica).AuthorityKeyId) == string(before.AuthorityKeyId) {
				return errors.New("it is of the same one")
			}
			return nil
		})
	}
}

func (l *load) certificates() map[*installation.Replica]*x509.Certificate {
	found := map[*installation.Replica]*x509.Certificate{}
	for _, replica := range l.Replicas {
		if replica.Running() {
			found[replica] = l.certificate(replica)
		}
	}
	return found
}

func (l *load) certificate(replica *installation.Replica) *x509.Certificate {
	l.Helper()
	connection, err := tls.Dial("tcp", replica.Address(), &tls.Config{InsecureSkipVerify: true})
	l.do(err)
	defer func() { _ = connection.Close() }()
	return connection.ConnectionState().PeerCertificates[0]
}

// outage restarts the API server, which is away for some time. The webhooks have to stay.
// Afterwards a controller leads.
func (l *load) outage(away time.Duration) {
	before := map[*installation.Replica]int{}
	for _, replica := range l.Replicas {
		if replica.Running() {
			before[replica] = replica.PID()
		}
	}
	from := time.Now()
	l.do(l.Restart(away))
	l.outages = append(l.outages, span{from, time.Now()})
	for replica, pid := range before {
		if !replica.Running() || replica.PID() != pid {
			l.Errorf("a webhook ended in an outage of the API server of %s; its log ends with\n%s",
				time.Since(from).Round(time.Second), apiserver.LastLines(replica.Log, 5))
		}
	}
	l.await("a controller that leads", func(ctx context.Context) error {
		// A controller that lost its Lease ends, and the kubelet starts it again.
		for _, controller := range l.Controllers {
			if controller.Running() {
				continue
			}
			if err := l.StartProcess(ctx, controller); err != nil {
				return fmt.Errorf("it ends again: %s", err.Error()) // without what Await would end for
			}
		}
		if l.Leader(ctx) == nil {
			return errors.New("there is none")
		}
		return nil
	})
}

// judge allows nothing to be missed, and calls to fail only while the API server is away and, on
// the webhook that was killed, for as long as nobody can know of that.
func (l *load) judge() {
	for _, phase := range l.ledger.phases {
		for _, call := range phase.calls {
			if call.outcome == missed || !l.explained(call) {
				l.Errorf("while %s, after %.1f s: a create was missed or failed that may not: %s",
					phase.name, call.begun.Sub(phase.begun).Seconds(), call.cause)
			}
		}
	}
}

func (l *load) explained(call call) bool {
	for _, excuse := range slices.Concat(l.outages, l.killings) {
		if excuse.overlaps(call) {
			return true
		}
	}
	return false
}

// wouldSeeMissedPods has the webhook miss Pods, which has to be seen.
func (l *load) wouldSeeMissedPods() {
	configurations := l.Admin.AdmissionregistrationV1().MutatingWebhookConfigurations()
	l.do(configurations.Delete(l.Context(), installation.WebhookConfiguration, metav1.DeleteOptions{}))
	l.await("the API server calls no webhook", func(ctx context.Context) error {
		pod, err := l.Admin.CoreV1().
			Pods(metav1.NamespaceDefault).
			Create(ctx, crowd.Pod("external.system.com"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if how := outcomeOf(pod, err); how != missed {
			return fmt.Errorf("outcome %d, error %w", how, err)
		}
		return nil
	})
	if how := outcomeOf(&corev1.Pod{}, nil); how != missed {
		l.Errorf("a plain Pod has the outcome %d", how)
	}
}
