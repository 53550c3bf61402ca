package cli

import (
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
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/webhookport"
)

func newServeWebhookCommand() *cobra.Command {
	options := &webhookOptions{}
	return serverCommand(&cobra.Command{
		Use:   "webhook [flags]",
		Short: "Serve admission requests",
		Long: `Serve admission requests: inject Pods with a target, and propagate the
annotations of workloads to their Pod templates. Every replica serves. The
webhook runs without Istio and without the controller.

On SIGTERM or SIGINT, /readyz fails immediately. The webhook serves new
admission requests for the time of --shutdown-delay, and then finishes in-flight
requests. A second signal ends the process immediately.`,
	}, options, &options.log)
}

type webhookOptions struct {
	processFlags
	workloads workloadFlag

	injectorConfig   string
	requireInjection bool

	host          string
	port          int
	configuration string
	clientCAFile  string
	shutdownDelay time.Duration

	serviceName    string
	caSecret       string
	certificateDir string
	tlsDNSNames    []string
	// certificateDuration and adoptionDelay are fields of serving.Options.
	certificateDuration time.Duration
	adoptionDelay       time.Duration
}

func (o *webhookOptions) flags() cliflag.NamedFlagSets {
	var groups cliflag.NamedFlagSets

	webhook := groups.FlagSet("webhook")
	webhook.StringVar(&o.host, "webhook-host", "",
		"The IP address to serve admission requests on. Default: all addresses.")
	webhook.IntVar(&o.port, "webhook-port", 9443, "The port to serve admission requests on, at /mutate.")
	webhook.StringVar(&o.configuration, "webhook-configuration", "0-"+name,
		"The MutatingWebhookConfiguration whose caBundle the webhook maintains. The API server "+
			"calls configurations in the order of their names, and this one must sort before Istio's.")
	webhook.StringVar(&o.clientCAFile, "client-ca-file", "",
		"A PEM file with the CA certificates of the clients that may send admission requests. A client without a "+
			"certificate of one of these CAs "+
			"gets 401. The file is reloaded when it changes. Default: every client is accepted. API servers present "+
			"a certificate only if configured: see docs/how-to/client-ca.md.")
	webhook.DurationVar(&o.shutdownDelay, "shutdown-delay", 10*time.Second,
		"How long to keep serving admission requests after SIGTERM, while /readyz fails. At most "+
			app.MaxShutdownDelay.String()+". A second signal ends the process immediately.")

	o.workloads.addFlag(webhook)
	webhook.StringVar(&o.injectorConfig, "injector-config", interception.DefaultInjectorConfigMap,
		"The ConfigMap in the root namespace with the configuration of Istio's sidecar injector. A control plane with "+
			"a revision uses "+interception.DefaultInjectorConfigMap+"-REVISION.")
	webhook.BoolVar(&o.requireInjection, "require-injection", false,
		"Reject Pods with a target, and their workloads, if Istio will inject no sidecar. Default: warn.")

	certificate := groups.FlagSet("serving certificate")
	certificate.StringVar(&o.serviceName, "service-name", name,
		"The Service that the API server calls; the certificate is for SERVICE.NAMESPACE.svc.")
	certificate.StringVar(&o.caSecret, "ca-secret", name+"-ca",
		"The Secret with the CA. The webhook creates it if it is missing.")
	certificate.StringVar(&o.certificateDir, "serving-certificate-dir", "",
		"A directory with tls.crt, tls.key and ca.crt, such as a mounted Secret from cert-manager, instead of "+
			"the CA in --ca-secret. The files are reloaded when they change. The caBundle is set to ca.crt.")
	certificate.StringSliceVar(&o.tlsDNSNames, "tls-dns-names", nil,
		"Additional DNS names or IP addresses of the certificate, such as the host in the URL "+
			"of a webhook that runs outside the cluster.")
	certificate.DurationVar(&o.certificateDuration, "certificate-duration", serving.DefaultLeafDuration,
		"The lifetime of a replica's serving certificate. It is renewed after two thirds of that.")
	certificate.DurationVar(&o.adoptionDelay, "certificate-adoption-delay", serving.DefaultAdoptionDelay,
		"How long to delay the use of a new certificate while the current one is still valid. This gives the "+
			"caBundle time to reach every API server, and tolerates clock skew. Must be less than a third "+
			"of --certificate-duration.")

	o.add(&groups, "the Service and the Secret of the CA")
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
	// The API server calls configurations in the order of their names. Istio's are
	// istio-revision-tag-… and istio-sidecar-injector….
	if o.configuration >= "istio-" {
		problems.refusef("webhook-configuration",
			"%q sorts after Istio's istio-revision-tag-… and istio-sidecar-injector, but must be called before them; "+
				"use a name that starts with 0-", o.configuration)
	}
	if o.shutdownDelay < 0 || o.shutdownDelay > app.MaxShutdownDelay {
		problems.refusef("shutdown-delay", "%s is not between 0s and %s", o.shutdownDelay, app.MaxShutdownDelay)
	}
	if _, err := o.workloads.kinds(); err != nil {
		problems = append(problems, err)
	}
	problems.name("injector-config", o.injectorConfig, validation.IsDNS1123Subdomain)
	problems.name("service-name", o.serviceName, validation.IsDNS1123Label)
	problems.name("ca-secret", o.caSecret, validation.IsDNS1123Subdomain)
	for _, dnsName := range o.tlsDNSNames {
		if _, err := netip.ParseAddr(dnsName); err != nil && len(validation.IsDNS1123Subdomain(dnsName)) > 0 {
			problems.refusef("tls-dns-names", "%q is neither a DNS name in lower case nor an IP address", dnsName)
		}
	}
	if longest := serving.DefaultCADuration / 3; o.certificateDuration <= 0 || o.certificateDuration >= longest {
		problems.refusef("certificate-duration",
			"%s must be positive and less than %s, a third of the lifetime of the CA", o.certificateDuration, longest)
	}
	if o.adoptionDelay <= 0 || o.adoptionDelay >= max(o.certificateDuration, 3)/3 {
		problems.refusef("certificate-adoption-delay",
			"%s must be positive and less than a third of --certificate-duration", o.adoptionDelay)
	}
	return wrongCommandLine(append(problems, o.processFlags.validate(map[int]string{o.port: "webhook-port"})...)...)
}

func (o *webhookOptions) run(log logr.Logger) error {
	process, err := o.process(log)
	if err != nil {
		return err
	}
	clients, err := o.clientCA(log.WithName("webhook"))
	if err != nil {
		return err
	}
	kinds, err := o.workloads.kinds()
	if err != nil {
		return err
	}
	return app.Webhook{
		Process:          process,
		Workloads:        kinds,
		Injector:         o.injectorConfig,
		Host:             o.host,
		Port:             o.port,
		ClientCA:         clients,
		ShutdownDelay:    o.shutdownDelay,
		RequireInjection: o.requireInjection,
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

// servingNames returns the names in the serving certificate. API servers call a Service by
// SERVICE.NAMESPACE.svc:
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#service-reference
func (o *webhookOptions) servingNames() []string {
	return append([]string{o.serviceName + "." + o.namespace + ".svc"}, o.tlsDNSNames...)
}

// clientCA reads the CA certificates of clients. It returns nil if the flag is not set.
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
