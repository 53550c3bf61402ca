package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

const (
	// oneLabel matches exactly one label or, alone, every host.
	oneLabel = "*"
	// someLabels matches one or more labels, and is only valid as the first label.
	someLabels = "**"
)

// MaxPatterns is the maximum number of entries of one list. It bounds the work of a decision.
const MaxPatterns = 1024

// A Pattern matches hosts. It is a host in which globs can replace labels: * matches exactly one
// label, a leading ** one or more. So *.bank.example matches api.bank.example but neither
// bank.example nor a.b.bank.example, as in a certificate (RFC 9525 §6.3). **.bank.example matches
// the first and the last. A lone * matches every host. The last label can't be a glob, because
// anyone can register a domain that matches it. The zero Pattern matches nothing.
type Pattern struct {
	labels []string
}

// ParsePattern parses one pattern, in any case and with or without a trailing dot. The error states
// what is wrong and how to fix it.
func ParsePattern(text string) (Pattern, error) {
	if text == oneLabel {
		return Pattern{labels: []string{oneLabel}}, nil
	}
	if text == someLabels {
		return Pattern{}, errors.New("is only **; write * for every host")
	}
	if host, port, ok := strings.Cut(text, ":"); ok && host != "" && port != "" &&
		strings.Trim(port, "0123456789") == "" {
		return Pattern{}, fmt.Errorf("has a port, but a pattern matches hosts on any port; write %q",
			egress.Excerpt(host))
	}
	// Validate the pattern as a host, with a one-letter label in place of each glob.
	labels := strings.Split(text, ".")
	if !strings.Contains(text, "/") {
		for i, label := range labels {
			if !strings.Contains(label, "*") {
				continue
			}
			switch {
			case label != oneLabel && label != someLabels:
				return Pattern{}, fmt.Errorf("has the label %q; * must be a whole label, as in *.bank.example",
					egress.Excerpt(label))
			case label == someLabels && i > 0:
				return Pattern{}, errors.New("has ** after another label; ** must come first, as in **.bank.example")
			case i == len(labels)-1 || i == len(labels)-2 && labels[i+1] == "":
				return Pattern{}, errors.New(
					"ends in a glob, which matches domains that anyone can register; write the last label, " +
						"or * alone for every host")
			}
			labels[i] = "x"
		}
	}
	host, err := egress.NormalizeHost(strings.Join(labels, "."))
	if err != nil {
		return Pattern{}, err
	}
	parsed := strings.Split(host, ".")
	for i, label := range strings.Split(text, ".") {
		if strings.HasPrefix(label, "*") {
			parsed[i] = label
		}
	}
	return Pattern{labels: parsed}, nil
}

// String returns the pattern in normal form: in lowercase, without a trailing dot.
func (p Pattern) String() string {
	return strings.Join(p.labels, ".")
}

// Matches reports whether the pattern matches host, which [egress.NormalizeHost] has normalized.
func (p Pattern) Matches(host string) bool {
	if len(p.labels) == 0 || host == "" {
		return false
	}
	if len(p.labels) == 1 && p.labels[0] == oneLabel {
		return true
	}
	labels, wanted := strings.Split(host, "."), p.labels
	if wanted[0] == someLabels {
		if len(labels) < len(wanted) {
			return false
		}
		wanted = wanted[1:]
		labels = labels[len(labels)-len(wanted):]
	}
	return slices.EqualFunc(wanted, labels, func(want, label string) bool { return want == oneLabel || want == label })
}

// ParsePatterns parses a list of patterns. It returns the valid patterns and an error for each
// invalid entry, at path with its index.
func ParsePatterns(entries []string, path *field.Path) ([]Pattern, field.ErrorList) {
	if len(entries) > MaxPatterns {
		return nil, field.ErrorList{field.TooMany(path, len(entries), MaxPatterns)}
	}
	return parse(entries, path.Index)
}

// ParseAnnotation parses the value of [egress.AnnotationAllowedTargets], a comma-separated list of
// patterns. It ignores whitespace around them. An empty value is an empty list.
func ParseAnnotation(value string, path *field.Path) ([]Pattern, field.ErrorList) {
	if len(value) > egress.MaxAnnotationBytes {
		return nil, field.ErrorList{field.TooLong(path, "", egress.MaxAnnotationBytes)}
	}
	if strings.TrimSpace(value) == "" {
		return nil, nil
	}
	return parse(strings.Split(value, ","), func(int) *field.Path { return path })
}

func parse(entries []string, at func(int) *field.Path) ([]Pattern, field.ErrorList) {
	var (
		patterns []Pattern
		errs     field.ErrorList
	)
	for i, entry := range entries {
		text := strings.TrimSpace(entry)
		if text == "" {
			errs = append(
				errs,
				egress.Invalid(at(i), entry,
					"an entry is empty; remove it, or write a host or a pattern such as *.bank.example"),
			)
			continue
		}
		pattern, err := ParsePattern(text)
		if err != nil {
			errs = append(errs, egress.Invalid(at(i), entry, err.Error()))
			continue
		}
		patterns = append(patterns, pattern)
	}
	return patterns, errs
}
