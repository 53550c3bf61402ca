package egress

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
)

// SinkholeAddress returns the address of host inside the Pods of its target. It depends only on the
// host and never changes between versions, because running Pods and the ServiceEntry must agree on
// it. The address is in 240.0.0.0/4, which RFC 1112 §4 reserves and which is not routed. A call
// that no sidecar intercepts is therefore dropped. Two parts of the range are excluded:
// 240.240.0.0/16, from which Istio allocates addresses to ServiceEntries, and 255.0.0.0/8, which
// contains the broadcast address. Two hosts can share an address; see Catches.
func SinkholeAddress(host string) netip.Addr {
	for attempt := 0; ; attempt++ {
		if address := sinkholeCandidate(host, attempt); !reserved(address) {
			return address
		}
	}
}

// sinkholeCandidate returns the first 28 bits of the SHA-256 of host as an address. From the second
// attempt on, it hashes the host, a zero byte and the number of the attempt.
func sinkholeCandidate(host string, attempt int) netip.Addr {
	text := host
	if attempt > 0 {
		text += "\x00" + strconv.Itoa(attempt)
	}
	sum := sha256.Sum256([]byte(text))
	var address [4]byte
	binary.BigEndian.PutUint32(address[:], 0xF0000000|binary.BigEndian.Uint32(sum[:4])>>4)
	return netip.AddrFrom4(address)
}

func reserved(address netip.Addr) bool {
	b := address.As4()
	return b[0] == 255 || b[0] == 240 && b[1] == 240
}

// Catches reports whether plain calls to other would go to t, another target of the same namespace.
// Two hosts can share a sinkhole address, by chance or on purpose. The sidecar distinguishes HTTP
// calls by Host header and TLS connections by server name. However, t's ServiceEntry creates a
// listener for the address and t's TLS port, which forwards everything that the apps of other send
// to it.
func (t Target) Catches(other Target) bool {
	return t.Host != other.Host && t.Port == other.AppPort && t.Address() == other.Address()
}

// SharesAddress reports whether plain calls to t and other arrive at the same address and port. In
// that case neither gets its own listener, because it would take the calls to both.
func (t Target) SharesAddress(other Target) bool {
	return t.Host != other.Host && t.AppPort == other.AppPort && t.Address() == other.Address()
}

// Among returns t with AddressShared set if it shares its address with any of others, the targets
// of its namespace. others may include t.
func (t Target) Among(others []Target) Target {
	t.AddressShared = slices.ContainsFunc(others, t.SharesAddress)
	return t
}

// checkCatches rejects targets that catch calls to another target of the Pod or the namespace, or
// whose calls another target catches.
func checkCatches(
	namespace string,
	targets []Target,
	egressTargets map[string]*v1alpha1.EgressTarget,
	path *field.Path,
) field.ErrorList {
	sharing := map[netip.Addr][]Target{}
	for _, host := range mayCatch(targets, egressTargets) {
		other := FromEgressTarget(namespace, host, egressTargets[host])
		address := other.Address()
		sharing[address] = append(sharing[address], other)
	}
	var errs field.ErrorList
	for _, t := range targets {
		for _, other := range sharing[t.Address()] {
			switch {
			case t.Catches(other):
				errs = append(errs, catches(path, t, t, other))
			case other.Catches(t):
				errs = append(errs, catches(path, t, other, t))
			}
		}
		sharing[t.Address()] = append(sharing[t.Address()], t)
	}
	return errs
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

func catches(path *field.Path, refused, catching, caught Target) *field.Error {
	return Invalid(path, refused.Host, fmt.Sprintf(
		"%s and %s have the same sinkhole address %s, and the TLS port of the first, %d, is the port that apps call "+
			"at the second, so plain calls to it could go to the first; "+
			"change spec.port of the EgressTarget %[1]s or spec.appPort of the EgressTarget %[2]s, or call one of "+
			"the two from another namespace", catching.Host, caught.Host, caught.Address(), catching.Port))
}
