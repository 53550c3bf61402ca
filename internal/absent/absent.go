// Package absent tells an API server's answer that something does not exist from all other answers
// that look like one.
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

// Object reports whether err is an API server's answer that an object does not exist. A 404 of
// anything else, such as a proxy, a server of another kind, or an API server that doesn't serve the
// path, is not.
func Object(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// Ignore returns nil for an err of [Object], and err otherwise.
func Ignore(err error) error {
	if Object(err) {
		return nil
	}
	return err
}

// Group asks an API server whether it serves no version of an API group. The error says what could
// not be asked, and why; it is nil only when what answers is an API server that lists its groups.
// Discovery clients are no help here: for them a 404 is an empty list.
func Group(ctx context.Context, server rest.Interface, group string) (absent bool, err error) {
	request := server.Get().AbsPath("/apis").SetHeader("Accept", "application/json")
	url := request.URL().Redacted()
	url, _, _ = strings.Cut(url, "?")
	result := request.Do(ctx)
	// The error of Raw lacks what the API server says; Error reads it.
	answer, _ := result.Raw()
	switch err := result.Error(); {
	case apierrors.IsNotFound(err):
		return false, fmt.Errorf("what answers at %s is no Kubernetes API server, as it doesn't have that path: check the server and the context of the kubeconfig", url)
	case err != nil:
		return false, fmt.Errorf("asking %s for the API groups that are served: %w", url, err)
	}
	var list metav1.APIGroupList
	if err := json.Unmarshal(answer, &list); err != nil || list.Kind != "APIGroupList" {
		return false, fmt.Errorf("what answers at %s is no Kubernetes API server, as its answer is no APIGroupList: check the server and the context of the kubeconfig", url)
	}
	if len(list.Groups) == 0 {
		return false, errors.New("the API server at " + url + " lists no API groups, which each of them has: try again")
	}
	return !slices.ContainsFunc(list.Groups, func(g metav1.APIGroup) bool { return g.Name == group }), nil
}

// Read reads an object of a kind by its name, and reports whether it is there.
func Read(ctx context.Context, reader client.Reader, kind, namespace, name string, object client.Object, options ...client.GetOption) (there bool, err error) {
	err = reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, object, options...)
	if Ignore(err) != nil {
		return false, fmt.Errorf("read the %s %s/%s: %w", kind, namespace, name, err)
	}
	return err == nil, nil
}

// ReadByName returns an object such as a Secret, nil if it doesn't exist. Resource version 0 lets
// the API server answer from its own watch cache instead of etcd, which makes a read cheap and its
// answer at most moments old.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
func ReadByName[T any, P interface {
	*T
	client.Object
}](ctx context.Context, live client.Reader, namespace, name string) (*T, error) {
	object := new(T)
	there, err := Read(ctx, live, fmt.Sprintf("%T", object), namespace, name, P(object), &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}})
	if err != nil || !there {
		return nil, err
	}
	return object, nil
}
