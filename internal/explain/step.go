package explain

import (
	"slices"
	"strings"
)

// State is the result of a step.
type State string

// The states. A step is skipped if its answer follows from an earlier step that isn't OK.
const (
	OK      State = "ok"
	Failed  State = "failed"
	Unknown State = "unknown"
	Skipped State = "skipped"
)

// StepID identifies a step.
type StepID string

// The steps, in the order of a call's way.
const (
	StepAnnotated    StepID = "annotated"
	StepAdmitted     StepID = "admitted"
	StepSidecar      StepID = "sidecar"
	StepInterception StepID = "interception"
	StepTarget       StepID = "target"
	StepCredential   StepID = "credential"
	StepProgrammed   StepID = "programmed"
	StepObjects      StepID = "objects"
	StepStarted      StepID = "started"
	StepConfigured   StepID = "configured"
	StepCertificates StepID = "certificates"
	StepDNS          StepID = "dns"
	StepHandshake    StepID = "handshake"
	StepApp          StepID = "app"
	StepCalls        StepID = "calls"
)

// Step is one step with its result.
type Step struct {
	ID StepID `json:"id"`
	// Title is the question that the step answers.
	Title string `json:"title"`
	State State  `json:"state"`
	// Cause is the reason for Failed.
	Cause Cause `json:"cause,omitempty"`
	// Detail is a sentence with what was found. It contains no secret.
	Detail string `json:"detail,omitempty"`
	// Command is what to run, for Failed.
	Command string `json:"command,omitempty"`
}

// Result is the answer of a report.
type Result struct {
	// Cause is "" if no cause was found.
	Cause Cause `json:"cause,omitempty"`
	// Sentence says what is wrong, where, and what to write instead.
	Sentence string `json:"sentence"`
	// Command is what to run next, and Docs the page and heading to read.
	Command string `json:"command,omitempty"`
	Docs    string `json:"docs,omitempty"`
}

// Report is the explanation of one host for one Pod.
type Report struct {
	Namespace string `json:"namespace"`
	// Workload and Pod can be "". Workload is KIND/NAME.
	Workload string `json:"workload,omitempty"`
	Pod      string `json:"pod,omitempty"`
	Host     string `json:"host,omitempty"`
	Steps    []Step `json:"steps"`
	Result   Result `json:"result"`
	// Also are the causes of later steps that don't follow from the result.
	Also []Result `json:"also,omitempty"`
}

// step is a step before its evaluation.
type step struct {
	id    StepID
	title string
	// needs are the steps that must be OK. Otherwise the answer would only follow from theirs.
	needs []StepID
	look  func(*Facts) finding
}

// finding is the result of a step.
type finding struct {
	state   State
	cause   Cause
	detail  string
	command string
	// follows reports whether the step is skipped because its answer follows from an earlier one.
	follows bool
}

func fine(detail string) finding    { return finding{state: OK, detail: detail} }
func unknown(detail string) finding { return finding{state: Unknown, detail: detail} }
func skipped(detail string) finding { return finding{state: Skipped, detail: detail} }

func followsFrom(id StepID) finding {
	return finding{state: Skipped, detail: "follows from the step " + string(id), follows: true}
}

func failed(cause Cause, detail, command string) finding {
	return finding{state: Failed, cause: cause, detail: detail, command: command}
}

// steps returns the steps in order.
func steps() []step {
	return []step{
		{StepAnnotated, "Does the Pod ask for the host?", nil, lookAnnotated},
		{StepAdmitted, "Did the webhook inject it?", []StepID{StepAnnotated}, lookAdmitted},
		{StepSidecar, "Does the Pod have a sidecar?", []StepID{StepAnnotated}, lookSidecar},
		{
			StepInterception, "Does the sidecar intercept its calls?",
			[]StepID{StepAdmitted, StepSidecar}, lookInterception,
		},
		{StepTarget, "Is there an EgressTarget, and a controller?", []StepID{StepAnnotated}, lookTarget},
		{StepCredential, "Can the credential be used?", []StepID{StepAnnotated}, lookCredential},
		{StepProgrammed, "Did the controller program the target?", []StepID{StepTarget}, lookProgrammed},
		{StepObjects, "Are the Istio objects in sync?", []StepID{StepProgrammed}, lookObjects},
		{
			StepStarted, "Is the sidecar ready?",
			[]StepID{StepAdmitted, StepSidecar, StepCredential}, lookStarted,
		},
		{
			StepConfigured, "Does this sidecar have the target?",
			[]StepID{StepStarted, StepProgrammed, StepObjects}, lookConfigured,
		},
		{
			StepCertificates, "Does it present the Secret's certificate?",
			[]StepID{StepConfigured, StepCredential}, lookCertificates,
		},
		{StepDNS, "Does the partner's name have an address?", []StepID{StepConfigured}, lookDNS},
		{StepHandshake, "Does the partner accept the credential?", []StepID{StepCredential, StepTarget}, lookHandshake},
		{StepApp, "Does the app call as it should?", []StepID{StepAdmitted}, lookApp},
		{
			StepCalls, "Do calls reach the partner?",
			[]StepID{StepConfigured, StepCertificates, StepDNS, StepHandshake, StepApp}, lookCalls,
		},
	}
}

// Explain walks all steps and returns the report.
func Explain(facts Facts) Report {
	report := Report{Namespace: facts.Namespace, Host: facts.Host}
	if facts.Workload != nil {
		report.Workload = facts.Workload.Kind + "/" + facts.Workload.Name
	}
	if facts.Pod != nil {
		report.Pod = facts.Pod.Name
	}
	// open are the steps that failed, and those that follow from them.
	open := map[StepID]bool{}
	for _, s := range steps() {
		found := s.evaluate(&facts, open)
		open[s.id] = found.state == Failed || found.follows
		report.Steps = append(report.Steps, Step{
			ID: s.id, Title: s.title, State: found.state, Cause: found.cause, Detail: found.detail, Command: found.command,
		})
	}
	report.decide()
	return report
}

// evaluate returns the result of a step. open are those before it that aren't OK.
func (s step) evaluate(facts *Facts, open map[StepID]bool) finding {
	for _, id := range s.needs {
		if open[id] {
			return followsFrom(id)
		}
	}
	return s.look(facts)
}

// decide sets the result: the first step that failed. Later ones don't follow from it, because
// they would be skipped.
func (r *Report) decide() {
	var results []Result
	for _, s := range r.Steps {
		if s.State == Failed {
			results = append(results, Result{Cause: s.Cause, Sentence: s.Detail, Command: s.Command, Docs: s.Cause.docs()})
		}
	}
	if len(results) > 0 {
		r.Result, r.Also = results[0], results[1:]
		return
	}
	var unseen []string
	for _, s := range r.Steps {
		if s.State == Unknown {
			unseen = append(unseen, string(s.ID))
		}
	}
	r.Result.Sentence = "no fault was found"
	if len(unseen) > 0 {
		r.Result.Sentence += "; not known: " + strings.Join(unseen, ", ")
	}
}

// Found reports whether a cause was found.
func (r *Report) Found() bool { return r.Result.Cause != "" }

// Blind reports whether nothing was found out at all.
func (r *Report) Blind() bool {
	return !slices.ContainsFunc(r.Steps, func(s Step) bool { return s.State == OK || s.State == Failed })
}
