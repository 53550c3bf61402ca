package verify

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reason says in one word what came of a handshake. It is a valid reason of a Kubernetes condition.
type Reason string

// The reasons, the most important first: what must be put right before the next one matters.
const (
	// ProbeInterrupted: the caller ended the probe. It says nothing of the partner.
	ProbeInterrupted Reason = "ProbeInterrupted"
	// SystemCANotFound: the CAs of the system were to be trusted, and there are none.
	SystemCANotFound Reason = "SystemCANotFound"
	// NameNotResolved: DNS has no address for the host, or no answer.
	NameNotResolved Reason = "NameNotResolved"
	// AddressRefused: the host leads to an address that is not connected to, such as a loopback one.
	AddressRefused Reason = "AddressRefused"
	// Unreachable: there was no connection.
	Unreachable Reason = "Unreachable"
	// ProbeTimedOut: the connection or the handshake took too long.
	ProbeTimedOut Reason = "ProbeTimedOut"
	// NotTLS: what answers doesn't speak TLS.
	NotTLS Reason = "NotTLS"
	// VersionTooOld: the server speaks neither TLS 1.2 nor 1.3.
	VersionTooOld Reason = "VersionTooOld"
	// ServerNameUnknown: the server refuses the name that is sent as SNI.
	ServerNameUnknown Reason = "ServerNameUnknown"
	// ProtocolNotSpoken: the server doesn't speak the version of HTTP that is offered.
	ProtocolNotSpoken Reason = "ProtocolNotSpoken"
	// ConnectionClosed: the server ended the connection without an alert.
	ConnectionClosed Reason = "ConnectionClosed"
	// HandshakeFailed: the handshake failed for another reason, which the message has.
	HandshakeFailed Reason = "HandshakeFailed"
	// ServerNotTrusted: the server's certificate doesn't lead to the CA that is expected.
	ServerNotTrusted Reason = "ServerNotTrusted"
	// ServerNameMismatch: the server's certificate carries none of the names that are expected.
	ServerNameMismatch Reason = "ServerNameMismatch"
	// ServerCertificateExpired: the time of the server's certificate is over.
	ServerCertificateExpired Reason = "ServerCertificateExpired"
	// ServerCertificateNotYetValid: the time of the server's certificate has not come.
	ServerCertificateNotYetValid Reason = "ServerCertificateNotYetValid"
	// NotForServerAuth: the server's certificate may not be used by a server.
	NotForServerAuth Reason = "NotForServerAuth"
	// ClientCertificateNotRequested: the server asked for no certificate in the handshake.
	ClientCertificateNotRequested Reason = "ClientCertificateNotRequested"
	// KeyTypeNotAccepted: the server takes no signature that our key can make.
	KeyTypeNotAccepted Reason = "KeyTypeNotAccepted"
	// IssuerNotAccepted: the server refused the certificate, and none of its issuers is among the CAs
	// that the server names.
	IssuerNotAccepted Reason = "IssuerNotAccepted"
	// ClientCertificateRefused: the server refused the certificate.
	ClientCertificateRefused Reason = "ClientCertificateRefused"
	// IssuerNotNamed: the server didn't refuse the certificate in the handshake, but none of its
	// issuers is among the CAs that the server names, so it may refuse the first request. This proves
	// nothing either way.
	IssuerNotNamed Reason = "IssuerNotNamed"
	// Verified: the server asked for a certificate and accepted ours.
	Verified Reason = "Verified"
)

func rank(reason Reason) int {
	return slices.Index([]Reason{
		ProbeInterrupted, SystemCANotFound, NameNotResolved, AddressRefused, Unreachable, ProbeTimedOut, NotTLS, VersionTooOld, ServerNameUnknown, ProtocolNotSpoken,
		ConnectionClosed, HandshakeFailed, ServerNotTrusted, ServerNameMismatch, ServerCertificateExpired, ServerCertificateNotYetValid, NotForServerAuth,
		ClientCertificateNotRequested, KeyTypeNotAccepted, IssuerNotAccepted, ClientCertificateRefused, IssuerNotNamed, Verified,
	}, reason)
}

// Failure is how a handshake ended before its time.
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

// Answer is how a server showed that it accepts a client certificate.
type Answer string

