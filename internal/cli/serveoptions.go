package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/validation"
	cliflag "k8s.io/component-base/cli/flag"

	"mtls.egress/webhook/internal/certs/serving"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/webhookport"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	webhookHost          string
	webhookPort          int
	webhookConfiguration string
	clientCAFile         string
	shutdownDelay        time.Duration

	serviceName    string
	caSecret       string
	certificateDir string
	tlsDNSNames    []string
	// certificateDuration and adoptionDelay are those of serving.Options.
	certificateDuration time.Duration
	adoptionDelay       time.Duration

	leaderElect     bool
	targetRetention time.Duration
	expiryWarnings  []time.Duration
	verifyTargets   string
	verifyInterval  time.Duration
	surveyInterval  time.Duration
	meshConfig      string
	rootNamespace   string

	policy policyFlags

	namespace  string
	kubeconfig string
	context    string

	metricsAddress string
	healthAddress  string

	log logOptions
}

// disabled is the address of a server that is not started.
const disabled = "0"

// flags returns the flags by group, with o holding their defaults and then their values.
func (o *serveOptions) flags() cliflag.NamedFlagSets {
	var groups cliflag.NamedFlagSets

	webhook := groups.FlagSet("webhook")
	webhook.StringVar(&o.webhookHost, "webhook-host", "", "The IP address to answer admission requests on. Empty: all addresses.")
	webhook.IntVar(&o.webhookPort, "webhook-port", 9443, "The port to answer admission requests on, at /mutate.")
	webhook.StringVar(&o.webhookConfiguration, "webhook-configuration", "0-"+name, "The MutatingWebhookConfiguration whose caBundle is kept. The API server "+
		"calls configurations in the order of their names, and this one has to come before Istio's.")
	webhook.StringVar(&o.clientCAFile, "client-ca-file", "", "A PEM file with the certificate authorities of the clients that may ask for admission. A client without a certificate of one of them "+
		"gets 401. A changed file is read again. Empty: every client is answered. API servers present a certificate only if they are configured to: see docs/security.md.")
	webhook.DurationVar(&o.shutdownDelay, "shutdown-delay", 10*time.Second, "How long admission requests are still answered after SIGTERM, while /readyz fails. "+
		"At most "+maxShutdownDelay.String()+". A second signal ends the process at once.")

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

	o.policy.addFlags(groups.FlagSet("policy"))

	program := groups.FlagSet("controller")
	program.BoolVar(&o.leaderElect, "leader-elect", true, "Let only one replica at a time be the controller. All replicas answer admission requests.")
	program.DurationVar(&o.targetRetention, "target-retention", 10*time.Minute, "How long an EgressTarget that the controller made stays after its last Pod is gone.")
	program.DurationSliceVar(&o.expiryWarnings, "expiry-warnings", plan.DefaultExpiryWarnings(), "How long before its end a client certificate is warned of, by a condition and "+
		"an event for each. A certificate of a short life is warned of when a third of it is left, or a fifth where cert-manager renews it.")
	program.StringVar(&o.verifyTargets, "verify-targets", string(controller.VerifyOff), "Which targets are verified: the controller makes a TLS handshake with the partner, with the very "+
		"credential and without a request. off, marked for EgressTargets with spec.verify: true, or all but those with spec.verify: false. Without a value: all.")
	program.Lookup("verify-targets").NoOptDefVal = string(controller.VerifyAll)
	program.DurationVar(&o.verifyInterval, "verify-interval", controller.DefaultVerifyInterval, "How often a credential is tried again that didn't change. A changed one is tried at once.")
	program.DurationVar(&o.surveyInterval, "survey-interval", controller.DefaultSurveyInterval, "How often all Pods are looked through for those that ask for a target and were not "+
		"realised, as they were created past the webhook.")
	program.StringVar(&o.meshConfig, "mesh-config", mesh.DefaultMeshConfigMap, "The ConfigMap of the root namespace that has the mesh configuration under the key "+
		mesh.MeshConfigKey+". A control plane with a revision has istio-REVISION.")
	program.StringVar(&o.rootNamespace, "root-namespace", mesh.DefaultRootNamespace, "The root namespace of the mesh.")

	kubernetes := groups.FlagSet("kubernetes")
	kubernetes.StringVar(&o.namespace, "namespace", "", "The namespace of this installation: of the Service, the Secret of the certificate authority and the Lease. Required.")
	kubernetes.StringVar(&o.kubeconfig, "kubeconfig", "", "The kubeconfig file. Default: the files in $KUBECONFIG, else ~/.kube/config, else the Pod's service account.")
	kubernetes.StringVar(&o.context, "context", "", "The context of the kubeconfig. Default: its current one.")

	observe := groups.FlagSet("health and metrics")
	observe.StringVar(&o.healthAddress, "health-address", ":8081", "The address of /healthz and /readyz, over HTTP.")
	observe.StringVar(&o.metricsAddress, "metrics-address", ":8080", "The address of /metrics, over HTTP. 0 switches it off.")

	o.log.addFlags(groups.FlagSet("logging"))

	groups.FlagSet("global").BoolP("help", "h", false, "Print this help.")
	return groups
}

