package cli

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestPrintable(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"plain text":                  {"Müller, Ωμέγα, 1\u00a0€", "Müller, Ωμέγα, 1\u00a0€"},
		"line breaks stay":            {"a\nb", "a\nb"},
		"control characters":          {"a\x1b[2Jb\tc\rd\u009be", "a�[2Jb�c�d�e"},
		"the direction of the text":   {"moc.\u202eknab\u2066x\u2069", "moc.�knab�x�"},
		"invisible characters":        {"pay\u200bpal\ufeff\u00ad.com", "pay�pal��.com"},
		"tags beyond the first plane": {"a\U000e0041", "a�"},
		"separators of lines":         {"a\u2028b\u2029c\u0085d", "a�b�c�d"},
		"bytes that are not UTF-8":    {"a\xffb", "a�b"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := printable(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if got := Message(errors.New(test.text)); got != test.want {
				t.Errorf("as an error: got %q, want %q", got, test.want)
			}
		})
	}
}

// A JSON reader gets every character.
func TestPrintableJSONMeansTheSame(t *testing.T) {
	const text = "moc.\u202eknab\U000e0041\u009b\x7f\u2028 Ω"
	encoded, err := json.MarshalIndent(map[string]string{"subject": text}, "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	got := printableJSON(encoded)
	if want := "{\n    \"subject\": \"moc.\\u202eknab\\udb40\\udc41\\u009b\\u007f\\u2028 Ω\"\n}"; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var back map[string]string
	if err := json.Unmarshal(got, &back); err != nil || back["subject"] != text {
		t.Errorf("read back as %q, %v", back["subject"], err)
	}
}
