package verify

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

// Reason is the result of a handshake in one word. It is a valid reason of a Kubernetes condition.
type Reason string

// The reasons, the most important first. A problem must be fixed before the next one matters.
const (
	// ProbeInterrupted: the caller canceled the probe. This says nothing about the partner.
	ProbeInterrupted Reason = "ProbeInterrupted"
	// SystemCANotFound: the system's CAs are to be trusted, but the system has none.
	SystemCANotFound Reason = "SystemCANotFound"
	// NameNotResolved: DNS has no address for the host, or no answer.
	NameNotResolved Reason = "NameNotResolved"
	// AddressRefused: the host resolves to an address that the prober refuses, for example a loopback
	// address.
	AddressRefused Reason = "AddressRefused"
	// Unreachable: the connection failed.
	Unreachable Reason = "Unreachable"
	// ProbeTimedOut: the connection or the handshake took too long.
	ProbeTimedOut Reason = "ProbeTimedOut"
	// NotTLS: the server doesn't speak TLS.
	NotTLS Reason = "NotTLS"
	// VersionTooOld: the server speaks neither TLS 1.2 nor 1.3.
	VersionTooOld Reason = "VersionTooOld"
	// ServerNameUnknown: the server refuses the SNI.
	ServerNameUnknown Reason = "ServerNameUnknown"
	// ProtocolNotSpoken: the server doesn't support the offered HTTP version.
	ProtocolNotSpoken Reason = "ProtocolNotSpoken"
	// ConnectionClosed: the server closed the connection without an alert.
	ConnectionClosed Reason = "ConnectionClosed"
	// HandshakeFailed: the handshake failed for another reason. See the message.
	HandshakeFailed Reason = "HandshakeFailed"
	// ServerNotTrusted: the server's certificate doesn't chain to the expected CA.
	ServerNotTrusted Reason = "ServerNotTrusted"
	// ServerNameMismatch: the server's certificate has none of the expected names.
	ServerNameMismatch Reason = "ServerNameMismatch"
	// ServerCertificateExpired: the server's certificate has expired.
	ServerCertificateExpired Reason = "ServerCertificateExpired"
	// ServerCertificateNotYetValid: the server's certificate is not valid yet.
	ServerCertificateNotYetValid Reason = "ServerCertificateNotYetValid"
	// NotForServerAuth: the server's certificate doesn't allow server authentication.
	NotForServerAuth Reason = "NotForServerAuth"
	// ClientCertificateNotRequested: the server didn't request a client certificate in the handshake.
	ClientCertificateNotRequested Reason = "ClientCertificateNotRequested"
	// KeyTypeNotAccepted: the server accepts no signature scheme of our key.
	KeyTypeNotAccepted Reason = "KeyTypeNotAccepted"
	// IssuerNotAccepted: the server refused the certificate, and doesn't name any of its issuers as an
	// acceptable CA.
	IssuerNotAccepted Reason = "IssuerNotAccepted"
	// ClientCertificateRefused: the server refused the certificate.
	ClientCertificateRefused Reason = "ClientCertificateRefused"
	// IssuerNotNamed: the server accepted the certificate in the handshake, but doesn't name any of
	// its issuers as an acceptable CA. It may reject the first request, so this proves nothing.
	IssuerNotNamed Reason = "IssuerNotNamed"
	// Verified: the server requested a certificate and accepted ours.
	Verified Reason = "Verified"
)

// Answered reports whether the partner answered in TLS. If it didn't, only the network of the
// prober may be the reason.
func (r Reason) Answered() bool { return rank(r) > rank(ProbeTimedOut) }

