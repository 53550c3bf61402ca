package check

import (
	"slices"

	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mutate"
)

// oursRules returns the rules for what admission and the controller refuse or warn of.
// [manifests.ReviewOf] finds it; a rule selects by the reason.
func oursRules() []Rule { return slices.Concat(refusalRules(), warningRules()) }

// ours returns a rule for the reasons.
func ours(id, name string, severity Severity, summary, effect, fix string, reasons ...manifests.Reason) Rule {
	return Rule{
		ID: id, Group: Ours, Name: name, Severity: severity, Summary: summary, Effect: effect, Fix: fix,
		reasons: reasons,
		find: func(w *World, report report) {
			for _, problem := range slices.Concat(w.review.Refused, w.review.Warnings) {
				if slices.Contains(reasons, problem.Reason) {
					report(w.objectAt(problem.Location), problem.Path, problem.Detail())
				}
			}
		},
	}
}

// PassPolicy tells how a command without a cluster gets to know which hosts the cluster allows.
const PassPolicy = "If the cluster already allows it, pass the cluster's policy with --allowed-targets, " +
	"--other-targets, --allowed-endpoints and --cluster-domain."

const refused = "Admission refuses the object: no Pod starts. "

func refusalRules() []Rule {
	reason := func(r mutate.Reason) manifests.Reason { return manifests.Reason(r) }
	return []Rule{
		ours("MTE101", "invalid-annotation", Error,
			"An annotation of a workload or Pod can't be read.",
			"Admission refuses the object, because its Pods would call in plain text.",
			"Write mtls.egress/target: HOST or HOST:PORT, several of them separated by commas, and "+
				"mtls.egress/secret: SECRET or HOST=SECRET for each host.",
			reason(mutate.ReasonInvalidAnnotation)),
		ours("MTE102", "target-clash", Error,
			"Two targets, or a target and its EgressTarget, contradict each other.",
			refused+"Two hosts would share one Secret or address, or one host would have two ports.",
			"Name the Secret of each host in mtls.egress/secret, and write the same port in all places.",
			reason(mutate.ReasonTargetClash)),
		ours("MTE103", "host-not-allowed", Error,
			"The namespace may not reach the host, the host is a name of the cluster, or an endpoint is not allowed.",
			"Admission refuses the object. The controller closes a target that exists: calls get 503 from the sidecar.",
			"Call a name of the cluster without a target. For another host, an administrator can add it to "+
				"policy.allowedTargets of the chart or to the annotation mtls.egress/allowed-targets of the Namespace, and an "+
				"endpoint in the cluster to policy.allowedEndpoints. "+PassPolicy,
			reason(mutate.ReasonNotAllowed)),
		ours("MTE104", "no-sidecar", Error,
			"The Pod has no sidecar: it uses the host network, Windows, ambient mode, or switches the injection off.",
			"Admission refuses the object. Without a sidecar, calls to the host would be dropped.",
			"Remove hostNetwork, the label sidecar.istio.io/inject: \"false\", or the annotation mtls.egress/target.",
			reason(mutate.ReasonHostNetwork), reason(mutate.ReasonInjectionOff), reason(mutate.ReasonStaticPod)),
		ours("MTE105", "bypassed-sidecar", Error,
			"Calls of the Pod bypass the sidecar.",
			"Admission refuses the object. Calls would leave without mutual TLS, or would be dropped.",
			"Choose another user than 1337, and write the value that the message names into the annotation of Istio.",
			reason(mutate.ReasonProxyUser), reason(mutate.ReasonTrafficAnnotation)),
		ours("MTE106", "overridden-hosts-file", Error,
			"The Pod gives the host another address than the webhook does.",
			"Admission refuses the object. Calls would bypass the sidecar and leave in plain text.",
			"Remove the host from hostAliases, and mount nothing at /etc/hosts, /etc/nsswitch.conf, /etc or /.",
			reason(mutate.ReasonHostsFile), reason(mutate.ReasonHostAlias)),
		ours("MTE107", "reserved-label", Error,
			"A label that belongs to the webhook has another value.",
			refused+"The Istio objects select Pods by these labels.",
			"Remove the labels mtls.egress/injected and to.mtls.egress/HOST from the template.",
			reason(mutate.ReasonReservedLabel)),
		ours("MTE108", "volume-clash", Error,
			"A volume or mount of the sidecar is invalid, or takes the name or path of one that the webhook adds.",
			refused+"The sidecar would read another certificate, or none.",
			"Rename the volume or move the mount. Write sidecar.istio.io/userVolume and userVolumeMount as JSON.",
			reason(mutate.ReasonVolumeClash)),
		ours("MTE109", "invalid-egresstarget", Error,
			"The API server would reject the EgressTarget.",
			"The EgressTarget doesn't exist, so its settings don't apply.",
			"Correct the field as the message says. The name of an EgressTarget is its host.",
			manifests.ReasonInvalidEgressTarget),
		ours("MTE110", "misplaced-annotation", Error,
			"One of the annotations is a label, or is on a Namespace or Service.",
			"It has no effect: the Pods call in plain text. The chart's policy for near misses refuses the object. The other "+
				"rules see the label as the annotation.",
			"Write it under metadata.annotations of each workload that calls the host.",
			manifests.ReasonMisplacedKey),
		ours("MTE111", "conflicting-object", Error,
			"Another Istio object or Service would let calls to the target leave without mutual TLS.",
			"The controller closes the target: calls get 503 from the sidecar.",
			"Remove the host from the other object, or limit that object to Pods without the target.",
			manifests.ReasonConflictCloses),
		ours("MTE112", "target-not-ready", Error,
			"The controller can't program the target as the workloads ask for it.",
			"Calls of some or all Pods fail.",
			"Follow the message: write the same port in all places, or give the Secrets the same keys.",
			manifests.ReasonNotReady, reason(mutate.ReasonNotProgrammed)),
		ours("MTE113", "unusable-server-ca", Error,
			"The ConfigMap with the CA of the server has none that can be used.",
			"The controller closes the target: calls get 503 from the sidecar.",
			"Write the CA of the partner's server certificate into the key as PEM.",
			manifests.ReasonUnusableServerCA),
		ours("MTE114", "invalid-object", Error,
			"The object, or the file that it is in, can't be read.",
			"The API server refuses it. Nothing else about it is checked.",
			"Correct the field or the line that the message names.",
			manifests.ReasonInvalidObject, manifests.ReasonSyntax, manifests.ReasonNoManifest,
			reason(mutate.ReasonUnreadable), reason(mutate.ReasonOther)),
	}
}

