package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"mtls.egress/webhook/internal/egress"
)

// routeRules returns the rules for HTTP routes that lead past the TLS settings, or repeat calls.
func routeRules() []Rule {
	return []Rule{
		{
			ID: "MTE234", Group: Istio, Name: "route-past-tls", Severity: Error,
			Summary: "A route leads plain calls to a TLS port of the host, where the DestinationRule starts no TLS.",
			Effect:  "Calls leave in plain text to port 443. The partner answers 400, and anyone on the way can read them.",
			Fix:     "Lead the route to the subset or the port with the TLS settings.",
			find:    byHand(routePastTLS),
		},
		{
			ID: "MTE235", Group: Istio, Name: "route-without-destination-rule", Severity: Warning,
			Summary: "A route leads plain calls to a TLS port, and no DestinationRule of the input is for the host.",
			Effect:  "Without a DestinationRule that starts TLS, calls leave in plain text to port 443.",
			Fix:     "Add the DestinationRule, or check the input together with the one that exists.",
			find:    byHand(routeWithoutDestinationRule),
		},
		{
			ID: "MTE236", Group: Istio, Name: "route-to-unknown-subset", Severity: Error,
			Summary: "A route leads to a subset that the DestinationRule doesn't have.",
			Effect:  "Calls get 503 (cluster_not_found).",
			Fix:     "Use the name of a subset of the DestinationRule.",
			find:    byHand(routeToUnknownSubset),
		},
		{
			ID: "MTE237", Group: Istio, Name: "retries-repeat-calls", Severity: Error,
			Summary: "The retries of a route repeat calls that the partner has already processed.",
			Effect:  "With 503 among the conditions, a POST that the partner answered with 503 was sent three times.",
			Fix: "Write retryOn: connect-failure,refused-stream,reset-before-request, or match the method GET, or set " +
				"attempts: 0.",
			find: byHand(retriesRepeatCalls),
		},
		{
			ID: "MTE238", Group: Istio, Name: "plain-fallback", Severity: Error,
			Summary: "A VirtualService leads some calls to TLS, and the rest to a port without TLS.",
			Effect:  "Calls that the match of the first route doesn't cover leave in plain text to port 80.",
			Fix:     "Lead all routes of the host to the TLS settings, or answer the rest with directResponse.",
			find:    byHand(plainFallback),
		},
	}
}

func routePastTLS(h *handWritten, report report) {
	for _, r := range h.routes {
		if !r.inSidecars() || r.unknownSubset(h.rulesOf[r.host]) {
			continue
		}
		if message := cmp.Or(h.pastTLS(r), h.pastTLSWithoutPort(r)); message != "" {
			report(r.Object, r.destinationPath, message)
		}
	}
}

// pastTLS says that the route leads to a TLS port for which DestinationRules of the input start no
// TLS, if no other file can hold the settings.
func (h *handWritten) pastTLS(r route) string {
	number, found := h.plainPort(r)
	rules := h.rulesOf[r.host]
	switch {
	case !found || len(rules) == 0:
	case len(h.startsOf[r.host]) > 0:
		return fmt.Sprintf("the route leads plain calls to port %d of %s, where DestinationRule %s starts no TLS; it "+
			"does so for %s", number, r.host, rules[0].Location.Name, h.startsOf[r.host][0].what())
	case slices.ContainsFunc(rules, r.isDecidedBy):
		return fmt.Sprintf("the route leads plain calls to port %d of %s, and DestinationRule %s starts no TLS", number,
			r.host, rules[0].Location.Name)
	}
	return ""
}

// plainPort returns the port with TLS to which the route leads, if no DestinationRule of the input
// starts TLS there.
func (h *handWritten) plainPort(r route) (number uint32, found bool) {
	for _, number := range r.ports {
		if h.carriesTLS(r.host, number) && !slices.ContainsFunc(h.rulesOf[r.host], func(rule destinationRule) bool {
			settings := settingsFor(rule, r.destination.GetSubset(), number)
			return settings != nil && settings.Mode != networking.ClientTLSSettings_DISABLE
		}) {
			return number, true
		}
	}
	return 0, false
}

// isDecidedBy reports whether the rule has the policy for the route. Otherwise, another rule for
// the host can have it, and Istio merges them.
func (r route) isDecidedBy(rule destinationRule) bool {
	return r.destination.GetSubset() != "" || rule.Value.Spec.TrafficPolicy != nil
}

// pastTLSWithoutPort says that the port of the destination is missing, so that the TLS settings of
// another port don't apply.
func (h *handWritten) pastTLSWithoutPort(r route) string {
	subset := r.destination.GetSubset()
	if r.destination.GetPort() != nil || len(r.ports) == 0 || h.reachesTLS(r) ||
		subset == "" && h.routesToTLS(r.virtualService, r.host) {
		return ""
	}
	index := slices.IndexFunc(h.startsOf[r.host], func(s start) bool {
		return s.subset == subset && !h.ignoredBySidecars(s)
	})
	if index < 0 {
		return ""
	}
	return fmt.Sprintf("the destination has no port, so calls to %s leave in plain text to the port that the app "+
		"called, %d; TLS starts only on port %d: write port: {number: %[3]d}", r.host, r.ports[0],
		h.startsOf[r.host][index].port)
}

