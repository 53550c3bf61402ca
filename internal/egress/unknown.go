package egress

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// UnknownAnnotation is an annotation that starts with AnnotationPrefix and has no effect.
type UnknownAnnotation struct {
	Key string
	// Message is the warning. It suggests the most similar known name.
	Message string
}

// unknownAnnotations returns the unknown annotations with AnnotationPrefix.
func unknownAnnotations(annotations map[string]string) []UnknownAnnotation {
	var unknown []UnknownAnnotation
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(key, AnnotationPrefix) || key == AnnotationPropagated ||
			IsAcceptance(key) || slices.Contains(userAnnotations(), key) {
			continue
		}
		if key == AnnotationAllowedTargets {
			unknown = append(unknown, UnknownAnnotation{key, fmt.Sprintf(
				"annotation %s has no effect here; set it on the Namespace, where an administrator decides which "+
					"hosts the namespace may reach", quotedExcerpt(key))})
			continue
		}
		unknown = append(unknown, UnknownAnnotation{key,
			fmt.Sprintf("unknown annotation %s has no effect; %s", quotedExcerpt(key), suggestion(key))})
	}
	return unknown
}

// maxDistance is the maximum edit distance of a suggestion.
const maxDistance = 4

func suggestion(key string) string {
	if near := Nearest(key, userAnnotations(), maxDistance); near != "" {
		return "did you mean " + near + "?"
	}
	return fmt.Sprintf("the annotations are %s; set everything else in the EgressTarget",
		strings.Join(userAnnotations(), " and "))
}

// Nearest returns the candidate that differs least from name, the first of several, or "" if all
// have another edit distance than 1 to most.
func Nearest(name string, candidates []string, most int) string {
	nearest, least := "", most+1
	for _, candidate := range candidates {
		if distance := editDistance(name, candidate); distance > 0 && distance < least {
			nearest, least = candidate, distance
		}
	}
	return nearest
}

// editDistance returns the Levenshtein distance of a and b in bytes.
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
