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
		"nothing":                              {},
		"members":                              {text: `{"a": 1, "b": {"c": 2, "d": 3}}`, members: 4},
		"an empty array has an element":        {text: `{"a": []}`, members: 1, elements: 1},
		"elements":                             {text: `[1,2,3]`, elements: 3},
		"members of elements":                  {text: `[{"a":1,"b":2},{"a":1,"b":2}]`, members: 4, elements: 2},
		"arrays in arrays":                     {text: `[[1,2],[3]]`, elements: 2 + 2 + 1},
		"text is no structure":                 {text: `["[,,,]", "\"[,", "\\"]`, elements: 3},
		"what is not closed counts as it is":   {text: `[[[[1,`, elements: 5},
		"what was never opened does no harm":   {text: `]]}},,[1,2`, members: 2, elements: 2},
		"a text that doesn't end does no harm": {text: `[1,"a\`, elements: 2},
	} {
		members, elements := count([]byte(test.text))
		if members != test.members || elements != test.elements {
			t.Errorf("%s: %d members and %d elements, want %d and %d", name, members, elements, test.members, test.elements)
		}
	}
}

// BenchmarkWeight shows next to each other the weight of texts that grow most of all, and what
// reading them as a Pod allocates. What is held at one time is less: a slice that grows leaves its
// smaller ones behind.
func BenchmarkWeight(b *testing.B) {
	for name, text := range map[string]string{
		"containers of two bytes":   `{"spec":{"containers":[` + strings.Repeat("0,", 20_000) + `0]}}`,
		"containers of three bytes": `{"spec":{"containers":[` + strings.Repeat("{},", 20_000) + `{}]}}`,
		"a long text":               `{"metadata":{"annotations":{"a":"` + strings.Repeat("a", 1<<20) + `"}}}`,
		"many annotations":          `{"metadata":{"annotations":{"":""` + strings.Repeat(`,"a":"","b":"","c":"","d":""`, 5_000) + `}}}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var pod corev1.Pod
				_ = json.Unmarshal([]byte(text), &pod) // elements of two bytes are refused, after they were made
			}
			b.ReportMetric(float64(weight([]byte(text))), "weight")
		})
	}
}
