package controller

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// API servers before 1.33 don't serve ServiceCIDRs, and an installation for some namespaces may not
// list Nodes.
func TestListsThatCannotBeReadAreLeftOut(t *testing.T) {
	resource := schema.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"}
	for name, test := range map[string]struct {
		err  error
		left bool
	}{
		"not served": {&meta.NoKindMatchError{
			GroupKind: schema.GroupKind{Group: "networking.k8s.io", Kind: "ServiceCIDR"}, SearchedVersions: []string{"v1"},
		}, true},
		"not found": {apierrors.NewNotFound(resource, ""), true},
		"forbidden": {apierrors.NewForbidden(resource, "", errors.New("no rule")), true},
		"away":      {apierrors.NewServiceUnavailable("away"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := unlessUnreadable(test.err); (got == nil) != test.left {
				t.Errorf("got %v", got)
			}
		})
	}
}
