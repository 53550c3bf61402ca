package load_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// outcome is how one create ended.
type outcome int

const (
	// injected is a Pod as expected.
	injected outcome = iota
	// missed is a Pod that was admitted and not injected.
	missed
	// refused is a create that the API server answered with an error.
	refused
	// unanswered is a create that the API server didn't answer, because it didn't run, or ended before
	// it could.
	unanswered
)

func outcomeOf(pod *corev1.Pod, err error) outcome {
	switch {
	case err == nil && pod.Labels["mtls.egress/injected"] == "true" && len(pod.Spec.HostAliases) == 1:
		return injected
	case err == nil:
		return missed
	case errors.As(err, new(apierrors.APIStatus)):
		return refused
	default:
		return unanswered
	}
}

// addresses are those in errors, which differ from call to call.
var addresses = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+:\d+(->\d+\.\d+\.\d+\.\d+:\d+)?`)

// cause is what an error says at its end, without addresses.
func cause(err error) string {
	text := addresses.ReplaceAllString(err.Error(), "ADDRESS")
	if net, found := errors.AsType[*net.OpError](err); found {
		return "the API server: " + addresses.ReplaceAllString(net.Error(), "ADDRESS")
	}
	if _, called, found := strings.Cut(text, "failed to call webhook: "); found {
		parts := strings.Split(called, `": `)
		return "the webhook: " + parts[len(parts)-1]
	}
	return "the API server: " + text
}

// call is one create that was not as expected.
type call struct {
	begun, ended time.Time
	outcome      outcome
	cause        string
}

// phase is what happens while Pods are created.
type phase struct {
	name    string
	begun   time.Time
	created int
	calls   []call
	longest time.Duration
}

func (p *phase) count(of outcome) int {
	count := 0
	for _, call := range p.calls {
		if call.outcome == of {
			count++
		}
	}
	return count
}

// ledger counts creates by the phase in which they began.
type ledger struct {
	mutex  sync.Mutex
	phases []*phase
}

func (l *ledger) begin(name string) *phase {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	begun := &phase{name: name, begun: time.Now()}
	l.phases = append(l.phases, begun)
	return begun
}

func (l *ledger) current() *phase {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.phases[len(l.phases)-1]
}

func (l *ledger) write(to *phase, begun time.Time, pod *corev1.Pod, err error) {
	ended := time.Now()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	to.longest = max(to.longest, ended.Sub(begun))
	how := outcomeOf(pod, err)
	if how == injected {
		to.created++
		return
	}
	bad := call{begun: begun, ended: ended, outcome: how}
	if err != nil {
		bad.cause = cause(err)
	}
	to.calls = append(to.calls, bad)
}

// created is the number of all Pods that are as expected.
func (l *ledger) created() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	sum := 0
	for _, phase := range l.phases {
		sum += phase.created
	}
	return sum
}

// String is a table of the phases, with the causes of what failed and when in its phase that was.
func (l *ledger) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	// A strings.Builder takes everything.
	row := func(cells ...string) { _, _ = fmt.Fprintln(table, strings.Join(cells, "\t")) }
	count := func(p *phase) {
		row(p.name, strconv.Itoa(p.created), strconv.Itoa(p.count(missed)), strconv.Itoa(p.count(refused)),
			strconv.Itoa(p.count(unanswered)), p.longest.Round(time.Millisecond).String())
	}
	row("while", "created", "missed", "refused", "unanswered", "longest call")
	type when struct {
		calls       int
		first, last time.Duration
	}
	causes := map[string]when{}
	sum := &phase{name: "in all"}
	for _, phase := range l.phases {
		count(phase)
		sum.created += phase.created
		sum.calls = append(sum.calls, phase.calls...)
		sum.longest = max(sum.longest, phase.longest)
		for _, call := range phase.calls {
			what := phase.name + ": " + cmp.Or(call.cause, "not injected")
			seen, known := causes[what]
			if !known {
				seen.first = call.begun.Sub(phase.begun)
			}
			causes[what] = when{
				calls: seen.calls + 1,
				first: min(seen.first, call.begun.Sub(phase.begun)),
				last:  max(seen.last, call.ended.Sub(phase.begun)),
			}
		}
	}
	count(sum)
	_ = table.Flush()
	for _, what := range slices.Sorted(maps.Keys(causes)) {
		seen := causes[what]
		_, _ = fmt.Fprintf(&text, "%d × while %s (from %.1f s to %.1f s)\n",
			seen.calls, what, seen.first.Seconds(), seen.last.Seconds())
	}
	return text.String()
}
