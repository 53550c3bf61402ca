package apply

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"mtls.egress/webhook/internal/absent"
)

// errCacheBehind means that an object exists but is not in the cache yet.
var errCacheBehind = errors.New("the cache is stale: it doesn't have the last write yet")

// Stale reports whether a write failed because the cache was stale. The watch event that updates
// the cache triggers the next attempt.
func Stale(err error) bool {
	return errors.Is(err, errCacheBehind) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) ||
		absent.Object(err)
}
