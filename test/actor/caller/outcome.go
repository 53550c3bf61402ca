package caller

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
)

// Outcome says what came of a call: the HTTP status as "200", one of the constants, or "other:" and
// the error's text.
type Outcome string

// Why a call came to nothing.
const (
	// OutcomeTimeout: the call's time was over before the whole answer was there.
	OutcomeTimeout Outcome = "timeout"
	// OutcomeRefused: nobody listens there (ECONNREFUSED).
	OutcomeRefused Outcome = "refused"
	// OutcomeNoRoute: no way leads there (EHOSTUNREACH, ENETUNREACH).
	OutcomeNoRoute Outcome = "no-route"
	// OutcomeReset: the other side reset the connection (ECONNRESET, EPIPE).
	OutcomeReset Outcome = "reset"
	// OutcomeEOF: the other side closed the connection before the whole answer was there.
	OutcomeEOF Outcome = "eof"
	// OutcomeDNS: the name led to no address, also when the time was over meanwhile.
	OutcomeDNS Outcome = "dns"
	// OutcomeTLS: the handshake failed, for whatever reason, or a TLS call was answered in plain.
	OutcomeTLS Outcome = "tls"

	outcomeOK Outcome = "200"
)

// Success says that the answer came and has a status from 200 to 299.
func (o Outcome) Success() bool {
	return len(o) == 3 && o[0] == '2'
}

// outcomeOf classifies an answer's status or the error in its place.
func outcomeOf(status int, err error) Outcome {
	if err == nil {
		return Outcome(strconv.Itoa(status))
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return OutcomeDNS
	}
	if isTLS(err) {
		return OutcomeTLS
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return OutcomeRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return OutcomeNoRoute
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return OutcomeReset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed): // Closed here after the other side, while the call was being written.
		return OutcomeEOF
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return OutcomeTimeout
	}
	// net/http does not export this error:
	// https://github.com/golang/go/blob/go1.26.0/src/net/http/transport.go
	if strings.Contains(err.Error(), "server closed idle connection") {
		return OutcomeEOF
	}
	return Outcome("other:" + err.Error())
}

// isTLS recognizes what crypto/tls refuses, what the other side refuses by an alert, and a plain
// answer to a TLS call.
func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	// An alert that arrives or is sent is wrapped so; the alert's own type is not exported.
	if operation, ok := errors.AsType[*net.OpError](err); ok &&
		(operation.Op == "remote error" || operation.Op == "local error") {
		return true
	}
	return strings.Contains(err.Error(), "tls: ")
}
