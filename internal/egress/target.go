package egress

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
)

// The defaults of a Target. The CRD repeats some of them.
const (
	DefaultPort             = 443
	DefaultAppPort          = 80
	DefaultRetries          = 2
	DefaultMaxConnectionAge = 5 * time.Minute
)

// Layout names the Secret keys of the parts of a credential. The whole Secret is mounted, so the
// keys are also the file names in the sidecar.
type Layout struct {
	// Certificate is the key of the client certificate in PEM: the leaf first, then its
	// intermediates.
	Certificate string
	// PrivateKey is the key of the leaf's private key in PEM, unencrypted.
	PrivateKey string
	// ServerCA is the key of the server's CA certificates in PEM, or "" if the CA comes from
	// elsewhere.
	ServerCA string
}

// String returns the layout in the notation of the docs, for example cert,key,cacert.
func (l Layout) String() string {
	if l.ServerCA == "" {
		return l.Certificate + "," + l.PrivateKey
	}
	return l.Certificate + "," + l.PrivateKey + "," + l.ServerCA
}

// ServerCA is the source of the server's CA: a key of the credential Secret, a ConfigMap, or the
// CAs that the sidecar image trusts (System). If all fields are empty, the layout's own key of the
// Secret applies.
type ServerCA struct {
	SecretKey string
	ConfigMap v1alpha1.ConfigMapKey
	System    bool
}

// InSecret reports whether the CA must be in the credential Secret.
func (c ServerCA) InSecret() bool {
	return !c.System && c.ConfigMap.Name == ""
}

// Target is one external host with everything that Pods and Istio objects need. It combines an
// entry of an Intent, the EgressTarget of the host if it exists, and the defaults.
type Target struct {
	// Namespace is the namespace of the Pods, the EgressTarget, the Secret and the generated
	// objects. It can be "" in offline commands.
	Namespace string
	// Host is the normalized host.
	Host string
	// Port is the partner's TLS port.
	Port int32
	// AppPort is the port in the http:// URL that the app calls.
	AppPort int32
	// SecretName is the Secret with the credential.
	SecretName string
	// Keys are the Secret keys that the EgressTarget names. If nil, the known layouts apply.
	Keys *v1alpha1.CredentialKeys
	// Issuer is the cert-manager issuer of the certificate, and Certificate the request to it. Both
	// are nil if the Secret has another source.
	Issuer      *v1alpha1.IssuerRef
	Certificate *v1alpha1.IssuedCertificate
	// ServerCA is the source of the server's CA.
	ServerCA ServerCA
	// SNI is the server name sent in the handshake.
	SNI string
	// SubjectAltNames are the accepted names; the server certificate must have one of them. Never
	// empty.
	SubjectAltNames []string
	// Retries is the maximum number of retries of a request that the server certainly did not
	// process.
	Retries int32
	// Timeout bounds a call including its retries; 0 means no limit.
	Timeout time.Duration
	// HTTPVersion is auto, 1.1 or 2.
	HTTPVersion v1alpha1.HTTPVersion
	// Endpoints are the places to connect to in place of the host, in the order of the EgressTarget.
	// Empty means the host.
	Endpoints []Endpoint
	// HTTPHost is the Host header that the partner gets. It can have a port. If it is "", the partner
	// gets the app's, without the port of the app's URL.
	HTTPHost string
	// MaxConnectionAge is the maximum lifetime of a connection.
	MaxConnectionAge time.Duration
	// Sinkhole are the ranges of the cluster's sinkhole addresses.
	Sinkhole Sinkhole
	// Addresses are the sinkhole addresses of the host: that of new Pods first, then others that
	// running Pods have. If empty, the address is the one that Sinkhole gives the host.
	Addresses []netip.Addr
	// AddressShared reports whether plain calls to another target of the namespace arrive at the
	// same address and port. See SharesAddress.
	AddressShared bool
	// ConnectionAgeChosen reports whether the EgressTarget sets MaxConnectionAge. If so, it is not
	// shortened for short-lived certificates.
	ConnectionAgeChosen bool
}

// AppURL returns the URL that the app calls.
func (t Target) AppURL() string {
	if t.AppPort == DefaultAppPort {
		return "http://" + t.Host
	}
	return "http://" + net.JoinHostPort(t.Host, strconv.Itoa(int(t.AppPort)))
}

// Address returns the sinkhole address of the host in new Pods.
func (t Target) Address() netip.Addr {
	if len(t.Addresses) > 0 {
		return t.Addresses[0]
	}
	return t.Sinkhole.Address(t.Host)
}

// AllAddresses returns all sinkhole addresses of the host, that of new Pods first.
func (t Target) AllAddresses() []netip.Addr {
	if len(t.Addresses) > 0 {
		return t.Addresses
	}
	return []netip.Addr{t.Address()}
}

// HasAddress reports whether a Pod may have address for the host: it is one of the target's, or
// the one that a range of its sinkhole gives the host.
func (t Target) HasAddress(address netip.Addr) bool {
	return slices.Contains(t.Addresses, address) || t.Sinkhole.gives(address, t.Host)
}

