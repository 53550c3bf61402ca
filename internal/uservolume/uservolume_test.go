package uservolume

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseNamesEntriesAsIstioDoes(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"no value":                          {"", nil},
		"an empty list":                     {" [] ", nil},
		"a list, by the field name":         {`[{"name":"a"},{"name":"b"}]`, []string{"a", "b"}},
		"a list without names, by position": {`[{},{"Name":"b"}]`, []string{"0", "1"}},
		"a map, by key":                     {`{"a":{},"b":{"secret":{}}}`, []string{"a", "b"}},
		"a map, by the field name":          {`{"a":{"name":"b"}}`, []string{"b"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			entries, err := Parse(test.text)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, item := range entries.Items {
				names = append(names, item.Name)
			}
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithKeepsTheTextOfTheUser(t *testing.T) {
	volume := map[string]string{"v": "1"}
	added := []Added{{Name: "x", ListForm: volume, MapForm: volume}, {Name: "y", ListForm: volume, MapForm: volume}}
	tests := map[string]struct{ text, want string }{
		"no value":      {"", `[{"v":"1"},{"v":"1"}]`},
		"an empty list": {"[ ]", `[{"v":"1"},{"v":"1"} ]`},
		"a list":        {`[ {"name": "a"}  ]`, `[ {"name": "a"},{"v":"1"},{"v":"1"}  ]`},
		"an empty map":  {"{}", `{"x":{"v":"1"},"y":{"v":"1"}}`},
		"a map":         {`{"a": {"\u006e": 1} }`, `{"a": {"\u006e": 1},"x":{"v":"1"},"y":{"v":"1"} }`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			entries, err := Parse(test.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := entries.With(added)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzParse checks that a value that Parse accepts is JSON, and still is with an added entry, which
// is then the last one.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "[]", "{}", "null", "[null]", `[{"name":"a","secret":{"secretName":"s"}}]`, `{"a":{"configMap":{"name":"c"}}}`,
		`{"a":null}`, `[{"Name":"a"}]`, `[{"name":1}]`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := Parse(text)
		if err != nil {
			return
		}
		const name = "an added entry"
		for _, item := range entries.Items {
			if item.Name == name {
				return
			}
		}
		extended, err := entries.With([]Added{{Name: name, ListForm: map[string]string{"name": name}, MapForm: struct{}{}}})
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid([]byte(extended)) {
			t.Fatalf("not JSON: %s", extended)
		}
		again, err := Parse(extended)
		if err != nil {
			t.Fatalf("%s: %v", extended, err)
		}
		if n := len(again.Items); n != len(entries.Items)+1 || again.Items[n-1].Name != name {
			t.Errorf("%s has the entries %+v", extended, again.Items)
		}
	})
}
