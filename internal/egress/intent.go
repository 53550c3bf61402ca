package egress

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Entry is one target that an annotation requests.
type Entry struct {
	// Host is the normalized host.
	Host string
	// Port is the partner's TLS port, or 0 if the annotation omits it.
	Port int32
	// SecretName is the Secret with the credential, or "" if the annotation omits it.
	SecretName string
}

// Intent is what the annotations of one Pod, Pod template or workload request, in the order of the
// annotation.
type Intent struct {
	Entries []Entry
}

// Hosts returns the requested hosts in order.
func (i Intent) Hosts() []string {
	hosts := make([]string, len(i.Entries))
	for n, entry := range i.Entries {
		hosts[n] = entry.Host
	}
	return hosts
}

// ParseIntent parses the annotations at path, such as metadata.annotations. It returns all errors
// at once, each with the annotation, the entry and a fix. The warnings list unknown annotations
// that start with mtls.egress/.
func ParseIntent(annotations map[string]string, path *field.Path) (Intent, []UnknownAnnotation, field.ErrorList) {
	warnings := unknownAnnotations(annotations)
	targets, asked := annotations[AnnotationTarget]
	secrets, named := annotations[AnnotationSecret]
	if !asked {
		if named {
			return Intent{}, warnings, field.ErrorList{field.Required(path.Key(AnnotationTarget),
				fmt.Sprintf("%s names a Secret, but there is no target annotation; add %s: <host> or remove %s",
					AnnotationSecret, AnnotationTarget, AnnotationSecret))}
		}
		return Intent{}, warnings, nil
	}
	intent, errs := parseTargets(targets, path.Key(AnnotationTarget))
	if named {
		errs = append(errs, parseSecrets(secrets, &intent, path.Key(AnnotationSecret), len(errs) == 0)...)
	}
	if len(errs) > 0 {
		return Intent{}, warnings, errs
	}
	return intent, warnings, nil
}

func parseTargets(value string, path *field.Path) (Intent, field.ErrorList) {
	if errs := checkSize(value, path); errs != nil {
		return Intent{}, errs
	}
	if strings.TrimSpace(value) == "" {
		return Intent{}, field.ErrorList{field.Required(path,
			"is empty; write a host such as external.system.com, or remove the annotation")}
	}
	var intent Intent
	var errs field.ErrorList
	seen := map[string]int{}
	for text := range strings.SplitSeq(value, ",") {
		entry, err := ParseEntry(strings.TrimSpace(text))
		if err != nil {
			errs = append(errs, Invalid(path, text, err.Error()))
			continue
		}
		at, again := seen[entry.Host]
		switch {
		case !again:
			seen[entry.Host] = len(intent.Entries)
			intent.Entries = append(intent.Entries, entry)
		case intent.Entries[at].Port != entry.Port:
			errs = append(
				errs,
				Invalid(path, text, fmt.Sprintf("the host is listed with two ports, %s and %s; a target has one port",
					portText(intent.Entries[at].Port), portText(entry.Port))),
			)
		}
	}
	if len(intent.Entries) > MaxTargets {
		errs = append(errs, field.TooMany(path, len(intent.Entries), MaxTargets))
	}
	return intent, errs
}

// ParseEntry parses HOST[:PORT], as in the target annotation. The port is 0 if it is missing. The
// error continues a sentence about the text.
func ParseEntry(text string) (Entry, error) {
	if text == "" {
		return Entry{}, errors.New("an entry is empty; remove the extra comma")
	}
	hostText, portText, hasPort := cutPort(text)
	host, err := NormalizeHost(hostText)
	if err != nil {
		return Entry{}, err
	}
	if !hasPort {
		return Entry{Host: host}, nil
	}
	port, err := parsePort(portText)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Host: host, Port: port}, nil
}

