// Package nameserver gives tests a DNS server of their own, so that names of partners lead to this
// machine.
package nameserver

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Resolver asks a DNS server that knows records, by absolute names, and answers nothing to a name
// whose records are empty.
func Resolver(tb testing.TB, records map[string][]string) *net.Resolver {
	tb.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = server.Close() })
	go func() {
		packet := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if message.Unpack(packet[:n]) != nil || len(message.Questions) != 1 {
				continue
			}
			if packed, err := answer(&message, records).Pack(); err == nil {
				_, _ = server.WriteTo(packed, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

func answer(message *dnsmessage.Message, records map[string][]string) *dnsmessage.Message {
	question := message.Questions[0]
	message.Response, message.Authoritative, message.Additionals = true, true, nil
	addresses, known := records[question.Name.String()]
	switch {
	case !known:
		message.RCode = dnsmessage.RCodeNameError
	case addresses == nil:
		message.RCode = dnsmessage.RCodeServerFailure
	}
	for _, text := range addresses {
		address := netip.MustParseAddr(text)
		header := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1}
		switch {
		case question.Type == dnsmessage.TypeA && address.Is4():
			message.Answers = append(message.Answers,
				dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: address.As4()}})
		case question.Type == dnsmessage.TypeAAAA && address.Is6():
			message.Answers = append(message.Answers,
				dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}})
		}
	}
	return message
}
