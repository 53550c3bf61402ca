package manifests

import (
	"regexp"
	"strconv"
	"strings"

	"mtls.egress/webhook/internal/mutate"
)

// Reason is a short, stable reason of a [Problem]. Those of admission are the reasons of package
// mutate.
type Reason string

// The reasons besides those of admission.
const (
	// ReasonInvalidObject means that an object can't be decoded.
	ReasonInvalidObject Reason = "invalid-object"
	// ReasonInvalidEgressTarget means that the API server would reject the EgressTarget.
	ReasonInvalidEgressTarget Reason = "invalid-egresstarget"
	// ReasonInvalidPolicy means that the list of hosts of a Namespace is invalid.
	ReasonInvalidPolicy Reason = "invalid-policy"
	// ReasonUnusableSecret means that the controller refuses the credential.
	ReasonUnusableSecret Reason = "unusable-secret"
	// ReasonUnusableServerCA means that the controller refuses the CA of the server in a ConfigMap.
	ReasonUnusableServerCA Reason = "unusable-server-ca"
	// ReasonMisplacedKey means that one of the annotations is a label, or on an object without Pods.
	ReasonMisplacedKey Reason = "misplaced-key"
	// ReasonUnheardKey means that one of the annotations is at a place where nothing reads it.
	ReasonUnheardKey Reason = "unheard-key"
	// ReasonUnknownKind means that a kind with one of the annotations is not in the table of
	// workloads.
	ReasonUnknownKind Reason = "unknown-kind"
	// ReasonLookalikeKey means that a key only looks like one of this project.
	ReasonLookalikeKey Reason = "lookalike-key"
	// ReasonConflictCloses means that another object conflicts with the target, which is closed.
	ReasonConflictCloses Reason = "conflict-closes"
	// ReasonConflict means that another object conflicts with the target, which stays open.
	ReasonConflict Reason = "conflict"
	// ReasonNotReady means that calls to the target fail. Its condition Programmed has the cause.
	ReasonNotReady Reason = "target-not-ready"
)

// The reasons of documents that [Read] can't read.
const (
	// ReasonSyntax means that the text is neither YAML nor JSON.
	ReasonSyntax Reason = "syntax"
	// ReasonNoManifest means that the document is valid, but not an object of Kubernetes.
	ReasonNoManifest Reason = "no-manifest"
)

// Reasons returns all reasons of [ReviewOf].
func Reasons() []Reason {
	return []Reason{
		ReasonInvalidObject, ReasonInvalidEgressTarget, ReasonInvalidPolicy, ReasonUnusableSecret, ReasonUnusableServerCA,
		ReasonMisplacedKey, ReasonUnheardKey, ReasonUnknownKind, ReasonLookalikeKey, ReasonConflictCloses,
		ReasonConflict, ReasonNotReady,
	}
}

// Problem is one reason to reject the input, or a warning.
type Problem struct {
	Location Location
	Reason   Reason
	// Path leads from the object to the field: names of fields and indices of lists. It is empty if
	// the problem concerns the whole object.
	Path []any
	// Field is the path with which the message starts. It can be another one than Path: that of a Pod
	// template into which admission copies the value. It is empty if the message has none.
	Field   string
	Message string
}

// Detail returns the message without the field.
func (p Problem) Detail() string {
	if p.Field == "" {
		return p.Message
	}
	return strings.TrimPrefix(p.Message, p.Field+": ")
}

// String returns the location and the message.
func (p Problem) String() string {
	return p.Location.String() + ": " + p.Message
}

// problem returns a problem of the object.
func (i item) problem(reason Reason, path []any, message string) Problem {
	return Problem{Location: i.location, Reason: reason, Path: path, Message: message}
}

// admitted returns the problem for what admission says of a field. A value in a Pod template that
// admission copied there has its origin in the metadata of the object or of a Job template.
func (i item) admitted(reason mutate.Reason, field, message string) Problem {
	path := ParsePath(field)
	if n := len(path) - 1; n > 1 && path[n-1] == "annotations" && valueAt(i.object, path) == nil {
		for _, above := range []string{"spec.jobTemplate.metadata.annotations", "metadata.annotations"} {
			if origin := append(ParsePath(above), path[n]); valueAt(i.object, origin) != nil {
				path = origin
				break
			}
		}
	}
	problem := i.problem(Reason(reason), path, message)
	problem.Field = field
	return problem
}

// step is a part of a path: the name of a field, or an index or a key in brackets.
var step = regexp.MustCompile(`\[([^\]]*)\]|[^.\[]+`)

// ParsePath returns the steps of a path as in [FieldPath] and the messages of the API server, such
// as metadata.annotations[mtls.egress/target].
func ParsePath(text string) []any {
	var path []any
	for _, match := range step.FindAllStringSubmatch(text, -1) {
		name, isKey := match[0], strings.HasPrefix(match[0], "[")
		if isKey {
			name = match[1]
		}
		if index, err := strconv.Atoi(name); isKey && err == nil {
			path = append(path, index)
		} else {
			path = append(path, name)
		}
	}
	return path
}

// valueAt returns the value at a path, or nil.
func valueAt(value any, path []any) any {
	for _, step := range path {
		switch parent := value.(type) {
		case map[string]any:
			name, _ := step.(string)
			value = parent[name]
		case []any:
			index, isIndex := step.(int)
			if !isIndex || index < 0 || index >= len(parent) {
				return nil
			}
			value = parent[index]
		default:
			return nil
		}
	}
	return value
}
