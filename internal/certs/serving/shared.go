package serving

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
)

// checkInterval is how often the CA and the leaf are checked, besides the moment at which one of
// them is due. Timers stand still while a machine sleeps, so that moment alone could come late.
const checkInterval = time.Minute

// authorityInterval and authorityBurst bound how many CAs a replica makes if something else writes
// the Secret all the time.
const (
	authorityInterval = 30 * time.Second
	authorityBurst    = 3
)

// errNoLeaf is the error right after the start, or if the Secret of the CA can't be read or
// written.
var errNoLeaf = errors.New("not signed yet: waiting for the CA's Secret; if this persists, see the log for the reason")

// errMissing is why a Secret that doesn't exist needs a new CA.
var errMissing = errors.New("the Secret is missing")

// shared signs leaves with a CA that all replicas share in a Secret. The first replica that finds
// the Secret without a usable CA writes a new one. Each replica has a leaf of its own, whose key
// stays in memory. CA and leaf are replaced when two thirds of their life have passed.
type shared struct {
	worker

	client  kubernetes.Interface
	secrets corev1listers.SecretNamespaceLister
	options Options
	changed func()
	now     func() time.Time
	// authorityLimit bounds the new CAs of this replica. Each is in the caBundle, which has only so
	// many places.
	authorityLimit *rate.Limiter

	mu   sync.Mutex
	ca   *authority
	leaf *tls.Certificate
}

// newShared returns a shared that calls changed when it has another CA.
func newShared(client kubernetes.Interface, options Options, changed func()) (*shared, error) {
	options.Logger = options.Logger.WithValues("secret", options.Namespace+"/"+options.SecretName)
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithNamespace(options.Namespace), byName(options.SecretName))
	secrets := factory.Core().V1().Secrets()
	s := &shared{
		worker: newWorker(), client: client, secrets: secrets.Lister().Secrets(options.Namespace), options: options,
		changed: changed, now: time.Now, authorityLimit: rate.NewLimiter(rate.Every(authorityInterval), authorityBurst),
	}
	return s, s.watch(factory, secrets.Informer())
}

// Start keeps CA and leaf usable until ctx is done. Errors are logged and retried.
func (s *shared) Start(ctx context.Context) {
	s.run(ctx, s.renew, func(err error, failures int) {
		faster := apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
		if faster && failures <= routineFailures {
			s.options.Logger.V(1).Info("The CA's Secret was changed by another replica first, will retry", "failures", failures)
			return
		}
		s.options.Logger.Error(err, "Cannot bring the CA or the serving certificate up to date, will retry",
			"failures", failures)
	})
}

// GetCertificate returns the newest leaf, or an error if there was none yet.
func (s *shared) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaf == nil {
		return nil, errNoLeaf
	}
	return s.leaf, nil
}

// authorities returns the CA of the newest leaf, or nil if there is none yet.
func (s *shared) authorities() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ca == nil {
		return nil
	}
	return s.ca.pem
}

// renew signs a leaf if the newest one is due or has another CA than the Secret, and writes a new
// CA if the Secret has none or if that is due. The leaf comes first: while the Secret has no usable
// CA and can't be written, it is signed with the last one.
func (s *shared) renew(ctx context.Context) error {
	now := s.now()
	s.queue.AddAfter(struct{}{}, checkInterval)
	secret, err := s.secrets.Get(s.options.SecretName)
	unfit := errMissing // why the Secret needs a new CA
	switch {
	case err == nil:
		unfit = s.useFound(secret.Data, now)
	case !apierrors.IsNotFound(err):
		return err
	}
	var failed error
	if s.ca != nil && !s.ca.expired(now) {
		failed = s.use(s.ca, now)
		s.wakeWhenDue(now)
	}
	if unfit != nil {
		return errors.Join(failed, s.write(ctx, secret, unfit, now))
	}
	return failed
}

// useFound uses the CA in the data of the Secret. The error is why the Secret needs a new one.
func (s *shared) useFound(data map[string][]byte, now time.Time) error {
	found, err := authorityOf(data, now)
	if err != nil {
		return err
	}
	if err := s.use(found, now); err != nil {
		return err
	}
	if now.After(renewal(found.pair.Leaf)) {
		return found.expiry()
	}
	return nil
}

// wakeWhenDue wakes the worker when the CA or the leaf is due. What is overdue is retried anyway.
func (s *shared) wakeWhenDue(now time.Time) {
	for _, certificate := range []*x509.Certificate{s.ca.pair.Leaf, s.leaf.Leaf} {
		if left := renewal(certificate).Sub(now); left > 0 {
			s.queue.AddAfter(struct{}{}, max(left, time.Second)) // certificates count in seconds
		}
	}
}

// write writes a new CA into the Secret, or creates the Secret if found is nil. The watch then
// wakes the worker.
func (s *shared) write(ctx context.Context, found *corev1.Secret, reason error, now time.Time) error {
	if s.authorityLimit.TokensAt(now) < 1 {
		return fmt.Errorf("make a new CA (%w): too many were made, something else writes the CA's Secret", reason)
	}
	data, err := newAuthority(s.options.CADuration, now)
	if err != nil {
		return err
	}
	secrets := s.client.CoreV1().Secrets(s.options.Namespace)
	if found == nil {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.options.SecretName}, Data: data}
		_, err = secrets.Create(ctx, secret, metav1.CreateOptions{})
	} else {
		secret := found.DeepCopy() // with its resource version, so only the first of several replicas writes
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		maps.Copy(secret.Data, data)
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write a new CA into the Secret (%w): %w", reason, err)
	}
	s.authorityLimit.AllowN(now, 1)
	s.options.Logger.Info("Wrote a new CA into the Secret", "reason", reason.Error())
	return nil
}

// use makes ca the CA, and signs a leaf if necessary.
func (s *shared) use(ca *authority, now time.Time) error {
	if s.leaf != nil && bytes.Equal(s.ca.pem, ca.pem) && validAt(s.leaf.Leaf, now) == nil &&
		now.Before(renewal(s.leaf.Leaf)) {
		return nil
	}
	leaf, err := ca.sign(s.options.DNSNames, s.options.LeafDuration, now)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.ca, s.leaf = ca, leaf
	s.mu.Unlock()
	s.changed()
	return nil
}
