// Package uservolume reads and extends the annotations sidecar.istio.io/userVolume and
// userVolumeMount, from which Istio's injector reads additional volumes and mounts of the sidecar.
// Each is a JSON list, or a JSON map from name to content. A Pod has only one of each, so the
// webhook and the user share them.
//
// https://istio.io/latest/docs/reference/config/annotations/#SidecarUserVolume
package uservolume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"mtls.egress/webhook/internal/egress"
)

// Entries is the parsed value of one of the two annotations.
type Entries struct {
	// IsMap reports whether the value is a JSON map. If not, it is a JSON list.
	IsMap bool
	Items []Entry

	text string
	// end is the offset in text at which to insert the next item.
	end int
}

// Entry is one element. Its name is its name field or, without one, the key in the map form, and
// the position in the list form, as in Istio's injection template. Raw is a JSON object.
type Entry struct {
	Name string
	Raw  json.RawMessage
}

// Added is an element to add. In the map form the name is the key.
type Added struct {
	Name     string
	ListForm any
	MapForm  any
}

const wantedForm = `it takes a JSON list such as [{"name": "a", …}] or a JSON map such as {"a": {…}}`

// Parse parses the value of one of the two annotations. An empty value, and null, which Istio also
// ignores, is an empty list. The error
// says what is wrong with the value and what it must contain, to follow a field name.
func Parse(text string) (Entries, error) {
	if text := strings.TrimSpace(text); text == "" || text == "null" {
		return Entries{text: "[]", end: 1}, nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	opening, err := decoder.Token()
	if err != nil {
		return Entries{}, unreadable(err)
	}
	entries := Entries{text: text, IsMap: opening == json.Delim('{')}
	if !entries.IsMap && opening != json.Delim('[') {
		return Entries{}, fmt.Errorf("is neither a list nor a map; %s", wantedForm)
	}
	entries.end = int(decoder.InputOffset())
	seen := map[string]bool{}
	for decoder.More() {
		entry, err := nextEntry(decoder, entries.IsMap, len(entries.Items))
		if err != nil {
			return Entries{}, err
		}
		if entries.IsMap && seen[entry.Name] {
			return Entries{}, fmt.Errorf(
				"has two entries named %q, but Istio reads only one of them; rename one", egress.Excerpt(entry.Name))
		}
		seen[entry.Name] = true
		entries.Items = append(entries.Items, entry)
		entries.end = int(decoder.InputOffset())
	}
	if _, err := decoder.Token(); err != nil {
		return Entries{}, unreadable(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Entries{}, fmt.Errorf("has text after the closing bracket; %s", wantedForm)
	}
	return entries, nil
}

func nextEntry(decoder *json.Decoder, isMap bool, position int) (Entry, error) {
	entry := Entry{Name: strconv.Itoa(position)}
	if isMap {
		key, err := decoder.Token()
		if err != nil {
			return entry, unreadable(err)
		}
		// The decoder returns only strings in key position.
		entry.Name, _ = key.(string)
	}
	if err := decoder.Decode(&entry.Raw); err != nil {
		return entry, unreadable(err)
	}
	if !strings.HasPrefix(string(entry.Raw), "{") {
		return entry, fmt.Errorf("has an entry (%s) that is not a JSON object; %s", egress.Excerpt(entry.Name),
			wantedForm)
	}
	name, named, err := nameIn(entry.Raw)
	if err != nil {
		return entry, fmt.Errorf("has an entry (%s) whose name is not a string", egress.Excerpt(entry.Name))
	}
	if named {
		entry.Name = name
	}
	return entry, nil
}

// nameIn returns the name of an entry. Istio writes the entry below a generated name, which only a
// key spelled exactly "name" replaces. The other keys reach the Kubernetes decoder, which ignores
// case.
func nameIn(raw json.RawMessage) (name string, named bool, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return "", false, err
	}
	text, named := fields["name"]
	if !named {
		return "", false, nil
	}
	return name, true, json.Unmarshal(text, &name)
}

// unreadable omits the decoder's message, which can repeat bytes of the value.
func unreadable(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("is not JSON (at character %d); %s", syntax.Offset, wantedForm)
	}
	return fmt.Errorf("is not complete JSON; %s", wantedForm)
}

// With returns the value with the added elements after the user's, in the same form. The user's
// text is never re-encoded, so it keeps its spelling and formatting. It returns an error if an
// added element can't be encoded.
func (e Entries) With(added []Added) (string, error) {
	if len(added) == 0 {
		return e.text, nil
	}
	var insertion strings.Builder
	for i, entry := range added {
		if i > 0 || len(e.Items) > 0 {
			insertion.WriteByte(',')
		}
		value := entry.ListForm
		if e.IsMap {
			fmt.Fprintf(&insertion, "%q:", entry.Name)
			value = entry.MapForm
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return "", fmt.Errorf("encoding the entry %s: %w", entry.Name, err)
		}
		insertion.Write(encoded)
	}
	return e.text[:e.end] + insertion.String() + e.text[e.end:], nil
}
