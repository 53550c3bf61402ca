package explain

import (
	"slices"
	"strings"
)

// Cause is the reason for failing calls in one word. Where the EgressTarget or an event has a
// reason for the same, it is that one.
type Cause string

// The causes that have no reason in a condition, in the order of the steps.
const (
	NotAnnotated         Cause = "NotAnnotated"
	AnnotationInvalid    Cause = "AnnotationInvalid"
	AnnotationMisspelled Cause = "AnnotationMisspelled"
	AnnotationIsLabel    Cause = "AnnotationIsLabel"
	AnnotationMisplaced  Cause = "AnnotationMisplaced"
	HostNotRequested     Cause = "HostNotRequested"
	PodOutdated          Cause = "PodOutdated"
	NotPropagated        Cause = "NotPropagated"
	NoPods               Cause = "NoPods"
	PodRefused           Cause = "PodRefused"
	WebhookNotReached    Cause = "WebhookNotReached"
	NotInjected          Cause = "NotInjected"
	AnnotationChanged    Cause = "AnnotationChanged"
	NamespaceNotInjected Cause = "NamespaceNotInjected"
	SidecarSwitchedOff   Cause = "SidecarSwitchedOff"
	AmbientMode          Cause = "AmbientMode"
	NoSidecar            Cause = "NoSidecar"
	NotMounted           Cause = "NotMounted"
	NotIntercepted       Cause = "NotIntercepted"
	EgressTargetMissing  Cause = "EgressTargetMissing"
	ControllerDown       Cause = "ControllerDown"
	NotProcessed         Cause = "NotProcessed"
	ObjectsMissing       Cause = "ObjectsMissing"
	ObjectsChanged       Cause = "ObjectsChanged"
	PodEnded             Cause = "PodEnded"
	PodNotScheduled      Cause = "PodNotScheduled"
	VolumeNotMounted     Cause = "VolumeNotMounted"
	SidecarNotStarted    Cause = "SidecarNotStarted"
	IstiodNotReached     Cause = "IstiodNotReached"
	SidecarNotReady      Cause = "SidecarNotReady"
	SidecarNotInSync     Cause = "SidecarNotInSync"
	FilesNotSupplied     Cause = "FilesNotSupplied"
	RotationBehind       Cause = "RotationBehind"
	HostNotResolved      Cause = "HostNotResolved"
	AppCallsOtherPort    Cause = "AppCallsOtherPort"
	AppCallsHTTPS        Cause = "AppCallsHTTPS"
	HostMisspelled       Cause = "HostMisspelled"
	CallsDropped         Cause = "CallsDropped"
	ConnectionRefused    Cause = "ConnectionRefused"
	ConnectionTimedOut   Cause = "ConnectionTimedOut"
	ConnectionsFail      Cause = "ConnectionsFail"
	EndpointNotReached   Cause = "EndpointNotReached"
	ConnectionEnded      Cause = "ConnectionEnded"
	PartnerTimedOut      Cause = "PartnerTimedOut"
	NotHTTP              Cause = "NotHTTP"
	AppGaveUp            Cause = "AppGaveUp"
	RequestsFail         Cause = "RequestsFail"
)

// The reasons of conditions that this package names. Others are taken as they are.
const (
	SecretMissing                Cause = "SecretMissing"
	LayoutsDiffer                Cause = "LayoutsDiffer"
	CredentialInvalid            Cause = "CredentialInvalid"
	Conflict                     Cause = "Conflict"
	PodsOutdated                 Cause = "PodsOutdated"
	ProxyIgnoresRenewals         Cause = "ProxyIgnoresRenewals"
	ServerNameMismatch           Cause = "ServerNameMismatch"
	ServerNotTrusted             Cause = "ServerNotTrusted"
	ServerCertificateExpired     Cause = "ServerCertificateExpired"
	ServerCertificateNotYetValid Cause = "ServerCertificateNotYetValid"
	NotTLS                       Cause = "NotTLS"
	ClientCertificateRefused     Cause = "ClientCertificateRefused"
)

// about is what is known of a cause.
type about struct {
	cause Cause
	// step is the step that finds it.
	step StepID
	// means is a clause for a sentence and for the decision tree.
	means string
	// place is the page below docs, and the anchor of the heading there.
	place string
}

// The pages that causes lead to, below docs.
const (
	podPage       = "how-to/pods-do-not-start.md"
	callPage      = "how-to/calls-fail.md"
	flagPage      = "reference/response-flags.md"
	conditionPage = "reference/conditions.md"
)

