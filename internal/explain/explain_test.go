package explain

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/test/golden"
)

const (
	host = "external.system.com"
	ns   = "project"
)

var now = time.Date(2026, time.November, 30, 12, 0, 0, 0, time.UTC)

// healthy are the facts of a Pod whose calls succeed.
func healthy(t *testing.T) *Facts {
	t.Helper()
	egressTarget := &v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{Name: host, Namespace: ns, UID: "1", Generation: 1},
		Status: v1alpha1.EgressTargetStatus{ObservedGeneration: 1, Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionCredentialValid, Status: metav1.ConditionTrue, Reason: "Valid", Message: "it is valid"},
			{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionTrue, Reason: "Programmed", Message: "in sync"},
			{Type: v1alpha1.ConditionConflicted, Status: metav1.ConditionFalse, Reason: "NoConflict", Message: "none"},
		}},
	}
	f := &Facts{
		Namespace: ns, Host: host, Now: now, Pods: 1, EgressTarget: egressTarget,
		Workload: &Workload{
			Kind: "Deployment", Name: "shop", Replicas: new(int64(1)),
			Annotations: map[string]string{egress.AnnotationTarget: host},
			Template:    map[string]string{egress.AnnotationTarget: host},
		},
		Pod: pod(),
		NamespaceObject: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: ns, Labels: map[string]string{"istio-injection": "enabled"},
		}},
		Demands: []plan.Demand{{
			Pod: "shop-1", Asks: true, SecretName: "external-system-mtls-data", WantedSecret: "external-system-mtls-data",
		}},
		Credential: &plan.CredentialCheck{
			SecretName: "external-system-mtls-data", Pods: 1, Layout: credential.CertKeyLayout(),
			Credential: &credential.Credential{
				Subject: "CN=shop", SerialNumber: "0a1b", NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(1, 0, 0),
			},
		},
		Interception: interception.Defaults(),
		Controller: Controller{
			Read: true, Present: true, Holder: "controller-1", Renewed: now.Add(-5 * time.Second), Duration: 15 * time.Second,
		},
		Objects: map[ObjectKey]*unstructured.Unstructured{},
		Unread:  map[Source]string{},
		Sidecar: &Sidecar{
			Updated: true, Routed: true, Listens: true, Asked: true, Serial: "a1b", Stats: map[string]uint64{},
			Subset: &Cluster{TLS: true, SNI: host, Endpoints: []Endpoint{{
				Address: "192.0.2.7:443", Connections: 2, Requests: 9,
			}}},
			Own: &Cluster{},
		},
		Calls: []Call{called(200)},
	}
	program(t, f, f.planFacts())
	anchor := mesh.Anchor(ns, nil)
	anchor.SetOwnerReferences([]metav1.OwnerReference{mesh.OwnerReference(egressTarget, false)})
	put(t, f, anchor)
	return f
}

// program puts the objects there that the controller generates.
func program(t *testing.T, f *Facts, facts plan.Facts) {
	t.Helper()
	for _, object := range plan.Decide(facts).Objects() {
		object.SetOwnerReferences([]metav1.OwnerReference{mesh.OwnerReference(f.EgressTarget, true)})
		put(t, f, object)
	}
}

func put(t *testing.T, f *Facts, object mesh.Object) {
	t.Helper()
	content, err := mesh.Unstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	f.Objects[ObjectKey{content.GetKind(), content.GetName()}] = content
}

// pod is an injected Pod that runs.
func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "shop-1", Namespace: ns,
			Annotations: map[string]string{egress.AnnotationTarget: host},
			Labels:      map[string]string{egress.LabelInjected: "true", egress.HostLabel(host): "true"},
		},
		Spec: corev1.PodSpec{
			NodeName:    "node",
			HostAliases: []corev1.HostAlias{{IP: egress.Sinkhole{}.Address(host).String(), Hostnames: []string{host}}},
			Volumes:     []corev1.Volume{{Name: egress.VolumeName(host)}},
			InitContainers: []corev1.Container{
				{Name: "istio-init", Args: []string{"istio-iptables", "-p", "15001", "-m", "REDIRECT", "-i", "*", "-x", ""}},
				{Name: "istio-proxy", Image: "docker.io/istio/proxyv2:1.30.3"},
			},
			Containers: []corev1.Container{{Name: "app", Image: "shop"}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning,
			InitContainerStatuses: []corev1.ContainerStatus{{
				Name: "istio-proxy", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}},
		},
	}
}

