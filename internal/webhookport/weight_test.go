package webhookport

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestCount(t *testing.T) {
	for name, test := range map[string]struct {
		text              string
		members, elements int
	}{
		"nothing":                           {},
		"members":                           {text: `{"a": 1, "b": {"c": 2, "d": 3}}`, members: 4},
		"an empty array has an element":     {text: `{"a": []}`, members: 1, elements: 1},
		"elements":                          {text: `[1,2,3]`, elements: 3},
		"members of elements":               {text: `[{"a":1,"b":2},{"a":1,"b":2}]`, members: 4, elements: 2},
		"arrays in arrays":                  {text: `[[1,2],[3]]`, elements: 2 + 2 + 1},
		"strings don't count":               {text: `["[,,,]", "\"[,", "\\"]`, elements: 3},
		"unclosed arrays count":             {text: `[[[[1,`, elements: 5},
		"unopened arrays are ignored":       {text: `]]}},,[1,2`, members: 2, elements: 2},
		"an unterminated string is ignored": {text: `[1,"a\`, elements: 2},
	} {
		members, elements := count([]byte(test.text))
		if members != test.members || elements != test.elements {
			t.Errorf("%s: %d members and %d elements, want %d and %d", name, members, elements, test.members,
				test.elements)
		}
	}
}

// BenchmarkWeight compares the weight of texts that grow the most with the allocations of decoding
// them as a Pod. The memory in use at one time is less, because a growing slice discards its
// predecessors.
func BenchmarkWeight(b *testing.B) {
	for name, text := range map[string]string{
		"containers of two bytes":   `{"spec":{"containers":[` + strings.Repeat("0,", 20_000) + `0]}}`,
		"containers of three bytes": `{"spec":{"containers":[` + strings.Repeat("{},", 20_000) + `{}]}}`,
		"a long text":               `{"metadata":{"annotations":{"a":"` + strings.Repeat("a", 1<<20) + `"}}}`,
		"many annotations": `{"metadata":{"annotations":{"":""` +
			strings.Repeat(`,"a":"","b":"","c":"","d":""`, 5_000) + `}}}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var pod corev1.Pod
				_ = json.Unmarshal([]byte(text), &pod) // rejects elements of two bytes after allocating them
			}
			b.ReportMetric(float64(weight([]byte(text))), "weight")
		})
	}
}