// validate returns all that is wrong with the flags, each with the flag and what would be right.
func (o *serveOptions) validate() error {
	var problems []error
	refuse := func(flag, format string, args ...any) {
		problems = append(problems, fmt.Errorf("--%s: "+format, append([]any{flag}, args...)...))
	}
	named := func(flag, value string, rule func(string) []string) {
		if value == "" {
			refuse(flag, "is empty, and has to be set")
			return
		}
		if broken := rule(value); len(broken) > 0 {
			refuse(flag, "%q: %s", value, strings.Join(broken, "; "))
		}
	}

	if o.webhookHost != "" {
		if _, err := netip.ParseAddr(o.webhookHost); err != nil {
			refuse("webhook-host", "%q is not an IP address", o.webhookHost)
		}
	}
	if broken := validation.IsValidPortNum(o.webhookPort); len(broken) > 0 {
		refuse("webhook-port", "%d: %s", o.webhookPort, strings.Join(broken, "; "))
	}
	named("webhook-configuration", o.webhookConfiguration, validation.IsDNS1123Subdomain)
	// The API server sorts configurations by name: Istio's are istio-revision-tag-… and istio-sidecar-injector….
	if o.webhookConfiguration >= "istio-" {
		refuse("webhook-configuration", "%q sorts after Istio's istio-revision-tag-… and istio-sidecar-injector, but has to be called before them; start it with 0-", o.webhookConfiguration)
	}
	if o.shutdownDelay < 0 || o.shutdownDelay > maxShutdownDelay {
		refuse("shutdown-delay", "%s is not from 0s to %s", o.shutdownDelay, maxShutdownDelay)
	}
	named("service-name", o.serviceName, validation.IsDNS1123Label)
	named("ca-secret", o.caSecret, validation.IsDNS1123Subdomain)
	for _, dnsName := range o.tlsDNSNames {
		if _, err := netip.ParseAddr(dnsName); err != nil && len(validation.IsDNS1123Subdomain(dnsName)) > 0 {
			refuse("tls-dns-names", "%q is neither a DNS name in lower case nor an IP address", dnsName)
		}
	}
	if longest := serving.DefaultCADuration / 3; o.certificateDuration <= 0 || o.certificateDuration >= longest {
		refuse("certificate-duration", "%s is not positive and less than %s, a third of the duration of the certificate authority", o.certificateDuration, longest)
	}
	if o.adoptionDelay <= 0 || o.adoptionDelay >= max(o.certificateDuration, 3)/3 {
		refuse("certificate-adoption-delay", "%s is not positive and less than a third of --certificate-duration", o.adoptionDelay)
	}
	if o.targetRetention <= 0 {
		refuse("target-retention", "%s is not positive; 1s is as good as none", o.targetRetention)
	}
	if !slices.Contains([]controller.VerifyTargets{controller.VerifyOff, controller.VerifyMarked, controller.VerifyAll}, controller.VerifyTargets(o.verifyTargets)) {
		refuse("verify-targets", "%q is none of off, marked, all", o.verifyTargets)
	}
	if o.verifyInterval < time.Minute {
		refuse("verify-interval", "%s is less than a minute, which no partner should be asked for", o.verifyInterval)
	}
	if o.surveyInterval < time.Second {
		refuse("survey-interval", "%s is less than a second, and each survey reads the metadata of all Pods", o.surveyInterval)
	}
	for _, period := range o.expiryWarnings {
		if period <= 0 {
			refuse("expiry-warnings", "%s is not positive", period)
		}
	}
	named("mesh-config", o.meshConfig, validation.IsDNS1123Subdomain)
	named("root-namespace", o.rootNamespace, validation.IsDNS1123Label)
	named("namespace", o.namespace, validation.IsDNS1123Label)
	problems = append(problems, o.validateAddresses()...)
	_, wrong := o.policy.cluster()
	problems = append(problems, wrong...)
	problems = append(problems, o.log.validate()...)
	return errors.Join(problems...)
}

func (o *serveOptions) validateAddresses() []error {
	var problems []error
	usedBy := map[int]string{o.webhookPort: "webhook-port"}
	for _, server := range []struct {
		flag, address string
		optional      bool
	}{
		{flag: "metrics-address", address: o.metricsAddress, optional: true},
		{flag: "health-address", address: o.healthAddress},
	} {
		if server.optional && server.address == disabled {
			continue
		}
		port, err := listenPort(server.address)
		if err != nil {
			problems = append(problems, fmt.Errorf("--%s: %w", server.flag, err))
			continue
		}
		if other, taken := usedBy[port]; taken {
			problems = append(problems, fmt.Errorf("--%s: port %d is that of --%s already", server.flag, port, other))
			continue
		}
		usedBy[port] = server.flag
	}
	return problems
}

// listenPort returns the port of an address to listen on, [HOST]:PORT with an IP address or localhost as host.
func listenPort(address string) (int, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return 0, fmt.Errorf("%q is not [HOST]:PORT", address)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return 0, fmt.Errorf("%q: the host is neither an IP address nor localhost", address)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || len(validation.IsValidPortNum(port)) > 0 {
		return 0, fmt.Errorf("%q: the port is not a number from 1 to 65535", address)
	}
	return port, nil
}

// servingNames are the names that the serving certificate is for. API servers ask a Service by SERVICE.NAMESPACE.svc:
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#service-reference
func (o *serveOptions) servingNames() []string {
	return append([]string{o.serviceName + "." + o.namespace + ".svc"}, o.tlsDNSNames...)
}

// clientCA reads the authorities of clients, nil for none.
func (o *serveOptions) clientCA(log logr.Logger) (*webhookport.ClientCA, error) {
	if o.clientCAFile == "" {
		return nil, nil //nolint:nilnil // every client is answered
	}
	clients, err := webhookport.ReadClientCA(o.clientCAFile, log)
	if err != nil {
		return nil, fmt.Errorf("--client-ca-file: %w", err)
	}
	return clients, nil
}