// The answers.
const (
	// Finished: it ended a handshake of TLS 1.2.
	Finished Answer = "finished"
	// Ticket: it sent a session ticket of TLS 1.3.
	Ticket Answer = "session ticket"
	// Silence: it speaks TLS 1.3 and has not refused in time.
	Silence Answer = "silence"
)

// Problem is one thing that is wrong with a partner.
type Problem struct {
	Reason Reason
	// Message says, for a person, what is wrong, where, and what would be right. It fits on one line.
	Message string
}

// Observation is what a probe has seen. It holds no secret. Texts of the partner are as it sent
// them; only messages are made fit to print.
type Observation struct {
	// Host, Port, ServerName and HTTP2 are those of the request.
	Host       string
	Port       int32
	ServerName string
	HTTP2      bool
	// Timeout and Patience are those of the prober.
	Timeout, Patience time.Duration
	// Address is the one that was connected, with the port; empty when none was.
	Address string
	// Failure is empty when nothing kept the handshake from its end; Detail says more, where there is
	// more to say.
	Failure Failure
	Detail  string
	// Alert is the one that the server sent when Failure is Alerted.
	Alert tls.AlertError
	// Complete says that the client's handshake came to its end.
	Complete bool
	// Version is that of TLS, 0 when none was agreed on; Protocol that of ALPN, empty when the server
	// chose none.
	Version  uint16
	Protocol string
	// Server is the server's certificate; nil when none came. Matched is the expected name that it
	// carries; empty when it has none.
	Server  *Server
	Matched string
	// OursNotAfter is the end of the validity of the certificate that is presented, in UTC, and
	// OursDaysLeft are the whole days until then.
	OursNotAfter time.Time
	OursDaysLeft int
	// Problems are all that is wrong with the server's certificate.
	Problems []Problem
	// Asked is the server's request for a client certificate; nil when there was none.
	Asked *Asked
	// Presented says that the certificate was sent.
	Presented bool
	// Answer is empty unless the server has accepted the certificate.
	Answer Answer
}

// Server is a server's certificate.
type Server struct {
	// Subject and Issuer as RFC 4514 strings.
	Subject, Issuer string
	// Names are all subject alternative names.
	Names []string
	// NotBefore and NotAfter bound the validity, both included, in UTC.
	NotBefore, NotAfter time.Time
	// DaysLeft are whole days; negative after the end.
	DaysLeft int
	// ChainLength counts the certificates that the server sends.
	ChainLength int
}

// Asked is a server's request for a client certificate.
type Asked struct {
	// AcceptedCAs are the names of the CAs whose certificates the server accepts, as RFC 4514 strings;
	// none means that it doesn't say.
	AcceptedCAs []string
	// Issuers are those of the certificates that are presented, in the same form, the leaf's first.
	Issuers []string
	// SignatureSchemes are those that the server takes.
	SignatureSchemes []tls.SignatureScheme
	// KeyAccepted says that the key can make one of these.
	KeyAccepted bool
}

// issuer is the first of the issuers that the server names; not ok when it names CAs and none of
// them is ours.
func (a *Asked) issuer() (name string, ok bool) {
	at := slices.IndexFunc(a.Issuers, func(name string) bool { return slices.Contains(a.AcceptedCAs, name) })
	if at < 0 {
		return "", false
	}
	return a.Issuers[at], true
}

// strange says that the server names CAs and none of them is among the issuers.
func (a *Asked) strange() bool {
	_, ok := a.issuer()
	return len(a.AcceptedCAs) > 0 && !ok
}

// cas says how the issuers stand to the CAs that the server names.
func (a *Asked) cas() string {
	name, ok := a.issuer()
	switch {
	case len(a.AcceptedCAs) == 0:
		return "it names no CAs whose certificates it accepts"
	case ok && len(a.AcceptedCAs) == 1:
		return fmt.Sprintf("our issuer %s is the only CA that it names", quoted(name))
	case ok:
		return fmt.Sprintf("our issuer %s is among the %d CAs that it names", quoted(name), len(a.AcceptedCAs))
	default:
		return fmt.Sprintf("our issuer (%s) is not among the CAs that it names (%s)", list(a.Issuers, "unknown"), list(a.AcceptedCAs, "none"))
	}
}

