package installation

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// CreatePod makes one Pod of a Deployment as a cluster's controllers would, which this API server
// lacks: the ReplicaSet of its template, and of that a Pod.
func (i *Installation) CreatePod(ctx context.Context, deployment *appsv1.Deployment) (*corev1.Pod, error) {
	asDeployments, err := i.as("deployment-controller")
	if err != nil {
		return nil, err
	}
	asReplicaSets, err := i.as("replicaset-controller")
	if err != nil {
		return nil, err
	}
	wanted, err := replicaSetOf(deployment)
	if err != nil {
		return nil, err
	}
	replicaSets := asDeployments.AppsV1().ReplicaSets(deployment.Namespace)
	replicaSet, err := replicaSets.Create(ctx, wanted, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("creating the ReplicaSet: %w", err)
	}
	pod, err := asReplicaSets.CoreV1().Pods(deployment.Namespace).Create(ctx, podOf(replicaSet), metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("creating the Pod: %w", err)
	}
	return pod, nil
}

// as is a client of one of the controllers of Kubernetes.
func (i *Installation) as(controller string) (kubernetes.Interface, error) {
	config := rest.CopyConfig(i.Config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:kube-system:" + controller,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
	}
	return kubernetes.NewForConfig(config)
}

// replicaSetOf is what the Deployment controller makes of a template: its hash is part of the name,
// the selector and the labels.
// https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/deployment/sync.go
// (getNewReplicaSet).
func replicaSetOf(deployment *appsv1.Deployment) (*appsv1.ReplicaSet, error) {
	encoded, err := json.Marshal(deployment.Spec.Template)
	if err != nil {
		return nil, err
	}
	sum := fnv.New32a()
	if _, err := sum.Write(encoded); err != nil {
		return nil, err
	}
	hash := rand.SafeEncodeString(strconv.FormatUint(uint64(sum.Sum32()), 10))
	hashed := func(labels map[string]string) map[string]string {
		copied := map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: hash}
		maps.Copy(copied, labels)
		return copied
	}
	template := deployment.Spec.Template.DeepCopy()
	template.Labels = hashed(template.Labels)
	annotations := maps.Clone(deployment.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name:        deployment.Name + "-" + hash,
			Namespace:   deployment.Namespace,
			Labels:      template.Labels,
			Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(deployment, appsv1.SchemeGroupVersion.WithKind("Deployment")),
			},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: deployment.Spec.Replicas,
			Selector: &metav1.LabelSelector{MatchLabels: hashed(deployment.Spec.Selector.MatchLabels)},
			Template: *template,
		},
	}, nil
}

// podOf is what the ReplicaSet controller makes of a template.
// https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/controller_utils.go
// (GetPodFromTemplate).
func podOf(replicaSet *appsv1.ReplicaSet) *corev1.Pod {
	template := replicaSet.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: replicaSet.Name + "-", Namespace: replicaSet.Namespace,
			Labels: template.Labels, Annotations: template.Annotations, Finalizers: template.Finalizers,
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(replicaSet, appsv1.SchemeGroupVersion.WithKind("ReplicaSet")),
			},
		},
		Spec: template.Spec,
	}
}
