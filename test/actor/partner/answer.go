package partner

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

type connKey struct{}

// withConn lets a handler find the connection of its request.
func withConn(ctx context.Context, connection net.Conn) context.Context {
	if secured, ok := connection.(*tls.Conn); ok {
		connection = secured.NetConn()
	}
	return context.WithValue(ctx, connKey{}, connection)
}

// requestOf is the record of a request, without what belongs to its body.
func requestOf(r *http.Request) Request {
	return Request{
		At: time.Now(), Method: r.Method, Host: r.Host, Path: r.URL.RequestURI(), HTTPVersion: r.Proto, Headers: r.Header,
	}
}

// note records a request and reads its body.
func (s *Server) note(e *entry, r *http.Request) (length int64, err error) {
	index := s.book.request(e, requestOf(r))
	sum := sha256.New()
	length, err = io.Copy(sum, r.Body)
	s.book.body(e, index, length, hex.EncodeToString(sum.Sum(nil)))
	return length, err
}

// answer serves every path of the partner.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		http.Error(w, "the connection has no record", http.StatusInternalServerError)
		return
	}
	length, err := s.note(c.entry, r)
	if err != nil {
		http.Error(w, "read the body: "+err.Error(), http.StatusBadRequest)
		return
	}
	asked, err := faultOf(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !asked.wait(r.Context()) {
		return
	}
	switch {
	case asked.reset:
		c.reset()
		return
	case asked.closeBefore:
		_ = c.Close()
		return
	case asked.events:
		stream(w, r)
		return
	case asked.bytes >= 0:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.FormatInt(asked.bytes, 10))
		w.WriteHeader(asked.status)
		_, _ = io.CopyN(w, filler{}, asked.bytes)
		return
	}
	writeJSON(w, asked.status, Answer{
		Partner: s.name, Connection: c.entry.connection.ID, Plain: r.TLS == nil, Client: s.book.client(c.entry),
		Method: r.Method, Path: r.URL.RequestURI(), Host: r.Host, HTTPVersion: r.Proto, Headers: r.Header, BodyLength: length,
	})
}

// writeJSON answers with one line of JSON. An error means that the caller is gone.
func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// fault is what a request asks to go wrong.
type fault struct {
	status             int
	delay              time.Duration
	reset, closeBefore bool
	// events asks for server-sent events until the caller leaves.
	events bool
	// bytes is the length of the body, negative for the usual one.
	bytes int64
}

// faultOf reads the parameters of a request; others than these are the caller's own business.
//
//	status=503    the status, 200 to 599
//	delay=2s      wait before anything else
//	close=before  close the connection instead of answering
//	reset=1       the same with a TCP reset
//	bytes=1000    a body of so many bytes
//	events=1      server-sent events, one every ten milliseconds, until the caller leaves
func faultOf(query url.Values) (fault, error) {
	asked := fault{status: http.StatusOK, bytes: -1}
	var problems []error
	parse := func(name string, read func(value string) error) {
		if !query.Has(name) {
			return
		}
		if err := read(query.Get(name)); err != nil {
			problems = append(problems, fmt.Errorf("parameter %s=%s: %w", name, query.Get(name), err))
		}
	}
	parse("status", func(value string) (err error) {
		asked.status, err = strconv.Atoi(value)
		if err == nil && (asked.status < 200 || asked.status > 599) {
			err = errors.New("it must be from 200 to 599")
		}
		return err
	})
	parse("delay", func(value string) (err error) {
		asked.delay, err = time.ParseDuration(value)
		return err
	})
	parse("close", func(value string) error {
		asked.closeBefore = value == "before"
		if !asked.closeBefore {
			return errors.New("it must be before")
		}
		return nil
	})
	parse("reset", func(value string) (err error) {
		asked.reset, err = strconv.ParseBool(value)
		return err
	})
	parse("events", func(value string) (err error) {
		asked.events, err = strconv.ParseBool(value)
		return err
	})
	parse("bytes", func(value string) (err error) {
		asked.bytes, err = strconv.ParseInt(value, 10, 64)
		if err == nil && asked.bytes < 0 {
			err = errors.New("it must not be negative")
		}
		return err
	})
	return asked, errors.Join(problems...)
}

// wait is the delay; false says that the caller gave up.
func (f fault) wait(ctx context.Context) bool {
	if f.delay <= 0 {
		return true
	}
	timer := time.NewTimer(f.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// filler is an endless body.
type filler struct{}

// Read fills p.
func (filler) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
