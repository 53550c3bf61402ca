package installation

import (
	"strconv"

	"mtls.egress/webhook/internal/egress"
)

// AuditOfWrites is an audit policy for apiserver.Options that has Writes work: every write of the
// webhooks and of the controllers is recorded, and nothing else.
const AuditOfWrites = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["` + User + `", "` + WebhookUser + `"]
  verbs: [create, update, patch, delete, deletecollection]
- level: None
`

// Anchor is at the end of what is said of a namespace's anchor.
const Anchor = " (anchor)"

// Writes are the requests of webhooks and controllers that write, refused ones included, by verb
// and resource, as in "patch virtualservices"; of refused ones with the status of the answer. Those
// of the anchor are told apart.
type Writes map[string]int

// Writes returns those so far. It needs AuditOfWrites.
func (i *Installation) Writes() (Writes, error) {
	events, err := i.Audited()
	if err != nil {
		return nil, err
	}
	writes := Writes{}
	for _, event := range events {
		what := event.Verb
		if event.ObjectRef != nil {
			what += " " + event.ObjectRef.Resource
			if event.ObjectRef.Subresource != "" {
				what += "/" + event.ObjectRef.Subresource
			}
		}
		if event.ResponseStatus != nil && event.ResponseStatus.Code >= 300 {
			what += " " + strconv.Itoa(int(event.ResponseStatus.Code))
		}
		if event.ObjectRef != nil && event.ObjectRef.Name == egress.AnchorName {
			what += Anchor
		}
		writes[what]++
	}
	return writes, nil
}

// Sum is the number of those that are wanted.
func (w Writes) Sum(wanted func(what string) bool) int {
	sum := 0
	for what, count := range w {
		if wanted(what) {
			sum += count
		}
	}
	return sum
}

// Since are those that before hasn't.
func (w Writes) Since(before Writes) Writes {
	more := Writes{}
	for what, count := range w {
		if count > before[what] {
			more[what] = count - before[what]
		}
	}
	return more
}