// called is a call that the sidecar led to the partner.
func called(code int, flags ...string) Call {
	return Call{
		Time: now, Code: code, Flags: flags, Upstream: "192.0.2.7:443",
		Cluster: "outbound|443|mtls-egress|external.system.com.mtls-egress.internal",
	}
}

// because is a failed call with a text of TLS or of the connection.
func because(failure string) func(*testing.T, *Facts) {
	return func(_ *testing.T, f *Facts) {
		call := called(503, "URX", "UF")
		call.Failure = failure
		f.Calls = []Call{called(200), call}
	}
}

func ended(code int, flag string) func(*testing.T, *Facts) {
	return func(_ *testing.T, f *Facts) { f.Calls = append(f.Calls, called(code, flag)) }
}

// condition sets a condition of the EgressTarget.
func condition(kind string, status metav1.ConditionStatus, reason, message string) func(*testing.T, *Facts) {
	return func(_ *testing.T, f *Facts) {
		set := plan.Condition{Status: status, Reason: reason, Message: message}
		set.Set(&f.EgressTarget.Status.Conditions, kind, 1, now)
	}
}

// relayed gives the target a relay that works, one that is left out, and one without an address.
func relayed(t *testing.T, f *Facts) {
	t.Helper()
	f.EgressTarget.Spec.Endpoints = []v1alpha1.Endpoint{
		{Address: "relay.example"}, {Address: "192.0.2.8", Port: 9443}, {Address: "misspelled.example", Priority: 1},
	}
	program(t, f, f.planFacts())
	f.Sidecar.Subset.Endpoints[0].Name = "relay.example"
	f.Sidecar.Subset.Endpoints = append(f.Sidecar.Subset.Endpoints, Endpoint{Address: "192.0.2.8:9443", LeftOut: true})
}

func notProgrammed(reason, message string) func(*testing.T, *Facts) {
	return condition(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, reason, message)
}

func unusable(reason, message string) func(*testing.T, *Facts) {
	return func(t *testing.T, f *Facts) {
		f.Credential.Reason, f.Credential.Message = reason, message
		notProgrammed("CredentialInvalid", "the target is closed")(t, f)
	}
}

func event(object, reason, message string) Event {
	return Event{Object: object, Reason: reason, Message: message, Time: now}
}

