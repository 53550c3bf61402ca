package egress

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mtls.egress/webhook/api/v1alpha1"
)

// DefaultSinkholeRange is the range of sinkhole addresses unless the chart sets another: class E,
// which RFC 1112 §4 reserves and which is not routed.
const DefaultSinkholeRange = "240.0.0.0/4"

// maxAttempts is how many addresses of a host are tried before its target is closed.
const maxAttempts = 16

// Sinkhole are the ranges of the sinkhole addresses of a cluster. New Pods get addresses in the
// first one. The others are those of Pods that started before the range was changed: the addresses
// there stay in the generated objects and stay reserved. The zero value is DefaultSinkholeRange.
type Sinkhole struct {
	ranges []netip.Prefix
}

// ParseSinkhole parses ranges such as 240.0.0.0/4 or 100::/64. Without any, it returns the
// default. It returns all errors at once.
func ParseSinkhole(texts []string) (Sinkhole, error) {
	var s Sinkhole
	var errs []error
	for _, text := range texts {
		prefix, err := parseSinkholeRange(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("the sinkhole range %q %w", text, err))
			continue
		}
		s.ranges = append(s.ranges, prefix)
	}
	return s, errors.Join(errs...)
}

func parseSinkholeRange(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return prefix, errors.New("is not a CIDR; write an address range such as 240.0.0.0/4 or 100::/64")
	case prefix != prefix.Masked():
		return prefix, fmt.Errorf("has bits after the prefix; write %s", prefix.Masked())
	case prefix.Addr().BitLen()-prefix.Bits() < minHostBits:
		return prefix, fmt.Errorf("is too small, because two hosts of a namespace would often get the same address; "+
			"use a prefix length of at most %d", prefix.Addr().BitLen()-minHostBits)
	}
	if !slices.ContainsFunc(unrouted(), func(each netip.Prefix) bool {
		return each.Bits() <= prefix.Bits() && each.Contains(prefix.Addr())
	}) {
		return prefix, errors.New("can be routed, so calls could arrive in plain text; use 240.0.0.0/4, 198.18.0.0/15 or " +
			"100::/64, or a private range that nothing uses")
	}
	for _, other := range prefixes("240.240.0.0/16", "255.0.0.0/8") { // see isAllocated
		if other.Bits() <= prefix.Bits() && other.Contains(prefix.Addr()) {
			return prefix, fmt.Errorf("is in %s, in which no host gets an address", other)
		}
	}
	return prefix, nil
}

// minHostBits is the smallest number of bits that the addresses of a range differ in.
const minHostBits = 12

// unrouted returns the ranges that no router of the internet forwards to, and no host itself:
// class E, those for benchmarks and documentation, private and shared addresses, and the discard
// prefix. https://www.iana.org/assignments/iana-ipv4-special-registry
// https://www.iana.org/assignments/iana-ipv6-special-registry
func unrouted() []netip.Prefix {
	return prefixes("240.0.0.0/4", "198.18.0.0/15", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
		"100::/64", "fc00::/7", "2001:db8::/32")
}

// isAllocated reports whether no host may get the address: Istio allocates the addresses of
// ServiceEntries from 240.240.0.0/16 and 2001:2::/48, and 255.0.0.0/8 has the broadcast address.
// https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/
func isAllocated(address netip.Addr) bool {
	if address.Is4() {
		b := address.As4()
		return b[0] == 255 || b[0] == 240 && b[1] == 240
	}
	b := address.As16()
	return [6]byte(b[:6]) == [6]byte{0x20, 0x01, 0, 2}
}

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for n, text := range texts {
		all[n] = netip.MustParsePrefix(text)
	}
	return all
}

// all returns the ranges, the one of new Pods first.
func (s Sinkhole) all() []netip.Prefix {
	if len(s.ranges) == 0 {
		return []netip.Prefix{s.ofNewPods()}
	}
	return s.ranges
}

