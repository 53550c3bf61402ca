// Package relay passes TCP connections on as they are, as a proxy in front of a partner does.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// Silence in place of a destination takes connections and never answers.
const Silence = "silence"

// Run listens at each address and passes its connections on, until ctx ends. ways are pairs of a
// listening address and a destination, as in :9443=external.system.com:443. After the end, open
// connections are passed on until both ends close them.
func Run(ctx context.Context, ways []string) error {
	if len(ways) == 0 {
		return errors.New("no way: write for example --way :9443=external.system.com:443")
	}
	var open sync.WaitGroup
	defer open.Wait()
	for _, way := range ways {
		at, to, ok := strings.Cut(way, "=")
		if !ok {
			return fmt.Errorf("way %q: write ADDRESS=HOST:PORT, as in :9443=external.system.com:443", way)
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
		if err != nil {
			return err
		}
		defer func() { _ = listener.Close() }()
		go accept(listener, to, &open)
	}
	<-ctx.Done()
	return nil
}

func accept(listener net.Listener, to string, open *sync.WaitGroup) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		open.Go(func() { pass(connection, to) })
	}
}

// pass connects to the destination, and copies in both directions until both have ended.
func pass(from net.Conn, to string) {
	defer func() { _ = from.Close() }()
	if to == Silence {
		_, _ = io.Copy(io.Discard, from)
		return
	}
	destination, err := (&net.Dialer{}).Dial("tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = destination.Close() }()
	var both sync.WaitGroup
	both.Go(func() { half(destination, from) })
	both.Go(func() { half(from, destination) })
	both.Wait()
}

// half copies what one side sends, and passes its end on.
func half(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if closer, ok := to.(interface{ CloseWrite() error }); ok {
		_ = closer.CloseWrite()
	}
}