func rank(reason Reason) int {
	return slices.Index([]Reason{
		ProbeInterrupted, SystemCANotFound,
		NameNotResolved, AddressRefused, Unreachable, ProbeTimedOut,
		NotTLS, VersionTooOld, ServerNameUnknown, ProtocolNotSpoken, ConnectionClosed, HandshakeFailed,
		ServerNotTrusted, ServerNameMismatch, ServerCertificateExpired, ServerCertificateNotYetValid, NotForServerAuth,
		ClientCertificateNotRequested, KeyTypeNotAccepted, IssuerNotAccepted, ClientCertificateRefused,
		IssuerNotNamed, Verified,
	}, reason)
}

// Failure is the reason for an incomplete handshake.
type Failure string

// The failures.
const (
	Interrupted  Failure = "interrupted"
	CANotFound   Failure = "CA not found"
	NotResolved  Failure = "not resolved"
	Refused      Failure = "address refused"
	NotConnected Failure = "not connected"
	TimedOut     Failure = "timed out"
	PlainText    Failure = "plain text"
	Alerted      Failure = "alert"
	Closed       Failure = "closed"
	Broken       Failure = "broken"
)

// Answer is the sign by which a server accepted a client certificate.
type Answer string

// The answers.
const (
	// Finished: the server finished a TLS 1.2 handshake.
	Finished Answer = "finished"
	// Ticket: the server sent a TLS 1.3 session ticket.
	Ticket Answer = "session ticket"
	// Silence: a TLS 1.3 server did not refuse in time.
	Silence Answer = "silence"
)

// Problem is one problem of a partner.
type Problem struct {
	Reason Reason
	// Message tells users what is wrong, where, and how to fix it, on one line.
	Message string
}

// Observation is the record of a probe. It contains no secrets. Texts from the partner are
// unmodified. Only messages are safe to print.
type Observation struct {
	// Host, Port, ServerName and HTTPVersion are copied from the request.
	Host        string
	Port        int32
	ServerName  string
	HTTPVersion v1alpha1.HTTPVersion
	// Timeout, Patience and By are copied from the prober.
	Timeout, Patience time.Duration
	By                string
	// Address is the address and port of the connection, or "" without a connection.
	Address string
	// Failure is empty for a complete handshake. Detail may have more information.
	Failure Failure
	Detail  string
	// Alert is the server's alert if Failure is Alerted.
	Alert tls.AlertError
	// Complete reports whether the client's handshake completed.
	Complete bool
	// Version is the TLS version, or 0 without an agreement. Protocol is the ALPN protocol, or "" if
	// the server chose none.
	Version  uint16
	Protocol string
	// Server is the server's certificate, or nil if it sent none. Matched is the expected name that it
	// has, or "".
	Server  *Server
	Matched string
	// OursNotAfter is the expiry of our certificate, in UTC. OursDaysLeft are the whole days until
	// then.
	OursNotAfter time.Time
	OursDaysLeft int
	// Problems are all problems of the server's certificate.
	Problems []Problem
	// Asked is the server's request for a client certificate, or nil if there was none.
	Asked *Asked
	// Presented reports whether the certificate was sent.
	Presented bool
	// Answer is empty unless the server accepted the certificate.
	Answer Answer
}

// Server is a server's certificate.
type Server struct {
	// Subject and Issuer are RFC 4514 strings.
	Subject, Issuer string
	// Names are all subject alternative names.
	Names []string
	// NotBefore and NotAfter are the bounds of the validity, inclusive, in UTC.
	NotBefore, NotAfter time.Time
	// DaysLeft are the whole days until NotAfter. Negative after that.
	DaysLeft int
	// Chain are the certificates that the server sends, the leaf first.
	Chain []*x509.Certificate
}

// Asked is a server's request for a client certificate.
type Asked struct {
	// AcceptedCAs are the names of acceptable CAs, as RFC 4514 strings. Empty if the server names
	// none.
	AcceptedCAs []string
	// Issuers are the issuers of our certificates in the same form, the leaf's first.
	Issuers []string
	// SignatureSchemes are the schemes that the server accepts.
	SignatureSchemes []tls.SignatureScheme
	// KeyAccepted reports whether our key supports one of these.
	KeyAccepted bool
}

