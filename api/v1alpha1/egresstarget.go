package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EgressTarget is one external host that the Pods of a namespace reach over mutual TLS. Its name is
// the host, so a namespace has at most one EgressTarget per host. Users create it to configure more
// than the annotation can. If it doesn't exist, the controller creates it when the first Pod of the
// target appears, and deletes it some time after the last Pod is gone.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=egt,categories=mtls-egress
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.credentials[0].secretName`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.notAfter`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.pods`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Port",type=integer,priority=1,JSONPath=`.spec.port`
// +kubebuilder:printcolumn:name="Verified",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Verified")].status`
// +kubebuilder:printcolumn:name="Pod label",type=string,priority=1,JSONPath=`.status.podLabel`
// +kubebuilder:printcolumn:name="Address",type=string,priority=1,JSONPath=`.status.address`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name of an EgressTarget must be the host of the target: at least two labels of lowercase letters, digits and inner hyphens, each of at most 63 characters, for example external.system.com"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.matches('[.]([0-9]+|0x[0-9a-f]*)$')",message="the name of an EgressTarget must be a host name, not an IP address"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.matches('[.](svc|cluster[.]local|mtls-egress[.]internal)$')",message="the name of an EgressTarget must be the host of a partner outside the mesh: .svc, .cluster.local and .mtls-egress.internal are reserved for the cluster and the controller"
type EgressTarget struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The desired configuration of the target. Every field is optional.
	// +kubebuilder:default={}
	// +optional
	Spec EgressTargetSpec `json:"spec,omitempty"`
	// The observed state of the target. The controller writes it.
	// +optional
	Status EgressTargetStatus `json:"status,omitempty"`
}

// EgressTargetList is a list of EgressTargets.
//
// +kubebuilder:object:root=true
type EgressTargetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EgressTarget `json:"items"`
}

// EgressTargetSpec is the desired configuration of a target.
//
// +kubebuilder:validation:XValidation:rule="!has(self.credential) || !has(self.credential.issuerRef) || has(self.serverCA)",message="serverCA is required with credential.issuerRef, because the ca.crt that cert-manager writes to the Secret is the CA of the client certificate. Set configMap, system: true, or secretKey: ca.crt if the same CA signs the server's certificate"
// +kubebuilder:validation:XValidation:rule="self.?appPort.orValue(80) != self.?port.orValue(443)",message="appPort (the plain HTTP port that the app calls) and port (the partner's TLS port) must differ: on the same port, the app's own https calls can't be distinguished from its http calls"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoints) || self.endpoints.all(a, self.endpoints.exists_one(b, a.address == b.address && a.?port.orValue(self.?port.orValue(443)) == b.?port.orValue(self.?port.orValue(443))))",message="endpoints must be different: two of them have the same address and port"
type EgressTargetSpec struct {
	// The partner's TLS port. If the annotation of a workload contains a port, it must be this port.
	// +kubebuilder:default=443
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`

	// The plain HTTP port that the app calls, for example 8080 for http://external.system.com:8080.
	// 443 is not allowed, because the app's own TLS calls use it. 15000 to 15099 are not allowed,
	// because they are reserved for the sidecar.
	// +kubebuilder:default=80
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self != 443",message="appPort can't be 443, which the app's own TLS calls use: set the port of its http:// URL, usually 80"
	// +kubebuilder:validation:XValidation:rule="self < 15000 || self > 15099",message="appPort can't be in the range 15000-15099, which is reserved for the Istio sidecar"
	// +optional
	AppPort int32 `json:"appPort,omitempty"`

	// The client certificate that the sidecar presents.
	// +kubebuilder:default={}
	// +optional
	Credential Credential `json:"credential,omitempty"`

	// The CA that signed the partner's server certificate. Default: the CA in the credential Secret.
	// +optional
	ServerCA *ServerCA `json:"serverCA,omitempty"`

	// The server name (SNI, RFC 6066) that the sidecar sends in the TLS handshake. Default: the host.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?[.])*[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$')",message="sni must be a host name without wildcard, scheme or port, for example external.system.com"
	// +optional
	SNI string `json:"sni,omitempty"`

	// The accepted names of the partner. The server certificate must contain at least one of them as
	// a DNS subject alternative name. The match is exact. Default: the host. The check can't be
	// disabled.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[^\s]+$`
	// +optional
	SubjectAltNames []string `json:"subjectAltNames,omitempty"`

	// HTTP settings of the call to the partner.
	// +optional
	HTTP *HTTP `json:"http,omitempty"`

	// Settings of the TLS connections to the partner.
	// +optional
	Connection *Connection `json:"connection,omitempty"`

	// Where the sidecars connect in place of the host's addresses in DNS. TLS still ends at the
	// partner. With two or more endpoints, an endpoint that can't be reached is left out for a while,
	// and the connect timeout is 3s. Default: the host.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Endpoints []Endpoint `json:"endpoints,omitempty"`

	// Whether the controller verifies the credential in a TLS handshake with the partner. The
	// handshake comes from inside the cluster and sends no request. Default: set by --verify-targets
	// of the controller. If that is off, true has no effect.
	// +optional
	Verify *bool `json:"verify,omitempty"`
}

