package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML encodes objects as a stream of documents with sorted keys. Parsers of YAML 1.1, such as
// kubectl's, and of YAML 1.2 read the same values from it, whatever the strings contain.
func YAML(objects []map[string]any) ([]byte, error) {
	documents, errs := make([][]byte, len(objects)), make([]error, len(objects))
	onAllProcessors(len(objects), func(n int) { documents[n], errs[n] = document(objects[n]) })
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return bytes.Join(documents, []byte("---\n")), nil
}

// document encodes an object as one document.
func document(object map[string]any) ([]byte, error) {
	node, err := nodeOf(object)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text) // one for each document, as it keeps all that it has encoded
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	err = encoder.Encode(node)
	return text.Bytes(), err
}

// nodeOf returns the node of a value as it is in a manifest: of the types that decoding JSON makes.
func nodeOf(value any) (*yaml.Node, error) {
	switch value := value.(type) {
	case map[string]any:
		node := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			child, err := nodeOf(value[key])
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, stringNode(key), child)
		}
		return node, nil
	case []any:
		node := &yaml.Node{Kind: yaml.SequenceNode}
		for _, element := range value {
			child, err := nodeOf(element)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, child)
		}
		return node, nil
	case string:
		return stringNode(value), nil
	case nil:
		return plainNode("null"), nil
	case bool:
		return plainNode(strconv.FormatBool(value)), nil
	case int64:
		return plainNode(strconv.FormatInt(value, 10)), nil
	case float64:
		return plainNode(float(value)), nil
	default:
		return nil, fmt.Errorf("a manifest has a value of type %T", value)
	}
}

func plainNode(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// float formats a number so that parsers of YAML 1.1 read it as one: they want a point before an
// exponent. A whole number has no point, as in JSON.
func float(value float64) string {
	const exact = 1 << 53 // all whole numbers up to this one are exact
	if value == math.Trunc(value) && math.Abs(value) <= exact {
		return strconv.FormatInt(int64(value), 10)
	}
	text := strconv.FormatFloat(value, 'g', -1, 64)
	if digits, exponent, found := strings.Cut(text, "e"); found && !strings.Contains(digits, ".") {
		return digits + ".0e" + exponent
	}
	return text
}

// stringNode returns a node that is a string for all parsers. The encoder chooses the style, except
// for strings that parsers take for something else, or in which they change characters.
func stringNode(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if mayBeNoString(text) && notAString.MatchString(text) || fragile(text) {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

// notAString are the plain scalars that a parser of YAML 1.1 doesn't read as strings. The encoder
// knows those of YAML 1.2.
//
//   - https://yaml.org/type/index.html
//   - https://github.com/yaml/pyyaml/blob/6.0.3/lib/yaml/resolver.py#L170
var notAString = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`|~|=|<<`,
	`(?i:y|n|yes|no|on|off|true|false|null)`,
	`[-+]?0b[01_]+`, `[-+]?0o?[0-7_]+`, `[-+]?(?:0|[1-9][0-9_]*)`, `[-+]?0x[0-9a-fA-F_]+`,
	`[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?`,
	`[-+]?(?:[0-9][0-9_]*)?\.[0-9_]*(?:[eE][-+]?[0-9]+)?`, `[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+`,
	`[-+]?\.(?i:inf)`, `\.(?i:nan)`,
	`[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9].*)?`,
}, "|") + `)$`)

// mayBeNoString is false for most texts that notAString doesn't match. It takes a hundredth of the
// time.
func mayBeNoString(text string) bool {
	return text == "" || strings.IndexByte("~=<yYnNoOtTfF+-.0123456789", text[0]) >= 0
}

// fragile reports whether parsers change the string unless it is escaped: because of a control
// character, a line break other than a newline, or white space at its beginning or at the end of a
// line.
func fragile(text string) bool {
	if strings.HasPrefix(text, "\n") || strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t") ||
		strings.Contains(text, " \n") || strings.Contains(text, "\t\n") || strings.HasSuffix(text, " ") ||
		strings.HasSuffix(text, "\t") {
		return true
	}
	return strings.ContainsFunc(text, func(r rune) bool {
		switch {
		case r == '\n':
			return false
		case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r&0xfffe == 0xfffe:
			return true
		}
		return r > 0xffff // the encoder escapes it, which only double quotes can have
	})
}