// faults are facts with one fault each, by a sentence that is also the name of the golden file.
func faults() map[string]struct {
	cause Cause
	fault func(*testing.T, *Facts)
} {
	type faulty = struct {
		cause Cause
		fault func(*testing.T, *Facts)
	}
	unannotated := func(f *Facts) {
		delete(f.Pod.Annotations, egress.AnnotationTarget)
		f.Workload.Annotations, f.Workload.Template = nil, nil
	}
	withoutPod := func(f *Facts) { f.Pod, f.Pods = nil, 0 }
	withoutSidecar := func(f *Facts) { f.Pod.Spec.InitContainers = nil }
	waiting := func(f *Facts, reason string) {
		f.Pod.Status.InitContainerStatuses[0] = corev1.ContainerStatus{
			Name: "istio-proxy", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
		}
	}
	return map[string]faulty{
		"nothing is annotated": {NotAnnotated, func(_ *testing.T, f *Facts) { unannotated(f) }},
		"the key is misspelled": {AnnotationMisspelled, func(_ *testing.T, f *Facts) {
			unannotated(f)
			f.Workload.Annotations = map[string]string{"mtls-egress/target": host}
		}},
		"the name of the annotation is misspelled": {AnnotationMisspelled, func(_ *testing.T, f *Facts) {
			unannotated(f)
			f.Pod.Annotations["mtls.egress/targets"] = host
		}},
		"the annotation is a label": {AnnotationIsLabel, func(_ *testing.T, f *Facts) {
			unannotated(f)
			f.Workload.Labels = map[string]string{egress.AnnotationTarget: host}
		}},
		"the Service is annotated": {AnnotationMisplaced, func(_ *testing.T, f *Facts) {
			unannotated(f)
			f.Misplaced = []string{"the Service shop"}
		}},
		"the Namespace is annotated": {AnnotationMisplaced, func(_ *testing.T, f *Facts) {
			unannotated(f)
			f.NamespaceObject.Annotations = map[string]string{egress.AnnotationTarget: host}
		}},
		"the annotation has a scheme": {AnnotationInvalid, func(_ *testing.T, f *Facts) {
			f.Pod.Annotations[egress.AnnotationTarget] = "https://" + host
		}},
		"the annotation has another host": {HostNotRequested, func(_ *testing.T, f *Facts) {
			f.Pod.Annotations[egress.AnnotationTarget] = "external.sytem.com"
		}},
		"the Pod is older than the annotation": {PodOutdated, func(_ *testing.T, f *Facts) {
			delete(f.Pod.Annotations, egress.AnnotationTarget)
		}},
		"the template lacks the annotation of the workload": {NotPropagated, func(_ *testing.T, f *Facts) {
			delete(f.Pod.Annotations, egress.AnnotationTarget)
			f.Workload.Template = nil
		}},
		"the kind of the owner is not known": {NotPropagated, func(_ *testing.T, f *Facts) {
			unannotated(f)
			f.Workload = nil
			f.Events = []Event{event("shop-1", "NotPropagated", "the Shop shop is annotated, but the webhook doesn't know "+
				"its kind")}
		}},
		"no Pod asks for the EgressTarget": {NoPods, func(_ *testing.T, f *Facts) {
			withoutPod(f)
			f.Workload = nil
		}},
		"neither EgressTarget nor Pod": {EgressTargetMissing, func(_ *testing.T, f *Facts) {
			withoutPod(f)
			f.Workload, f.EgressTarget = nil, nil
		}},
		"the workload has 0 replicas": {NoPods, func(_ *testing.T, f *Facts) {
			withoutPod(f)
			f.Workload.Replicas = new(int64(0))
		}},
		"admission refuses the Pods": {PodRefused, func(_ *testing.T, f *Facts) {
			withoutPod(f)
			f.Events = []Event{event("shop-7f", "FailedCreate",
				`admission webhook "pods.mtls.egress" denied the request: external.system.com is not allowed`)}
		}},
		"the webhook is not reached": {WebhookNotReached, func(_ *testing.T, f *Facts) {
			withoutPod(f)
			f.Events = []Event{event("shop-7f", "FailedCreate", `failed calling webhook "pods.mtls.egress": EOF`)}
		}},
		"the Pod is older than the webhook": {NotInjected, func(_ *testing.T, f *Facts) { f.Pod.Labels = nil }},
		"the annotation was edited": {AnnotationChanged, func(_ *testing.T, f *Facts) {
			delete(f.Pod.Labels, egress.HostLabel(host))
			f.Pod.Spec.HostAliases, f.Pod.Spec.Volumes = nil, nil
		}},
		"the Pod refuses the sidecar": {SidecarSwitchedOff, func(_ *testing.T, f *Facts) {
			withoutSidecar(f)
			f.Pod.Labels["sidecar.istio.io/inject"] = "false"
		}},
		"the namespace is ambient": {AmbientMode, func(_ *testing.T, f *Facts) {
			withoutSidecar(f)
			f.NamespaceObject.Labels = map[string]string{"istio.io/dataplane-mode": "ambient"}
		}},
		"the namespace is not labeled": {NamespaceNotInjected, func(_ *testing.T, f *Facts) {
			withoutSidecar(f)
			f.NamespaceObject.Labels = nil
		}},
		"the Pod is older than the label of the namespace": {NoSidecar, func(_ *testing.T, f *Facts) { withoutSidecar(f) }},
		"no sidecar, and the Namespace can't be read": {NoSidecar, func(_ *testing.T, f *Facts) {
			withoutSidecar(f)
			f.NamespaceObject = nil
		}},
		"Istio ignored the annotation for volumes": {NotMounted, func(_ *testing.T, f *Facts) {
			f.Pod.Spec.Volumes = nil
			f.Pod.Annotations["sidecar.istio.io/userVolume"] = `[{"name":"` + egress.VolumeName(host) + `"}]`
		}},
		"the app port bypasses the sidecar": {NotIntercepted, func(_ *testing.T, f *Facts) {
			f.Pod.Spec.InitContainers[0].Args = append(f.Pod.Spec.InitContainers[0].Args, "-o", "80")
		}},
		"the sinkhole address of IPv6 bypasses the sidecar": {NotIntercepted, func(_ *testing.T, f *Facts) {
			f.Pod.Spec.HostAliases[0].IP = "100::1"
			args := f.Pod.Spec.InitContainers[0].Args
			args[slices.Index(args, "-x")+1] = "100::/64"
		}},
		"the controller is down and the target new": {ControllerDown, func(_ *testing.T, f *Facts) {
			f.EgressTarget, f.Controller.Holder = nil, ""
		}},
		"the controller is down and the target changed": {ControllerDown, func(_ *testing.T, f *Facts) {
			f.EgressTarget.Generation, f.Controller.Renewed = 2, now.Add(-time.Hour)
		}},
		"the EgressTarget was deleted": {EgressTargetMissing, func(_ *testing.T, f *Facts) { f.EgressTarget = nil }},
		"the EgressTarget is not processed": {NotProcessed, func(_ *testing.T, f *Facts) {
			f.EgressTarget.Status.Conditions = nil
		}},
		"the Secret is missing": {SecretMissing, func(t *testing.T, f *Facts) {
			check := plan.CheckCredential(f.Target(), "external-system-mtls-data", 1, nil, now)
			f.Credential = &check
			notProgrammed("CredentialInvalid", "the target is closed")(t, f)
			waiting(f, "PodInitializing")
		}},
		"cert-manager has not issued the Secret": {"IssuanceFailed", func(t *testing.T, f *Facts) {
			unusable("SecretMissing", "the Secret doesn't exist yet")(t, f)
			condition(v1alpha1.ConditionCertificateIssued, metav1.ConditionFalse, "IssuanceFailed", "the issuer refused")(t, f)
		}},
		"the key is another's": {"PrivateKeyMismatch", unusable("PrivateKeyMismatch", "the Secret can't be used: the "+
			"key doesn't match")},
		"the certificate expired": {"CertificateExpired", unusable("CertificateExpired", "the Secret can't be used: it "+
			"expired")},
		"the keys of the Secret": {"LayoutUnknown", unusable("LayoutUnknown", "the Secret can't be used: it lacks cert "+
			"and key")},
		"the CA is not chosen": {"ServerCANotChosen", unusable("ServerCANotChosen", "the Secret can't be used: choose "+
			"its CA")},
		"the Secret can't be read, and the controller saw it": {"CertificateExpired", func(t *testing.T, f *Facts) {
			f.Credential, f.Unread[SourceSecret] = nil, "needs the right to get secrets in project"
			condition(v1alpha1.ConditionCredentialValid, metav1.ConditionFalse, "CertificateExpired", "it expired")(t, f)
			notProgrammed("CredentialInvalid", "the target is closed")(t, f)
		}},
		"two Secrets have other keys": {LayoutsDiffer, condition(v1alpha1.ConditionCredentialValid, metav1.ConditionFalse,
			"LayoutsDiffer", "one-mtls-data has cert, key and two-mtls-data has tls.crt, tls.key")},
		"the Secret was repaired just now": {CredentialInvalid, notProgrammed("CredentialInvalid", "the target is closed")},
		"the policy refuses the host": {"NotAllowed", notProgrammed("NotAllowed",
			"the target is closed: the namespace project may not reach external.system.com")},
		"an endpoint is not allowed": {"EndpointNotAllowed", notProgrammed("EndpointNotAllowed",
			"the target is closed: the endpoint relay.proxies.svc.cluster.local:443 is in the cluster")},
		"the relay of an endpoint is gone": {EndpointNotReached, func(t *testing.T, f *Facts) {
			relayed(t, f)
			because("delayed_connect_error:_Connection_refused")(t, f)
		}},
		"no endpoint has an address": {HostNotResolved, func(t *testing.T, f *Facts) {
			relayed(t, f)
			f.Sidecar.Subset.Endpoints = nil
		}},
		"a conflict that closes": {"PlaintextPossible", func(t *testing.T, f *Facts) {
			notProgrammed("PlaintextPossible", "the target is closed because of the VirtualService project/other")(t, f)
			condition(v1alpha1.ConditionConflicted, metav1.ConditionTrue, "Conflict", "VirtualService project/other wins")(t, f)
		}},
		"a conflict": {Conflict, condition(v1alpha1.ConditionConflicted, metav1.ConditionTrue, "Conflict",
			"the Sidecar hides it")},
		"ports differ":     {"PortsDiffer", notProgrammed("PortsDiffer", "the Pod shop-2 names another port")},
		"no CRDs of Istio": {"IstioMissing", notProgrammed("IstioMissing", "the CRDs of Istio are missing")},
		"a name is taken":  {"NameTaken", notProgrammed("NameTaken", "another object has the name")},
		"a conflict that the controller has not seen": {Conflict, func(_ *testing.T, f *Facts) {
			older := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{
				Name: "other", Namespace: ns, CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			}}
			older.Spec.Hosts, older.Spec.ExportTo = []string{host}, []string{"."}
			older.Spec.Http = []*networking.HTTPRoute{{Route: []*networking.HTTPRouteDestination{{
				Destination: &networking.Destination{Host: host},
			}}}}
			f.Others.VirtualServices = []*networkingv1.VirtualService{older}
		}},
		"the DestinationRule was deleted": {ObjectsMissing, func(_ *testing.T, f *Facts) {
			delete(f.Objects, ObjectKey{mesh.KindDestinationRule, egress.ObjectName(host)})
		}},
		"the VirtualService was changed": {ObjectsChanged, func(t *testing.T, f *Facts) {
			object := f.Objects[ObjectKey{mesh.KindVirtualService, egress.ObjectName(host)}]
			hosts := []string{"other.example.com"}
			if err := unstructured.SetNestedStringSlice(object.Object, hosts, "spec", "hosts"); err != nil {
				t.Fatal(err)
			}
		}},
		"the Pod has ended": {PodEnded, func(_ *testing.T, f *Facts) { f.Pod.Status.Phase = corev1.PodSucceeded }},
		"the Pod has no node": {PodNotScheduled, func(_ *testing.T, f *Facts) {
			f.Pod.Spec.NodeName = ""
			f.Events = []Event{event("shop-1", "FailedScheduling", "0/1 nodes are available")}
		}},
		"a volume of the app is missing": {VolumeNotMounted, func(_ *testing.T, f *Facts) {
			waiting(f, "PodInitializing")
			f.Events = []Event{event("shop-1", "FailedMount", `MountVolume.SetUp failed for volume "data": configmap "data" `+
				`not found`)}
		}},
		"the image of the sidecar is " +
			"missing": {SidecarNotStarted, func(_ *testing.T, f *Facts) { waiting(f, "ImagePullBackOff") }},
		"istiod is not reached": {IstiodNotReached, func(_ *testing.T, f *Facts) {
			f.Pod.Status.InitContainerStatuses[0].Ready = false
			f.Sidecar = &Sidecar{}
		}},
		"the sidecar is not ready": {SidecarNotReady, func(_ *testing.T, f *Facts) {
			f.Pod.Status.InitContainerStatuses[0].Ready = false
			f.Events = []Event{event("shop-1", "Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 503")}
		}},
		"the sidecar lacks the target": {SidecarNotInSync, func(_ *testing.T, f *Facts) {
			f.Sidecar.Subset, f.Sidecar.Own, f.Sidecar.Routed = nil, nil, false
		}},
		"the files can't be loaded": {FilesNotSupplied, func(_ *testing.T, f *Facts) { f.Sidecar.Serial = "" }},
		"the sidecar has the old certificate": {RotationBehind, func(_ *testing.T, f *Facts) {
			f.Sidecar.Serial = "99"
		}},
		"the sidecar ignores renewals": {ProxyIgnoresRenewals, func(_ *testing.T, f *Facts) {
			f.Sidecar.Serial = "99"
			f.Pod.Spec.InitContainers[1].Image = "docker.io/istio/proxyv2:1.30.1"
		}},
		"the Pod mounts another Secret": {PodsOutdated, func(_ *testing.T, f *Facts) {
			f.Sidecar.Serial = "99"
			f.Demands[0].WantedSecret = "other"
		}},
		"the name has no address": {HostNotResolved, func(_ *testing.T, f *Facts) { f.Sidecar.Subset.Endpoints = nil }},
		"the partner refused the " +
			"handshake": {"IssuerNotAccepted", condition(v1alpha1.ConditionVerified, metav1.ConditionFalse,
			"IssuerNotAccepted", "the partner refused the certificate")},
		"the app calls another port": {AppCallsOtherPort, func(_ *testing.T, f *Facts) {
			f.Sidecar.Passed = []string{egress.Sinkhole{}.Address(host).String() + ":8080"}
		}},
		"the last call was to another port": {AppCallsOtherPort, func(_ *testing.T, f *Facts) {
			called := egress.Sinkhole{}.Address(host).String() + ":8080"
			f.Calls = append(f.Calls, Call{Cluster: "BlackHoleCluster", Called: called})
		}},
		"the app speaks TLS itself": {AppCallsHTTPS, func(_ *testing.T, f *Facts) {
			f.Calls, f.Sidecar.Subset.Endpoints[0] = nil, Endpoint{Address: "192.0.2.7:443"}
			f.Sidecar.Own.Endpoints = []Endpoint{{Address: "192.0.2.7:443", Connections: 3}}
		}},
		"the app is configured with https": {AppCallsHTTPS, func(_ *testing.T, f *Facts) {
			f.Calls, f.Sidecar.Subset.Endpoints[0] = nil, Endpoint{Address: "192.0.2.7:443"}
			f.Pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PARTNER_URL", Value: "https://" + host + "/orders"}}
		}},
		"the app calls https at another port": {AppCallsHTTPS, func(_ *testing.T, f *Facts) {
			f.Sidecar.Passed = []string{egress.Sinkhole{}.Address(host).String() + ":8443"}
			f.Pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PARTNER_URL", Value: "https://" + host + ":8443/orders"}}
		}},
		"the app is configured with another port": {AppCallsOtherPort, func(_ *testing.T, f *Facts) {
			f.Calls, f.Sidecar.Subset.Endpoints[0] = nil, Endpoint{Address: "192.0.2.7:443"}
			f.Pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PARTNER_URL", Value: "http://" + host + ":443/orders"}}
		}},
		"the app calls a misspelled name": {HostMisspelled, func(_ *testing.T, f *Facts) {
			f.Calls, f.Sidecar.Subset.Endpoints[0] = nil, Endpoint{Address: "192.0.2.7:443"}
			f.Pod.Spec.Containers[0].Args = []string{"--url=http://external.sytem.com/orders"}
		}},
		"a call ends at the sinkhole": {CallsDropped, func(_ *testing.T, f *Facts) {
			call := called(503, "UF")
			call.Cluster, call.Upstream = "PassthroughCluster", egress.Sinkhole{}.Address(host).String()+":80"
			f.Calls = []Call{call}
		}},
		"another name in the partner's certificate": {ServerNameMismatch, because(
			"TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_matcher,_" +
				"certificate_SANs_are_[*.system.com]:TLS_error_end")},
		"another CA": {ServerNotTrusted, because(
			"TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:unable to get local issuer " +
				"certificate")},
		"the partner's certificate expired": {ServerCertificateExpired, because(
			"TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:certificate has expired")},
		"the partner's certificate is too young": {ServerCertificateNotYetValid, because(
			"TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:certificate is not yet valid")},
		"the files are not supplied": {FilesNotSupplied, because("Secret is not supplied by SDS")},
		"the port is closed":         {ConnectionRefused, because("delayed_connect_error:_Connection refused")},
		"the port has no TLS": {NotTLS, because("TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_" +
			"VERSION_NUMBER")},
		"an alert about our certificate": {ClientCertificateRefused, because("TLS_error:|268436498:SSL_routines:SSLV3_" +
			"ALERT_BAD_CERTIFICATE")},
		"a firewall drops the calls": {ConnectionTimedOut, func(_ *testing.T, f *Facts) {
			call := called(503, "UF")
			call.Details = "upstream_reset_before_response_started{connection_timeout}"
			f.Calls = []Call{call}
		}},
		"no connection, without a reason":    {ConnectionsFail, because("")},
		"the partner closes the connection":  {ConnectionEnded, ended(503, "UC")},
		"the name has no address, by a call": {HostNotResolved, ended(503, "UH")},
		"no cluster, by a call":              {SidecarNotInSync, ended(503, "NC")},
		"the partner is too slow":            {PartnerTimedOut, ended(504, "UT")},
		"the partner has another protocol":   {NotHTTP, ended(502, "UPE")},
		"the app gave up":                    {AppGaveUp, ended(0, "DC")},
		"the app gave up on a call that had no connection": {ConnectionRefused, func(_ *testing.T, f *Facts) {
			refused := called(503, "URX", "UF")
			refused.Failure = "delayed_connect_error:_Connection_refused"
			f.Calls = []Call{called(200), refused, called(0, "DC")}
		}},
		"another flag": {RequestsFail, ended(503, "LR")},
		"no access log, and no connection": {ConnectionsFail, func(_ *testing.T, f *Facts) {
			f.Calls = nil
			f.Sidecar.Subset.Endpoints[0] = Endpoint{Address: "192.0.2.7:443", Connections: 4, Failed: 4}
		}},
		"no access log, and statistics of TLS": {ServerNameMismatch, func(_ *testing.T, f *Facts) {
			f.Calls = nil
			f.Sidecar.Stats["ssl.fail_verify_san"] = 4
			f.Sidecar.Subset.Endpoints[0] = Endpoint{Address: "192.0.2.7:443", Connections: 4, Failed: 4}
		}},
		"no access log, and other statistics of TLS": {ServerNotTrusted, func(_ *testing.T, f *Facts) {
			f.Calls = nil
			f.Sidecar.Stats["ssl.fail_verify_error"] = 4
			f.Sidecar.Subset.Endpoints[0] = Endpoint{Address: "192.0.2.7:443", Connections: 4, Failed: 4}
		}},
		"no access log, and every request fails": {RequestsFail, func(_ *testing.T, f *Facts) {
			f.Calls = nil
			f.Sidecar.Subset.Endpoints[0] = Endpoint{Address: "192.0.2.7:443", Connections: 4, Requests: 4, Errors: 4}
		}},
		"all is well": {"", func(_ *testing.T, f *Facts) {
			f.Findings = []credential.Finding{{Severity: credential.Warning, Reason: credential.ChainIncomplete}}
		}},
		"all is well by relays": {"", relayed},
		"all is well in another sinkhole range, and a Pod has the former one": {"", func(t *testing.T, f *Facts) {
			sinkhole, err := egress.ParseSinkhole([]string{"100::/64", egress.DefaultSinkholeRange})
			if err != nil {
				t.Fatal(err)
			}
			f.EgressTarget.Status.Address = sinkhole.Address(host).String()
			f.Pod.Spec.HostAliases[0].IP = f.EgressTarget.Status.Address
			older := f.Demands[0]
			older.Pod, older.Address = "shop-0", egress.Sinkhole{}.Address(host).String()
			f.Demands = append(f.Demands, older)
			facts := f.planFacts()
			facts.Sinkhole = sinkhole
			program(t, f, facts)
		}},
		"all is well, as far as the user may see": {"", func(_ *testing.T, f *Facts) {
			f.Credential, f.Sidecar, f.Objects, f.Calls, f.NamespaceObject = nil, nil, nil, nil, nil
			f.Unread = map[Source]string{
				SourceSecret:  "needs the right to get secrets in project",
				SourceEnvoy:   "needs the right to create pods/portforward in project",
				SourceObjects: "needs the right to list virtualservices.networking.istio.io in project",
			}
		}},
		"the partner was not reached by the controller " +
			"alone": {"", condition(v1alpha1.ConditionVerified, metav1.ConditionFalse,
			"Unreachable", "no route to host")},
		"two faults that don't follow from each other": {NamespaceNotInjected, func(t *testing.T, f *Facts) {
			withoutSidecar(f)
			f.NamespaceObject.Labels = nil
			unusable("CertificateExpired", "the Secret can't be used: it expired")(t, f)
		}},
	}
}

