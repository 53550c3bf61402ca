package installation

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// How a cluster notices that a Pod may be called, or may not any more.
const (
	// relist is how often the kubelet looks which containers run: one that was killed counts as ready
	// until then. https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/kubelet.go
	// (genericPlegRelistPeriod).
	relist = time.Second
	// propagation is how long it takes from a change of a Pod to the node of the API server:
	// kube-proxy writes its rules at most once a second.
	// https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/proxy/apis/config/v1alpha1/defaults.go
	// (MinSyncPeriod).
	propagation = time.Second
)

// service stands for the chart's Service, and for the kubelet and the kube-proxy behind it: it
// hands each new connection to one of its endpoints, at random, and never breaks one that is open.
// The endpoints follow the readiness of the replicas as late as a cluster's do, so a connection may
// be handed to a replica that is gone; it is reset then.
type service struct {
	listener net.Listener
	accepted atomic.Int64
	reset    atomic.Int64
	end      context.CancelFunc
	ended    context.Context

	mutex     sync.Mutex
	endpoints []endpoint
	open      map[net.Conn]struct{}
	done      sync.WaitGroup
}

// endpoint is a webhook that the Service knows.
type endpoint struct {
	pod *pod
	// address is where the webhook answers admission requests.
	address string
}

func newService() (*service, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &service{listener: listener, open: map[net.Conn]struct{}{}}
	s.ended, s.end = context.WithCancel(context.Background())
	s.done.Go(s.serve)
	return s, nil
}

func (s *service) address() string { return s.listener.Addr().String() }

// close ends all connections and waits for that.
func (s *service) close() error {
	s.end()
	err := s.listener.Close()
	s.mutex.Lock()
	for connection := range s.open {
		err = errors.Join(err, connection.Close())
	}
	s.mutex.Unlock()
	s.done.Wait()
	return err
}

// follow is the kubelet of a Pod that was started: it asks its readiness probe until the Pod is
// deleted, and adds its endpoint or takes it out.
func (s *service) follow(ctx context.Context, followed endpoint, probe *corev1.Probe) {
	pod := followed.pod
	s.done.Go(func() {
		var late sync.WaitGroup
		defer late.Wait()
		say := func(ready bool) {
			if pod.ready.Swap(ready) == ready {
				return
			}
			late.Go(func() {
				s.wait(propagation, nil)
				s.set(followed, pod.ready.Load())
			})
		}
		defer say(false)
		var probed time.Time
		for {
			if !pod.process.Running() {
				say(false)
			} else if time.Since(probed) >= time.Duration(probe.PeriodSeconds)*time.Second {
				probed = time.Now()
				ctx, cancel := context.WithTimeout(ctx, time.Duration(probe.TimeoutSeconds)*time.Second)
				say(pod.owner.ready(ctx) == nil)
				cancel()
			}
			if !s.wait(relist, pod.deleted) {
				return
			}
		}
	})
}

// wait returns false when it was cut short, by interrupted or because all ends.
func (s *service) wait(duration time.Duration, interrupted <-chan struct{}) bool {
	select {
	case <-s.ended.Done():
		return false
	case <-interrupted:
		return false
	case <-time.After(duration):
		return true
	}
}

func (s *service) set(changed endpoint, ready bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.endpoints = slices.DeleteFunc(s.endpoints, func(other endpoint) bool { return other == changed })
	if ready {
		s.endpoints = append(s.endpoints, changed)
	}
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
	s.accepted.Add(1)
	refuse := func() {
		s.reset.Add(1)
		_ = client.(*net.TCPConn).SetLinger(0) // what follows is a reset
	}
	address := s.pick()
	if address == "" {
		refuse()
		return
	}
	backend, err := net.Dial("tcp", address)
	if err != nil {
		refuse()
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

// has reports whether a process is an endpoint.
func (s *service) has(process *Process) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.ContainsFunc(s.endpoints, func(endpoint endpoint) bool { return endpoint.pod.owner == process })
}

// pick returns the address of a random endpoint, as kube-proxy takes it; empty when there is none.
func (s *service) pick() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.endpoints) == 0 {
		return ""
	}
	return s.endpoints[rand.IntN(len(s.endpoints))].address
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
