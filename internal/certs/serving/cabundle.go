package serving

import (
	"bytes"
	"context"
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
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

const (
	// fieldManager is who wrote the caBundle, in managedFields.
	fieldManager = "mtls-egress-webhook-ca-bundle"
	// caKey is where DynamicAuthority puts the CA certificate.
	caKey = "ca.crt"
	// resyncPeriod is how often the bundle is judged without an event, so that expired CAs leave it.
	resyncPeriod = 10 * time.Minute
	// A write that failed is repeated after firstRetry, then after twice the time up to lastRetry.
	firstRetry, lastRetry = 50 * time.Millisecond, 30 * time.Second
	// The test of the resource version fails (422) when another replica was faster; more often in a row is worth an error.
	routineFailures = 3
)

// caBundle keeps the caBundle of one MutatingWebhookConfiguration. Every replica runs one: admission must work before
// there is a leader, and all of them compute the same bundle.
type caBundle struct {
	client    kubernetes.Interface
	factories []informers.SharedInformerFactory
	synced    []cache.InformerSynced
	secrets   corelisters.SecretNamespaceLister
	configs   admissionregistrationlisters.MutatingWebhookConfigurationLister
	queue     workqueue.TypedRateLimitingInterface[struct{}]

	secretName, configName string
	log                    logr.Logger
}

func newCABundle(client kubernetes.Interface, options Options) (*caBundle, error) {
	// List and watch by field selector on the name: what RBAC's resourceNames allow
	// (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources).
	byName := func(name string) informers.SharedInformerOption {
		return informers.WithTweakListOptions(func(list *metav1.ListOptions) {
			list.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		})
	}
	secretFactory := informers.NewSharedInformerFactoryWithOptions(client, resyncPeriod,
		informers.WithNamespace(options.Namespace), byName(options.SecretName), informers.WithTransform(withoutPrivateKey))
	configFactory := informers.NewSharedInformerFactoryWithOptions(client, resyncPeriod, byName(options.WebhookConfigurationName))
	secrets, configs := secretFactory.Core().V1().Secrets(), configFactory.Admissionregistration().V1().MutatingWebhookConfigurations()

	b := &caBundle{
		client:     client,
		factories:  []informers.SharedInformerFactory{secretFactory, configFactory},
		secrets:    secrets.Lister().Secrets(options.Namespace),
		configs:    configs.Lister(),
		queue:      workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[struct{}](firstRetry, lastRetry)),
		secretName: options.SecretName,
		configName: options.WebhookConfigurationName,
		log:        options.Logger.WithValues("mutatingWebhookConfiguration", options.WebhookConfigurationName),
	}
	wake := func(any) { b.queue.Add(struct{}{}) }
	for _, informer := range []cache.SharedIndexInformer{secrets.Informer(), configs.Informer()} {
		handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: wake, UpdateFunc: func(_, updated any) { wake(updated) }, DeleteFunc: wake,
		})
		if err != nil {
			return nil, err
		}
		b.synced = append(b.synced, handler.HasSynced)
	}
	return b, nil
}

// withoutPrivateKey keeps only the CA certificate of the Secret in the cache.
func withoutPrivateKey(object any) (any, error) {
	if secret, ok := object.(*corev1.Secret); ok {
		secret.Data = map[string][]byte{caKey: secret.Data[caKey]}
		secret.ManagedFields = nil
		secret.Annotations = nil // kubectl apply keeps a copy of the whole object in one
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

// settle takes a finished item off the queue, or puts it back when it failed.
func (b *caBundle) settle(item struct{}, err error) {
	defer b.queue.Done(item)
	if err == nil {
		b.queue.Forget(item)
		return
	}
	failures := b.queue.NumRequeues(item) + 1
	b.queue.AddRateLimited(item)
	if apierrors.IsInvalid(err) && failures <= routineFailures {
		b.log.V(1).Info("Somebody else wrote the MutatingWebhookConfiguration at the same time, will try again", "failures", failures)
		return
	}
	b.log.Error(err, "Cannot write the caBundle, will try again", "failures", failures)
}

// write writes the caBundle when it is not what it should be.
func (b *caBundle) write(ctx context.Context) error {
	secret, err := b.secrets.Get(b.secretName)
	if apierrors.IsNotFound(err) {
		return nil // the authority creates it
	}
	if err != nil {
		return err
	}
	config, err := b.configs.Get(b.configName)
	if apierrors.IsNotFound(err) {
		b.log.V(1).Info("There is no MutatingWebhookConfiguration of this name yet")
		return nil
	}
	if err != nil {
		return err
	}

	patch, err := bundlePatch(config, secret.Data[caKey], time.Now())
	if err != nil {
		b.log.Info("The CA's Secret cannot be used, waiting for it to be made anew", "reason", err.Error())
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

// bundlePatch sets the caBundle of every webhook that has not the right one. No operations: all have. It touches no
// other field, and applies only to the very version of config, as indices and merged bundles are of that version.
func bundlePatch(config *admissionregistrationv1.MutatingWebhookConfiguration, ca []byte, now time.Time) ([]jsonpatch.Operation, error) {
	var patch []jsonpatch.Operation
	for i, webhook := range config.Webhooks {
		bundle, err := MergeBundle(webhook.ClientConfig.CABundle, ca, now)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(bundle, webhook.ClientConfig.CABundle) {
			patch = append(patch, jsonpatch.NewOperation("add", fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i), bundle))
		}
	}
	if len(patch) == 0 {
		return nil, nil
	}
	return append([]jsonpatch.Operation{jsonpatch.NewOperation("test", "/metadata/resourceVersion", config.ResourceVersion)}, patch...), nil
}

// holdsIssuer says whether every webhook's caBundle holds the CA that signed leaf, and if not, why. When there is no
// MutatingWebhookConfiguration, no API server is there to trust anything, and the answer is yes.
func (b *caBundle) holdsIssuer(leaf *x509.Certificate) error {
	for _, synced := range b.synced {
		if !synced() {
			return fmt.Errorf("the CA's Secret and the MutatingWebhookConfiguration %s have not been read yet: the service account must be allowed to list and watch them", b.configName)
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
		if !holds(webhook.ClientConfig.CABundle, leaf) {
			return fmt.Errorf("the caBundle of webhook %s in MutatingWebhookConfiguration %s does not hold the CA yet: the service account must be allowed to patch it", webhook.Name, b.configName)
		}
	}
	return nil
}

// holds compares key identifiers, which spares the signature check: every CA of ours has its own.
func holds(bundle []byte, leaf *x509.Certificate) bool {
	authorities, _ := parseBundle(bundle)
	for _, ca := range authorities {
		if len(ca.SubjectKeyId) > 0 && bytes.Equal(ca.SubjectKeyId, leaf.AuthorityKeyId) {
			return true
		}
	}
	return false
}
