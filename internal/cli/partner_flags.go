package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/verify"
)

// partnerFlags are the flags of the commands that make a handshake with a partner.
type partnerFlags struct {
	connect         string
	sni             string
	subjectAltNames []string
}

func (f *partnerFlags) add(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVar(&f.connect, "connect", "",
		"the address to connect to in place of the host: a name or an IP address, and a port if it is another one, for a "+
			"host that DNS doesn't have here")
	set.StringVar(&f.sni, "sni", "",
		"the server name in the handshake, as spec.sni of an EgressTarget (default: the host)")
	set.StringArrayVar(&f.subjectAltNames, "subject-alt-name", nil,
		"the name that the server certificate must have, as in spec.subjectAltNames of an EgressTarget; repeatable "+
			"(default: the host)")
}

// target returns the target that text, HOST[:PORT], and the flags describe.
func (f *partnerFlags) target(text string) (egress.Target, error) {
	entry, err := egress.ParseEntry(text)
	if err != nil {
		return egress.Target{}, fmt.Errorf("%s %w", printable(text), err)
	}
	t := egress.FromEgressTarget("", entry.Host, nil, egress.Sinkhole{})
	t.Port = cmp.Or(entry.Port, t.Port)
	t.SNI = cmp.Or(f.sni, t.SNI)
	if len(f.subjectAltNames) > 0 {
		t.SubjectAltNames = f.subjectAltNames
	}
	return t, f.redirect(&t)
}

// redirect makes --connect the only endpoint of a target.
func (f *partnerFlags) redirect(t *egress.Target) error {
	if f.connect == "" {
		return nil
	}
	endpoint, err := parseAddress(f.connect, t.Port)
	if err != nil {
		return fmt.Errorf("--connect %s: %w", printable(f.connect), err)
	}
	t.Endpoints = []egress.Endpoint{endpoint}
	return nil
}

// parseAddress parses ADDRESS[:PORT]. An IPv6 address with a port is in brackets.
func parseAddress(text string, port int32) (egress.Endpoint, error) {
	if both, err := netip.ParseAddrPort(text); err == nil && both.Port() != 0 {
		return egress.Endpoint{Address: both.Addr().String(), Port: int32(both.Port())}, nil
	}
	if address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return egress.Endpoint{Address: address.String(), Port: port}, nil
	}
	name, number, hasPort := strings.Cut(text, ":")
	if hasPort {
		parsed, err := strconv.ParseUint(number, 10, 16)
		if err != nil || parsed == 0 {
			name = ""
		}
		port = int32(parsed)
	}
	if name == "" || strings.ContainsAny(name, "/@[] ") {
		return egress.Endpoint{}, errors.New("is not an address; write a name or an IP address, and :PORT if needed, as in " +
			"192.0.2.1:8443 or [2001:db8::1]:8443")
	}
	return egress.Endpoint{Address: name, Port: port}, nil
}

// newProber returns the prober of the commands at the time now. The user may connect to this
// machine, for example through a tunnel.
func newProber(now time.Time) *verify.Prober {
	return &verify.Prober{Name: "this machine", AllowLoopback: true, Now: func() time.Time { return now }}
}
