package mutate

import (
	"iter"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// AppURLWarnings returns a warning for each URL of a target in the commands and environment
// variables of a Pod by which the app doesn't get the client certificate.
//   - ownTLS: With https, the app speaks TLS itself, and the sidecar passes that on.
//   - otherPorts: With http and a port that isn't the app port, nothing takes the calls from the
//     sinkhole address, so they are dropped.
func AppURLWarnings(pod *corev1.Pod, targets []egress.Target, spec *field.Path) (ownTLS, otherPorts []Warning) {
	for c, parent := range containersOf(pod, spec) {
		for text := range appTexts(c) {
			for _, t := range targets {
				if hasURL(text.value, t.Host) {
					ownTLS = append(ownTLS, warningf(ReasonOwnTLS, text.at(parent()),
						"container %s: %s has https://%s: such calls leave with the "+
							"app's own TLS, without the client certificate; use %s", egress.Excerpt(c.Name), text.where(), t.Host,
						t.AppURL()))
				}
				if port := otherPort(text.value, t); port != 0 {
					otherPorts = append(otherPorts, warningf(ReasonOtherPort, text.at(parent()),
						"container %s: %s has http://%s with port %d: such calls are dropped, because the app port of the "+
							"target is %d; use %s", egress.Excerpt(c.Name), text.where(), t.Host, port, t.AppPort, t.AppURL()))
				}
			}
		}
	}
	return ownTLS, otherPorts
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

// hasURL reports whether text has an https URL of a host.
func hasURL(text, host string) bool {
	for range urlsOf(text, "https", host) {
		return true
	}
	return false
}

// otherPort returns the port of the first http URL of the target in a text that is not the app
// port, or 0.
func otherPort(text string, t egress.Target) int32 {
	for rest := range urlsOf(text, "http", t.Host) {
		if port := portOf(rest); port != 0 && port != t.AppPort {
			return port
		}
	}
	return 0
}

// portOf returns the port of an http URL from what follows its host. It is 0 if the text doesn't
// say it, as in :$(PORT).
func portOf(rest string) int32 {
	digits, hasPort := strings.CutPrefix(rest, ":")
	end := strings.TrimLeft(digits, "0123456789")
	digits = strings.TrimSuffix(digits, end)
	switch {
	case end != "" && !strings.ContainsAny(end[:1], `,;|&<>)]}\`):
		return 0
	case !hasPort && digits == "":
		return egress.DefaultAppPort
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
