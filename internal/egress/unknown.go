package egress

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// unknownAnnotations returns a warning for each annotation under our prefix that means nothing,
// with the nearest name that does.
func unknownAnnotations(annotations map[string]string) []string {
	var warnings []string
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(key, AnnotationPrefix) || key == AnnotationPropagated || slices.Contains(userAnnotations(), key) {
			continue
		}
		if key == AnnotationAllowedTargets {
			warnings = append(warnings, fmt.Sprintf("annotation %s has no effect here; it belongs on the Namespace, where whoever may change that says which hosts the namespace may reach", quoted(key)))
			continue
		}
		warnings = append(warnings, fmt.Sprintf("unknown annotation %s has no effect; %s", quoted(key), suggestion(key)))
	}
	return warnings
}

// maxDistance is how far a misspelt name may be off.
const maxDistance = 4

func suggestion(key string) string {
	if near := nearest(key, userAnnotations()); editDistance(key, near) <= maxDistance {
		return "did you mean " + near + "?"
	}
	return fmt.Sprintf("the annotations are %s; all else is a setting of the EgressTarget", strings.Join(userAnnotations(), " and "))
}

// nearest returns the candidate with the smallest edit distance to name, the first of several.
func nearest(name string, candidates []string) string {
	return slices.MinFunc(candidates, func(a, b string) int {
		return editDistance(name, a) - editDistance(name, b)
	})
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitution := diagonal
			if a[i] != b[j] {
				substitution++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitution, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