// ofNewPods returns the first range.
func (s Sinkhole) ofNewPods() netip.Prefix {
	if len(s.ranges) == 0 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{240}), 4) // DefaultSinkholeRange
	}
	return s.ranges[0]
}

// String returns the ranges as a list, such as "240.0.0.0/4 and 198.18.0.0/15".
func (s Sinkhole) String() string {
	var texts []string
	for _, each := range s.all() {
		texts = append(texts, each.String())
	}
	last := len(texts) - 1
	if last == 0 {
		return texts[0]
	}
	return strings.Join(texts[:last], ", ") + " and " + texts[last]
}

// ObservedSinkhole returns the ranges as far as addresses in use show them, for a reader that
// doesn't know the chart's value. The first address is the one of new Pods. If it is in
// DefaultSinkholeRange, or missing, the first range is the default. All other addresses are ranges
// of their own.
func ObservedSinkhole(addresses []netip.Addr) Sinkhole {
	usual := netip.MustParsePrefix(DefaultSinkholeRange)
	var s Sinkhole
	for n, address := range addresses {
		if n == 0 && usual.Contains(address) {
			s.ranges = append(s.ranges, usual)
		}
		if !isAllocated(address) && !s.Contains(address) {
			s.ranges = append(s.ranges, netip.PrefixFrom(address, address.BitLen()))
		}
	}
	return s
}

// Equal reports whether s and other have the same ranges in the same order.
func (s Sinkhole) Equal(other Sinkhole) bool { return slices.Equal(s.all(), other.all()) }

// Contains reports whether address is in any of the ranges. An IPv4 address that is written as IPv6
// counts as IPv4.
func (s Sinkhole) Contains(address netip.Addr) bool {
	return slices.ContainsFunc(s.all(), func(each netip.Prefix) bool { return each.Contains(address.Unmap()) })
}

// Overlaps reports whether prefix has addresses in any of the ranges.
func (s Sinkhole) Overlaps(prefix netip.Prefix) bool {
	return slices.ContainsFunc(s.all(), prefix.Overlaps)
}

// Address returns the address of host inside the Pods of its target. It depends only on the host
// and the first range, and never changes between versions, because running Pods and the
// ServiceEntry must agree on it. A call that no sidecar intercepts is dropped, because the address
// isn't routed. Two hosts can share an address; see Catches and Apart.
func (s Sinkhole) Address(host string) netip.Addr {
	return addressIn(s.ofNewPods(), host, 0)
}

// assigns reports whether new Pods can get address.
func (s Sinkhole) assigns(address netip.Addr) bool {
	return s.ofNewPods().Contains(address) && !isAllocated(address)
}

// gives reports whether s gives the address to host in any of its ranges.
func (s Sinkhole) gives(address netip.Addr, host string) bool {
	return slices.ContainsFunc(s.all(), func(each netip.Prefix) bool {
		return each.Contains(address) && addressIn(each, host, 0) == address
	})
}

// addressIn returns an address of host in the range, without those that are allocated to others.
// Each number of skipped addresses yields another.
func addressIn(within netip.Prefix, host string, skipped int) netip.Addr {
	for attempt := 0; ; attempt++ {
		address := sinkholeCandidate(within, host, attempt)
		if isAllocated(address) {
			continue
		}
		if skipped == 0 {
			return address
		}
		skipped--
	}
}

// sinkholeCandidate returns the address of the range whose other bits are the first bits of the
// SHA-256 of host. From the second attempt on, it hashes the host, a zero byte and the number of
// the attempt.
func sinkholeCandidate(within netip.Prefix, host string, attempt int) netip.Addr {
	text := host
	if attempt > 0 {
		text += "\x00" + strconv.Itoa(attempt)
	}
	sum := sha256.Sum256([]byte(text))
	address := within.Addr().AsSlice()
	for bit := within.Bits(); bit < len(address)*8; bit++ {
		from := bit - within.Bits()
		if sum[from/8]>>(7-from%8)&1 == 1 {
			address[bit/8] |= 1 << (7 - bit%8)
		}
	}
	result, _ := netip.AddrFromSlice(address) // as long as the one of the range
	return result
}

