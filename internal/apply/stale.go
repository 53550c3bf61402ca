package apply

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"mtls.egress/webhook/internal/absent"
)

// errCacheBehind is for an object that exists and isn't in the cache yet.
var errCacheBehind = errors.New("the cache doesn't have the last write yet")

// Stale reports whether a write failed because the cache was behind: whoever changed the object will be noticed in a moment.
func Stale(err error) bool {
	return errors.Is(err, errCacheBehind) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || absent.Object(err)
}