// known returns all causes in the order of the steps, without the reasons of conditions that the
// steps credential, programmed and handshake take as they are.
func known() []about {
	const (
		annotations     = podPage + "#the-pod-asks-for-nothing"
		sinkhole        = callPage + "#the-call-ends-at-the-sinkhole"
		notStarted      = podPage + "#the-sidecar-isnt-ready"
		refused         = conditionPage + "#keytypenotaccepted-issuernotaccepted-clientcertificaterefused"
		notInjected     = podPage + "#the-pod-was-not-injected"
		noSidecar       = podPage + "#nosidecar"
		notAdmitted     = podPage + "#refused-although-the-template-is-annotated"
		notProcessed    = conditionPage + "#the-target-isnt-processed"
		noConnection    = flagPage + "#uf"
		closed          = flagPage + "#uc"
		noCluster       = flagPage + "#nc"
		notMounted      = podPage + "#containercreating-or-init-with-the-event-failedmount"
		notPropagated   = podPage + "#the-event-notpropagated"
		oldCertificate  = callPage + "#the-old-certificate-is-still-presented"
		ignoresRenewals = conditionPage + "#proxyignoresrenewals"
		unusable        = conditionPage + "#credentialinvalid"
		noEndpoint      = flagPage + "#endpointnotreached"
	)
	return []about{
		{NotAnnotated, StepAnnotated, "the Pod has no annotation", annotations},
		{AnnotationMisspelled, StepAnnotated, "an annotation is nearly ours", annotations},
		{AnnotationIsLabel, StepAnnotated, "the annotation was written as a label", annotations},
		{AnnotationMisplaced, StepAnnotated, "a Namespace or a Service has the annotation", annotations},
		{AnnotationInvalid, StepAnnotated, "the annotation has a mistake", annotations},
		{HostNotRequested, StepAnnotated, "the annotation asks for other hosts", annotations},
		{PodOutdated, StepAnnotated, "the Pod is older than the annotation", annotations},
		{NotPropagated, StepAnnotated, "the webhook doesn't know the kind of the workload", notPropagated},
		{NoPods, StepAdmitted, "the workload has no Pods", annotations},
		{PodRefused, StepAdmitted, "admission refuses the Pods", notAdmitted},
		{WebhookNotReached, StepAdmitted, "the API server doesn't reach a webhook", notAdmitted},
		{NotInjected, StepAdmitted, "the Pod is older than the webhook", notInjected},
		{AnnotationChanged, StepAdmitted, "the annotation was changed after the Pod started", notInjected},
		{SidecarSwitchedOff, StepSidecar, "the Pod refuses a sidecar", noSidecar},
		{AmbientMode, StepSidecar, "the namespace is in ambient mode", noSidecar},
		{NamespaceNotInjected, StepSidecar, "the namespace lacks the label for injection", noSidecar},
		{NoSidecar, StepSidecar, "the Pod is older than the label for injection", noSidecar},
		{NotMounted, StepSidecar, "Istio didn't read the annotation for volumes", notInjected},
		{NotIntercepted, StepInterception, "the calls bypass the sidecar", sinkhole},
		{ControllerDown, StepTarget, "no controller runs", notProcessed},
		{EgressTargetMissing, StepTarget, "the EgressTarget doesn't exist", notProcessed},
		{NotProcessed, StepTarget, "the controller hasn't processed the EgressTarget", notProcessed},
		{SecretMissing, StepCredential, "the Secret doesn't exist", conditionPage + "#secretmissing"},
		{LayoutsDiffer, StepCredential, "Secrets of the host have different keys", conditionPage + "#layoutsdiffer"},
		{CredentialInvalid, StepProgrammed, "the controller hasn't seen the repaired Secret", unusable},
		{Conflict, StepProgrammed, "another Istio object is in the way", conditionPage + "#conflict"},
		{ObjectsMissing, StepObjects, "generated objects were deleted", noCluster},
		{ObjectsChanged, StepObjects, "generated objects were changed", noCluster},
		{PodEnded, StepStarted, "the Pod has ended", notStarted},
		{PodNotScheduled, StepStarted, "the Pod has no node", notStarted},
		{VolumeNotMounted, StepStarted, "a volume is missing", notMounted},
		{SidecarNotStarted, StepStarted, "the sidecar doesn't start", notStarted},
		{IstiodNotReached, StepStarted, "istiod doesn't answer the sidecar", notStarted},
		{SidecarNotReady, StepStarted, "the sidecar isn't ready", notStarted},
		{SidecarNotInSync, StepConfigured, "the sidecar lacks the target", sinkhole},
		{FilesNotSupplied, StepCertificates, "the sidecar can't load the files of the Secret", noConnection},
		{PodsOutdated, StepCertificates, "the Pod mounts another Secret", conditionPage + "#podsoutdated"},
		{ProxyIgnoresRenewals, StepCertificates, "the sidecar ignores a renewed certificate", ignoresRenewals},
		{RotationBehind, StepCertificates, "the sidecar has the old certificate", oldCertificate},
		{HostNotResolved, StepDNS, "DNS doesn't know the name", flagPage + "#uh"},
		{ClientCertificateRefused, StepHandshake, "the partner refuses the client certificate", refused},
		{AppCallsOtherPort, StepApp, "the app calls another port", sinkhole},
		{AppCallsHTTPS, StepApp, "the app calls https", callPage + "#the-app-still-calls-https"},
		{HostMisspelled, StepApp, "the app calls another name than the annotation has", annotations},
		{CallsDropped, StepCalls, "the calls end at the sinkhole", sinkhole},
		{ServerNameMismatch, StepCalls, "the partner's certificate has none of the expected names", noConnection},
		{ServerCertificateExpired, StepCalls, "the partner's certificate has expired", noConnection},
		{ServerCertificateNotYetValid, StepCalls, "the partner's certificate isn't valid yet", noConnection},
		{ServerNotTrusted, StepCalls, "the CA in the Secret didn't sign the partner's certificate", noConnection},
		{ConnectionRefused, StepCalls, "nobody listens at the partner's port", noConnection},
		{ConnectionTimedOut, StepCalls, "a firewall drops the connection to the partner", noConnection},
		{NotTLS, StepCalls, "the partner's port doesn't speak TLS", noConnection},
		{ConnectionsFail, StepCalls, "no connection to the partner comes about", noConnection},
		{EndpointNotReached, StepCalls, "a relay or gateway in spec.endpoints can't be reached", noEndpoint},
		{ConnectionEnded, StepCalls, "the partner ended the connection: it may refuse the client certificate", closed},
		{PartnerTimedOut, StepCalls, "the partner didn't answer in time", flagPage + "#ut"},
		{NotHTTP, StepCalls, "the partner or the app doesn't speak HTTP", flagPage + "#upe-and-dpe"},
		{AppGaveUp, StepCalls, "the app gave up", flagPage + "#dc"},
		{RequestsFail, StepCalls, "the partner answers with errors", closed},
	}
}

