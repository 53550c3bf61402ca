package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EgressTarget is one external host that the Pods of a namespace reach over mutual TLS. Its name is
// the host, so a namespace can't hold two for one host. Users write it to say more than an
// annotation can; where nobody did, the controller creates it when the first Pod asks for the host,
// and removes it some time after the last Pod is gone.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=egt,categories=mtls-egress
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.notAfter`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.pods`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Pod label",type=string,priority=1,JSONPath=`.status.podLabel`
// +kubebuilder:printcolumn:name="Address",type=string,priority=1,JSONPath=`.status.address`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name of an EgressTarget is the host that it stands for: at least two labels of lower-case letters, digits and inner hyphens, each of at most 63 characters, for example external.system.com"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.matches('[.]([0-9]+|0x[0-9a-f]*)$')",message="the name of an EgressTarget is a host name, not an IP address"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.matches('[.](svc|cluster[.]local|mtls-egress[.]internal)$')",message="the name of an EgressTarget is the host of a partner outside the mesh, not one that the cluster or the controller uses itself (.svc, .cluster.local, .mtls-egress.internal)"
type EgressTarget struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What the target is and how it is called. Everything has a default.
	// +kubebuilder:default={}
	// +optional
	Spec EgressTargetSpec `json:"spec,omitempty"`
	// What the controller found and did.
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

// EgressTargetSpec says what the target is and how it is called.
//
// +kubebuilder:validation:XValidation:rule="!has(self.credential) || !has(self.credential.issuerRef) || has(self.serverCA)",message="with credential.issuerRef, serverCA must say where the CA of the server is: what cert-manager writes next to the client certificate is the client's issuer. Set configMap, system: true, or secretKey: ca.crt if the same CA signs the server's certificate"
// +kubebuilder:validation:XValidation:rule="self.?appPort.orValue(80) != self.?port.orValue(443)",message="appPort (the plain HTTP port that the app calls) and port (the partner's TLS port) must differ: on one port the app's own https calls could not be told from its http calls"
type EgressTargetSpec struct {
	// The partner's TLS port. A port in the annotation of a workload must agree with it.
	// +kubebuilder:default=443
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`

	// The plain HTTP port that the app calls, as in http://external.system.com:8080. 443 is not
	// possible, as there the app speaks TLS itself; neither are 15000 to 15099, which the sidecar
	// keeps for itself.
	// +kubebuilder:default=80
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self != 443",message="appPort can't be 443: there the app speaks TLS itself; choose the port of its http:// URL, usually 80"
	// +kubebuilder:validation:XValidation:rule="self < 15000 || self > 15099",message="appPort can't be in 15000-15099: the Istio sidecar listens there itself"
	// +optional
	AppPort int32 `json:"appPort,omitempty"`

	// The client certificate that the sidecar presents.
	// +kubebuilder:default={}
	// +optional
	Credential Credential `json:"credential,omitempty"`

	// The CA that signed the partner's server certificate. Default: the CA in the credential Secret.
	// +optional
	ServerCA *ServerCA `json:"serverCA,omitempty"`

	// The server name sent in the TLS handshake (RFC 6066). Default: the host.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?[.])*[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$')",message="sni is a host name without wildcard, scheme or port, for example external.system.com"
	// +optional
	SNI string `json:"sni,omitempty"`

	// The names of which the partner's server certificate must carry at least one as DNS subject
	// alternative name, exactly. Default: the host. The check can't be switched off.
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

	// Whether the controller tries the credential in a TLS handshake with the partner, from inside the
	// cluster and without a request. Default: what --verify-targets says. True has no effect where an
	// admin has switched that off.
	// +optional
	Verify *bool `json:"verify,omitempty"`
}

// Credential names the Secret that holds the client certificate, its private key and, usually, the
// CA of the server.
//
// +kubebuilder:validation:XValidation:rule="has(self.issuerRef) == has(self.certificate)",message="issuerRef (who issues the client certificate) and certificate (whom it names) come together: write both or neither"
// +kubebuilder:validation:XValidation:rule="!has(self.issuerRef) || !has(self.keys)",message="keys is for Secrets that were made by hand; those that cert-manager writes have the keys tls.crt and tls.key, which are found by themselves"
type Credential struct {
	// The Secret, in the namespace of the EgressTarget. Default: the host without its last label, dots
	// to dashes, plus -mtls-data (external.system.com: external-system-mtls-data). The annotation
	// mtls.egress/secret of a workload wins.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secretName is the name of a Secret: lower-case letters, digits, - and ."
	// +optional
	SecretName string `json:"secretName,omitempty"`

	// The keys of the Secret, for Secrets that follow neither of the two layouts that are found by
	// themselves: cert, key and cacert; or tls.crt, tls.key and ca.crt.
	// +optional
	Keys *CredentialKeys `json:"keys,omitempty"`

	// The issuer of cert-manager's that signs the client certificate. The controller then makes a
	// Certificate, and cert-manager writes the Secret and renews it.
	// +optional
	IssuerRef *IssuerRef `json:"issuerRef,omitempty"`

	// What the issuer is asked for.
	// +optional
	Certificate *IssuedCertificate `json:"certificate,omitempty"`
}

// IssuerRef names an issuer of cert-manager's
// (https://cert-manager.io/docs/reference/api-docs/#meta.cert-manager.io/v1.IssuerReference).
type IssuerRef struct {
	// The name of the issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Issuer, which is in the namespace of the EgressTarget, ClusterIssuer, or a kind of an external
	// issuer.
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

// IssuedCertificate is what cert-manager is asked for. The certificate is for TLS clients, and each
// one has a new private key.
//
// +kubebuilder:validation:XValidation:rule="has(self.subject) || has(self.commonName) || has(self.dnsNames) || has(self.uris) || has(self.emails)",message="the certificate would name nobody: give subject or commonName, or dnsNames, uris or emails, as the partner expects them"
// +kubebuilder:validation:XValidation:rule="!has(self.subject) || !has(self.commonName)",message="subject and commonName can't both be set: write the common name into the subject, as in CN=orders,O=Example"
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || duration(self.renewBefore) < duration(self.?duration.orValue('2160h'))",message="renewBefore must be shorter than duration (2160h by default), or the certificate would be renewed without end"
type IssuedCertificate struct {
	// The subject as RFC 4514 writes it, the most specific part first, for example
	// CN=orders,OU=Shop,O=Example,C=DE.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Subject string `json:"subject,omitempty"`
	// The common name, where the subject has nothing else.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	CommonName string `json:"commonName,omitempty"`
	// The DNS names among the subject alternative names.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +optional
	DNSNames []string `json:"dnsNames,omitempty"`
	// The URIs among them, for example spiffe://example.com/orders.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=2048
	// +optional
	URIs []string `json:"uris,omitempty"`
	// The e-mail addresses among them.
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
	// How long the certificate is valid, at least an hour. Default: what cert-manager or the issuer
	// takes, 90 days. An issuer may give less.
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1h')",message="duration is a duration of at least 1h, in h, m, s and ms, for example 720h"
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`
	// How long before its end the certificate is renewed, at least five minutes. Default: a third of
	// its life.
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('5m')",message="renewBefore is a duration of at least 5m, in h, m, s and ms, for example 240h"
	// +optional
	RenewBefore *metav1.Duration `json:"renewBefore,omitempty"`
}