func TestResults(t *testing.T) {
	files := map[string]bool{}
	for name, test := range faults() {
		t.Run(name, func(t *testing.T) {
			facts := healthy(t)
			test.fault(t, facts)
			report := Explain(*facts)
			if report.Result.Cause != test.cause {
				t.Errorf("cause %q, want %q", report.Result.Cause, test.cause)
			}
			golden.Compare(t, goldenOf(name), []byte(report.Text(false)))
		})
		files[goldenOf(name)] = true
	}
	there, err := filepath.Glob(filepath.Join("testdata", "results", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if !files[path] {
			t.Errorf("%s is stale: no fault has that name", path)
		}
	}
}

func goldenOf(name string) string {
	return filepath.Join("testdata", "results", strings.NewReplacer(" ", "-", "'", "", ",", "").Replace(name)+".txt")
}

func TestEveryCauseHasAFault(t *testing.T) {
	var shown []Cause
	for _, test := range faults() {
		shown = append(shown, test.cause)
	}
	for _, entry := range known() {
		if !slices.Contains(shown, entry.cause) {
			t.Errorf("no fault has the cause %s", entry.cause)
		}
		if !slices.ContainsFunc(steps(), func(s step) bool { return s.id == entry.step }) {
			t.Errorf("the cause %s has the step %s, which doesn't exist", entry.cause, entry.step)
		}
	}
}

func TestEveryCauseLeadsToAHeading(t *testing.T) {
	places := map[string]bool{}
	for _, page := range []string{podPage, callPage, flagPage, conditionPage} {
		content, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		places["docs/"+page] = true
		for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(content), -1) {
			text := regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(heading[1]), "")
			places["docs/"+page+"#"+strings.ReplaceAll(text, " ", "-")] = true
		}
	}
	causes := map[Cause]bool{"NotAllowed": true, "PrivateKeyMismatch": true, "IssuerNotAccepted": true, "Unheard": true}
	for _, entry := range known() {
		causes[entry.cause] = true
	}
	for _, cause := range slices.Sorted(maps.Keys(causes)) {
		if !places[cause.docs()] {
			t.Errorf("%s leads to %s, which is not a page or heading", cause, cause.docs())
		}
	}
}

func TestTheDecisionTreeIsGenerated(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "explain.md"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := ReplaceDecisionTree(string(content))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(content)); diff != "" {
		t.Errorf("docs/reference/explain.md is stale; run make generate (-want +got):\n%s", diff)
	}
	if _, err := ReplaceDecisionTree("# The steps of explain\n"); err == nil {
		t.Error("a document without markers is accepted")
	}
}