// issuer returns the first of our issuers that the server names. ok is false if it names none of
// them.
func (a *Asked) issuer() (name string, ok bool) {
	at := slices.IndexFunc(a.Issuers, func(name string) bool { return slices.Contains(a.AcceptedCAs, name) })
	if at < 0 {
		return "", false
	}
	return a.Issuers[at], true
}

// namesOnlyOthers reports whether the server names CAs, but none of our issuers.
func (a *Asked) namesOnlyOthers() bool {
	_, ok := a.issuer()
	return len(a.AcceptedCAs) > 0 && !ok
}

// cas describes whether our issuers are among the CAs that the server names.
func (a *Asked) cas() string {
	name, ok := a.issuer()
	switch {
	case len(a.AcceptedCAs) == 0:
		return "it names no acceptable CAs"
	case ok && len(a.AcceptedCAs) == 1:
		return fmt.Sprintf("our issuer %s is the only CA that it names", credential.Quote(name))
	case ok:
		return fmt.Sprintf("our issuer %s is among the %d CAs that it names", credential.Quote(name), len(a.AcceptedCAs))
	default:
		return fmt.Sprintf("our issuer (%s) is not among the CAs that it names (%s)",
			list(a.Issuers, "unknown"), list(a.AcceptedCAs, "none"))
	}
}

// Outcome is the result of a probe.
type Outcome struct {
	// Verified reports whether the partner requested the certificate and accepted it, as far as a
	// handshake can show. Servers such as nginx check the certificate only with the first request, and
	// accept any in the handshake. For [IssuerNotNamed], it is false too.
	Verified bool
	// Reason is the reason of the most important problem, else [Verified] or [IssuerNotNamed].
	Reason Reason
	// Message is one line: all problems and how to fix them, or the evidence for success.
	Message string
}

// Evaluate returns the outcome of an observation.
func Evaluate(o Observation) Outcome {
	problems := slices.Concat(o.failures(), o.Problems, o.objections())
	if len(problems) == 0 {
		return o.success()
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(rank(a.Reason), rank(b.Reason)) })
	var messages []string
	for _, problem := range problems {
		messages = append(messages, problem.Message)
	}
	return Outcome{false, problems[0].Reason, strings.Join(append(messages, o.remarks()...), "; ")}
}

// success returns the outcome of a handshake without problems.
func (o Observation) success() Outcome {
	reason := Verified
	accepted := "accepted ours"
	if o.Answer == Silence {
		accepted = fmt.Sprintf("did not refuse ours within %s", o.Patience)
	}
	cas := o.Asked.cas()
	if o.Asked.namesOnlyOthers() {
		reason = IssuerNotNamed
		cas += ", but it accepts ours: servers such as nginx do, and reject the first request instead, so ask the partner " +
			"whether it trusts our issuer"
	}
	return Outcome{
		reason == Verified,
		reason,
		fmt.Sprintf(
			"the server at %s asked for a client certificate and %s; its own is for %s and chains to the expected CA; %s; %s",
			o.Address, accepted, credential.Quote(o.Matched), o.facts(), cas),
	}
}

// facts describes the TLS version and the expiry of both certificates.
func (o Observation) facts() string {
	return fmt.Sprintf("%s; the server's certificate expires on %s (%s left), ours on %s (%s left)",
		tls.VersionName(o.Version),
		date(o.Server.NotAfter), egress.Counted(o.Server.DaysLeft, "day"),
		date(o.OursNotAfter), egress.Counted(o.OursDaysLeft, "day"))
}

// remarks returns additional information about a server that refused, or that has an invalid
// certificate.
func (o Observation) remarks() []string {
	if o.Presented && o.Server != nil && (o.Failure == Alerted || o.Failure == Closed || o.Failure == "") {
		return []string{o.facts()}
	}
	if o.Asked == nil || o.Presented || len(o.Problems) == 0 {
		return nil
	}
	return []string{"it asks for a client certificate, but got none because it is not trusted; " + o.Asked.cas()}
}

