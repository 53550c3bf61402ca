package controller

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/yaml"
)

// rightsUsed are those that the controllers of all tests made use of, as verb, resource and group.
type rightsUsed struct {
	mutex  sync.Mutex
	rights sets.Set[string]
}

// used is filled by every controller that a test starts.
var used = &rightsUsed{rights: sets.New[string]()}

// add takes note of what the API server authorized.
func (u *rightsUsed) add(response *http.Response) error {
	factory := apirequest.RequestInfoFactory{
		APIPrefixes:          sets.NewString("apis", "api"),
		GrouplessAPIPrefixes: sets.NewString("api"),
	}
	info, err := factory.NewRequestInfo(response.Request)
	if err != nil || !info.IsResourceRequest {
		return err
	}
	resource := info.Resource
	if info.Subresource != "" {
		resource += "/" + info.Subresource
	}
	verbs := []string{info.Verb}
	// Server-side apply is a patch, and creating an object by it needs the right to create as well.
	if info.Verb == "patch" && response.StatusCode == http.StatusCreated {
		verbs = append(verbs, "create")
	}
	u.mutex.Lock()
	defer u.mutex.Unlock()
	for _, verb := range verbs {
		u.rights.Insert(right(verb, info.APIGroup, resource))
	}
	return nil
}

func right(verb, group, resource string) string {
	return fmt.Sprintf("%s %s.%s", verb, resource, group)
}

// instead is a right whose use says that the given one is needed too, though not here.
func instead(verb, group, resource string) string {
	switch {
	case verb == "list":
		// This API server sends a watch what there is; others are asked for it:
		// https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
		return right("watch", group, resource)
	case verb == "patch" && resource == "events":
		// An event that comes again and again is counted, after minutes.
		return right("create", group, resource)
	}
	return ""
}

// newerKinds are those of Kubernetes that an API server of a supported version may not serve:
// ServiceCIDRs, which came with 1.33.
func newerKinds() []string { return []string{"servicecidrs.networking.k8s.io"} }

// checkAllUsed fails for rights of the chart's role that the tests made no use of. served are the
// kinds that the API server serves, as `kubectl api-resources --output=name` prints them.
func (u *rightsUsed) checkAllUsed(roleFile string, served []string) error {
	content, err := os.ReadFile(roleFile)
	if err != nil {
		return err
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(content, &role); err != nil {
		return err
	}
	var unused []string
	u.mutex.Lock()
	defer u.mutex.Unlock()
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				kind := resource + "." + group
				if slices.Contains(newerKinds(), kind) && !slices.Contains(served, kind) {
					continue
				}
				for _, verb := range rule.Verbs {
					given := right(verb, group, resource)
					if !u.rights.Has(given) && !u.rights.Has(instead(verb, group, resource)) {
						unused = append(unused, given)
					}
				}
			}
		}
	}
	slices.Sort(unused)
	if len(unused) > 0 {
		return fmt.Errorf("%s gives rights that no test makes use of: %s", roleFile, strings.Join(unused, ", "))
	}
	return nil
}
