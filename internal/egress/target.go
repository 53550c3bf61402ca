package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
)

// The defaults of a Target. Those that the CRD can express stand there too.
const (
	DefaultPort             = 443
	DefaultAppPort          = 80
	DefaultRetries          = 2
	DefaultMaxConnectionAge = 5 * time.Minute
)

// Layout names the keys of a Secret that hold the parts of a credential. They are also the file
// names under which the sidecar finds the parts, because the whole Secret is mounted.
type Layout struct {
	// Certificate holds the client certificate as PEM: the leaf first, then its intermediates.
	Certificate string
	// PrivateKey holds the private key of the leaf as PEM, not encrypted.
	PrivateKey string
	// ServerCA holds the CA certificates of the server as PEM; "" when the CA isn't taken from this
	// Secret.
	ServerCA string
}

// String is the layout as documents write it, for example cert,key,cacert.
func (l Layout) String() string {
	if l.ServerCA == "" {
		return l.Certificate + "," + l.PrivateKey
	}
	return l.Certificate + "," + l.PrivateKey + "," + l.ServerCA
}

// ServerCA says where the CA of the server comes from: a key of the credential Secret, a ConfigMap,
// or, when both are empty and System is true, the CAs that the sidecar image trusts. All empty
// means the layout's own key of the Secret.
type ServerCA struct {
	SecretKey string
	ConfigMap v1alpha1.ConfigMapKey
	System    bool
}

// InSecret reports whether the CA is expected in the credential Secret.
func (c ServerCA) InSecret() bool {
	return !c.System && c.ConfigMap.Name == ""
}

// Target is one external host with everything that Pods and Istio objects need to know of it: an
// Intent's entry, the EgressTarget of the host if there is one, and the defaults.
type Target struct {
	// Namespace is that of the Pods, the EgressTarget, the Secret and the objects. "" offline when
	// nobody says.
	Namespace string
	// Host is the normalized host.
	Host string
	// Port is the partner's TLS port.
	Port int32
	// AppPort is the port of the app's http:// URL.
	AppPort int32
	// SecretName is the Secret that holds the credential.
	SecretName string
	// Keys are the keys of the Secret that the EgressTarget names; nil leaves it to the known layouts.
	Keys *v1alpha1.CredentialKeys
	// Issuer is who issues the certificate, and Certificate what it is asked for; both nil when the
	// Secret comes from elsewhere.
	Issuer      *v1alpha1.IssuerRef
	Certificate *v1alpha1.IssuedCertificate
	// ServerCA is the source of the CA of the server.
	ServerCA ServerCA
	// SNI is the server name sent in the handshake.
	SNI string
	// SubjectAltNames are the names of which the server's certificate must carry one. Never empty.
	SubjectAltNames []string
	// Retries is how often a request is tried again that was surely not executed.
	Retries int32
	// Timeout bounds a call with its tries; 0 is no bound.
	Timeout time.Duration
	// HTTPVersion is auto, 1.1 or 2.
	HTTPVersion v1alpha1.HTTPVersion
	// MaxConnectionAge bounds how long a connection is used.
	MaxConnectionAge time.Duration
	// AddressShared says that plain calls of another target of the namespace come to the same address
	// and port: see SharesAddress.
	AddressShared bool
	// ConnectionAgeChosen says that the EgressTarget sets MaxConnectionAge, so that it isn't shortened
	// for certificates of a short life.
	ConnectionAgeChosen bool
}

// Address is the sinkhole address of the target's host.
func (t Target) Address() netip.Addr {
	return SinkholeAddress(t.Host)
}

// Resolve makes targets of an intent whose annotations stand at path. egressTargets holds the
// EgressTargets of the namespace by host; a host without one gets the defaults. The errors are all
// that keeps the intent from being resolved.
func Resolve(namespace string, intent Intent, egressTargets map[string]*v1alpha1.EgressTarget, path *field.Path) ([]Target, field.ErrorList) {
	var errs field.ErrorList
	targets := make([]Target, 0, len(intent.Entries))
	secrets := newDefaultSecrets(intent, egressTargets)
	for _, entry := range intent.Entries {
		egressTarget := egressTargets[entry.Host]
		resolved := FromEgressTarget(namespace, entry.Host, egressTarget)
		errs = append(errs, applyEntry(&resolved, entry, egressTarget, path)...)
		if entry.SecretName == "" && namesNoSecret(egressTarget) {
			errs = append(errs, secrets.check(entry.Host, path)...)
		}
		targets = append(targets, resolved)
	}
	errs = append(errs, checkCatches(namespace, targets, egressTargets, path.Key(AnnotationTarget))...)
	if len(errs) > 0 {
		return nil, errs
	}
	return targets, nil
}