// failures returns the reason for an incomplete handshake.
func (o Observation) failures() []Problem {
	if o.Asked != nil && !o.Presented {
		// The server requested a certificate and got none, so its answer is not about ours.
		return nil
	}
	problem := func(reason Reason, format string, args ...any) []Problem {
		return []Problem{{reason, fmt.Sprintf(format, args...)}}
	}
	switch o.Failure {
	case "":
		return nil
	case Interrupted:
		return problem(ProbeInterrupted, "the probe of %s:%d was interrupted", o.Host, o.Port)
	case CANotFound:
		return problem(SystemCANotFound,
			"the CAs that the system trusts can't be read (%s), so the server can't be verified: set its CA in serverCA",
			o.Detail)
	case NotResolved:
		return problem(NameNotResolved,
			"%s can't resolve the name %s: %s; check the spelling and %s",
			o.by(), o.Host, o.Detail, o.dns())
	case Refused:
		return problem(
			AddressRefused, "the name %s resolves to an address that a partner can't have: %s; fix it in DNS", o.Host, o.Detail,
		)
	case NotConnected:
		return problem(Unreachable,
			"%s can't connect to %s:%d: %s; check the port, firewalls and NetworkPolicies",
			o.by(), o.Host, o.Port, o.Detail)
	case TimedOut:
		if o.Address == "" {
			return problem(ProbeTimedOut,
				"%s can't connect to %s:%d within %s: check the port, firewalls and NetworkPolicies",
				o.by(), o.Host, o.Port, o.Timeout)
		}
		return problem(ProbeTimedOut,
			"the server at %s accepts the connection, but does not finish a TLS handshake "+
				"within %s: check that it is a TLS port",
			o.Address, o.Timeout)
	case PlainText:
		answer := "something that is not TLS"
		if o.Detail != "" {
			answer = o.Detail + " in plain text"
		}
		return problem(
			NotTLS, "the server at %s answers with %s: set its TLS port in spec.port of the EgressTarget", o.Address, answer,
		)
	case Alerted:
		return []Problem{o.alerted()}
	case Closed:
		if o.Presented {
			return problem(ConnectionClosed,
				"the server at %s closed the connection after it received our certificate, "+
					"without an alert: it probably rejects it; %s",
				o.Address, o.Asked.cas())
		}
		return problem(ConnectionClosed,
			"the server at %s closed the connection during the handshake, without an alert: it may only allow certain "+
				"addresses, or not be a TLS port",
			o.Address)
	default:
		return problem(HandshakeFailed, "the handshake with %s failed: %s", o.Address, o.Detail)
	}
}

// by returns who made the probe.
func (o Observation) by() string { return cmp.Or(o.By, "the controller") }

// dns returns which DNS the prober uses.
func (o Observation) dns() string {
	if o.By == "" {
		return "the cluster's DNS"
	}
	return "its DNS, or set --connect"
}

// The alerts of RFC 8446 §6 with specific messages.
const (
	handshakeFailure      = 40
	certificateRevoked    = 44
	certificateExpired    = 45
	unknownCA             = 48
	protocolVersion       = 70
	unrecognizedName      = 112
	noApplicationProtocol = 120
)

