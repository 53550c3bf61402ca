package egress

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxHostLength  = 253
	maxLabelLength = 63
)

// hostRule describes a valid host. All messages use the same wording.
const hostRule = "a host has at least two labels of letters, digits and inner hyphens, for example external.system.com"

// NormalizeHost returns host in lowercase without a trailing dot. The error states what is wrong
// and how to fix it. A host has at least two labels of letters, digits and inner hyphens. Each
// label has at most 63 characters and the host at most 253 (RFC 1035 §2.3.4, RFC 1123 §2.1).
// Wildcards, IP addresses, schemes, paths and non-ASCII characters are rejected.
func NormalizeHost(host string) (string, error) {
	if host == "" {
		return "", fmt.Errorf("is empty: %s", hostRule)
	}
	if scheme, rest, ok := strings.Cut(host, "://"); ok {
		return "", fmt.Errorf("has a scheme, %s; write the host alone, as in %s", quotedExcerpt(scheme),
			quotedExcerpt(firstSegment(rest)))
	}
	if strings.Contains(host, "/") {
		if first := firstSegment(host); strings.Trim(first, ".") != "" {
			return "", fmt.Errorf("has a path; write the host alone, as in %s", quotedExcerpt(first))
		}
		return "", fmt.Errorf("has a path; write the host alone: %s", hostRule)
	}
	if strings.Contains(host, "*") {
		return "", fmt.Errorf("is a wildcard; a target is one host, so list each host: %s", hostRule)
	}
	if address, is := ipAddress(host); is {
		return "", fmt.Errorf("is the IP address %s; a certificate is checked against a name: %s", address, hostRule)
	}
	if !isASCII(host) {
		return "", NonASCII(host)
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if len(host) > maxHostLength {
		return "", fmt.Errorf("is %d characters long; a host has at most %d (RFC 1035)", len(host), maxHostLength)
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	if len(labels) < 2 {
		return "", fmt.Errorf("has only one label; %s", hostRule)
	}
	if isNumber(labels[len(labels)-1]) {
		return "", fmt.Errorf("ends in a number, as only an IP address does; %s", hostRule)
	}
	if IsMeshHost(host) {
		return "", fmt.Errorf("is below %s, which is reserved for generated objects; write the partner's own host",
			MeshDomain)
	}
	return host, nil
}

// NormalizeAuthority returns the value of a Host header: a host, as NormalizeHost returns it, which
// can have a port from 1 to 65535.
func NormalizeAuthority(authority string) (string, error) {
	host, port, hasPort := strings.Cut(authority, ":")
	host, err := NormalizeHost(host)
	if err != nil || !hasPort {
		return host, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return "", fmt.Errorf("has the port %s; a port is a number from 1 to 65535", quotedExcerpt(port))
	}
	return fmt.Sprintf("%s:%d", host, number), nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return fmt.Errorf("has an empty label (two dots in a row, or a leading dot); %s", hostRule)
	case len(label) > maxLabelLength:
		return fmt.Errorf("has a label of %d characters; a label has at most %d (RFC 1035)", len(label), maxLabelLength)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("has the label %q, which starts or ends with a hyphen; %s", label, hostRule)
	}
	for _, c := range []byte(label) {
		if !isLabelByte(c) {
			return fmt.Errorf("has the character %q, which is not allowed in a host name; %s", c, hostRule)
		}
	}
	return nil
}

// ipAddress parses an address in the form that URLs use: an IPv6 address can be in brackets and
// have a port.
func ipAddress(host string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(host); err == nil {
		return withPort.Addr(), true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return address, err == nil
}

// isNumber reports whether resolvers treat a name whose last label is label as an IP address. They
// accept decimal and hexadecimal numbers, as inet_aton does.
func isNumber(label string) bool {
	if digits, hexadecimal := strings.CutPrefix(label, "0x"); hexadecimal {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func isLabelByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
}

func isASCII(s string) bool {
	for _, c := range []byte(s) {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// NonASCII returns the error for a host with non-ASCII characters. It has the punycode form, if
// there is one, and continues a sentence about the host.
func NonASCII(host string) error {
	punycode, err := idna.Lookup.ToASCII(host)
	if err != nil || !utf8.ValidString(host) {
		return fmt.Errorf("has characters that are not allowed in a host name; %s", hostRule)
	}
	return fmt.Errorf("has non-ASCII characters; write its punycode form %s", quotedExcerpt(punycode))
}

func firstSegment(s string) string {
	segment, _, _ := strings.Cut(s, "/")
	return segment
}
