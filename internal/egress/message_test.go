package egress

import "testing"

func TestCountedHasThePluralUnlessThereIsOne(t *testing.T) {
	for want, number := range map[string]int{"0 Pods": 0, "1 Pod": 1, "2 Pods": 2, "-1 Pods": -1} {
		if got := Counted(number, "Pod"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNearestDiffersLeast(t *testing.T) {
	candidates := []string{"filename", "file", "namespace"}
	tests := map[string]struct {
		name string
		most int
		want string
	}{
		"one letter less":              {"filenam", 2, "filename"},
		"the first of two":             {"fil", 1, "file"},
		"too far":                      {"name", 2, ""},
		"as far as allowed":            {"xspace", 4, "namespace"},
		"a candidate itself isn't one": {"file", 2, ""},
	}
	for sentence, test := range tests {
		t.Run(sentence, func(t *testing.T) {
			if got := Nearest(test.name, candidates, test.most); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