// Credential names the Secret that holds the client certificate, its private key and, usually, the
// CA of the server.
//
// +kubebuilder:validation:XValidation:rule="has(self.issuerRef) == has(self.certificate)",message="issuerRef (the issuer of the client certificate) and certificate (its names) must be set together: set both or neither"
// +kubebuilder:validation:XValidation:rule="!has(self.issuerRef) || !has(self.keys)",message="keys can't be set with issuerRef: a Secret that cert-manager writes has the keys tls.crt and tls.key, which are detected automatically"
type Credential struct {
	// The name of the Secret, in the namespace of the EgressTarget. Default: the host without its last
	// label, with dashes for dots, and the suffix -mtls-data. For external.system.com that is
	// external-system-mtls-data. The annotation mtls.egress/secret of a workload takes precedence.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secretName must be the name of a Secret: lowercase letters, digits, - and ."
	// +optional
	SecretName string `json:"secretName,omitempty"`

	// The keys of the Secret, if it has neither of the two layouts that are detected automatically:
	// cert, key and cacert, or tls.crt, tls.key and ca.crt.
	// +optional
	Keys *CredentialKeys `json:"keys,omitempty"`

	// The cert-manager issuer that signs the client certificate. If it is set, the controller creates
	// a Certificate, and cert-manager writes the Secret and renews the certificate.
	// +optional
	IssuerRef *IssuerRef `json:"issuerRef,omitempty"`

	// The certificate that the controller requests from the issuer.
	// +optional
	Certificate *IssuedCertificate `json:"certificate,omitempty"`
}

// IssuerRef refers to a cert-manager issuer
// (https://cert-manager.io/docs/reference/api-docs/#meta.cert-manager.io/v1.IssuerReference).
type IssuerRef struct {
	// The name of the issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// The kind of the issuer: Issuer (in the namespace of the EgressTarget), ClusterIssuer, or the
	// kind of an external issuer.
	// +kubebuilder:default=Issuer
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Kind string `json:"kind,omitempty"`
	// The API group of the kind.
	// +kubebuilder:default=cert-manager.io
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Group string `json:"group,omitempty"`
}

