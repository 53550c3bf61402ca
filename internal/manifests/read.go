package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	kubernetesjson "k8s.io/apimachinery/pkg/util/json"
	kubernetesyaml "sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/certs/credential"
)

// Read decodes the manifests of a file or stream: YAML documents, JSON documents, or both, as
// kubectl reads them, and in the encodings of [credential.Text]. Documents without content are left
// out. The problems are all that keep documents from being read, with their lines; they contain no
// values, because a document can be a Secret.
func Read(source string, content []byte) (documents []Document, problems []Problem) {
	text, _, err := credential.Text(content)
	if err != nil {
		return nil, []Problem{{Location: Location{Source: source, Number: 1, Line: 1}, Message: err.Error()}}
	}
	parts := split(text)
	decoded := make([][]decodedText, len(parts))
	onAllProcessors(len(parts), func(n int) { decoded[n] = parts[n].decodeAll(source) })
	number := 0
	for _, one := range slices.Concat(decoded...) {
		if one.object == nil && len(one.problems) == 0 {
			continue // nothing but comments
		}
		number++
		for _, problem := range one.problems {
			problem.Location.Number = number
			problems = append(problems, problem)
		}
		if len(one.problems) == 0 {
			documents = append(documents, Document{
				Source: source, Number: number, Line: one.text.firstLine(), Object: one.object, text: one.text, tree: &tree{},
			})
		}
	}
	return documents, problems
}

// decodedText is a document with its object, or with its problems, which have no number yet.
type decodedText struct {
	text     excerpt
	object   map[string]any
	problems []Problem
}

// decodeAll decodes the documents of the part.
func (e excerpt) decodeAll(source string) []decodedText {
	texts, err := e.documents()
	if err != nil {
		return []decodedText{{text: e, problems: []Problem{e.problem(source, err)}}}
	}
	decoded := make([]decodedText, len(texts))
	for n, text := range texts {
		decoded[n].text = text
		decoded[n].object, decoded[n].problems = text.decode(source)
	}
	return decoded
}

// excerpt is a part of a stream, and the line at which it starts.
type excerpt struct {
	text []byte
	line int
}

// firstLine returns the line of the first content.
func (e excerpt) firstLine() int {
	line := e.line
	for text := range bytes.Lines(e.text) {
		if text = bytes.TrimSpace(text); len(text) > 0 && text[0] != '#' {
			break
		}
		line++
	}
	return line
}

// split cuts a stream at the lines that start a YAML document.
func split(content []byte) []excerpt {
	var parts []excerpt
	current, line := excerpt{line: 1}, 0
	for text := range bytes.Lines(content) {
		line++
		rest, found := bytes.CutPrefix(text, []byte("---"))
		if found && (len(rest) == 0 || bytes.ContainsAny(rest[:1], " \t\r\n")) {
			parts = append(parts, current)
			// What follows in the same line belongs to the new document.
			current, text = excerpt{line: line}, append([]byte("   "), rest...)
		}
		current.text = append(current.text, text...)
	}
	return append(parts, current)
}

// documents returns the JSON documents of the part, which can be several, or the YAML document as
// it is.
func (e excerpt) documents() ([]excerpt, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(e.text), []byte("{")) {
		return []excerpt{e}, nil
	}
	var texts []excerpt
	decoder := json.NewDecoder(bytes.NewReader(e.text))
	for {
		var text json.RawMessage
		err := decoder.Decode(&text)
		switch {
		case errors.Is(err, io.EOF):
			return texts, nil
		case err == nil:
			start := int(decoder.InputOffset()) - len(text)
			texts = append(texts, excerpt{text: text, line: e.line + bytes.Count(e.text[:start], []byte("\n"))})
			continue
		}
		if yaml.Unmarshal(e.text, new(yaml.Node)) == nil {
			return []excerpt{e}, nil // a mapping in YAML's own form, such as {a: b}
		}
		return nil, fmt.Errorf("is not valid JSON: %w", err)
	}
}

// lineIn is how the parser of YAML names a line.
var lineIn = regexp.MustCompile(`\bline ([0-9]+): `)

// problem returns the problem of a document that can't be parsed.
func (e excerpt) problem(source string, err error) Problem {
	location := Location{Source: source, Line: e.line}
	message := err.Error()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		location.Line += bytes.Count(e.text[:min(int(syntax.Offset), len(e.text))], []byte("\n"))
	}
	if at := lineIn.FindStringSubmatchIndex(message); at != nil {
		if line, err := strconv.Atoi(message[at[2]:at[3]]); err == nil {
			location.Line += line - 1
		}
		message = message[:at[0]] + message[at[1]:]
	}
	return Problem{Location: location, Reason: ReasonSyntax, Message: message}
}

