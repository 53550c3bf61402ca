package installation

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// service stands for the chart's Service: it hands each new connection to the next replica that is ready, and never breaks one
// that is open.
type service struct {
	listener net.Listener
	replicas []*Replica

	mutex sync.Mutex
	turn  int
	open  map[net.Conn]struct{}
	done  sync.WaitGroup
}

func newService(replicas []*Replica) (*service, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &service{listener: listener, replicas: replicas, open: map[net.Conn]struct{}{}}
	s.done.Go(s.serve)
	return s, nil
}

func (s *service) address() string { return s.listener.Addr().String() }

// close ends all connections and waits for that.
func (s *service) close() error {
	err := s.listener.Close()
	s.mutex.Lock()
	for connection := range s.open {
		err = errors.Join(err, connection.Close())
	}
	s.mutex.Unlock()
	s.done.Wait()
	return err
}

func (s *service) serve() {
	for {
		client, err := s.listener.Accept()
		if err != nil { // closed
			return
		}
		s.done.Go(func() { s.connect(client) })
	}
}

func (s *service) connect(client net.Conn) {
	defer func() { _ = client.Close() }() // either side may have ended it
	replica := s.next()
	if replica == nil { // as a Service without endpoints: the connection is refused
		return
	}
	backend, err := net.Dial("tcp", replica.webhookAddress)
	if err != nil {
		return
	}
	defer func() { _ = backend.Close() }()
	s.track(client, backend)
	defer s.forget(client, backend)
	var both sync.WaitGroup
	for _, way := range []struct{ to, from net.Conn }{{backend, client}, {client, backend}} {
		both.Go(func() {
			_, _ = io.Copy(way.to, way.from) // either side may end the connection at any time
			_ = way.to.(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}

// next is the next replica in turn that is ready; nil when none is.
func (s *service) next() *Replica {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for range s.replicas {
		replica := s.replicas[s.turn%len(s.replicas)]
		s.turn++
		if replica.ready(ctx) == nil {
			return replica
		}
	}
	return nil
}

func (s *service) track(connections ...net.Conn) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, connection := range connections {
		s.open[connection] = struct{}{}
	}
}

func (s *service) forget(connections ...net.Conn) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, connection := range connections {
		delete(s.open, connection)
	}
}