// IssuedCertificate is the certificate that the controller requests from cert-manager. It is for
// TLS clients, and each renewal generates a new private key.
//
// +kubebuilder:validation:XValidation:rule="has(self.subject) || has(self.commonName) || has(self.dnsNames) || has(self.uris) || has(self.emails)",message="the certificate needs at least one name: set subject, commonName, dnsNames, uris or emails, as the partner expects it"
// +kubebuilder:validation:XValidation:rule="!has(self.subject) || !has(self.commonName)",message="subject and commonName can't both be set: write the common name into the subject, as in CN=orders,O=Example"
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || duration(self.renewBefore) < duration(self.?duration.orValue('2160h'))",message="renewBefore must be shorter than duration (2160h by default), otherwise cert-manager renews the certificate endlessly"
type IssuedCertificate struct {
	// The subject in the notation of RFC 4514, with the most specific part first, for example
	// CN=orders,OU=Shop,O=Example,C=DE.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Subject string `json:"subject,omitempty"`
	// The common name, for a subject that has no other attributes.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	CommonName string `json:"commonName,omitempty"`
	// The DNS names in the subject alternative names.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +optional
	DNSNames []string `json:"dnsNames,omitempty"`
	// The URIs in the subject alternative names, for example spiffe://example.com/orders.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=2048
	// +optional
	URIs []string `json:"uris,omitempty"`
	// The email addresses in the subject alternative names.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=254
	// +optional
	Emails []string `json:"emails,omitempty"`
	// The type of the private key.
	// +kubebuilder:validation:Enum=ecdsa-p256;ecdsa-p384;rsa-2048;rsa-3072;rsa-4096
	// +kubebuilder:default=ecdsa-p256
	// +optional
	KeyType string `json:"keyType,omitempty"`
	// How long the certificate is valid, at least 1h. Default: the default of cert-manager or the
	// issuer, usually 90 days. An issuer can issue a shorter one.
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1h')",message="duration must be at least 1h, in h, m, s and ms, for example 720h"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`
	// How long before its expiry cert-manager renews the certificate, at least 5m. Default: a third of
	// its lifetime.
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('5m')",message="renewBefore must be at least 5m, in h, m, s and ms, for example 240h"
	// +optional
	RenewBefore *metav1.Duration `json:"renewBefore,omitempty"`
}

// CredentialKeys names the keys of a credential Secret.
//
// +kubebuilder:validation:XValidation:rule="self.certificate != self.privateKey",message="certificate and privateKey must be different keys of the Secret: the sidecar reads them from separate files"
type CredentialKeys struct {
	// The key that holds the client certificate as PEM, followed by its intermediates.
	// +kubebuilder:validation:Pattern=`^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	// +kubebuilder:validation:MaxLength=253
	Certificate string `json:"certificate"`
	// The key that holds the private key as PEM.
	// +kubebuilder:validation:Pattern=`^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	// +kubebuilder:validation:MaxLength=253
	PrivateKey string `json:"privateKey"`
}

// ServerCA is the source of the CA that signed the partner's server certificate. Exactly one field
// is set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.secretKey) ? 1 : 0) + (has(self.configMap) ? 1 : 0) + (has(self.system) ? 1 : 0) == 1",message="serverCA must have exactly one of secretKey (a key of the credential Secret), configMap (name and key) and system: true (the CAs that the sidecar image trusts)"
type ServerCA struct {
	// A key of the credential Secret that holds the CA certificates as PEM.
	// +kubebuilder:validation:Pattern=`^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	SecretKey string `json:"secretKey,omitempty"`
	// A ConfigMap in the namespace that holds the CA certificates as PEM, for example a bundle of
	// trust-manager.
	// +optional
	ConfigMap *ConfigMapKey `json:"configMap,omitempty"`
	// The CAs that the sidecar image trusts. The only valid value is true.
	// +kubebuilder:validation:Enum=true
	// +optional
	System *bool `json:"system,omitempty"`
}