// Outcome is what a probe means.
type Outcome struct {
	// Verified says that the partner asked for the certificate and accepted it, as far as a handshake
	// can tell: servers that judge a certificate with the first request, as nginx does, accept any in
	// the handshake. It is false with [IssuerNotNamed] too.
	Verified bool
	// Reason is that of the most important problem, else [Verified] or [IssuerNotNamed].
	Reason Reason
	// Message is one line: all problems and what would be right, or what speaks for it.
	Message string
}

// Evaluate says what an observation means.
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

// success is the outcome on a handshake in which nothing is wrong.
func (o Observation) success() Outcome {
	reason := Verified
	accepted := "accepted ours"
	if o.Answer == Silence {
		accepted = fmt.Sprintf("did not refuse ours within %s", o.Patience)
	}
	cas := o.Asked.cas()
	if o.Asked.strange() {
		reason = IssuerNotNamed
		cas += ", and it accepts ours all the same: servers such as nginx do, and refuse the first request instead, so ask the partner whether it trusts our issuer"
	}
	return Outcome{reason == Verified, reason, fmt.Sprintf("the server at %s asked for a client certificate and %s; its own is for %s and leads to the CA that is expected; %s; %s",
		o.Address, accepted, quoted(o.Matched), o.facts(), cas)}
}

// facts are the version of TLS and how long the certificates of both sides are valid.
func (o Observation) facts() string {
	return fmt.Sprintf("%s; the server's certificate ends on %s (%s left), ours on %s (%s left)", tls.VersionName(o.Version),
		date(o.Server.NotAfter), count(o.Server.DaysLeft, "day"), date(o.OursNotAfter), count(o.OursDaysLeft, "day"))
}

// remarks are what else is worth knowing of a server that refused, or whose own certificate is not
// in order.
func (o Observation) remarks() []string {
	if o.Presented && o.Server != nil && (o.Failure == Alerted || o.Failure == Closed || o.Failure == "") {
		return []string{o.facts()}
	}
	if o.Asked == nil || o.Presented || len(o.Problems) == 0 {
		return nil
	}
	return []string{"it asks for a client certificate, and was shown none, as it isn't trusted; " + o.Asked.cas()}
}

// failures are what kept the handshake from its end.
func (o Observation) failures() []Problem {
	if o.Asked != nil && !o.Presented {
		// It asked and got nothing; what it says to that is not about us.
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
		return problem(SystemCANotFound, "the CAs that the system trusts can't be read (%s), so the server can't be judged: name its CA in serverCA", o.Detail)
	case NotResolved:
		return problem(NameNotResolved, "the name %s can't be resolved by the controller: %s; check the spelling, and that the DNS of the cluster knows it",
			o.Host, o.Detail)
	case Refused:
		return problem(AddressRefused, "the name %s leads to an address that a partner can't have: %s; correct it in DNS", o.Host, o.Detail)
	case NotConnected:
		return problem(Unreachable, "the controller gets no connection to %s:%d: %s; check the port, and what firewalls and NetworkPolicies let through",
			o.Host, o.Port, o.Detail)
	case TimedOut:
		if o.Address == "" {
			return problem(ProbeTimedOut, "the controller gets no connection to %s:%d within %s: check the port, and what firewalls and NetworkPolicies let through",
				o.Host, o.Port, o.Timeout)
		}
		return problem(ProbeTimedOut, "the server at %s accepts the connection, but does not finish a TLS handshake within %s: is it a TLS port?", o.Address, o.Timeout)
	case PlainText:
		answer := "something that is not TLS"
		if o.Detail != "" {
			answer = o.Detail + " in plain text"
		}
		return problem(NotTLS, "the server at %s answers with %s: name its TLS port in spec.port of the EgressTarget", o.Address, answer)
	case Alerted:
		return []Problem{o.alerted()}
	case Closed:
		if o.Presented {
			return problem(ConnectionClosed, "the server at %s closed the connection when it had seen our certificate, without saying why: it probably refuses it; %s",
				o.Address, o.Asked.cas())
		}
		return problem(ConnectionClosed, "the server at %s closed the connection within the handshake, without saying why: it may admit certain addresses only, or not be a TLS port",
			o.Address)
	default:
		return problem(HandshakeFailed, "the handshake with %s failed: %s", o.Address, o.Detail)
	}
}

