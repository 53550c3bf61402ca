package mutate

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// AppURLWarnings returns a warning for each URL of a target in the commands and environment
// variables of a Pod by which the app doesn't get the client certificate.
//   - ownTLS: With https, the app speaks TLS itself. The sidecar passes that on at the partner's
//     TLS port, and no other.
//   - otherPorts: With http and a port that isn't the app port, nothing takes the calls from the
//     sinkhole address, so they are dropped.
func AppURLWarnings(pod *corev1.Pod, targets []egress.Target, spec *field.Path) (ownTLS, otherPorts []Warning) {
	for c, parent := range containersOf(pod, spec) {
		for text := range appTexts(c) {
			for _, t := range targets {
				if url, port := httpsURL(text.value, t); url != "" {
					ownTLS = append(ownTLS, warningf(ReasonOwnTLS, text.at(parent()), "container %s: %s has %s: %s",
						egress.Excerpt(c.Name), text.where(), url, ownTLSAdvice(t, port)))
				}
				if port := otherPort(text.value, t); port != 0 {
					otherPorts = append(otherPorts, warningf(ReasonOtherPort, text.at(parent()),
						"container %s: %s has http://%s with port %d: such calls are dropped, because the app port of the "+
							"target is %d; %s", egress.Excerpt(c.Name), text.where(), t.Host, port, t.AppPort, OtherPortAdvice(t, port)))
				}
			}
		}
	}
	return ownTLS, otherPorts
}

// ownTLSAdvice says what becomes of the app's https calls, and what to write instead. port is that
// of the URL, or 0 if it isn't known.
func ownTLSAdvice(t egress.Target, port int32) string {
	switch port {
	case 0, t.Port:
		return "such calls leave with the app's own TLS, without the client certificate; use " + t.AppURL()
	case egress.DefaultPort, t.AppPort:
		return fmt.Sprintf("such calls fail, because the TLS port of the target is %d; use %s", t.Port, t.AppURL())
	}
	return fmt.Sprintf("such calls fail, because the TLS port of the target is %d; use %s; %s", t.Port, t.AppURL(),
		tlsPortAdvice(t, port))
}

// tlsPortAdvice says where the partner's TLS port is written. Admission refuses a port in the
// annotation that differs from that of an EgressTarget.
func tlsPortAdvice(t egress.Target, port int32) string {
	return fmt.Sprintf("if %d is the partner's TLS port, set spec.port: %d in the EgressTarget, or without one write "+
		"%s:%d in %s", port, port, t.Host, port, egress.AnnotationTarget)
}

// OtherPortAdvice says what to write instead of an http URL of the target with a port that isn't
// the app port. That can be meant as the partner's TLS port or as an app port, and the URL doesn't
// show which.
func OtherPortAdvice(t egress.Target, port int32) string {
	if port == t.Port || port == egress.DefaultAppPort {
		return "use " + t.AppURL()
	}
	advice := "use " + t.AppURL() + "; " + tlsPortAdvice(t, port)
	if !canBeAppPort(port) {
		return advice
	}
	return fmt.Sprintf("%s; if it is the port that the app calls, set spec.appPort: %d there", advice, port)
}

// canBeAppPort reports whether apps can call a port through the sidecar: the EgressTarget refuses
// those of TLS and of the sidecar, and a server-first port makes calls of other Pods hang.
func canBeAppPort(port int32) bool {
	_, isServerFirst := serverFirst()[port]
	return port != egress.DefaultPort && (port < 15000 || port > 15099) && !isServerFirst
}

// appText is a value in which a URL that the app calls can be.
type appText struct {
	value string
	// field is command, args or env. n is the index of the environment variable that has the value.
	field string
	n     int
	// variable is the name of that, or "".
	variable string
}

// at returns the path of the value in a container.
func (a appText) at(container *field.Path) *field.Path {
	if a.field == "env" {
		return container.Child("env").Index(a.n).Child("value")
	}
	return container.Child(a.field)
}

// where names the place of the value in a message.
func (a appText) where() string {
	if a.field == "env" {
		return "the environment variable " + egress.Excerpt(a.variable)
	}
	return "command or args"
}

// appTexts yields the environment variables, the command and the arguments of a container of the
// app in which there is a URL.
func appTexts(c *corev1.Container) iter.Seq[appText] {
	return func(yield func(appText) bool) {
		if egress.IsProxy(*c) || isIstioInit(*c) {
			return
		}
		for n, variable := range c.Env {
			text := appText{field: "env", n: n, variable: variable.Name, value: variable.Value}
			if !goesOn(text, yield) {
				return
			}
		}
		if goesOn(appText{field: "command", value: strings.Join(c.Command, "\n")}, yield) {
			goesOn(appText{field: "args", value: strings.Join(c.Args, "\n")}, yield)
		}
	}
}

// goesOn yields a text if there is a URL in it, and reports whether more are wanted.
func goesOn(text appText, yield func(appText) bool) bool {
	return !strings.Contains(text.value, "://") || yield(text)
}

// httpsURL returns the https URL of the target in a text, without its path, and its port, or 0 if
// the text doesn't say it. Of several URLs it is the first whose port isn't the target's TLS port,
// or else the last. Without one, url is "".
func httpsURL(text string, t egress.Target) (url string, port int32) {
	for rest := range urlsOf(text, "https", t.Host) {
		url, port = "https://"+t.Host, portOf(rest, egress.DefaultPort)
		if port != 0 && strings.HasPrefix(rest, ":") {
			url += ":" + strconv.Itoa(int(port))
		}
		if port != 0 && port != t.Port {
			break
		}
	}
	return url, port
}

// otherPort returns the port of the first http URL of the target in a text that is not the app
// port, or 0.
func otherPort(text string, t egress.Target) int32 {
	for rest := range urlsOf(text, "http", t.Host) {
		if port := portOf(rest, egress.DefaultAppPort); port != 0 && port != t.AppPort {
			return port
		}
	}
	return 0
}

// portOf returns the port of a URL from what follows its host: byDefault if that has none, and 0 if
// the text doesn't say it, as in :$(PORT).
func portOf(rest string, byDefault int32) int32 {
	digits, hasPort := strings.CutPrefix(rest, ":")
	end := strings.TrimLeft(digits, "0123456789")
	digits = strings.TrimSuffix(digits, end)
	switch {
	case end != "" && !strings.ContainsAny(end[:1], `,;|&<>)]}\`):
		return 0
	case !hasPort && digits == "":
		return byDefault
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0 // no port, or none that exists
	}
	return int32(port)
}

// urlsOf yields what follows the host in the authority of each URL of the host in a text, such as
// :8443. The host can have a user before it, and isn't the beginning of a longer one. Case doesn't
// matter.
func urlsOf(text, scheme, host string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := strings.ToLower(text); ; {
			_, after, found := strings.Cut(rest, scheme+"://")
			if !found {
				return
			}
			rest = after
			authority := after
			if end := strings.IndexAny(after, "/?# \t\n\"'"); end >= 0 {
				authority = after[:end]
			}
			// Without the user and the password, which can have an @ themselves.
			next, isHost := strings.CutPrefix(authority[strings.LastIndex(authority, "@")+1:], host)
			next = strings.TrimPrefix(next, ".") // a trailing dot, or the next label
			if !isHost || next != "" && strings.ContainsAny(next[:1], "abcdefghijklmnopqrstuvwxyz0123456789-.") {
				continue
			}
			if !yield(next) {
				return
			}
		}
	}
}
