package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	cliflag "k8s.io/component-base/cli/flag"

	"mtls.egress/webhook/internal/app"
	"mtls.egress/webhook/internal/certs/serving"
	"mtls.egress/webhook/internal/webhookport"
)

func newServeWebhookCommand() *cobra.Command {
	options := &webhookOptions{}
	return serverCommand(&cobra.Command{
		Use:   "webhook [flags]",
		Short: "Answer admission requests",
		Long: `Answer admission requests: inject Pods with a target, and propagate the annotations of workloads to their Pod templates. Every
replica answers. It needs neither Istio nor the controller.

On SIGTERM or SIGINT /readyz fails at once, admission requests are answered for the time of --shutdown-delay, then those under
way are completed. A second signal ends the process at once.`,
	}, options, &options.log)
}

// webhookOptions are the flags of serve webhook.
type webhookOptions struct {
	processFlags

	host          string
	port          int
	configuration string
	clientCAFile  string
	shutdownDelay time.Duration

	serviceName    string
	caSecret       string
	certificateDir string
	tlsDNSNames    []string
	// certificateDuration and adoptionDelay are those of serving.Options.
	certificateDuration time.Duration
	adoptionDelay       time.Duration
}

func (o *webhookOptions) flags() cliflag.NamedFlagSets {
	var groups cliflag.NamedFlagSets

	webhook := groups.FlagSet("webhook")
	webhook.StringVar(&o.host, "webhook-host", "", "The IP address to answer admission requests on. Empty: all addresses.")
	webhook.IntVar(&o.port, "webhook-port", 9443, "The port to answer admission requests on, at /mutate.")
	webhook.StringVar(&o.configuration, "webhook-configuration", "0-"+name, "The MutatingWebhookConfiguration whose caBundle is kept. The API server "+
		"calls configurations in the order of their names, and this one has to come before Istio's.")
	webhook.StringVar(&o.clientCAFile, "client-ca-file", "", "A PEM file with the certificate authorities of the clients that may ask for admission. A client without a certificate of one of them "+
		"gets 401. A changed file is read again. Empty: every client is answered. API servers present a certificate only if they are configured to: see docs/security.md.")
	webhook.DurationVar(&o.shutdownDelay, "shutdown-delay", 10*time.Second, "How long admission requests are still answered after SIGTERM, while /readyz fails. "+
		"At most "+app.MaxShutdownDelay.String()+". A second signal ends the process at once.")

	certificate := groups.FlagSet("serving certificate")
	certificate.StringVar(&o.serviceName, "service-name", name, "The Service that the API server calls; the certificate is for SERVICE.NAMESPACE.svc.")
	certificate.StringVar(&o.caSecret, "ca-secret", name+"-ca", "The Secret with the certificate authority. It is made when it is missing.")
	certificate.StringVar(&o.certificateDir, "serving-certificate-dir", "", "A directory with tls.crt, tls.key and ca.crt, such as a mounted Secret that cert-manager writes, in place of "+
		"the certificate authority in --ca-secret. Changed files are read again; the caBundle gets what ca.crt holds.")
	certificate.StringSliceVar(&o.tlsDNSNames, "tls-dns-names", nil, "Further DNS names or IP addresses that the certificate is for, such as the host in the URL "+
		"of a webhook that runs outside the cluster.")
	certificate.DurationVar(&o.certificateDuration, "certificate-duration", serving.DefaultLeafDuration, "How long a certificate of a replica is valid. It is replaced after two thirds of that.")
	certificate.DurationVar(&o.adoptionDelay, "certificate-adoption-delay", serving.DefaultAdoptionDelay, "How long a new certificate is held back while the one in use still works: for the "+
		"caBundle to reach every API server, and for clocks that are behind. Less than a third of --certificate-duration.")

	o.add(&groups, "the Service and the Secret of the certificate authority")
	return groups
}

func (o *webhookOptions) validate() error {
	problems := flagProblems{}
	if o.host != "" {
		if _, err := netip.ParseAddr(o.host); err != nil {
			problems.refusef("webhook-host", "%q is not an IP address", o.host)
		}
	}
	if broken := validation.IsValidPortNum(o.port); len(broken) > 0 {
		problems.refusef("webhook-port", "%d: %s", o.port, strings.Join(broken, "; "))
	}
	problems.name("webhook-configuration", o.configuration, validation.IsDNS1123Subdomain)
	// The API server sorts configurations by name: Istio's are istio-revision-tag-… and
	// istio-sidecar-injector….
	if o.configuration >= "istio-" {
		problems.refusef("webhook-configuration", "%q sorts after Istio's istio-revision-tag-… and istio-sidecar-injector, but has to be called before them; start it with 0-", o.configuration)
	}
	if o.shutdownDelay < 0 || o.shutdownDelay > app.MaxShutdownDelay {
		problems.refusef("shutdown-delay", "%s is not from 0s to %s", o.shutdownDelay, app.MaxShutdownDelay)
	}
	problems.name("service-name", o.serviceName, validation.IsDNS1123Label)
	problems.name("ca-secret", o.caSecret, validation.IsDNS1123Subdomain)
	for _, dnsName := range o.tlsDNSNames {
		if _, err := netip.ParseAddr(dnsName); err != nil && len(validation.IsDNS1123Subdomain(dnsName)) > 0 {
			problems.refusef("tls-dns-names", "%q is neither a DNS name in lower case nor an IP address", dnsName)
		}
	}
	if longest := serving.DefaultCADuration / 3; o.certificateDuration <= 0 || o.certificateDuration >= longest {
		problems.refusef("certificate-duration", "%s is not positive and less than %s, a third of the duration of the certificate authority", o.certificateDuration, longest)
	}
	if o.adoptionDelay <= 0 || o.adoptionDelay >= max(o.certificateDuration, 3)/3 {
		problems.refusef("certificate-adoption-delay", "%s is not positive and less than a third of --certificate-duration", o.adoptionDelay)
	}
	return errors.Join(append(problems, o.processFlags.validate(map[int]string{o.port: "webhook-port"})...)...)
}

func (o *webhookOptions) run(log logr.Logger) error {
	process, err := o.process(log)
	if err != nil {
		return err
	}
	clients, err := o.clientCA(log.WithName("webhook"))
	if err != nil {
		return usageError(err)
	}
	return app.Webhook{
		Process:       process,
		Host:          o.host,
		Port:          o.port,
		ClientCA:      clients,
		ShutdownDelay: o.shutdownDelay,
		Certificate: serving.Options{
			Directory:                o.certificateDir,
			Namespace:                o.namespace,
			SecretName:               o.caSecret,
			DNSNames:                 o.servingNames(),
			WebhookConfigurationName: o.configuration,
			LeafDuration:             o.certificateDuration,
			AdoptionDelay:            o.adoptionDelay,
		},
	}.Run()
}

// servingNames are the names that the serving certificate is for. API servers ask a Service by
// SERVICE.NAMESPACE.svc:
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#service-reference
func (o *webhookOptions) servingNames() []string {
	return append([]string{o.serviceName + "." + o.namespace + ".svc"}, o.tlsDNSNames...)
}

// clientCA reads the authorities of clients, nil for none.
func (o *webhookOptions) clientCA(log logr.Logger) (*webhookport.ClientCA, error) {
	if o.clientCAFile == "" {
		return nil, nil //nolint:nilnil // every client is answered
	}
	clients, err := webhookport.ReadClientCA(o.clientCAFile, log)
	if err != nil {
		return nil, fmt.Errorf("--client-ca-file: %w", err)
	}
	return clients, nil
}
