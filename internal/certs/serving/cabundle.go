package serving

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"gomodules.xyz/jsonpatch/v2"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	admissionregistrationlisters "k8s.io/client-go/listers/admissionregistration/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

const (
	// fieldManager is the field manager of the caBundle in managedFields.
	fieldManager = "mtls-egress-webhook-ca-bundle"
	// caKey is the key of the CA certificate in the Secret of DynamicAuthority.
	caKey = "ca.crt"
	// certificateKey is the key of the same certificate, next to its private key.
	certificateKey = "tls.crt"
	// resyncPeriod is how often the bundle is checked without an event, to remove expired CAs.
	resyncPeriod = 10 * time.Minute
	// firstRetry and lastRetry are the limits of the exponential backoff after a failed write.
	firstRetry, lastRetry = 50 * time.Millisecond, 30 * time.Second
	// routineFailures is the number of consecutive conflicts that are not logged as errors. The test
	// of the resource version fails (422) if another replica was faster.
	routineFailures = 3
)

// caBundle updates the caBundle of one MutatingWebhookConfiguration. Every replica runs one,
// because admission must work before there is a leader. All replicas compute the same bundle.
type caBundle struct {
	client    kubernetes.Interface
	factories []informers.SharedInformerFactory
	synced    []cache.InformerSynced
	configs   admissionregistrationlisters.MutatingWebhookConfigurationLister
	queue     workqueue.TypedRateLimitingInterface[struct{}]
	// authorities returns the CA certificates of the newest leaf in PEM, or nil if there are none yet.
	authorities func() ([]byte, error)

	configName string
	log        logr.Logger
}

// byName lists and watches one object with a field selector on its name, which RBAC's resourceNames
// require (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources).
func byName(name string) informers.SharedInformerOption {
	return informers.WithTweakListOptions(func(list *metav1.ListOptions) {
		list.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	})
}

// newCABundle returns a caBundle without authorities.
func newCABundle(client kubernetes.Interface, options Options) (*caBundle, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, resyncPeriod,
		byName(options.WebhookConfigurationName))
	configs := factory.Admissionregistration().V1().MutatingWebhookConfigurations()
	b := &caBundle{
		client:  client,
		configs: configs.Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[struct{}](firstRetry, lastRetry)),
		configName: options.WebhookConfigurationName,
		log:        options.Logger.WithValues("mutatingWebhookConfiguration", options.WebhookConfigurationName),
	}
	return b, b.watch(factory, configs.Informer())
}

// useSecret reads the authorities from the Secret of the CA.
func (b *caBundle) useSecret(options Options) error {
	factory := informers.NewSharedInformerFactoryWithOptions(b.client, resyncPeriod,
		informers.WithNamespace(options.Namespace), byName(options.SecretName),
		informers.WithTransform(withoutPrivateKey))
	secrets := factory.Core().V1().Secrets()
	b.authorities = func() ([]byte, error) {
		secret, err := secrets.Lister().Secrets(options.Namespace).Get(options.SecretName)
		if apierrors.IsNotFound(err) {
			return nil, nil // the authority creates it
		}
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(secret.Data[caKey], secret.Data[certificateKey]) {
			return nil, nil // the authority regenerates it, and the current content would stay in the caBundle for long
		}
		return secret.Data[caKey], nil
	}
	return b.watch(factory, secrets.Informer())
}

// wake queues a check of the caBundle.
func (b *caBundle) wake() { b.queue.Add(struct{}{}) }

// watch queues a check of the caBundle when an object of the informer changes.
func (b *caBundle) watch(factory informers.SharedInformerFactory, informer cache.SharedIndexInformer) error {
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { b.wake() }, UpdateFunc: func(any, any) { b.wake() }, DeleteFunc: func(any) { b.wake() },
	})
	if err != nil {
		return err
	}
	b.factories = append(b.factories, factory)
	b.synced = append(b.synced, handler.HasSynced)
	return nil
}

// withoutPrivateKey keeps only the certificates of the Secret in the cache.
func withoutPrivateKey(object any) (any, error) {
	if secret, ok := object.(*corev1.Secret); ok {
		secret.Data = map[string][]byte{caKey: secret.Data[caKey], certificateKey: secret.Data[certificateKey]}
		secret.ManagedFields = nil
		secret.Annotations = nil // the annotation of kubectl apply contains the whole object
	}
	return object, nil
}