// what names the place of the TLS settings.
func (s start) what() string {
	switch {
	case s.subset != "":
		return "the subset " + s.subset
	case s.port != 0:
		return fmt.Sprintf("port %d", s.port)
	}
	return "the host"
}

// unknownSubset reports whether the route leads to a subset that none of the rules has.
func (r route) unknownSubset(rules []destinationRule) bool {
	subset := r.destination.GetSubset()
	return subset != "" && !slices.ContainsFunc(rules, func(rule destinationRule) bool {
		return slices.ContainsFunc(rule.Value.Spec.Subsets, func(each *networking.Subset) bool {
			return each.GetName() == subset
		})
	})
}

func routeWithoutDestinationRule(h *handWritten, report report) {
	for _, r := range h.routes {
		rules := h.rulesOf[r.host]
		number, found := h.plainPort(r)
		if !r.inSidecars() || !found || h.coveredByWildcard(r.host) || r.unknownSubset(rules) ||
			len(h.startsOf[r.host]) > 0 || slices.ContainsFunc(rules, r.isDecidedBy) {
			continue
		}
		lacks := "is for this host"
		if len(rules) > 0 {
			lacks = "starts TLS there"
		}
		report(r.Object, r.destinationPath, fmt.Sprintf(
			"the route leads plain calls to port %d of %s, and no DestinationRule of the input %s; if none in the cluster "+
				"starts TLS, calls leave in plain text", number, r.host, lacks))
	}
}

// coveredByWildcard reports whether the input has a DestinationRule with a wildcard for the host.
func (h *handWritten) coveredByWildcard(host string) bool {
	for pattern := range h.rulesOf {
		if suffix, wildcard := strings.CutPrefix(pattern, "*"); wildcard && strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

func routeToUnknownSubset(h *handWritten, report report) {
	for _, r := range h.routes {
		if rules := h.rulesOf[r.host]; len(rules) > 0 && r.unknownSubset(rules) {
			report(r.Object, append(slices.Clip(r.destinationPath), "subset"), fmt.Sprintf(
				"DestinationRule %s has no subset %s for %s", rules[0].Location.Name, r.destination.GetSubset(), r.host))
		}
	}
}

func retriesRepeatCalls(h *handWritten, report report) {
	told := map[*networking.HTTPRoute]bool{}
	for _, r := range h.routes {
		retries := r.http.GetRetries()
		if told[r.http] || retries.GetAttempts() <= 0 || !h.routesToTLS(r.virtualService, r.host) || r.readsOnly() {
			continue
		}
		for condition := range strings.SplitSeq(retries.GetRetryOn(), ",") {
			if condition = strings.TrimSpace(condition); repeats(condition) {
				told[r.http] = true
				report(r.Object, append(slices.Clip(r.path), "retries", "retryOn"), fmt.Sprintf(
					"%s repeats calls that %s has already answered or may have processed, up to %s, POST included",
					condition, r.host, egress.Counted(retries.GetAttempts(), "time")))
				break
			}
		}
	}
}

// repeats reports whether Envoy retries on the condition after the server may have processed the
// call.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter
func repeats(condition string) bool {
	if condition != "" && strings.Trim(condition, "0123456789") == "" {
		return true
	}
	return slices.Contains([]string{
		"5xx", "gateway-error", "reset", "retriable-4xx", "retriable-headers", "http3-post-connect-failure",
	}, condition)
}

// readsOnly reports whether only calls with safe methods can match the route.
func (r route) readsOnly() bool {
	return len(r.http.Match) > 0 && !slices.ContainsFunc(r.http.Match, func(match *networking.HTTPMatchRequest) bool {
		return !slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, match.GetMethod().GetExact())
	})
}

func plainFallback(h *handWritten, report report) {
	for _, r := range h.routes {
		if !r.inSidecars() || !h.routesToTLS(r.virtualService, r.host) || h.reachesTLS(r) ||
			h.carriesTLS(r.host, r.destination.GetPort().GetNumber()) || !h.narrowed(r) {
			continue
		}
		report(r.Object, r.destinationPath, fmt.Sprintf(
			"calls to %s that don't match the route with TLS follow this one and leave in plain text", r.host))
	}
}

// reachesTLS reports whether the route leads to TLS settings.
func (h *handWritten) reachesTLS(r route) bool {
	return slices.ContainsFunc(h.startsOf[r.host], func(s start) bool { return s.leadsTo(r) }) ||
		r.unknownSubset(h.rulesOf[r.host])
}

// narrowed reports whether the route with TLS of the same VirtualService leaves out calls of the
// same Pods: by path, method, header or weight, and not only by labels.
func (h *handWritten) narrowed(plain route) bool {
	for _, r := range h.routesIn(plain.virtualService) {
		if r.host != plain.host || !r.inSidecars() || !h.reachesTLS(r) {
			continue
		}
		if r.http == plain.http {
			return true
		}
		for _, match := range r.http.Match {
			if match.Uri != nil || match.Method != nil || len(match.Headers) > 0 || len(match.QueryParams) > 0 ||
				len(match.WithoutHeaders) > 0 {
				return true
			}
		}
	}
	return false
}
