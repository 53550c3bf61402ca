package scene

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CreateNamespace creates a namespace in which Pods get sidecars. With two control planes, they are
// those of one and of the other by turns.
func (s *Scene) CreateNamespace(ctx context.Context, name string) error {
	_, err := s.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: s.Mesh().InjectionLabels(int(s.namespaces.Add(1)))},
	}, metav1.CreateOptions{})
	return err
}

// DeleteNamespace starts to delete a namespace and doesn't wait for its end.
func (s *Scene) DeleteNamespace(ctx context.Context, name string) error {
	return s.Client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
}

// WriteSecret writes a Secret, which replaces one of that name.
func (s *Scene) WriteSecret(ctx context.Context, namespace, name string, data map[string][]byte) error {
	secrets := s.Client.CoreV1().Secrets(namespace)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Data: data}
	_, err := secrets.Update(ctx, secret, metav1.UpdateOptions{})
	if err != nil {
		_, err = secrets.Create(ctx, secret, metav1.CreateOptions{})
	}
	return err
}