// CredentialKeys names the keys of a credential Secret.
//
// +kubebuilder:validation:XValidation:rule="self.certificate != self.privateKey",message="certificate and privateKey must be two keys of the Secret: the private key stands in a file of its own"
type CredentialKeys struct {
	// The key that holds the client certificate as PEM, intermediates after it.
	// +kubebuilder:validation:Pattern=`^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	// +kubebuilder:validation:MaxLength=253
	Certificate string `json:"certificate"`
	// The key that holds the private key as PEM.
	// +kubebuilder:validation:Pattern=`^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	// +kubebuilder:validation:MaxLength=253
	PrivateKey string `json:"privateKey"`
}

// ServerCA says where the CA of the partner's server certificate comes from. Exactly one field is
// set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.secretKey) ? 1 : 0) + (has(self.configMap) ? 1 : 0) + (has(self.system) ? 1 : 0) == 1",message="serverCA takes exactly one of secretKey (a key of the credential Secret), configMap (name and key) and system: true (the CAs that the sidecar image trusts)"
type ServerCA struct {
	// A key of the credential Secret that holds the CA certificates as PEM.
	// +kubebuilder:validation:Pattern=`^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	SecretKey string `json:"secretKey,omitempty"`
	// A ConfigMap of the namespace that holds the CA certificates as PEM, for example a trust-manager
	// bundle.
	// +optional
	ConfigMap *ConfigMapKey `json:"configMap,omitempty"`
	// The CAs that the sidecar image trusts. Only true can be said.
	// +kubebuilder:validation:Enum=true
	// +optional
	System *bool `json:"system,omitempty"`
}

