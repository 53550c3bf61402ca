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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	admissionregistrationlisters "k8s.io/client-go/listers/admissionregistration/v1"
)

const (
	// fieldManager is the field manager of the caBundle in managedFields.
	fieldManager = "mtls-egress-webhook-ca-bundle"
	// caKey is the key of the CA certificate in a Secret, as cert-manager and service account tokens
	// have it.
	caKey = "ca.crt"
	// resyncPeriod is how often the bundle is checked without an event, to remove expired CAs.
	resyncPeriod = 10 * time.Minute
	// routineFailures is the number of consecutive conflicts that are not logged as errors. They mean
	// that another replica was faster: for the caBundle, the test of the resource version fails (422).
	routineFailures = 3
)

// caBundle updates the caBundle of one MutatingWebhookConfiguration. Every replica runs one,
// because admission must work before there is a leader. All replicas compute the same bundle.
type caBundle struct {
	worker

	client  kubernetes.Interface
	configs admissionregistrationlisters.MutatingWebhookConfigurationLister
	// authorities returns the CA certificates of the newest leaf in PEM, or nil if there are none yet.
	authorities func() []byte

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
		worker:     newWorker(),
		client:     client,
		configs:    configs.Lister(),
		configName: options.WebhookConfigurationName,
		log:        options.Logger.WithValues("mutatingWebhookConfiguration", options.WebhookConfigurationName),
	}
	return b, b.watch(factory, configs.Informer())
}

// start keeps the caBundle in sync until ctx is done.
func (b *caBundle) start(ctx context.Context) {
	b.run(ctx, b.write, func(err error, failures int) {
		if apierrors.IsInvalid(err) && failures <= routineFailures {
			b.log.V(1).Info("Conflict on the MutatingWebhookConfiguration, will retry", "failures", failures)
			return
		}
		b.log.Error(err, "Cannot write the caBundle, will retry", "failures", failures)
	})
}

// write patches the caBundle if it is not in sync.
func (b *caBundle) write(ctx context.Context) error {
	authorities := b.authorities()
	if authorities == nil {
		return nil
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
			return fmt.Errorf("the MutatingWebhookConfiguration %s has not been read yet: check that the service "+
				"account may list and watch it", b.configName)
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
// which is cheaper than verifying the signature. If a key identifier is missing, it compares names,
// and verifies the signature, as two CAs can have one name.
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
				if bytes.Equal(ca.RawSubject, link.RawIssuer) && link.CheckSignatureFrom(ca) == nil {
					return true
				}
			} else if bytes.Equal(ca.SubjectKeyId, link.AuthorityKeyId) {
				return true
			}
		}
	}
	return false
}