// The alerts of RFC 8446 §6 that tell something of their own.
const (
	handshakeFailure      = 40
	certificateRevoked    = 44
	certificateExpired    = 45
	unknownCA             = 48
	protocolVersion       = 70
	unrecognizedName      = 112
	noApplicationProtocol = 120
)

// alerted says what an alert means: before our certificate it is about our offer, after it about
// the certificate.
func (o Observation) alerted() Problem {
	name := fmt.Sprintf("the alert %d (%s)", uint8(o.Alert), strings.TrimPrefix(o.Alert.Error(), "tls: "))
	if o.Presented {
		reason := ClientCertificateRefused
		if o.Asked.strange() {
			reason = IssuerNotAccepted
		}
		return Problem{reason, fmt.Sprintf("the server at %s refused our certificate with %s: %s; %s", o.Address, name, o.cure(), o.Asked.cas())}
	}
	switch o.Alert {
	case protocolVersion:
		return Problem{VersionTooOld, fmt.Sprintf("the server at %s refused TLS 1.2 and 1.3 with %s: the sidecar speaks no older one, so the partner has to enable one of them",
			o.Address, name)}
	case unrecognizedName:
		return Problem{ServerNameUnknown, fmt.Sprintf("the server at %s doesn't know the name %s: %s; name another in spec.sni of the EgressTarget",
			o.Address, quoted(o.ServerName), name)}
	case noApplicationProtocol:
		return Problem{ProtocolNotSpoken, fmt.Sprintf("the server at %s doesn't speak %s: %s; %s", o.Address, o.protocol(), name, o.otherVersion())}
	case handshakeFailure:
		return Problem{HandshakeFailed, fmt.Sprintf("the server at %s refused the handshake with %s: it may have no cipher suite or curve in common with the sidecar, or not know the name %s",
			o.Address, name, quoted(o.ServerName))}
	default:
		return Problem{HandshakeFailed, fmt.Sprintf("the server at %s refused the handshake with %s", o.Address, name)}
	}
}

// cure is what to do about the alert to our certificate.
func (o Observation) cure() string {
	switch o.Alert {
	case certificateRevoked:
		return "its issuer has revoked it; ask for a new one"
	case certificateExpired:
		return "it, or one of its intermediates, is over for the server; compare the times of the chain with the server's clock"
	case unknownCA:
		return "the partner has to trust its issuer, and the chain in the Secret has to lead there without a gap"
	default:
		return "ask the partner which certificate is registered there"
	}
}

func (o Observation) protocol() string {
	if o.HTTP2 {
		return "HTTP/2"
	}
	return "HTTP/1.1"
}

func (o Observation) otherVersion() string {
	if o.HTTP2 {
		return `set http.version of the EgressTarget to "1.1"`
	}
	return `set http.version of the EgressTarget to "2"`
}

// objections are what is wrong though the handshake came to its end.
func (o Observation) objections() []Problem {
	var problems []Problem
	if o.Complete && o.HTTP2 && o.Protocol != "h2" {
		problems = append(problems, Problem{ProtocolNotSpoken, fmt.Sprintf("the server at %s doesn't choose HTTP/2: %s", o.Address, o.otherVersion())})
	}
	if o.Complete && o.Asked == nil {
		problems = append(problems, Problem{ClientCertificateNotRequested, fmt.Sprintf("the server at %s asked for no client certificate in the handshake, so ours was not tried: "+
			"this host or port is not set up for mutual TLS, or asks only for certain paths, by renegotiation or after the handshake, which the sidecar can't answer",
			o.Address)})
	}
	if o.Asked != nil && !o.Asked.KeyAccepted {
		var schemes []string
		for _, scheme := range o.Asked.SignatureSchemes {
			schemes = append(schemes, scheme.String())
		}
		problems = append(problems, Problem{KeyTypeNotAccepted, fmt.Sprintf("the server at %s takes no signature that our key can make, only %s: ask for a certificate with a key of that type",
			o.Address, list(schemes, "none"))})
	}
	return problems
}