func warningRules() []Rule {
	reason := func(r mutate.Reason) manifests.Reason { return manifests.Reason(r) }
	return []Rule{
		ours("MTE120", "unheard-annotation", Warning,
			"One of the annotations is where nothing reads it.",
			"It has no effect: the Pods call in plain text, unless another place has the annotation.",
			"Write it under metadata.annotations of the workload or of its Pod template.",
			manifests.ReasonUnheardKey),
		ours("MTE121", "unknown-annotation", Warning,
			"An annotation or label starts with mtls.egress/, but its name is unknown.",
			"It has no effect.",
			"The annotations are mtls.egress/target and mtls.egress/secret. All other settings are fields of the EgressTarget.",
			reason(mutate.ReasonUnknownAnnotation)),
		ours("MTE122", "unknown-kind", Warning,
			"The kind of the annotated object is not in the table of workloads.",
			"Its annotation is not copied to its Pods, which call in plain text.",
			"Write the annotation into the Pod template, or add the kind with --workloads and in the chart's value workloads.",
			manifests.ReasonUnknownKind),
		ours("MTE123", "lookalike-annotation", Warning,
			"A key only looks like one of the annotations.",
			"It has no effect: the Pods call in plain text.",
			"Write mtls.egress/target or mtls.egress/secret.",
			manifests.ReasonLookalikeKey),
		ours("MTE124", "invalid-allowed-targets", Warning,
			"The list of hosts of a Namespace is invalid.",
			"It allows nothing: admission refuses the namespace's workloads with a target that only it would allow.",
			"Write hosts, or patterns with * or a leading **, separated by commas.",
			manifests.ReasonInvalidPolicy),
		ours("MTE125", "affected-object", Warning,
			"Another Istio object and the target affect each other.",
			"Calls to the target keep their mutual TLS. The other object loses its effect, or calls fail, as the message says.",
			"Remove the host from the other object, or limit it to Pods without the target.",
			manifests.ReasonConflict),
		ours("MTE126", "own-tls", Warning,
			"A command or environment variable has an https URL of a target.",
			"Such calls leave with the app's own TLS, without the client certificate. At another port than the partner's "+
				"TLS port, they fail.",
			"Write http://HOST, with the app port if it isn't 80. If the https URL has a port, that is the partner's TLS "+
				"port: set spec.port in the EgressTarget, or without one write HOST:PORT in mtls.egress/target.",
			reason(mutate.ReasonOwnTLS)),
		ours("MTE127", "forward-proxy", Warning,
			"The environment sends calls to a target through a forward proxy.",
			"The calls go to the proxy in plain text, without the client certificate.",
			"Add the host to NO_PROXY.",
			reason(mutate.ReasonForwardProxy)),
		ours("MTE128", "network-rights", Warning,
			"A container can change the network of the Pod.",
			"It can bypass the sidecar, and such a call has no mutual TLS.",
			"Remove privileged and the capabilities NET_ADMIN, NET_RAW and SYS_ADMIN if the container doesn't need them.",
			reason(mutate.ReasonNetworkRights)),
		ours("MTE129", "server-first-port", Warning,
			"The app port of the target is that of a protocol in which the server speaks first.",
			"The sidecars of the namespace expect HTTP on the port, so calls of other Pods to such servers can hang.",
			"Choose another appPort in the EgressTarget.",
			reason(mutate.ReasonServerFirst)),
		ours("MTE130", "doubtful-interception", Warning,
			"An annotation of Istio may keep some calls from the sidecar.",
			"Calls that the sidecar doesn't intercept are dropped at the sinkhole address.",
			"Follow the message, if the app makes such calls.",
			reason(mutate.ReasonTrafficDoubt)),
		ours("MTE131", "overridden-annotation", Warning,
			"Two places have the annotation with different values, or on an object that can't change.",
			"Only one of the values applies.",
			"Write the annotation in one place.",
			reason(mutate.ReasonOverridden), reason(mutate.ReasonImmutable), reason(mutate.ReasonRemoved)),
		ours("MTE132", "other-port", Warning,
			"A command or environment variable has an http URL of a target with another port than the app port.",
			"Such calls are dropped at the sinkhole address.",
			"Write http://HOST, with the app port if it isn't 80. If the port is the partner's TLS port, set spec.port in "+
				"the EgressTarget, or without one write HOST:PORT in mtls.egress/target. If it is that of the app's calls, set "+
				"spec.appPort in the EgressTarget.",
			reason(mutate.ReasonOtherPort)),
	}
}