// ConfigMapKey names one key of a ConfigMap in the namespace of the EgressTarget.
type ConfigMapKey struct {
	// The name of the ConfigMap.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name is the name of a ConfigMap: lower-case letters, digits, - and ."
	Name string `json:"name"`
	// The key in it.
	// +kubebuilder:validation:Pattern=`^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// HTTPVersion is the HTTP version of the call to the partner.
//
// +kubebuilder:validation:Enum=auto;"1.1";"2"
type HTTPVersion string

// The HTTP versions. Auto is what Istio does by itself, which is HTTP/1.1 unless the mesh upgrades;
// with "2" a partner that offers no HTTP/2 answers with 503.
const (
	HTTPVersionAuto HTTPVersion = "auto"
	HTTPVersion1    HTTPVersion = "1.1"
	HTTPVersion2    HTTPVersion = "2"
)

// HTTP holds the HTTP settings of the call to the partner.
type HTTP struct {
	// How often a request is tried again that the partner has surely not executed: a refused
	// connection, a refused stream, or a connection lost before the request was sent. A request that
	// may have been executed is never tried again. Default: 2.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	// +optional
	Retries *int32 `json:"retries,omitempty"`
	// How long a call may take, tries included, as in 30s. Default: no limit, as in Istio.
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1ms')",message="timeout is a duration of at least 1ms, in h, m, s and ms, for example 30s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// The HTTP version of the call to the partner: auto, "1.1" or "2".
	// +kubebuilder:default=auto
	// +optional
	Version HTTPVersion `json:"version,omitempty"`
}

// Connection holds the settings of the TLS connections to the partner.
type Connection struct {
	// How long a connection may be used for new requests. It bounds how long the old certificate is
	// presented after a rotation. Default: 5m, or less for certificates of a short life: a tenth of
	// that, and half of credential.certificate.renewBefore. It is never more than the time left to the
	// certificate.
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s')",message="maxAge is a duration of at least 1s, in h, m, s and ms, for example 5m"
	// +optional
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// The condition types of an EgressTarget.
const (
	// ConditionReady is true when CredentialValid and Programmed are true and Conflicted is false.
	ConditionReady = "Ready"
	// ConditionCredentialValid reports whether every credential that Pods present for the host can be
	// used now.
	ConditionCredentialValid = "CredentialValid"
	// ConditionProgrammed reports whether the Istio objects in the cluster are those that the target
	// asks for.
	ConditionProgrammed = "Programmed"
	// ReasonWriteFailed and ReasonNameTaken are reasons of a False ConditionProgrammed with which the
	// objects may be missing.
	ReasonWriteFailed = "WriteFailed"
	ReasonNameTaken   = "NameTaken"
	// ConditionConflicted reports whether somebody else's object stands in the way.
	ConditionConflicted = "Conflicted"
	// ConditionCertificateIssued reports whether cert-manager has issued the certificate that
	// credential.issuerRef asks for. It is there only with that.
	ConditionCertificateIssued = "CertificateIssued"
	// ConditionVerified says what the partner said to the credential in a TLS handshake. It is there
	// only where that is tried.
	ConditionVerified = "Verified"
	// ConditionPodsOutdated reports whether Pods started with something else than the target asks for
	// now and have to be restarted.
	ConditionPodsOutdated = "PodsOutdated"
)

// EgressTargetStatus is what the controller found and did.
type EgressTargetStatus struct {
	// The generation of the spec that the status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready, CredentialValid, Programmed, Conflicted and PodsOutdated, CertificateIssued with
	// credential.issuerRef, and Verified where the credential is tried; each with reason and message.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The credentials in use: a namespace may present several for one host.
	// +listType=map
	// +listMapKey=secretName
	// +optional
	Credentials []CredentialStatus `json:"credentials,omitempty"`
	// The earliest end of validity among the credentials.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// The number of Pods that ask for the host.
	// +optional
	Pods int32 `json:"pods"`
	// The label that Pods of this target carry, for kubectl get pods -l.
	// +optional
	PodLabel string `json:"podLabel,omitempty"`
	// The sinkhole address that the host's name has inside the Pods of the target.
	// +optional
	Address string `json:"address,omitempty"`
	// When the last Pod of a target that the controller created was seen gone. The target is removed
	// some time after.
	// +optional
	UnusedSince *metav1.Time `json:"unusedSince,omitempty"`
}

// CredentialStatus is what is known of one credential. It never holds key material.
type CredentialStatus struct {
	// The Secret that holds it.
	SecretName string `json:"secretName"`
	// The number of Pods that present it.
	Pods int32 `json:"pods"`
	// Why it can't be used; empty when it can.
	// +optional
	Reason string `json:"reason,omitempty"`
	// The end of its validity.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// The shortest warning period (--expiry-warnings, 720h, 168h and 24h by default) within which the
	// certificate ends; empty while it is far from its end.
	// +optional
	EndsWithin *metav1.Duration `json:"endsWithin,omitempty"`
	// The subject of the client certificate, as RFC 4514 writes it.
	// +optional
	Subject string `json:"subject,omitempty"`
	// The issuer of the client certificate, as RFC 4514 writes it.
	// +optional
	Issuer string `json:"issuer,omitempty"`
	// The serial number of the client certificate, hexadecimal.
	// +optional
	SerialNumber string `json:"serialNumber,omitempty"`
	// The SHA-256 fingerprint of the client certificate, hexadecimal.
	// +optional
	SHA256 string `json:"sha256,omitempty"`
}
