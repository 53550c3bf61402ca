// Package caller is the near side of the mesh tests: an app that calls URLs in loops from the first
// moment of its process, or when it is told to through its control port, and says what came of each
// call. [Client] talks to that port.
package caller

import (
	"maps"
	"slices"
	"time"
)

// maxTransitions bounds [State.Transitions].
const maxTransitions = 1000

// State is what a loop has seen since it began or was reset.
type State struct {
	// Calls that have ended.
	Calls int `json:"calls"`
	// ByOutcome counts them by outcome.
	ByOutcome map[Outcome]int `json:"byOutcome"`
	// FirstOutcome is when the first call with each outcome ended.
	FirstOutcome map[Outcome]time.Time `json:"firstOutcome"`
	// Transitions are the changes of outcome, at most 1,000; TransitionsDropped counts the later ones.
	Transitions        []Transition `json:"transitions"`
	TransitionsDropped int          `json:"transitionsDropped,omitempty"`
	// LongestFailure is the longest time without a success, nil when every call succeeded. One that
	// lasts is among them.
	LongestFailure *Failure `json:"longestFailure,omitempty"`
	// PlainAnswers and TLSAnswers count the answers 200 by what the partner said of the connection;
	// UnknownAnswers those that were no partner's.
	PlainAnswers   int `json:"plainAnswers"`
	TLSAnswers     int `json:"tlsAnswers"`
	UnknownAnswers int `json:"unknownAnswers"`
	// ByClientSerial counts the partner's answers 200 by the serial number of the client certificate
	// that it saw; without one they are not in it.
	ByClientSerial map[string]int `json:"byClientSerial"`

	last    Outcome
	failing Failure
}

// Transition is a change of outcome.
type Transition struct {
	// At is when the first call with the new outcome ended.
	At time.Time `json:"at"`
	// From is empty for the first call.
	From Outcome `json:"from"`
	To   Outcome `json:"to"`
	// Call is the number of that call, from 1.
	Call int `json:"call"`
}

// Failure is a run of failed calls.
type Failure struct {
	Calls int `json:"calls"`
	// Began is when the first of them was made, Ended when the last ended.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
}

// Duration from the beginning to the end.
func (f Failure) Duration() time.Duration { return f.Ended.Sub(f.Began) }

// call is one call and what came of it.
type call struct {
	began, ended time.Time
	outcome      Outcome
	// answer is nil when the answer was not the partner's.
	answer *answer
}

// answer is what the partner said of the connection.
type answer struct {
	plain bool
	// serial is empty when the partner saw no client certificate.
	serial string
}

// newState is the state before the first call.
func newState() State {
	return State{
		ByOutcome:      map[Outcome]int{},
		FirstOutcome:   map[Outcome]time.Time{},
		Transitions:    []Transition{},
		ByClientSerial: map[string]int{},
	}
}

// add counts a call. It returns the transition that the call made, nil for none.
func (s *State) add(c call) *Transition {
	s.Calls++
	s.ByOutcome[c.outcome]++
	if _, seen := s.FirstOutcome[c.outcome]; !seen {
		s.FirstOutcome[c.outcome] = c.ended
	}
	s.addAnswer(c)
	s.addFailure(c)
	if c.outcome == s.last {
		return nil
	}
	transition := Transition{At: c.ended, From: s.last, To: c.outcome, Call: s.Calls}
	s.last = c.outcome
	if len(s.Transitions) < maxTransitions {
		s.Transitions = append(s.Transitions, transition)
	} else {
		s.TransitionsDropped++
	}
	return &transition
}

func (s *State) addAnswer(c call) {
	switch {
	case c.outcome != outcomeOK:
	case c.answer == nil:
		s.UnknownAnswers++
	case c.answer.plain:
		s.PlainAnswers++
	default:
		s.TLSAnswers++
	}
	if c.outcome == outcomeOK && c.answer != nil && c.answer.serial != "" {
		s.ByClientSerial[c.answer.serial]++
	}
}

func (s *State) addFailure(c call) {
	if c.outcome.Success() {
		s.failing = Failure{}
		return
	}
	if s.failing.Calls == 0 {
		s.failing.Began = c.began
	}
	s.failing.Calls++
	s.failing.Ended = c.ended
	if s.LongestFailure == nil || s.failing.Duration() > s.LongestFailure.Duration() {
		longest := s.failing
		s.LongestFailure = &longest
	}
}

// clone is a copy that later calls don't change.
func (s *State) clone() State {
	copied := *s
	copied.ByOutcome = maps.Clone(s.ByOutcome)
	copied.FirstOutcome = maps.Clone(s.FirstOutcome)
	copied.Transitions = slices.Clone(s.Transitions)
	copied.ByClientSerial = maps.Clone(s.ByClientSerial)
	return copied
}
