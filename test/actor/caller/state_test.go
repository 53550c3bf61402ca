package caller

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func at(second int) time.Time { return time.Unix(int64(second), 0).UTC() }

// made is a call that took a second.
func made(began int, outcome Outcome, said *answer) call {
	return call{began: at(began), ended: at(began + 1), outcome: outcome, answer: said}
}

func TestAStateIsTheSumOfItsCalls(t *testing.T) {
	tests := map[string]struct {
		calls []call
		want  State
	}{
		"no call": {want: State{
			ByOutcome:      map[Outcome]int{},
			FirstOutcome:   map[Outcome]time.Time{},
			Transitions:    []Transition{},
			ByClientSerial: map[string]int{},
		}},
		"answers of the partner and of somebody else": {
			calls: []call{
				made(0, "200", &answer{serial: "a"}), made(1, "200", &answer{serial: "b"}), made(2, "200", &answer{serial: "b"}),
				made(3, "200", &answer{plain: true}), made(4, "200", nil), made(5, "200", &answer{}),
			},
			want: State{
				Calls: 6, ByOutcome: map[Outcome]int{"200": 6}, FirstOutcome: map[Outcome]time.Time{"200": at(1)},
				Transitions:  []Transition{{At: at(1), To: "200", Call: 1}},
				PlainAnswers: 1, TLSAnswers: 4, UnknownAnswers: 1, ByClientSerial: map[string]int{"a": 1, "b": 2},
			},
		},
		"the longest failure is the one that lasts longest, not the one with most calls": {
			calls: []call{
				made(0, "503",
					nil), made(1, "200", nil), made(2, OutcomeRefused, nil), made(12, OutcomeTimeout, nil), made(13, "204", nil),
				made(14, "503", nil), made(15, "503", nil), made(16, "503", nil),
			},
			want: State{
				Calls: 8, ByOutcome: map[Outcome]int{"200": 1, "204": 1, "503": 4, OutcomeRefused: 1, OutcomeTimeout: 1},
				FirstOutcome: map[Outcome]time.Time{
					"200":          at(2),
					"204":          at(14),
					"503":          at(1),
					OutcomeRefused: at(3),
					OutcomeTimeout: at(13),
				},
				Transitions: []Transition{
					{At: at(1), To: "503", Call: 1},
					{At: at(2), From: "503", To: "200", Call: 2},
					{At: at(3), From: "200", To: OutcomeRefused, Call: 3},
					{At: at(13), From: OutcomeRefused, To: OutcomeTimeout, Call: 4},
					{At: at(14), From: OutcomeTimeout, To: "204", Call: 5},
					{At: at(15), From: "204", To: "503", Call: 6},
				},
				LongestFailure: &Failure{Calls: 2, Began: at(2), Ended: at(13)},
				UnknownAnswers: 1, ByClientSerial: map[string]int{},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := newState()
			for _, c := range test.calls {
				got.add(c)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(State{})); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}

func TestTransitionsAreBounded(t *testing.T) {
	state := newState()
	for i := range maxTransitions + 5 {
		state.add(made(i, Outcome(strconv.Itoa(200+i%2)), nil))
	}
	if diff := cmp.Diff([2]int{maxTransitions, 5}, [2]int{len(state.Transitions), state.TransitionsDropped}); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}

func TestACloneDoesNotChange(t *testing.T) {
	state := newState()
	state.add(made(0, OutcomeTLS, nil))
	clone, before := state.clone(), state.clone()
	state.add(made(1, "200", &answer{serial: "a"}))
	state.add(made(2, OutcomeTLS, nil))
	if diff := cmp.Diff(before, clone, cmpopts.IgnoreUnexported(State{})); diff != "" {
		t.Error("(-before +after):\n" + diff)
	}
}

// Errors that can't be made on loopback; the others are in TestOutcomes.
func TestErrorsHaveAnOutcome(t *testing.T) {
	connect := func(number syscall.Errno) error {
		return &url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", number)}}
	}
	tests := map[string]struct {
		err  error
		want Outcome
	}{
		"no route":                         {connect(syscall.EHOSTUNREACH), OutcomeNoRoute},
		"no network":                       {connect(syscall.ENETUNREACH), OutcomeNoRoute},
		"the kernel's own time-out":        {connect(syscall.ETIMEDOUT), OutcomeTimeout},
		"a broken pipe":                    {connect(syscall.EPIPE), OutcomeReset},
		"a DNS server that doesn't answer": {&net.DNSError{Err: "i/o timeout", IsTimeout: true}, OutcomeDNS},
		"a certificate of nobody known": {
			&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, OutcomeTLS,
		},
		"an alert":                     {&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, OutcomeTLS},
		"a plain answer to a TLS call": {fmt.Errorf("%w", http.ErrSchemeMismatch), OutcomeTLS},
		"an answer cut off":            {io.ErrUnexpectedEOF, OutcomeEOF},
		"a closed connection written":  {fmt.Errorf("write tcp: %w", net.ErrClosed), OutcomeEOF},
		"an idle connection closed":    {errors.New("http: server closed idle connection"), OutcomeEOF},
		"anything else":                {errors.New("malformed HTTP response"), "other:malformed HTTP response"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := outcomeOf(0, test.err); got != test.want {
				t.Errorf("the outcome is %s; it must be %s", got, test.want)
			}
		})
	}
}

func TestQuantiles(t *testing.T) {
	var samples []time.Duration
	for i := range 1000 {
		samples = append(samples, time.Duration(i+1)*time.Microsecond)
	}
	got := []float64{
		quantile(samples, 0.5),
		quantile(samples, 0.99),
		quantile(samples, 0.999),
		quantile(samples[:1], 0.999),
		quantile(nil, 0.5),
	}
	if diff := cmp.Diff([]float64{500, 990, 999, 1, 0}, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}
