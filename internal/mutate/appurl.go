package mutate

import (
	"iter"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// OwnTLSWarnings returns a warning for each https URL of a target in the commands and environment
// variables of a Pod. The app would speak TLS itself, without the client certificate, and the
// sidecar passes that on.
func OwnTLSWarnings(pod *corev1.Pod, targets []egress.Target, spec *field.Path) []Warning {
	var warnings []Warning
	for text := range appTexts(pod, spec) {
		for _, t := range targets {
			if hasURL(text.value, t.Host) {
				warnings = append(warnings, warningf(ReasonOwnTLS, text.at(),
					"container %s: %s has https://%s: such calls leave with the "+
						"app's own TLS, without the client certificate; use %s", egress.Excerpt(text.container), text.where(), t.Host,
					t.AppURL()))
			}
		}
	}
	return warnings
}

// OtherPortWarnings returns a warning for each http URL of a target in the commands and environment
// variables of a Pod whose port is not the app port. Nothing takes such calls from the sinkhole
// address, so they are dropped.
func OtherPortWarnings(pod *corev1.Pod, targets []egress.Target, spec *field.Path) []Warning {
	var warnings []Warning
	for text := range appTexts(pod, spec) {
		for _, t := range targets {
			if port := otherPort(text.value, t); port != 0 {
				warnings = append(warnings, warningf(ReasonOtherPort, text.at(),
					"container %s: %s has http://%s with port %d: such calls are dropped, because the app port of the "+
						"target is %d; use %s", egress.Excerpt(text.container), text.where(), t.Host, port, t.AppPort, t.AppURL()))
			}
		}
	}
	return warnings
}

// appText is a value in which a URL that the app calls can be.
type appText struct {
	container, value string
	// field is command, args or env. n is the index of the environment variable that has the value.
	field string
	n     int
	// variable is the name of that, or "".
	variable string
	parent   func() *field.Path
}

func (a appText) at() *field.Path {
	if a.field == "env" {
		return a.parent().Child("env").Index(a.n).Child("value")
	}
	return a.parent().Child(a.field)
}

// where names the place of the value in a message.
func (a appText) where() string {
	if a.field == "env" {
		return "the environment variable " + egress.Excerpt(a.variable)
	}
	return "command or args"
}

// appTexts yields the environment variables, commands and arguments of the app's containers in
// which there is a URL.
func appTexts(pod *corev1.Pod, spec *field.Path) iter.Seq[appText] {
	return func(yield func(appText) bool) {
		for c, parent := range containersOf(pod, spec) {
			if egress.IsProxy(*c) || isIstioInit(*c) {
				continue
			}
			goesOn := func(text appText) bool {
				text.container, text.parent = c.Name, parent
				return !strings.Contains(text.value, "://") || yield(text)
			}
			for n, variable := range c.Env {
				if !goesOn(appText{field: "env", n: n, variable: variable.Name, value: variable.Value}) {
					return
				}
			}
			if !goesOn(appText{field: "command", value: strings.Join(c.Command, "\n")}) ||
				!goesOn(appText{field: "args", value: strings.Join(c.Args, "\n")}) {
				return
			}
		}
	}
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
