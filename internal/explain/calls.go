package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mutate"
)

// Call is a call in the sidecar's access log.
type Call struct {
	Time time.Time
	// Code is the status of the response, or 0. Flags are Envoy's response flags, or "".
	Code  int
	Flags []string
	// Details is Envoy's detail of the response. Failure is why there is no TLS connection, or "".
	Details, Failure string
	// Called is the address that the app called, Upstream the one that the sidecar called, and Cluster
	// the name of Envoy's cluster.
	Called, Upstream, Cluster string
}

// passed reports whether the call met none of the target's objects.
func (c Call) passed() bool {
	return strings.Contains(c.Cluster, "PassthroughCluster") || strings.Contains(c.Cluster, "BlackHoleCluster")
}

// answered reports whether the partner answered.
func (c Call) answered() bool { return len(c.Flags) == 0 }

// lookApp reports whether the app calls the host as it should: plain HTTP at the app port.
func lookApp(f *Facts) finding {
	if f.Pod == nil {
		return skipped("there is no Pod")
	}
	t := f.Target()
	plain, own := f.callsSeen()
	ownTLS, otherPorts := mutate.AppURLWarnings(f.Pod, []egress.Target{t}, nil)
	switch port := f.otherPort(t); {
	case port != 0 && len(ownTLS) > 0 && len(otherPorts) == 0:
		return failed(AppCallsHTTPS, ownTLS[0].Message, "") // at a port that isn't the partner's TLS port
	case port != 0:
		return failed(AppCallsOtherPort, fmt.Sprintf("the app calls port %d of %s, where the calls are dropped; %s",
			port, t.Host, mutate.OtherPortAdvice(t, port)),
			"kubectl edit egt "+t.Host+" -n "+f.Namespace)
	}
	switch {
	case own > 0 && plain == 0:
		return failed(AppCallsHTTPS, fmt.Sprintf("the app calls https://%s (connections: %d), so its calls leave with "+
			"its own TLS "+
			"and without the client certificate; call %s", t.Host, own, t.AppURL()), "")
	case plain == 0 && len(ownTLS) > 0:
		return failed(AppCallsHTTPS, ownTLS[0].Message, "")
	case plain == 0 && len(otherPorts) > 0:
		return failed(AppCallsOtherPort, otherPorts[0].Message, "kubectl edit egt "+t.Host+" -n "+f.Namespace)
	}
	if near, container := f.misspelled(); plain == 0 && near != "" {
		return failed(HostMisspelled, fmt.Sprintf("container %s calls %s, and the annotation asks for %s; write the same "+
			"name in "+
			"both", container, near, t.Host), f.annotate())
	}
	if f.Sidecar == nil && f.Calls == nil {
		return unknown("how the app calls is not known: " + f.unread(SourceEnvoy))
	}
	return fine(fmt.Sprintf("calls with http: %d; connections with the app's own TLS: %d", plain, own))
}

// callsSeen returns how many plain calls and how many connections of its own TLS the app has made.
func (f *Facts) callsSeen() (plain, own uint64) {
	for _, call := range f.Calls {
		if call.Cluster == ownName(f.Target()) {
			own++
		} else {
			plain++
		}
	}
	if f.Sidecar != nil {
		tried := func(e Endpoint) uint64 { return max(e.Requests, e.Connections, e.Failed) }
		plain = max(plain, f.Sidecar.Subset.total(tried))
		own = max(own, f.Sidecar.Own.total(func(e Endpoint) uint64 { return e.Connections }))
	}
	return plain, own
}

// otherPort returns the port at which the app calls the sinkhole address and nothing is programmed,
// or 0. The sidecar passes such calls on as they are.
func (f *Facts) otherPort(t egress.Target) int32 {
	var passed []string
	if f.Sidecar != nil {
		passed = slices.Clone(f.Sidecar.Passed)
	}
	if n := len(f.Calls); n > 0 && f.Calls[n-1].passed() {
		passed = append(passed, f.Calls[n-1].Called)
	}
	for _, address := range passed {
		if called, err := netip.ParseAddrPort(address); err == nil && called.Addr() == t.Address() &&
			int32(called.Port()) != t.AppPort && int32(called.Port()) != t.Port {
			return int32(called.Port())
		}
	}
	return 0
}

var urlHost = regexp.MustCompile(`https?://([A-Za-z0-9.-]+)`)

// misspelled returns a host in a URL of the Pod's containers that is nearly the target's, and the
// container.
func (f *Facts) misspelled() (host, container string) {
	for i := range f.Pod.Spec.Containers {
		c := &f.Pod.Spec.Containers[i]
		if egress.IsProxy(*c) {
			continue
		}
		for _, found := range urlHost.FindAllStringSubmatch(texts(c), -1) {
			if near := strings.ToLower(strings.TrimSuffix(found[1], ".")); nearest(near, []string{f.Host}) != "" {
				return near, c.Name
			}
		}
	}
	return "", ""
}

// texts are the values of a container in which a URL can be.
func texts(c *corev1.Container) string {
	all := slices.Concat(c.Command, c.Args)
	for _, variable := range c.Env {
		all = append(all, variable.Value)
	}
	return strings.Join(all, "\n")
}