// ConfigMapKey names one key of a ConfigMap in the namespace of the EgressTarget.
type ConfigMapKey struct {
	// The name of the ConfigMap.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name must be the name of a ConfigMap: lowercase letters, digits, - and ."
	Name string `json:"name"`
	// The key in the ConfigMap.
	// +kubebuilder:validation:Pattern=`^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// HTTPVersion is the HTTP version of the call to the partner.
//
// +kubebuilder:validation:Enum=auto;"1.1";"2"
type HTTPVersion string

// The HTTP versions. With "auto", the sidecar calls the partner with the version that the app calls
// the sidecar with: HTTP/1.1, or HTTP/2 for gRPC and for other apps that speak HTTP/2 without TLS.
// "1.1" and "2" set the version of all calls. With "2", calls to a partner that doesn't support
// HTTP/2 fail with 503.
const (
	HTTPVersionAuto HTTPVersion = "auto"
	HTTPVersion1    HTTPVersion = "1.1"
	HTTPVersion2    HTTPVersion = "2"
)

// HTTP holds the HTTP settings of the call to the partner.
type HTTP struct {
	// How often the sidecar retries a request that the partner can't have executed, because the
	// connection was refused, the stream was refused, or the connection was lost before the request
	// was sent. A request that may have been executed is never retried. Default: 2.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	// +optional
	Retries *int32 `json:"retries,omitempty"`
	// How long a call can take, including retries, for example 30s. Default: no limit, as in Istio.
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1ms')",message="timeout must be at least 1ms, in h, m, s and ms, for example 30s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// The HTTP version of the call to the partner: auto, "1.1" or "2". With auto, the sidecar uses the
	// version of the app's call, so gRPC works.
	// +kubebuilder:default=auto
	// +optional
	Version HTTPVersion `json:"version,omitempty"`
	// The Host header (in HTTP/2, :authority) that the partner gets, whatever the app sends. It can
	// have a port, for example external.system.com:8443. Default: the app's header, which for the host
	// is without a port and a trailing dot.
	// +kubebuilder:validation:MaxLength=259
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?[.])*[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?(:[1-9][0-9]{0,4})?$') && (!self.contains(':') || int(self.split(':')[1]) < 65536)",message="host must be a host name without wildcard or scheme, and can have a port, for example external.system.com or external.system.com:8443"
	// +optional
	Host string `json:"host,omitempty"`
}

// Connection holds the settings of the TLS connections to the partner.
type Connection struct {
	// How long a connection is used for new requests. It limits how long the sidecar presents the old
	// certificate after a rotation. Default: the shortest of 5m, a tenth of the certificate's
	// lifetime, and half of credential.certificate.renewBefore. It is never longer than the remaining
	// lifetime of the certificate.
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s')",message="maxAge must be at least 1s, in h, m, s and ms, for example 5m"
	// +optional
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// The condition types of an EgressTarget.
const (
	// ConditionReady is true when a call from every Pod that asks for the target succeeds, as far as
	// the controller knows: CredentialValid and Programmed are true, Conflicted is false, all Pods
	// have a sidecar, the partner did not refuse the last handshake (if the target is verified), and
	// the EgressTarget is not being deleted.
	ConditionReady = "Ready"
	// ConditionCredentialValid reports whether every credential that Pods present to the host is
	// usable now.
	ConditionCredentialValid = "CredentialValid"
	// ConditionProgrammed reports whether the Istio objects in the cluster are in sync with the
	// target.
	ConditionProgrammed = "Programmed"
	// ReasonWriteFailed and ReasonNameTaken are reasons of ConditionProgrammed when it is False. With
	// them, the generated objects may be missing.
	ReasonWriteFailed = "WriteFailed"
	ReasonNameTaken   = "NameTaken"
	// ConditionConflicted reports whether an object that this controller does not own conflicts with
	// the target.
	ConditionConflicted = "Conflicted"
	// ConditionCertificateIssued reports whether cert-manager has issued the certificate that
	// credential.issuerRef requests. It is set only with credential.issuerRef.
	ConditionCertificateIssued = "CertificateIssued"
	// ConditionVerified reports whether the partner accepted the credential in a TLS handshake. It is
	// set only for targets that the controller verifies.
	ConditionVerified = "Verified"
	// ConditionPodsOutdated reports whether Pods started with another configuration than the target
	// has now, so that they must be restarted.
	ConditionPodsOutdated = "PodsOutdated"
	// ConditionRenewalAtRisk is true if a public CA issued a client certificate. Public CAs stop
	// issuing certificates for TLS clients in 2026. It is absent otherwise.
	ConditionRenewalAtRisk = "RenewalAtRisk"
	// ConditionServerCAAtRisk is true if the CA of the server is not a CA, or if some of its
	// certificates can't be read. It is absent otherwise.
	ConditionServerCAAtRisk = "ServerCAAtRisk"
	// ConditionRotationUnreliable is true if Pods have a sidecar that ignores renewed certificates
	// (https://github.com/istio/istio/issues/59912). It is absent otherwise.
	ConditionRotationUnreliable = "RotationUnreliable"
)

// EgressTargetStatus is the observed state of a target.
type EgressTargetStatus struct {
	// The generation of the spec that the controller last processed.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// The conditions of the target: Ready, CredentialValid, Programmed, Conflicted and PodsOutdated.
	// With credential.issuerRef also CertificateIssued, and with verification also Verified. With Pods
	// whose sidecars ignore renewed certificates also RotationUnreliable, and with a client
	// certificate of a public CA also RenewalAtRisk. With warnings about the CA of the server also
	// ServerCAAtRisk.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The credentials in use. The Pods of a namespace can present different ones to the same host.
	// +listType=map
	// +listMapKey=secretName
	// +optional
	Credentials []CredentialStatus `json:"credentials,omitempty"`
	// When the first of the credentials expires.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// The number of Pods that use the target.
	// +optional
	Pods int32 `json:"pods"`
	// The label of the Pods that use the target, for kubectl get pods -l.
	// +optional
	PodLabel string `json:"podLabel,omitempty"`
	// The sinkhole address: the address that the host has inside the Pods of the target.
	// +optional
	Address string `json:"address,omitempty"`
	// When the controller noticed that the last Pod of a target that it created was gone. Some time
	// later, it deletes the target.
	// +optional
	UnusedSince *metav1.Time `json:"unusedSince,omitempty"`
}

// CredentialStatus is the observed state of one credential. It never contains key material.
type CredentialStatus struct {
	// The name of the Secret that holds the credential.
	SecretName string `json:"secretName"`
	// The number of Pods that present the credential.
	Pods int32 `json:"pods"`
	// Why the credential is not usable. Empty if it is.
	// +optional
	Reason string `json:"reason,omitempty"`
	// When the credential expires.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// The shortest warning period within which the certificate expires. Empty if it expires later than
	// all of them. The periods are those of --expiry-warnings (default: 720h, 168h and 24h).
	// +optional
	EndsWithin *metav1.Duration `json:"endsWithin,omitempty"`
	// The subject of the client certificate, in the notation of RFC 4514.
	// +optional
	Subject string `json:"subject,omitempty"`
	// The issuer of the client certificate, in the notation of RFC 4514.
	// +optional
	Issuer string `json:"issuer,omitempty"`
	// The serial number of the client certificate, in hexadecimal.
	// +optional
	SerialNumber string `json:"serialNumber,omitempty"`
	// Whether a public CA issued the client certificate. Public CAs stop issuing certificates for TLS
	// clients in 2026, so its renewal will fail.
	// +optional
	PublicCA bool `json:"publicCA,omitempty"`
	// The SHA-256 fingerprint of the client certificate, in hexadecimal.
	// +optional
	SHA256 string `json:"sha256,omitempty"`
	// The CA of the server. Empty if it can't be read, or if it is that of the system.
	// +optional
	ServerCA *ServerCAStatus `json:"serverCA,omitempty"`
}

// ServerCAStatus is the observed state of the CA of a server. Of several certificates, it describes
// the one that expires last.
type ServerCAStatus struct {
	// The subject, in the notation of RFC 4514.
	Subject string `json:"subject"`
	// The serial number, in hexadecimal.
	// +optional
	SerialNumber string `json:"serialNumber,omitempty"`
	// When the last certificate of the CA expires.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// The shortest warning period within which it expires. Empty if it expires later than all of them.
	// +optional
	EndsWithin *metav1.Duration `json:"endsWithin,omitempty"`
	// Whether none of the certificates is a CA, for example because the file has the certificate of
	// the server. Calls then fail after the partner renews it.
	// +optional
	NotCA bool `json:"notCA,omitempty"`
	// The number of certificates that can't be read and are skipped.
	// +optional
	Skipped int32 `json:"skipped,omitempty"`
}
