package main

import (
	"context"
	"fmt"
	"strings"

	"mtls.egress/webhook/test/actor/partner"
)

// partnerSaw prints what came to the partner of a path, or from a Pod, and returns it.
func (d *demo) partnerSaw(ctx context.Context, filter partner.Filter) ([]partner.Connection, error) {
	connections, err := d.scene.Partner().Connections(ctx, filter)
	if err != nil {
		return nil, err
	}
	if len(connections) == 0 {
		d.says("partner", "saw nothing: no connection, no byte")
		return nil, nil
	}
	// One is like the other; the last is that of the call that was shown.
	d.says("partner", description(connections[len(connections)-1], filter.Path)...)
	return connections, nil
}

// description says in words what a connection was.
func description(c partner.Connection, path string) []string {
	if c.Kind == partner.KindPlain {
		first, _, _ := strings.Cut(string(c.Plaintext), "\r\n")
		return []string{fmt.Sprintf("port %d, PLAIN TEXT, %d bytes, no client certificate", c.Port, c.PlaintextBytes), first}
	}
	if c.Kind == partner.KindEmpty {
		return []string{fmt.Sprintf("port %d, a connection without a byte", c.Port)}
	}
	if c.HandshakeError != "" {
		return []string{
			fmt.Sprintf("port %d, TLS for the name %s, ended in the handshake by the sidecar:", c.Port, c.SNI), c.HandshakeError,
			fmt.Sprintf("%d requests, 0 bytes in plain text", c.Requests),
		}
	}
	lines := []string{fmt.Sprintf("port %d, %s for the name %s", c.Port, c.TLSVersion, c.SNI), "no client certificate"}
	if c.Client != nil {
		lines[1] = fmt.Sprintf("client certificate %s, issued by %s", c.Client.Subject, c.Client.Issuer)
	}
	for _, request := range c.FirstRequests {
		if strings.HasPrefix(request.Path, path) {
			return append(lines,
				fmt.Sprintf("%s %s %s, 0 bytes in plain text", request.Method, request.Path, request.HTTPVersion))
		}
	}
	return lines
}
