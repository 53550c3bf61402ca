package interception_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"istio.io/istio/tools/common/config"
	"istio.io/istio/tools/istio-iptables/pkg/capture"
	"istio.io/istio/tools/istio-iptables/pkg/dependencies"

	"mtls.egress/webhook/internal/interception"
)

// outboundPort is the one at which the sidecar receives outbound calls.
const outboundPort = "15001"

// call is the first packet of a TCP connection that an app opens, through the Pod's main interface.
type call struct {
	address netip.Addr
	port    int
}

// Users and groups of an app.
const (
	appUser  = "1000"
	appGroup = "2000"
)

// rules returns what istio-iptables hands to iptables-restore, line by line, for a Pod with the
// annotations: the arguments are those of Istio's injection template.
// https://github.com/istio/istio/blob/master/manifests/charts/istio-control/istio-discovery/files/injection-template.yaml
func rules(annotations map[string]string, mesh interception.Settings, dnsCapture bool) ([]string, error) {
	value := func(name string) string {
		if text, annotated := annotations[name]; annotated {
			return text
		}
		return mesh[name]
	}
	if value(interception.Mode) == "NONE" {
		return nil, nil
	}
	cfg := config.DefaultConfig()
	cfg.ProxyUID, cfg.ProxyGID = "1337", "1337"
	cfg.InboundInterceptionMode = value(interception.Mode)
	cfg.InboundPortsInclude, cfg.InboundPortsExclude = "*", "15090,15021"
	cfg.OutboundIPRangesInclude = value(interception.IncludeRanges)
	cfg.OutboundIPRangesExclude = value(interception.ExcludeRanges)
	cfg.OutboundPortsInclude, cfg.OutboundPortsExclude = value(interception.IncludePorts), value(interception.ExcludePorts)
	cfg.ExcludeInterfaces = annotations[interception.ExcludeInterfaces]
	cfg.RerouteVirtualInterfaces = annotations[interception.RerouteInterfaces]
	if dnsCapture {
		cfg.RedirectDNS, cfg.DNSServersV4 = true, []string{"10.96.0.10"}
	}
	iptables := &dependencies.DependenciesStub{}
	configurator, err := capture.NewIptablesConfigurator(cfg, iptables)
	if err != nil {
		return nil, err
	}
	if err := configurator.Run(); err != nil {
		return nil, err
	}
	return iptables.ExecutedStdin, nil
}

// chains are the rules of the nat table, by chain.
type chains map[string][][]string

// natTable reads the text of iptables-restore.
func natTable(lines []string) chains {
	table, nat := "", chains{}
	for _, line := range lines {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "*":
			table = words[1]
		case table == "nat" && words[0] == "-A":
			nat[words[1]] = append(nat[words[1]], words[2:])
		}
	}
	return nat
}

// intercepted follows an app's call through the table as the kernel does.
func (c chains) intercepted(one call) (bool, error) {
	target, err := c.walk("OUTPUT", one)
	return target == outboundPort, err
}

// walk returns the port to which the chain redirects the call; "" when it lets it go.
func (c chains) walk(chain string, one call) (string, error) {
	for _, words := range c[chain] {
		matched, target, err := match(words, one)
		if err != nil {
			return "", fmt.Errorf("%s in %s: %w", strings.Join(words, " "), chain, err)
		}
		if !matched {
			continue
		}
		switch {
		case target[0] == "RETURN":
			return "", nil
		case target[0] == "REDIRECT" && len(target) == 3 && target[1] == "--to-ports":
			return target[2], nil
		case len(target) == 1 && c[target[0]] != nil:
			if port, err := c.walk(target[0], one); port != "" || err != nil {
				return port, err
			}
		default:
			return "", fmt.Errorf("%s in %s: the target is not known", strings.Join(words, " "), chain)
		}
	}
	return "", nil
}

// match reports whether the rule is for the call, and its target with the arguments.
func match(words []string, one call) (bool, []string, error) {
	matched, not := true, false
	for i := 0; i < len(words); i++ {
		if words[i] == "!" {
			not = true
			continue
		}
		if words[i] == "-j" {
			return matched, words[i+1:], nil
		}
		argument := words[i+1]
		fits := true
		switch words[i] {
		case "-m":
		case "-p":
			fits = argument == "tcp"
		case "-o":
			fits = isInterface(argument)
		case "-d":
			fits = netip.MustParsePrefix(argument).Contains(one.address)
		case "-s":
			fits = false // Every rule names an address of the loopback interface.
		case "--dport":
			port, err := readPort(argument)
			if err != nil {
				return false, nil, err
			}
			fits = port == one.port
		case "--dports":
			fits = slices.Contains(strings.Split(argument, ","), strconv.Itoa(one.port))
		case "--uid-owner":
			fits = argument == appUser
		case "--gid-owner":
			fits = argument == appGroup
		default:
			return false, nil, fmt.Errorf("%s is not known", words[i])
		}
		matched, not = matched && fits != not, false
		i++
	}
	return false, nil, fmt.Errorf("no target")
}

// isInterface reports whether iptables means the Pod's main interface: + at the end stands for any
// text.
func isInterface(name string) bool {
	if start, several := strings.CutSuffix(name, "+"); several {
		return strings.HasPrefix(interception.MainInterface, start)
	}
	return name == interception.MainInterface
}

// readPort reads a port as iptables does, by strtoul with base 0: 0120 is octal, 0x50 hexadecimal.
// Go reads those and more.
func readPort(text string) (int, error) {
	port, err := strconv.ParseUint(text, 0, 16)
	return int(port), err
}
