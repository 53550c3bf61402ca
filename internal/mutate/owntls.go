package mutate

import (
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
	look := func(at func() *field.Path, container, where, text string) {
		for _, t := range targets {
			if hasURL(text, "https://"+t.Host) {
				warnings = append(warnings, warningf(ReasonOwnTLS, at(),
					"container %s: %s has https://%s: such calls leave with the "+
						"app's own TLS, without the client certificate; use %s", egress.Excerpt(container), where, t.Host,
					t.AppURL()))
			}
		}
	}
	for c, at := range containersOf(pod, spec) {
		if egress.IsProxy(*c) || isIstioInit(*c) {
			continue
		}
		for n, variable := range c.Env {
			look(func() *field.Path { return at().Child("env").Index(n).Child("value") }, c.Name,
				"the environment variable "+egress.Excerpt(variable.Name), variable.Value)
		}
		look(func() *field.Path { return at().Child("command") }, c.Name, "command or args", strings.Join(c.Command, "\n"))
		look(func() *field.Path { return at().Child("args") }, c.Name, "command or args", strings.Join(c.Args, "\n"))
	}
	return warnings
}

// hasURL reports whether text has the URL of a host, such as https://external.system.com, and not
// one of a longer host. The URL in the text can have a user. Case doesn't matter.
func hasURL(text, url string) bool {
	scheme, host, _ := strings.Cut(url, "://")
	for rest := strings.ToLower(text); ; {
		_, after, found := strings.Cut(rest, scheme+"://")
		if !found {
			return false
		}
		rest = after
		authority := after
		if end := strings.IndexAny(after, "/?# \t\n\"'"); end >= 0 {
			authority = after[:end]
		}
		// Without the user and the password, which can have an @ themselves.
		next, isHost := strings.CutPrefix(authority[strings.LastIndex(authority, "@")+1:], host)
		next = strings.TrimPrefix(next, ".") // a trailing dot, or the next label
		if isHost && (next == "" || !strings.ContainsAny(next[:1], "abcdefghijklmnopqrstuvwxyz0123456789-.")) {
			return true
		}
	}
}
