// Package absent distinguishes an API server's answer that something does not exist from similar
// answers of other servers.
package absent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Object reports whether err is an API server's answer that an object does not exist. It is false
// for other 404 responses: those of a proxy, of another kind of server, or of an API server that
// doesn't serve the path.
func Object(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// Ignore returns nil if [Object] is true for err, and err otherwise.
func Ignore(err error) error {
	if Object(err) {
		return nil
	}
	return err
}

// Group reports whether an API server serves no version of an API group. The error is nil only if
// an API server answered with its groups. Discovery clients are not suitable, because they treat a
// 404 as an empty list.
func Group(ctx context.Context, server rest.Interface, group string) (absent bool, err error) {
	request := server.Get().AbsPath("/apis").SetHeader("Accept", "application/json")
	url := request.URL().Redacted()
	url, _, _ = strings.Cut(url, "?")
	result := request.Do(ctx)
	// The error of Raw lacks the API server's message, but that of Error has it.
	answer, _ := result.Raw()
	switch err := result.Error(); {
	case apierrors.IsNotFound(err):
		return false, fmt.Errorf("%s is not a Kubernetes API server, because it doesn't have that path: "+
			"check the server and the context of the kubeconfig", url)
	case err != nil:
		return false, fmt.Errorf("list the API groups at %s: %w", url, err)
	}
	var list metav1.APIGroupList
	if err := json.Unmarshal(answer, &list); err != nil || list.Kind != "APIGroupList" {
		return false, fmt.Errorf("%s is not a Kubernetes API server, because its response is not an APIGroupList: "+
			"check the server and the context of the kubeconfig", url)
	}
	if len(list.Groups) == 0 {
		return false, errors.New("the API server at " + url + " lists no API groups, which is never correct: try again")
	}
	return !slices.ContainsFunc(list.Groups, func(g metav1.APIGroup) bool { return g.Name == group }), nil
}

// Read reads an object of a kind by name into object, and reports whether it exists.
func Read(
	ctx context.Context, reader client.Reader, kind, namespace, name string,
	object client.Object, options ...client.GetOption,
) (there bool, err error) {
	err = reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, object, options...)
	if Ignore(err) != nil {
		return false, fmt.Errorf("read the %s %s/%s: %w", kind, namespace, name, err)
	}
	return err == nil, nil
}

// ReadByName returns an object such as a Secret, or nil if it doesn't exist. With resource version
// 0, the API server answers from its watch cache instead of etcd. That is cheap, and the result is
// only slightly stale.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
func ReadByName[T any, P interface {
	*T
	client.Object
}](ctx context.Context, live client.Reader, namespace, name string) (*T, error) {
	object := new(T)
	fromWatchCache := &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}}
	there, err := Read(ctx, live, fmt.Sprintf("%T", object), namespace, name, P(object), fromWatchCache)
	if err != nil || !there {
		return nil, err
	}
	return object, nil
}