// decode returns the object of a document, or all its problems. Without either, the document is
// empty.
func (e excerpt) decode(source string) (map[string]any, []Problem) {
	encoded, err := kubernetesyaml.YAMLToJSON(e.text)
	if err != nil {
		message := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
		message = strings.ReplaceAll(message, "yaml: ", "is not valid YAML: ")
		return nil, []Problem{e.problem(source, errors.New(message))}
	}
	var value any
	if err := kubernetesjson.Unmarshal(encoded, &value); err != nil {
		return nil, []Problem{e.problem(source, err)}
	}
	if value == nil {
		return nil, nil
	}
	object, isObject := value.(map[string]any)
	var faults []fault
	if isObject {
		faults = faultsOf(object, nil)
	} else {
		faults = []fault{{message: "is " + typeOf(value) +
			", but a manifest is an object with apiVersion, kind and metadata"}}
	}
	if len(faults) == 0 {
		return object, nil
	}
	var root yaml.Node
	_ = yaml.Unmarshal(e.text, &root) // without it, problems are at the first line
	problems := make([]Problem, len(faults))
	for n, fault := range faults {
		location := locate(object, source)
		location.Line = e.line + lineOf(&root, fault.path)
		problems[n] = Problem{
			Location: location, Reason: ReasonInvalidObject, Path: fault.path, Field: FieldPath(fault.path),
			Message: fault.String(),
		}
		if len(fault.path) == 0 {
			problems[n].Reason = ReasonNoManifest
		}
	}
	return nil, problems
}

// fault is something in an object that no API server would read.
type fault struct {
	// path are the fields and indices down to it.
	path    []any
	message string
}

// String returns the path and the message.
func (f fault) String() string {
	return strings.TrimPrefix(FieldPath(f.path)+": "+f.message, ": ")
}

// FieldPath returns the path of field names and indices as in kubectl's messages, for example
// spec.ports[0].name.
func FieldPath(path []any) string {
	var text strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&text, "[%d]", step)
		case string:
			if strings.ContainsAny(step, "./") {
				fmt.Fprintf(&text, "[%s]", step)
				continue
			}
			text.WriteString("." + step)
		}
	}
	return strings.TrimPrefix(text.String(), ".")
}

// faultsOf returns the faults of an object or, in a list, of its elements: a missing kind, and
// metadata of the wrong types.
func faultsOf(object map[string]any, at []any) []fault {
	under := func(steps ...any) []any { return append(slices.Clip(at), steps...) }
	kind, _ := object["kind"].(string)
	if kind == "" {
		return []fault{{path: at, message: "has no kind, so it is not a manifest"}}
	}
	var faults []fault
	if elements, isList := object["items"].([]any); isList && strings.HasSuffix(kind, "List") {
		for n, element := range elements {
			if child, ok := element.(map[string]any); ok {
				faults = append(faults, faultsOf(child, under("items", n))...)
			} else if element != nil {
				faults = append(faults, fault{under("items", n), "is " + typeOf(element) + ", want an object"})
			}
		}
	}
	metadata, isMap := object["metadata"].(map[string]any)
	if !isMap && object["metadata"] != nil {
		return append(faults, fault{under("metadata"), "is " + typeOf(object["metadata"]) + ", want a mapping"})
	}
	for _, name := range []string{"name", "namespace", "generateName"} {
		if _, isText := metadata[name].(string); !isText && metadata[name] != nil {
			faults = append(faults, fault{under("metadata", name), "is " + typeOf(metadata[name]) + ", want text: " + quote})
		}
	}
	for _, name := range []string{"annotations", "labels"} {
		values, isMap := metadata[name].(map[string]any)
		if !isMap && metadata[name] != nil {
			faults = append(faults, fault{under("metadata", name), "is " + typeOf(metadata[name]) + ", want a mapping"})
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if _, isText := values[key].(string); !isText && values[key] != nil {
				faults = append(faults,
					fault{under("metadata", name, key), "is " + typeOf(values[key]) + ", want text: " + quote})
			}
		}
	}
	return faults
}

const quote = "write it in quotes"

// typeOf names the type of a value.
func typeOf(value any) string {
	switch value.(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case int64, float64:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	default:
		return "empty"
	}
}

// lineOf returns how many lines below the first one of the document the value at the path is.
func lineOf(node *yaml.Node, path []any) int {
	return max(nodeAt(node, path).Line, 1) - 1
}

// nodeAt returns the node at the path, or of the last part of the path that is there. For a field
// it is the node of its name.
func nodeAt(node *yaml.Node, path []any) *yaml.Node {
	if node.Kind == yaml.DocumentNode && len(node.Content) == 1 {
		return nodeAt(node.Content[0], path)
	}
	if len(path) == 0 {
		return node
	}
	switch step := path[0].(type) {
	case int:
		if node.Kind == yaml.SequenceNode && step < len(node.Content) {
			return nodeAt(node.Content[step], path[1:])
		}
	case string:
		for n := 0; node.Kind == yaml.MappingNode && n+1 < len(node.Content); n += 2 {
			if node.Content[n].Value != step {
				continue
			}
			if len(path) == 1 {
				return node.Content[n]
			}
			return nodeAt(node.Content[n+1], path[1:])
		}
	}
	return node
}