func (c Cause) about() (about, bool) {
	for _, entry := range known() {
		if entry.cause == c {
			return entry, true
		}
	}
	return about{}, false
}

func (c Cause) means() string {
	entry, _ := c.about()
	return entry.means
}

// docs returns the page and the heading that explain the cause.
func (c Cause) docs() string {
	if entry, found := c.about(); found {
		return "docs/" + entry.place
	}
	if heading := headingOf(c); heading != "" {
		return "docs/" + conditionPage + "#" + heading
	}
	return "docs/" + conditionPage
}

// headingOf returns the heading in docs/reference/conditions.md for a reason of a condition, or "".
func headingOf(reason Cause) string {
	for _, heading := range []string{
		"readfailed", "configmapmissing", "layoutunknown-layoutambiguous-secretkeymissing",
		"certificateunreadable-privatekeyunreadable", "privatekeymismatch", "certificateexpired-certificatenotyetvalid",
		"notforclientauth", "servercamissing-servercaunreadable-servercaexpired", "servercanotchosen", "unusable",
		"issuing", "issuancefailed", "certmanagermissing", "certificaterefused", "certificatenametaken", "secrettaken",
		"notallowed", "nametaken", "plaintextpossible", "istiomissing", "writefailed", "portsdiffer", "sinkholecollision",
		"endpointnotallowed-endpointinvalid",
		"nottls-versiontooold-servernameunknown-protocolnotspoken-connectionclosed-handshakefailed",
		"servernottrusted-servernamemismatch-servercertificateexpired-servercertificatenotyetvalid-notforserverauth-" +
			"systemcanotfound",
		"clientcertificatenotrequested", "keytypenotaccepted-issuernotaccepted-clientcertificaterefused",
	} {
		if slices.Contains(strings.Split(heading, "-"), strings.ToLower(string(reason))) {
			return heading
		}
	}
	return ""
}