// lookCalls explains the last call or, without an access log, the counters of the sidecar.
func lookCalls(f *Facts) finding {
	calls := slices.DeleteFunc(slices.Clone(f.Calls), func(c Call) bool { return c.Cluster == ownName(f.Target()) })
	if len(calls) == 0 {
		return lookCounters(f)
	}
	failures := 0
	for _, call := range calls {
		if !call.answered() {
			failures++
		}
	}
	last := decisive(calls)
	share := fmt.Sprintf("of the last calls in the access log (%d) %d failed; the one at %s ",
		len(calls), failures, last.Time.UTC().Format(time.RFC3339))
	if last.answered() {
		return fine(fmt.Sprintf("%swas answered with %d", share, last.Code))
	}
	cause, means := last.cause(f.Target())
	if unreached, ok := f.unreachedEndpoint(last, cause); ok {
		cause, means = EndpointNotReached, unreached
	}
	shown := strings.Join(last.Flags, ",")
	if last.Failure != "" {
		shown += ", " + strings.TrimSpace(last.Failure)
	}
	return failed(cause, fmt.Sprintf("%sfailed: %s (%d %s, called %s)", share, means, last.Code, shown,
		cmp.Or(last.Upstream, "nothing")),
		fmt.Sprintf("kubectl logs %s -n %s -c %s --tail=20", f.Pod.Name, f.Namespace, egress.ProxyContainer))
}

// decisive returns the call that tells the most: the last one or, if the app gave up on that, the
// last failure before it that has a reason.
func decisive(calls []Call) Call {
	last := calls[len(calls)-1]
	for _, call := range slices.Backward(calls) {
		if slices.Contains(call.Flags, "DC") {
			continue
		}
		if call.answered() {
			return last
		}
		return call
	}
	return last
}

// lookCounters is lookCalls without an access log.
func lookCounters(f *Facts) finding {
	if f.Sidecar == nil || f.Sidecar.Subset == nil {
		return unknown(f.unread(SourceEnvoy))
	}
	sum := func(of func(Endpoint) uint64) uint64 { return f.Sidecar.Subset.total(of) }
	connections := sum(func(e Endpoint) uint64 { return e.Connections })
	unconnected := sum(func(e Endpoint) uint64 { return e.Failed })
	requests := sum(func(e Endpoint) uint64 { return e.Requests })
	errors := sum(func(e Endpoint) uint64 { return e.Errors })
	counted := fmt.Sprintf("connections: %d, of which failed: %d; requests: %d, of which failed: %d",
		connections, unconnected, requests, errors)
	const ask = "; the access log has the reason (meshConfig.accessLogFile), and so has spec.verify: true in the " +
		"EgressTarget"
	switch tls := f.Sidecar.tlsCause(); {
	case requests == 0 && unconnected > 0 && tls != "":
		return failed(tls, "no connection to the partner comes about ("+counted+"): "+tls.means(), "")
	case requests == 0 && unconnected > 0:
		return failed(ConnectionsFail, "no connection to the partner comes about ("+counted+")"+ask, "")
	case requests > 0 && errors == requests:
		return failed(RequestsFail, "the partner closes the connection or answers 5xx at every call ("+counted+")"+ask, "")
	case requests == 0:
		return unknown("the app has not called yet")
	}
	return fine(counted)
}

// cause returns the cause of a failed call, and what it means.
func (c Call) cause(t egress.Target) (cause Cause, means string) {
	cause = c.causeOf(t)
	return cause, cause.means()
}

func (c Call) causeOf(t egress.Target) Cause {
	has := func(flag string) bool { return slices.Contains(c.Flags, flag) }
	called, err := netip.ParseAddrPort(c.Upstream)
	switch {
	case err == nil && called.Addr() == t.Address(), c.passed():
		return CallsDropped
	case has("UF"):
		return connectionCause(c.Failure + " " + c.Details)
	case has("UC"):
		return ConnectionEnded
	case has("UH"):
		return HostNotResolved
	case has("NC"), has("NR"):
		return SidecarNotInSync
	case has("UT"):
		return PartnerTimedOut
	case has("UPE"), has("DPE"):
		return NotHTTP
	case has("DC"):
		return AppGaveUp
	}
	return RequestsFail
}

// connectionCause returns the cause of a connection that did not come about, by Envoy's text. In an
// access log, Envoy writes underscores for the blanks in it.
func connectionCause(text string) Cause {
	text = strings.ReplaceAll(text, "_", " ")
	for _, known := range []struct {
		part  string
		cause Cause
	}{
		{"SAN matcher", ServerNameMismatch},
		{"certificate has expired", ServerCertificateExpired},
		{"certificate is not yet valid", ServerCertificateNotYetValid},
		{"CERTIFICATE VERIFY FAILED", ServerNotTrusted},
		{"not supplied by SDS", FilesNotSupplied},
		{"Connection refused", ConnectionRefused},
		{"WRONG VERSION NUMBER", NotTLS},
		{"HTTP REQUEST", NotTLS},
		{"TLSV1 ALERT UNKNOWN CA", ClientCertificateRefused},
		{"SSLV3 ALERT", ClientCertificateRefused},
		{"CERTIFICATE REQUIRED", ClientCertificateRefused},
		{"connection timeout", ConnectionTimedOut},
	} {
		if strings.Contains(text, known.part) {
			return known.cause
		}
	}
	return ConnectionsFail
}
