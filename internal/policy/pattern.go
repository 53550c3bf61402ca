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
	// oneLabel stands for exactly one whole label; alone, for every host.
	oneLabel = "*"
	// someLabels stands for one or more whole labels, and only in front.
	someLabels = "**"
)

// MaxPatterns is the number of entries that one list may have. It bounds the work of a decision.
const MaxPatterns = 1024

// A Pattern matches hosts. It is a host, or a host with globs in place of whole labels: * stands
// for exactly one label, a leading ** for one or more. So *.bank.example matches api.bank.example,
// and neither bank.example nor a.b.bank.example, as in a certificate (RFC 9525 §6.3);
// **.bank.example matches the first and the last. A lone * matches every host. The last label is
// never a glob: whoever registers a domain could choose it. The zero Pattern matches nothing.
type Pattern struct {
	labels []string
}

// ParsePattern reads one pattern, in any case and with or without a trailing dot. The error says
// what is wrong with it and what would be right.
func ParsePattern(text string) (Pattern, error) {
	if text == oneLabel {
		return Pattern{labels: []string{oneLabel}}, nil
	}
	if text == someLabels {
		return Pattern{}, errors.New("is ** alone; write * for every host")
	}
	if host, port, ok := strings.Cut(text, ":"); ok && host != "" && port != "" && strings.Trim(port, "0123456789") == "" {
		return Pattern{}, fmt.Errorf("has a port; a pattern is about hosts, whatever their port: write %q", egress.Excerpt(host))
	}
	// Checked as a host is, with a label of one letter for each glob.
	labels := strings.Split(text, ".")
	if !strings.Contains(text, "/") {
		for i, label := range labels {
			if !strings.Contains(label, "*") {
				continue
			}
			switch {
			case label != oneLabel && label != someLabels:
				return Pattern{}, fmt.Errorf("has the label %q; * stands for a whole label, as in *.bank.example", egress.Excerpt(label))
			case label == someLabels && i > 0:
				return Pattern{}, errors.New("has ** behind another label; ** stands in front only, as in **.bank.example")
			case i == len(labels)-1 || i == len(labels)-2 && labels[i+1] == "":
				return Pattern{}, errors.New("ends in a glob, which hosts of anybody's domain match; write out the last label, or * alone for every host")
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

// String returns the pattern in its normal form: lower case, without a trailing dot.
func (p Pattern) String() string {
	return strings.Join(p.labels, ".")
}

// Matches reports whether the pattern matches host, which is in the form that
// [egress.NormalizeHost] returns.
func (p Pattern) Matches(host string) bool {
	if len(p.labels) == 0 || host == "" {
		return false
	}
	if len(p.labels) == 1 {
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

// ParsePatterns reads a list of patterns, one an entry. It returns the patterns that are right and
// an error for each entry that isn't, at path's index.
func ParsePatterns(entries []string, path *field.Path) ([]Pattern, field.ErrorList) {
	if len(entries) > MaxPatterns {
		return nil, field.ErrorList{field.TooMany(path, len(entries), MaxPatterns)}
	}
	return parse(entries, path.Index)
}

// ParseAnnotation reads the value of the annotation [egress.AnnotationAllowedTargets]:
// comma-separated patterns; blanks around them don't count. An empty value is an empty list.
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
			errs = append(errs, egress.Invalid(at(i), entry, "an entry is empty; remove it, or write a host or a pattern such as *.bank.example"))
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
