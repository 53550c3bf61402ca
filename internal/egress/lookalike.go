package egress

import (
	"regexp"
	"strings"
)

// lookalike are the names of keys that only a slip of the pen separates from ours.
var lookalike = regexp.MustCompile(`eg[^/]*/(targets?|secrets?)$`)

// IsLookalike reports whether a key of annotations or labels looks like one of this project, such
// as mtls-egress/target, but has another prefix, and therefore no effect. The chart's policy for
// near misses has the same rule.
func IsLookalike(key string) bool {
	return strings.Contains(key, "mtls") && (strings.Contains(key, "egr") || lookalike.MatchString(key)) &&
		!strings.HasPrefix(key, AnnotationPrefix) && !strings.HasPrefix(key, LabelHostPrefix)
}
