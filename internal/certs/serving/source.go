// Package serving provides the webhook's own certificate, with nothing else installed: a CA in a
// Secret that all replicas share, a leaf that each replica signs for itself and keeps in memory,
// and the CA in the caBundle of the MutatingWebhookConfiguration, through which the API server
// trusts the leaf. Or the leaf and its CA come from files, such as those of a Secret that
// cert-manager writes; the caBundle is kept all the same.
//
// CA and leaf are cert-manager's DynamicAuthority and DynamicSource. What this package adds is that
// a rotation never leaves the API server with a certificate that it does not trust: the caBundle
// keeps old CAs beside the new one ([MergeBundle]), and a replica serves a new leaf only after its
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

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// CACommonName is the common name of every CA that this package makes.
const CACommonName = "mtls-egress-webhook-ca"

// Defaults of [Options].
const (
	DefaultCADuration    = 365 * 24 * time.Hour
	DefaultLeafDuration  = 7 * 24 * time.Hour
	DefaultAdoptionDelay = 5 * time.Minute
)

// signRetry is how long to wait for the CA before the first leaf is tried again. A replica that
// starts always waits once, as the CA's Secret has to be read first, and isn't ready before.
const signRetry = 200 * time.Millisecond

// Options of a [Source]. DNSNames and WebhookConfigurationName are required, and either Directory
// or Namespace and SecretName.
type Options struct {
	// Directory has the leaf and its CA, as in a Secret of the type kubernetes.io/tls that is mounted:
	// tls.crt, tls.key and ca.crt. They are read again when they change. Without it there is a CA in a
	// Secret.
	Directory string
	// Namespace and SecretName name the Secret of the CA. It is created when missing, and made anew
	// when its content is not a CA with its key (tls.crt, tls.key, and ca.crt equal to tls.crt).
	Namespace, SecretName string
	// DNSNames are the names in the leaf; of one from a file, one of them has to be. The API server
	// asks for "<service>.<namespace>.svc", or for the host of the URL when the webhook runs outside
	// the cluster. That may be an IP address.
	DNSNames []string
	// WebhookConfigurationName names the MutatingWebhookConfiguration whose caBundle is kept, in all
	// its webhooks. While there is none, nothing is written and certificates are used at once.
	WebhookConfigurationName string
	// CADuration is how long a CA is valid; it is replaced after two thirds. Default: 365 days.
	CADuration time.Duration
	// LeafDuration is how long a leaf is valid; it is replaced after two thirds. Default: 7 days.
	// It must be less than a third of CADuration, so that no leaf outlives the CA that signed it.
	LeafDuration time.Duration
	// AdoptionDelay is how long a new leaf is held back while the one in use still works: for the
	// caBundle to reach every API server, and for clocks that are behind. Default: 5 minutes, as much
	// as kube-controller-manager backdates the certificates that it signs.
	AdoptionDelay time.Duration
	// Logger gets what is worth telling; the zero value discards it. No key is ever logged.
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
	require(o.LeafDuration < o.CADuration/3, "the duration of the serving certificate is %s, it must be less than a third of the CA's, which is %s", o.LeafDuration, o.CADuration)
	return errors.Join(problems...)
}

// origin is where leaves come from.
type origin interface {
	// Start keeps the newest leaf until ctx ends.
	Start(ctx context.Context) error
	// GetCertificate returns the newest leaf, or why there is none.
	GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Source is the serving certificate of one replica. Add it to the manager, give GetCertificate to
// the webhook server's TLS configuration and Check to the readiness checks.
type Source struct {
	options Options
	newest  origin
	bundle  *caBundle
	now     func() time.Time

	mu    sync.Mutex
	inUse *tls.Certificate
	// waiting is the newest one that was asked about, and held when the caBundle was first seen to
	// hold its issuer.
	waiting *tls.Certificate
	held    time.Time
}

// New makes a Source. It talks to the API server only after [Source.Start].
// The error names all options that are missing or wrong.
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
	if err := bundle.useSecret(options); err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	source.newest = &cmtls.DynamicSource{
		DNSNames:      options.DNSNames,
		RetryInterval: signRetry,
		Authority: addressAuthority{&authority.DynamicAuthority{
			RESTConfig:      config,
			SecretNamespace: options.Namespace,
			SecretName:      options.SecretName,
			CommonName:      CACommonName,
			CADuration:      options.CADuration,
			LeafDuration:    options.LeafDuration,
		}},
	}
	return source, nil
}

// Start keeps the CA, the leaf and the caBundle until ctx ends. It is a runnable of
// controller-runtime's manager. Trouble with the API server is retried and logged, never returned.
func (s *Source) Start(ctx context.Context) error {
	// DynamicSource and DynamicAuthority log to the logger of the context.
	group, ctx := errgroup.WithContext(logr.NewContext(ctx, s.options.Logger))
	group.Go(func() error { return s.newest.Start(ctx) })
	group.Go(func() error { return s.bundle.run(ctx) })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	return nil
}

// NeedLeaderElection is false: every replica serves admission, with or without a leader.
func (s *Source) NeedLeaderElection() bool { return false }

// GetCertificate is the leaf to serve now; see [tls.Config]. It fails until the first leaf is
// signed and the caBundle holds its CA.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	newest, err := s.newest.GetCertificate(nil)
	switch {
	case errors.Is(err, cmtls.ErrNotAvailable):
		newest = nil
	case err != nil:
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	if newest != s.waiting {
		s.waiting, s.held = newest, time.Time{}
	}
	if newest != nil && s.held.IsZero() && s.bundle.holdsIssuer(newest) == nil {
		s.held = s.now()
	}

	chosen, err := choose(s.inUse, newest, s.held, s.bundle.holdsIssuer, s.options.AdoptionDelay, s.now())
	if chosen != s.inUse {
		s.options.Logger.Info("Serving a new certificate", "dnsNames", chosen.Leaf.DNSNames, "ipAddresses", chosen.Leaf.IPAddresses, "notAfter", chosen.Leaf.NotAfter)
	}
	s.inUse = chosen
	if chosen == nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	return chosen, nil
}

// Check is nil when there is a certificate that the API server accepts now. It is a readiness check
// for controller-runtime's healthz package. It is none for liveness: a restart makes nothing
// better.
func (s *Source) Check(*http.Request) error {
	certificate, err := s.GetCertificate(nil)
	if err != nil {
		return err
	}
	return validAt(certificate.Leaf, s.now())
}

// NotAfter is when the leaf in use ends, for a metric; zero while there is none.
func (s *Source) NotAfter() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse == nil {
		return time.Time{}
	}
	return s.inUse.Leaf.NotAfter
}
