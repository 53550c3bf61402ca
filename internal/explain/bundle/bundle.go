// Package bundle writes what an explanation has read to an archive for support, without keys,
// tokens, values of Secrets and values that users choose. Everything that isn't known to be
// harmless is left out.
package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"mtls.egress/webhook/internal/egress"
)

const redacted = "REDACTED"

// Write writes the files to w as a compressed archive. secrets are values that must not occur in
// it, besides what every value is searched for.
func Write(w io.Writer, files map[string][]byte, secrets [][]byte, now time.Time) error {
	compressed := gzip.NewWriter(w)
	archive := tar.NewWriter(compressed)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content := Redact(files[name], secrets)
		header := &tar.Header{
			Name: "mtls-egress/" + name, Mode: 0o600, Size: int64(len(content)), ModTime: now, Format: tar.FormatPAX,
		}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
		if _, err := archive.Write(content); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return compressed.Close()
}

// Redact returns the content of a file without secrets. JSON is redacted by its fields; every text
// is searched for keys, tokens and the given values.
func Redact(content []byte, secrets [][]byte) []byte {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return []byte(scrub(string(content), secrets))
	}
	encoded, err := json.MarshalIndent(redact("", value, secrets), "", "  ")
	if err != nil {
		return []byte(redacted)
	}
	return append(encoded, '\n')
}

// redact returns a value without secrets. key is the field that it is in.
func redact(key string, value any, secrets [][]byte) any {
	switch value := value.(type) {
	case string:
		return scrub(value, secrets)
	case []any:
		for n := range value {
			value[n] = redact(key, value[n], secrets)
		}
		return value
	case map[string]any:
		for name, content := range value {
			value[name] = redactField(key, name, content, value, secrets)
		}
		return value
	}
	return value
}

// redactField returns the content of a field of object, which itself is in the field parent.
func redactField(parent, name string, content any, object map[string]any, secrets [][]byte) any {
	switch {
	case name == "managedFields" || name == "managed_fields":
		return nil
	case parent == "annotations":
		if harmlessAnnotation(name) {
			return redact(name, content, secrets)
		}
		return redacted
	case isOpaque(name):
		return redacted
	case (name == "args" || name == "command") && !isIptables(object):
		return redacted
	case name == "value" && hasName(object):
		return redacted
	case name == "set" || name == "add":
		return redactValues(content)
	}
	return redact(name, content, secrets)
}

// isOpaque reports whether a field holds data of a Secret or a ConfigMap, or text that a user wrote
// into Envoy's configuration.
func isOpaque(name string) bool {
	switch name {
	case "data", "stringData", "binaryData", "inline_bytes", "inline_string", "inlineBytes", "inlineString",
		"inline_code", "inlineCode", "private_key", "privateKeyData", "password", "token", "authorization", "body":
		return true
	}
	return false
}

// harmlessAnnotation reports whether the values of an annotation say how the mesh treats a Pod, or
// which target it asks for.
func harmlessAnnotation(name string) bool {
	domain, _, _ := strings.Cut(name, "/")
	return name != "proxy.istio.io/config" && (strings.HasSuffix(domain, "istio.io") ||
		strings.HasPrefix(name, egress.AnnotationPrefix) || name == "deployment.kubernetes.io/revision")
}

// hasName reports whether an object is a named value: a variable of a container or a header. A
// counter of Envoy has a name too, and a number.
func hasName(object map[string]any) bool {
	_, named := object["name"]
	_, keyed := object["key"]
	text, isText := object["value"].(string)
	return (named || keyed) && isText && strings.Trim(text, "0123456789") != ""
}

// isIptables reports whether a container is Istio's, whose arguments say what the sidecar
// intercepts.
func isIptables(object map[string]any) bool {
	return object["name"] == "istio-init" || object["name"] == "istio-validation"
}

// redactValues keeps only the names of headers that an Istio object sets.
func redactValues(content any) any {
	fields, ok := content.(map[string]any)
	if !ok {
		return redacted
	}
	for name := range fields {
		fields[name] = redacted
	}
	return fields
}

var secretTexts = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE ` +
	`KEY-----|$)` +
	`|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*` + // a JSON web token
	`|(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9+/=._~-]{6,}` +
	`|(?i:(?:password|passwd|token|secret|api[-_]?key)=)[^\s&"',;]+` +
	`|LS0tLS1CRUdJTi[A-Za-z0-9+/=]+`) // PEM in base64

// userInfo is the user's part of a URL.
var userInfo = regexp.MustCompile(`(://)[^/@\s"]+@`)

// scrub takes keys, tokens and the given values out of a text.
func scrub(text string, secrets [][]byte) string {
	const shortest = 8 // shorter values are names, ports and other words of any text
	for _, secret := range secrets {
		if len(secret) < shortest {
			continue
		}
		for _, form := range []string{
			string(secret), strings.TrimSpace(string(secret)), base64.StdEncoding.EncodeToString(secret),
		} {
			text = strings.ReplaceAll(text, form, redacted)
		}
	}
	text = secretTexts.ReplaceAllString(text, redacted)
	return userInfo.ReplaceAllString(text, "${1}"+redacted+"@")
}