// cutPort splits host:port at its only colon. It returns text with several colons, such as an IPv6
// address or a URL, unchanged, so that NormalizeHost reports the actual problem.
func cutPort(text string) (host, port string, found bool) {
	if strings.Count(text, ":") != 1 || strings.Contains(text, "://") {
		return text, "", false
	}
	return strings.Cut(text, ":")
}

func parsePort(text string) (int32, error) {
	if text == "" {
		return 0, errors.New("has a colon but no port; write host:443 or the host alone")
	}
	if strings.Contains(text, "/") {
		return 0, errors.New("has a path; write host:port alone")
	}
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf(
				"has the port %s, which is not a number; write the partner's TLS port, 1 to 65535, or leave it out for 443",
				quotedExcerpt(text))
		}
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("has the port %s, which is out of range; write the partner's TLS port, 1 to 65535",
			quotedExcerpt(text))
	}
	return int32(port), nil
}

// parseSecrets parses the value of the secret annotation into intent. It compares the hosts with
// the targets only if the targets are valid. Otherwise every error would have the same cause.
func parseSecrets(value string, intent *Intent, path *field.Path, targetsRead bool) field.ErrorList {
	if errs := checkSize(value, path); errs != nil {
		return errs
	}
	if strings.TrimSpace(value) == "" {
		return field.ErrorList{
			field.Required(path,
				"is empty; write the name of a Secret, or remove the annotation to use the default name"),
		}
	}
	if !strings.ContainsAny(value, ",=") {
		name := strings.TrimSpace(value)
		for i := range intent.Entries {
			intent.Entries[i].SecretName = name
		}
		return checkSecretName(name, value, path)
	}
	var errs field.ErrorList
	seen := map[string]string{}
	for text := range strings.SplitSeq(value, ",") {
		errs = append(errs, parseSecretEntry(text, intent, seen, path, targetsRead)...)
	}
	return errs
}

func parseSecretEntry(
	text string,
	intent *Intent,
	seen map[string]string,
	path *field.Path,
	targetsRead bool,
) field.ErrorList {
	hostText, name, ok := strings.Cut(strings.TrimSpace(text), "=")
	if !ok {
		return field.ErrorList{
			Invalid(path, text,
				"is not host=secret; name one Secret for all targets, or write host=secret for each, separated by commas"),
		}
	}
	host, err := NormalizeHost(strings.TrimSpace(hostText))
	if err != nil {
		return field.ErrorList{Invalid(path, text, "the host "+err.Error())}
	}
	name = strings.TrimSpace(name)
	if errs := checkSecretName(name, text, path); len(errs) > 0 {
		return errs
	}
	if other, again := seen[host]; again {
		if other == name {
			return nil
		}
		return field.ErrorList{
			Invalid(path, text, fmt.Sprintf("the host %s gets two Secrets, %s and %s; name one", host, other, name)),
		}
	}
	seen[host] = name
	if !targetsRead {
		return nil
	}
	at := slices.IndexFunc(intent.Entries, func(e Entry) bool { return e.Host == host })
	if at < 0 {
		return field.ErrorList{
			Invalid(
				path,
				text,
				fmt.Sprintf("the host %s is not among the targets in %s (%s); add it there or remove it here",
					host, AnnotationTarget, strings.Join(intent.Hosts(), ", ")),
			),
		}
	}
	intent.Entries[at].SecretName = name
	return nil
}

func checkSecretName(name, text string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{Invalid(path, text, "has no Secret name after the =")}
	}
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return field.ErrorList{Invalid(path, text, fmt.Sprintf(
			"is not a valid Secret name: use lowercase letters, digits, - and ., at most %d characters, for example "+
				"external-system-mtls-data", validation.DNS1123SubdomainMaxLength))}
	}
	return nil
}

func checkSize(value string, path *field.Path) field.ErrorList {
	if len(value) <= MaxAnnotationBytes {
		return nil
	}
	return field.ErrorList{field.TooLong(path, "", MaxAnnotationBytes)}
}

func portText(port int32) string {
	if port == 0 {
		return "none (443 by default)"
	}
	return strconv.Itoa(int(port))
}