func applyEntry(t *Target, entry Entry, egressTarget *v1alpha1.EgressTarget, path *field.Path) field.ErrorList {
	if entry.SecretName != "" {
		t.SecretName = entry.SecretName
	}
	if entry.Port == 0 {
		return checkInheritedPort(t, entry, egressTarget, path)
	}
	if egressTarget != nil && entry.Port != t.Port {
		return field.ErrorList{Invalid(path.Key(AnnotationTarget), fmt.Sprintf("%s:%d", entry.Host, entry.Port), fmt.Sprintf(
			"the EgressTarget %s says port %d; write %s:%d or %s alone, or change spec.port of the EgressTarget, which moves every workload of the namespace that calls the host",
			entry.Host, t.Port, entry.Host, t.Port, entry.Host))}
	}
	if entry.Port == t.AppPort {
		return field.ErrorList{Invalid(path.Key(AnnotationTarget), fmt.Sprintf("%s:%d", entry.Host, entry.Port), fmt.Sprintf(
			"%d is the plain HTTP port that the app calls; the port here is the partner's TLS port, usually 443", entry.Port))}
	}
	t.Port = entry.Port
	return nil
}

// checkInheritedPort refuses a host without a port where the controller made the EgressTarget for
// another workload's port: a port that isn't said is 443, whoever came first.
func checkInheritedPort(t *Target, entry Entry, egressTarget *v1alpha1.EgressTarget, path *field.Path) field.ErrorList {
	if egressTarget == nil || !MadeByController(egressTarget) || t.Port == DefaultPort {
		return nil
	}
	return field.ErrorList{Invalid(path.Key(AnnotationTarget), entry.Host, fmt.Sprintf(
		"means port %d, but other workloads of the namespace call %s:%d, and a target has one port; write %s:%d, or create an EgressTarget that says which port is right",
		DefaultPort, entry.Host, t.Port, entry.Host, t.Port))}
}

// MadeByController reports whether the controller made the EgressTarget, for the first Pod that
// asked for the host, and nobody else ever wrote to it. Its port is then the one of that Pod.
// Whoever takes the label off, or writes anything else to it, makes it his own.
func MadeByController(egressTarget *v1alpha1.EgressTarget) bool {
	if egressTarget.Labels[LabelManagedBy] != ValueManagedBy {
		return false
	}
	return !slices.ContainsFunc(egressTarget.ManagedFields, writtenByOthers)
}

func writtenByOthers(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager != ValueManagedBy && entry.Subresource == ""
}

// FromEgressTarget returns the target of host as its EgressTarget describes it; nil is an
// EgressTarget with nothing set.
func FromEgressTarget(namespace, host string, egressTarget *v1alpha1.EgressTarget) Target {
	t := Target{
		Namespace:        namespace,
		Host:             host,
		Port:             DefaultPort,
		AppPort:          DefaultAppPort,
		SecretName:       DefaultSecretName(host),
		SNI:              host,
		SubjectAltNames:  []string{host},
		Retries:          DefaultRetries,
		HTTPVersion:      v1alpha1.HTTPVersionAuto,
		MaxConnectionAge: DefaultMaxConnectionAge,
	}
	if egressTarget == nil {
		return t
	}
	spec := egressTarget.Spec
	setIf(&t.Port, spec.Port)
	setIf(&t.AppPort, spec.AppPort)
	setIf(&t.SecretName, spec.Credential.SecretName)
	t.Keys = spec.Credential.Keys
	t.Issuer, t.Certificate = spec.Credential.IssuerRef, spec.Credential.Certificate
	t.ServerCA = serverCA(spec.ServerCA)
	setIf(&t.SNI, spec.SNI)
	if len(spec.SubjectAltNames) > 0 {
		t.SubjectAltNames = spec.SubjectAltNames
	}
	if http := spec.HTTP; http != nil {
		setIf(&t.HTTPVersion, http.Version)
		if http.Retries != nil {
			t.Retries = *http.Retries
		}
		if http.Timeout != nil {
			t.Timeout = http.Timeout.Duration
		}
	}
	if connection := spec.Connection; connection != nil && connection.MaxAge != nil {
		t.MaxConnectionAge, t.ConnectionAgeChosen = connection.MaxAge.Duration, true
	}
	return t
}

func serverCA(source *v1alpha1.ServerCA) ServerCA {
	if source == nil {
		return ServerCA{}
	}
	ca := ServerCA{SecretKey: source.SecretKey, System: source.System != nil && *source.System}
	if source.ConfigMap != nil {
		ca.ConfigMap = *source.ConfigMap
	}
	return ca
}

// setIf sets field to value unless value is the zero value.
func setIf[T comparable](field *T, value T) {
	var zero T
	if value != zero {
		*field = value
	}
}
