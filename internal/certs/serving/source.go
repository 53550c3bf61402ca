// Package serving provides the serving certificate of the webhook. By default it needs no other
// tools: all replicas share a CA in a Secret, each replica signs its own leaf and keeps it in
// memory, and the CA is in the caBundle of the MutatingWebhookConfiguration, so that the API server
// trusts the leaf. Alternatively, the leaf and its CA are files, for example of a Secret that
// cert-manager writes. In both cases the package updates the caBundle.
//
// The API server trusts the served certificate at any time, also during a rotation: the caBundle
// keeps old CAs next to the new one ([MergeBundle]), and a replica serves a new leaf only after its
// CA is in the caBundle.
package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// CACommonName is the common name of every CA that this package creates.
const CACommonName = "mtls-egress-webhook-ca"

// Defaults of [Options].
const (
	DefaultCADuration    = 365 * 24 * time.Hour
	DefaultLeafDuration  = 7 * 24 * time.Hour
	DefaultAdoptionDelay = 5 * time.Minute
)

// Options of a [Source]. DNSNames and WebhookConfigurationName are required, and either Directory
// or Namespace and SecretName.
type Options struct {
	// Directory contains the leaf and its CA in the files of a mounted kubernetes.io/tls Secret:
	// tls.crt, tls.key and ca.crt. They are read again when they change. If Directory is empty, the CA
	// is in a Secret.
	Directory string
	// Namespace and SecretName identify the Secret of the CA. It is created if it doesn't exist, and
	// regenerated if it doesn't contain a CA with its key (tls.crt, tls.key, and ca.crt equal to
	// tls.crt).
	Namespace, SecretName string
	// DNSNames are the names in the leaf. A leaf from a file must contain one of them. The API server
	// calls "<service>.<namespace>.svc", or the host of the URL if the webhook runs outside the
	// cluster, which can be an IP address.
	DNSNames []string
	// WebhookConfigurationName is the name of the MutatingWebhookConfiguration whose caBundle is
	// updated in all webhooks. If it doesn't exist, nothing is written, and certificates are used
	// immediately.
	WebhookConfigurationName string
	// CADuration is how long a CA is valid. It is replaced after two thirds. Default: 365 days.
	CADuration time.Duration
	// LeafDuration is how long a leaf is valid. It is replaced after two thirds. Default: 7 days.
	// It must be less than a third of CADuration, so that a leaf of a CA that isn't due has its whole
	// life.
	LeafDuration time.Duration
	// AdoptionDelay is how long a new leaf waits while the one in use still works, so that the
	// caBundle reaches every API server, and for clock skew. Default: 5 minutes, which is how much
	// kube-controller-manager backdates the certificates that it signs.
	AdoptionDelay time.Duration
	// Logger is the logger. The zero value discards all messages. Keys are never logged.
	Logger logr.Logger
}

func (o Options) withDefaults() Options {
	if o.CADuration == 0 {
		o.CADuration = DefaultCADuration
	}
	if o.LeafDuration == 0 {
		o.LeafDuration = DefaultLeafDuration
	}
	if o.AdoptionDelay == 0 {
		o.AdoptionDelay = DefaultAdoptionDelay
	}
	return o
}

func (o Options) validate() error {
	var problems []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	require(len(o.DNSNames) > 0, "the DNS names of the serving certificate are missing")
	require(o.WebhookConfigurationName != "", "the name of the MutatingWebhookConfiguration is missing")
	require(o.AdoptionDelay > 0, "the adoption delay is %s, it must be positive", o.AdoptionDelay)
	if o.Directory != "" {
		return errors.Join(problems...)
	}
	require(o.Namespace != "", "the namespace of the CA's Secret is missing")
	require(o.SecretName != "", "the name of the CA's Secret is missing")
	require(o.LeafDuration > 0, "the duration of the serving certificate is %s, it must be positive", o.LeafDuration)
	require(o.LeafDuration < o.CADuration/3,
		"the duration of the serving certificate is %s, it must be less than a third of the CA's, which is %s",
		o.LeafDuration, o.CADuration)
	return errors.Join(problems...)
}

// origin is a source of leaves.
type origin interface {
	// Start updates the newest leaf until ctx is done.
	Start(ctx context.Context)
	// GetCertificate returns the newest leaf, or an error if there is none.
	GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Source is the serving certificate of one replica. Add it to the manager, use GetCertificate in
// the TLS configuration of the webhook server, and Check as a readiness check.
type Source struct {
	options Options
	newest  origin
	bundle  *caBundle
	now     func() time.Time

	mu    sync.Mutex
	inUse *tls.Certificate
	// waiting is the last newest leaf, and held is when the caBundle was first seen with its issuer.
	waiting *tls.Certificate
	held    time.Time
}

// New returns a Source. It sends no requests to the API server before [Source.Start].
// The error lists all missing and invalid options.
func New(config *rest.Config, options Options) (*Source, error) {
	options = options.withDefaults()
	if err := options.validate(); err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	bundle, err := newCABundle(client, options)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	source := &Source{options: options, bundle: bundle, now: time.Now}
	if options.Directory != "" {
		found := newFiles(options, bundle.wake)
		bundle.authorities, source.newest = found.authorities, found
		return source, nil
	}
	signed, err := newShared(client, options, bundle.wake)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	bundle.authorities, source.newest = signed.authorities, signed
	return source, nil
}

// Start updates the CA, the leaf and the caBundle until ctx is done. It implements the Runnable of
// controller-runtime's manager. Errors of the API server are logged and retried, never returned.
func (s *Source) Start(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { s.newest.Start(ctx) })
	group.Go(func() { s.bundle.start(ctx) })
	group.Wait()
	return nil
}

// NeedLeaderElection returns false, because every replica serves admission requests.
func (s *Source) NeedLeaderElection() bool { return false }

// GetCertificate returns the leaf to serve now, see [tls.Config]. It returns an error until the
// first leaf is signed and the caBundle contains its CA.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	newest, err := s.newest.GetCertificate(nil)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	if newest != s.waiting {
		s.waiting, s.held = newest, time.Time{}
	}
	if s.held.IsZero() && s.bundle.holdsIssuer(newest) == nil {
		s.held = s.now()
	}

	chosen, err := choose(s.inUse, newest, s.held, s.bundle.holdsIssuer, s.options.AdoptionDelay, s.now())
	if chosen != s.inUse {
		s.options.Logger.Info("Serving a new certificate", "dnsNames", chosen.Leaf.DNSNames, "ipAddresses",
			chosen.Leaf.IPAddresses, "notAfter", chosen.Leaf.NotAfter)
	}
	s.inUse = chosen
	if chosen == nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	return chosen, nil
}

// Check returns nil if there is a certificate that the API server accepts now. It is a readiness
// check for controller-runtime's healthz package. It is not suitable as a liveness check, because a
// restart doesn't help.
func (s *Source) Check(*http.Request) error {
	certificate, err := s.GetCertificate(nil)
	if err != nil {
		return err
	}
	return validAt(certificate.Leaf, s.now())
}

// NotAfter returns the expiry of the leaf in use, for a metric. It is zero if there is none.
func (s *Source) NotAfter() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse == nil {
		return time.Time{}
	}
	return s.inUse.Leaf.NotAfter
}