// Apart returns t with an address at which it catches no plain calls to others, the targets of its
// namespace. It keeps its address if possible. If there is no such address among the first ones, t
// still catches calls. others may include t.
func (t Target) Apart(others []Target) Target {
	for skipped := range maxAttempts {
		if !slices.ContainsFunc(others, t.Catches) {
			break
		}
		t.Addresses = []netip.Addr{addressIn(t.Sinkhole.ofNewPods(), t.Host, skipped)}
	}
	return t
}

// AlsoAt returns t with more addresses: those that running Pods of the target have.
func (t Target) AlsoAt(addresses []netip.Addr) Target {
	current := t.Address()
	more := slices.DeleteFunc(slices.Clone(addresses), func(address netip.Addr) bool { return address == current })
	slices.SortFunc(more, netip.Addr.Compare)
	t.Addresses = append([]netip.Addr{current}, slices.Compact(more)...)
	return t
}

// Catches reports whether plain calls to other would go to t, another target of the same namespace.
// Two hosts can share a sinkhole address, by chance or on purpose. The sidecar distinguishes HTTP
// calls by Host header and TLS connections by server name. However, t's ServiceEntry creates a
// listener for the address and t's TLS port, which forwards everything that the apps of other send
// to it.
func (t Target) Catches(other Target) bool {
	return t.Host != other.Host && t.Port == other.AppPort && t.meets(other)
}

// SharesAddress reports whether plain calls to t and other arrive at the same address and port. In
// that case neither gets its own listener, because it would take the calls to both.
func (t Target) SharesAddress(other Target) bool {
	return t.Host != other.Host && t.AppPort == other.AppPort && t.meets(other)
}

// meets reports whether Pods of other may have one of t's addresses for their host. They can have
// addresses that aren't among those of other, because they started before the address was changed.
func (t Target) meets(other Target) bool {
	return slices.ContainsFunc(t.AllAddresses(), other.HasAddress)
}

// Among returns t with AddressShared set if it shares its address with any of others, the targets
// of its namespace. others may include t.
func (t Target) Among(others []Target) Target {
	known := t
	known.Addresses = t.AllAddresses() // so that they are computed once
	t.AddressShared = slices.ContainsFunc(others, known.SharesAddress)
	return t
}

// apart gives each of the targets of a Pod an address at which it catches no calls to the others
// and to the targets of the namespace that the Pod doesn't ask for.
func apart(namespace string, targets []Target, egressTargets map[string]*v1alpha1.EgressTarget, sinkhole Sinkhole) {
	var others []Target
	for _, host := range mayCatch(targets, egressTargets) {
		others = append(others, FromEgressTarget(namespace, host, egressTargets[host], sinkhole))
	}
	first := len(others)
	others = append(others, targets...)
	for n, t := range targets {
		targets[n] = t.Apart(others)
		others[first+n] = targets[n]
	}
}

// mayCatch returns the sorted hosts of EgressTargets whose ports allow that they and one of targets
// catch each other's calls, without those of targets. Nearly none do, so only these need an
// address.
func mayCatch(targets []Target, egressTargets map[string]*v1alpha1.EgressTarget) []string {
	var hosts []string
	for host, egressTarget := range egressTargets {
		port, appPort := cmp.Or(egressTarget.Spec.Port, DefaultPort), cmp.Or(egressTarget.Spec.AppPort, DefaultAppPort)
		caught := func(t Target) bool { return t.Port == appPort || t.AppPort == port }
		own := func(t Target) bool { return t.Host == host }
		if slices.ContainsFunc(targets, caught) && !slices.ContainsFunc(targets, own) {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts
}
