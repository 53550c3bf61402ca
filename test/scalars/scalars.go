// Package scalars has manifests with strings that parsers and encoders of YAML take for something
// else.
package scalars

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// words are strings that some parser of YAML takes for something else.
func words() []string {
	all := []string{
		"", "~", "=", "<<", "-", "--", "---", "...", "--- a", "?", ":", ",", "[", "]", "{", "}", "#", "&a", "*a", "!a",
		"!!int 1",
		"|", ">", "'", `"`, "%", "%YAML 1.1", "@", "`", "- a", "? a", "a: b", "a:", ":a", "a #b", "a#b", "[a", "{a",
		".", "..", ".inf", "-.Inf", "+.INF", ".nan", ".NaN", "inf", "nan",
		"0", "-0", "+0", "00", "007", "08", "0o7", "0b1", "0b2", "0x1F", "0xg", "-0x1", "1_000", "_1", "1_", "+1", "-1", "1-",
		"1.", ".5", "1.5", "+1.5", "1e3", "1E3", "1e+3", "1.e3", "1.5e-3", "1.0e+21", "1:20", "1:20:30", "1:60",
		"190:20:30.15",
		"2001-01-01", "2001-1-1", "2001-01-01T00:00:00Z", "2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43.10 -5",
		" a", "a ", "\ta", "a\t", "a\n", "\na", "a\nb", "a\n\nb", "a\n\n", "a \nb", " a\nb", "a\n b\n", "a\rb", "a\r\nb",
		"\n",
		" ",
		"a\u0085b", "a\u2028b", "a\u2029b", "\ufeffa", "a\ufeff", "\u007f", "\u0000", "\u001b", "\u0080", "\u009f", "\u00a0",
		"\ufffe", "\uffff", "\U0001f600", "\U0010ffff", "a\n\U0001f600\n", "\ufffd", "1.2.3", "10.0.0.0/8",
		"app:1", "12:30pm",
	}
	for _, word := range []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"} {
		all = append(all, word, strings.ToUpper(word), strings.ToUpper(word[:1])+word[1:])
	}
	return all
}

// randomString has characters of all kinds, those that YAML treats in a special way more often.
func randomString(random *rand.Rand) string {
	special := []rune(" \t\n\r:-#?,[]{}&*!|>'\"%@`=~<.0123456789eExo_+" +
		"\u0085\u00a0\u2028\u2029\ufeff\ufffe\uffff\u007f\u0080")
	text := make([]rune, random.IntN(12))
	for n := range text {
		switch random.IntN(4) {
		case 0:
			text[n] = rune(random.IntN(0x110000))
		case 1:
			text[n] = rune('a' + random.IntN(26))
		default:
			text[n] = special[random.IntN(len(special))]
		}
		if text[n] >= 0xd800 && text[n] < 0xe000 {
			text[n] = 'x' // half of a surrogate pair
		}
	}
	return string(text)
}

// Objects returns objects with strings as values, elements and keys: those that parsers take for
// something else, and random ones, count in all.
func Objects(count int) []map[string]any {
	random := rand.New(rand.NewPCG(1, 2))
	texts := words()
	for len(texts) < count {
		texts = append(texts, randomString(random))
	}
	var objects []map[string]any
	for at := 0; at < len(texts); at += 100 {
		values, keys := map[string]any{}, map[string]any{}
		var list []any
		for n, text := range texts[at:min(at+100, len(texts))] {
			values[fmt.Sprintf("v%d", n)] = text
			list = append(list, text, map[string]any{"in": text}, []any{text})
			if len(text) < 100 {
				keys[text] = int64(n)
			}
		}
		objects = append(objects, map[string]any{"kind": "Scalars", "values": values, "list": list, "keys": keys})
	}
	return append(objects, map[string]any{
		"kind": "Scalars",
		"numbers": []any{
			int64(0), int64(-1), int64(9223372036854775807), 0.5, -0.25, 1e21, 1e-7, 1.5e300, 5e-324,
		},
		"none": nil, "empty": map[string]any{}, "nothing": []any{}, "text": "", "yes": true, "no": false,
	})
}