// alerted returns the meaning of an alert. Before our certificate, it is about our ClientHello.
// After that, it is about the certificate.
func (o Observation) alerted() Problem {
	name := fmt.Sprintf("the alert %d (%s)", uint8(o.Alert), strings.TrimPrefix(o.Alert.Error(), "tls: "))
	if o.Presented {
		reason := ClientCertificateRefused
		if o.Asked.namesOnlyOthers() {
			reason = IssuerNotAccepted
		}
		return Problem{
			reason,
			fmt.Sprintf("the server at %s refused our certificate with %s: %s; %s",
				o.Address, name, o.alertAdvice(), o.Asked.cas()),
		}
	}
	switch o.Alert {
	case protocolVersion:
		return Problem{
			VersionTooOld,
			fmt.Sprintf(
				"the server at %s refused TLS 1.2 and 1.3 with %s: the sidecar supports no older version, "+
					"so the partner must enable one of them",
				o.Address, name),
		}
	case unrecognizedName:
		return Problem{
			ServerNameUnknown,
			fmt.Sprintf("the server at %s doesn't know the name %s: %s; set another name in spec.sni of the EgressTarget",
				o.Address, credential.Quote(o.ServerName), name),
		}
	case noApplicationProtocol:
		return Problem{
			ProtocolNotSpoken,
			fmt.Sprintf("the server at %s %s: %s; %s", o.Address, o.notSpoken(), name, o.otherVersion()),
		}
	case handshakeFailure:
		return Problem{
			HandshakeFailed,
			fmt.Sprintf(
				"the server at %s refused the handshake with %s: it may have no cipher suite or curve in common with the "+
					"sidecar, or not know the name %s",
				o.Address, name, credential.Quote(o.ServerName)),
		}
	default:
		return Problem{HandshakeFailed, fmt.Sprintf("the server at %s refused the handshake with %s", o.Address, name)}
	}
}

// alertAdvice returns the advice for an alert about our certificate.
func (o Observation) alertAdvice() string {
	switch o.Alert {
	case certificateRevoked:
		return "its issuer has revoked it; ask for a new one"
	case certificateExpired:
		return "it, or one of its intermediates, is expired for the server; compare the " +
			"validity of the chain with the server's clock"
	case unknownCA:
		return "the partner must trust its issuer, and the chain in the Secret must be complete"
	default:
		return "ask the partner which certificate is registered there"
	}
}

func (o Observation) notSpoken() string {
	switch o.HTTPVersion {
	case v1alpha1.HTTPVersion1:
		return "doesn't speak HTTP/1.1"
	case v1alpha1.HTTPVersion2:
		return "doesn't speak HTTP/2"
	case v1alpha1.HTTPVersionAuto:
	}
	return "speaks neither HTTP/2 nor HTTP/1.1"
}

func (o Observation) otherVersion() string {
	switch o.HTTPVersion {
	case v1alpha1.HTTPVersion1:
		return `set http.version of the EgressTarget to "2"`
	case v1alpha1.HTTPVersion2:
		return `set http.version of the EgressTarget to "1.1"`
	case v1alpha1.HTTPVersionAuto:
	}
	return "set port of the EgressTarget to that of the partner's HTTP service"
}

// objections returns the problems of a handshake that completed.
func (o Observation) objections() []Problem {
	var problems []Problem
	if o.Complete && o.HTTPVersion == v1alpha1.HTTPVersion2 && o.Protocol != "h2" {
		message := fmt.Sprintf("the server at %s doesn't choose HTTP/2: %s", o.Address, o.otherVersion())
		problems = append(problems, Problem{ProtocolNotSpoken, message})
	}
	if o.Complete && o.Asked == nil {
		problems = append(problems, Problem{
			ClientCertificateNotRequested,
			fmt.Sprintf("the server at %s did not request a client certificate in the handshake, so ours was not used: "+
				"this host or port is not configured for mutual TLS, or requests a certificate only for certain paths, by "+
				"renegotiation or after the handshake, which the sidecar does not support",
				o.Address),
		})
	}
	if o.Asked != nil && !o.Asked.KeyAccepted {
		var schemes []string
		for _, scheme := range o.Asked.SignatureSchemes {
			schemes = append(schemes, scheme.String())
		}
		problems = append(problems, Problem{
			KeyTypeNotAccepted,
			fmt.Sprintf(
				"the server at %s accepts no signature scheme of our key, only %s: ask for a certificate with a key of that type",
				o.Address, list(schemes, "none")),
		})
	}
	return problems
}
