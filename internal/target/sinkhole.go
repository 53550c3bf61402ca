package target

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strconv"
)

// SinkholeAddress returns the address that host's name has inside the Pods of its target. It is a function of the host
// alone and never changes between versions, as running Pods and the ServiceEntry have to agree on it. It lies in
// 240.0.0.0/4, which RFC 1112 §4 reserves and nobody routes, so a call that no sidecar takes over ends nowhere. Two parts of
// that range are left out: 240.240.0.0/16, from which Istio allocates addresses to ServiceEntries, and 255.0.0.0/8, which
// holds the broadcast address. Two hosts may share an address; see Collision.
func SinkholeAddress(host string) netip.Addr {
	for attempt := 0; ; attempt++ {
		if address := sinkholeCandidate(host, attempt); !reserved(address) {
			return address
		}
	}
}

// sinkholeCandidate is the attempt'th address of host: the first 28 bits of SHA-256 over the host, then over the host, a
// zero byte and the number of the attempt.
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

// Collision returns the first of others, in their order, that has the same sinkhole address as host but is another host. A
// shared address would lead the https calls to one of them to the other.
func Collision(host string, others []string) (string, bool) {
	address := SinkholeAddress(host)
	for _, other := range others {
		if other != host && SinkholeAddress(other) == address {
			return other, true
		}
	}
	return "", false
}