func (b *caBundle) run(ctx context.Context) error {
	for _, factory := range b.factories {
		factory.Start(ctx.Done())
		defer factory.Shutdown()
	}
	defer context.AfterFunc(ctx, b.queue.ShutDown)()
	if !cache.WaitForCacheSync(ctx.Done(), b.synced...) {
		return nil
	}
	for {
		item, shutdown := b.queue.Get()
		if shutdown {
			return nil
		}
		b.settle(item, b.write(ctx))
	}
}

// settle removes a finished item from the queue, or queues it again if it failed.
func (b *caBundle) settle(item struct{}, err error) {
	defer b.queue.Done(item)
	if err == nil {
		b.queue.Forget(item)
		return
	}
	failures := b.queue.NumRequeues(item) + 1
	b.queue.AddRateLimited(item)
	if apierrors.IsInvalid(err) && failures <= routineFailures {
		b.log.V(1).Info("Conflict on the MutatingWebhookConfiguration, will retry", "failures", failures)
		return
	}
	b.log.Error(err, "Cannot write the caBundle, will retry", "failures", failures)
}

// write patches the caBundle if it is not in sync.
func (b *caBundle) write(ctx context.Context) error {
	authorities, err := b.authorities()
	if err != nil || authorities == nil {
		return err
	}
	config, err := b.configs.Get(b.configName)
	if apierrors.IsNotFound(err) {
		b.log.V(1).Info("The MutatingWebhookConfiguration does not exist yet")
		return nil
	}
	if err != nil {
		return err
	}

	patch, err := bundlePatch(config, authorities, time.Now())
	if err != nil {
		b.log.Info("The CA is not usable, waiting for a new one", "reason", err.Error())
		return nil
	}
	if len(patch) == 0 {
		return nil
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = b.client.AdmissionregistrationV1().MutatingWebhookConfigurations().
		Patch(ctx, b.configName, types.JSONPatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	}
	b.log.Info("Wrote the caBundle", "webhooks", len(patch)-1)
	return nil
}

// bundlePatch returns a JSON patch that sets the caBundle of every webhook that is not in sync. It
// returns no operations if all are in sync. The patch changes no other field. It tests the resource
// version of config, because the indices and the merged bundles depend on it.
func bundlePatch(
	config *admissionregistrationv1.MutatingWebhookConfiguration,
	ca []byte,
	now time.Time,
) ([]jsonpatch.Operation, error) {
	var patch []jsonpatch.Operation
	for i, webhook := range config.Webhooks {
		bundle, err := MergeBundle(webhook.ClientConfig.CABundle, ca, now)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(bundle, webhook.ClientConfig.CABundle) {
			patch = append(patch,
				jsonpatch.NewOperation("add", fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i), bundle))
		}
	}
	if len(patch) == 0 {
		return nil, nil
	}
	return append(
		[]jsonpatch.Operation{jsonpatch.NewOperation("test", "/metadata/resourceVersion", config.ResourceVersion)},
		patch...), nil
}

// holdsIssuer returns an error if the caBundle of a webhook doesn't contain the CA that signed a
// certificate, or a CA above it. It returns nil if the MutatingWebhookConfiguration doesn't exist,
// because then no API server calls the webhook.
func (b *caBundle) holdsIssuer(certificate *tls.Certificate) error {
	for _, synced := range b.synced {
		if !synced() {
			return fmt.Errorf(
				"the MutatingWebhookConfiguration %s, and the CA's Secret where there is one, have not been read "+
					"yet: check that the service account may list and watch them", b.configName)
		}
	}
	config, err := b.configs.Get(b.configName)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, webhook := range config.Webhooks {
		if !holds(webhook.ClientConfig.CABundle, certificate) {
			return fmt.Errorf(
				"the caBundle of webhook %s in MutatingWebhookConfiguration %s does not hold the CA yet: the service "+
					"account must be allowed to patch it", webhook.Name, b.configName)
		}
	}
	return nil
}

// holds reports whether bundle contains an issuer of certificate. It compares key identifiers,
// which is cheaper than verifying the signature. If a key identifier is missing, it compares names.
func holds(bundle []byte, certificate *tls.Certificate) bool {
	chain := []*x509.Certificate{certificate.Leaf}
	for _, der := range certificate.Certificate[min(1, len(certificate.Certificate)):] {
		if intermediate, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, intermediate)
		}
	}
	authorities, _ := parseBundle(bundle)
	for _, ca := range authorities {
		for _, link := range chain {
			if len(ca.SubjectKeyId) == 0 || len(link.AuthorityKeyId) == 0 {
				if bytes.Equal(ca.RawSubject, link.RawIssuer) {
					return true
				}
			} else if bytes.Equal(ca.SubjectKeyId, link.AuthorityKeyId) {
				return true
			}
		}
	}
	return false
}