// PossibleAddresses returns the address of t in new Pods, and the one that they would have without
// the other targets of the namespace. If they are equal, it returns one.
func (t Target) PossibleAddresses() []netip.Addr {
	return slices.Compact([]netip.Addr{t.Address(), t.Sinkhole.Address(t.Host)})
}

// Resolve returns the targets of an intent whose annotations are at path. egressTargets holds the
// EgressTargets of the namespace by host. A host without one gets the defaults. sinkhole are the
// ranges of the sinkhole addresses. Resolve returns all errors at once.
func Resolve(
	namespace string,
	intent Intent,
	egressTargets map[string]*v1alpha1.EgressTarget,
	sinkhole Sinkhole,
	path *field.Path,
) ([]Target, field.ErrorList) {
	var errs field.ErrorList
	targets := make([]Target, 0, len(intent.Entries))
	secrets := newDefaultSecrets(intent, egressTargets)
	for _, entry := range intent.Entries {
		egressTarget := egressTargets[entry.Host]
		resolved := FromEgressTarget(namespace, entry.Host, egressTarget, sinkhole)
		errs = append(errs, applyEntry(&resolved, entry, egressTarget, path)...)
		if entry.SecretName == "" && namesNoSecret(egressTarget) {
			errs = append(errs, secrets.check(entry.Host, path)...)
		}
		targets = append(targets, resolved)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	apart(namespace, targets, egressTargets, sinkhole)
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
		return field.ErrorList{
			Invalid(path.Key(AnnotationTarget), fmt.Sprintf("%s:%d", entry.Host, entry.Port), fmt.Sprintf(
				"the EgressTarget %s sets port %d; write %s:%d or %s alone, or change spec.port of the EgressTarget, "+
					"which affects every workload in the namespace that calls the host", entry.Host, t.Port, entry.Host,
				t.Port, entry.Host)),
		}
	}
	if entry.Port == t.AppPort {
		return field.ErrorList{
			Invalid(path.Key(AnnotationTarget), fmt.Sprintf("%s:%d", entry.Host, entry.Port), fmt.Sprintf(
				"%d is the plain HTTP port that the app calls; the port here is the partner's TLS port, usually 443",
				entry.Port)),
		}
	}
	t.Port = entry.Port
	return nil
}

// checkInheritedPort rejects a host without a port if the controller created the EgressTarget with
// another port for another workload. A missing port means 443, regardless of which workload came
// first.
func checkInheritedPort(t *Target, entry Entry, egressTarget *v1alpha1.EgressTarget, path *field.Path) field.ErrorList {
	if egressTarget == nil || !MadeByController(egressTarget) || t.Port == DefaultPort {
		return nil
	}
	return field.ErrorList{Invalid(path.Key(AnnotationTarget), entry.Host, fmt.Sprintf(
		"means port %d, but other workloads of the namespace call %s:%d, and a target has one port; write %s:%d, or "+
			"create an EgressTarget that sets the port", DefaultPort, entry.Host, t.Port, entry.Host, t.Port))}
}

// MadeByController reports whether the controller created the EgressTarget for the first Pod that
// requested the host, and no other manager has written to it. Its port is then the port of that
// Pod. After any other manager changes it, or removes the label, the controller treats it as the
// user's.
func MadeByController(egressTarget *v1alpha1.EgressTarget) bool {
	if egressTarget.Labels[LabelManagedBy] != ValueManagedBy {
		return false
	}
	return !slices.ContainsFunc(egressTarget.ManagedFields, writtenByOthers)
}

func writtenByOthers(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager != ValueManagedBy && entry.Subresource == ""
}

// FromEgressTarget returns the target of host as its EgressTarget describes it, with an address in
// sinkhole. A nil EgressTarget is equivalent to one with an empty spec. The address in the status
// stays while it is in the first range, because running Pods may have it.
func FromEgressTarget(namespace, host string, egressTarget *v1alpha1.EgressTarget, sinkhole Sinkhole) Target {
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
		Sinkhole:         sinkhole,
	}
	if egressTarget == nil {
		return t
	}
	if address, err := netip.ParseAddr(egressTarget.Status.Address); err == nil && sinkhole.assigns(address) {
		t.Addresses = []netip.Addr{address}
	}
	spec := egressTarget.Spec
	setIf(&t.Port, spec.Port)
	setIf(&t.AppPort, spec.AppPort)
	setIf(&t.SecretName, spec.Credential.SecretName)
	t.Keys = spec.Credential.Keys
	t.Issuer, t.Certificate = spec.Credential.IssuerRef, spec.Credential.Certificate
	t.ServerCA = serverCA(spec.ServerCA)
	t.Endpoints = endpointsOf(spec, t.Port)
	setIf(&t.SNI, spec.SNI)
	if len(spec.SubjectAltNames) > 0 {
		t.SubjectAltNames = spec.SubjectAltNames
	}
	if http := spec.HTTP; http != nil {
		setIf(&t.HTTPVersion, http.Version)
		setIf(&t.HTTPHost, http.Host)
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

// setIf sets field to value if value is not the zero value.
func setIf[T comparable](field *T, value T) {
	var zero T
	if value != zero {
		*field = value
	}
}
