package scene

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/cluster"
)

// controlPort is where a caller is asked and told. It leads past the sidecar, so that it answers
// whatever state the sidecar is in.
const controlPort = "9100"

// App is a workload whose container calls.
type App struct {
	Namespace, Name string
	// Kind is Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob or Pod. Default:
	// Deployment.
	Kind string
	// Annotations and Labels are the workload's own. Of a Pod they are none.
	Annotations, Labels map[string]string
	// PodAnnotations and PodLabels are those of the Pod template.
	PodAnnotations, PodLabels map[string]string
	// Loops are URLs that are called back to back from the first moment.
	Loops []string
	// Args are further arguments of the caller.
	Args []string
	// Containers are further ones.
	Containers []corev1.Container
	// Spec, when set, changes the Pod's spec before it is used.
	Spec func(*corev1.PodSpec)
}

// Target is the annotation that asks for a target.
func Target(hosts ...string) map[string]string {
	return map[string]string{egress.AnnotationTarget: strings.Join(hosts, ",")}
}

// template is the Pod template of the app.
func (s *Scene) template(app App) corev1.PodTemplateSpec {
	args := []string{"caller", "--control", ":" + controlPort}
	for _, url := range app.Loops {
		args = append(args, "--loop", url)
	}
	spec := corev1.PodSpec{
		TerminationGracePeriodSeconds: new(int64(1)),
		AutomountServiceAccountToken:  new(false),
		Containers: append([]corev1.Container{{
			Name: "app", Image: s.Image("actor"), Args: append(args, app.Args...),
		}}, app.Containers...),
	}
	if app.Kind == "Job" || app.Kind == "CronJob" {
		spec.RestartPolicy = corev1.RestartPolicyNever
	}
	if app.Spec != nil {
		app.Spec(&spec)
	}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels: map[string]string{"app": app.Name},
			Annotations: map[string]string{
				"traffic.sidecar.istio.io/excludeInboundPorts": controlPort,
				"sidecar.istio.io/proxyCPU":                    "10m",
			},
		},
		Spec: spec,
	}
	maps.Copy(template.Labels, app.PodLabels)
	maps.Copy(template.Annotations, app.PodAnnotations)
	return template
}

// Object is the app as an object of its kind.
func (s *Scene) Object(app App) (runtime.Object, error) {
	template := s.template(app)
	meta := metav1.ObjectMeta{Name: app.Name, Namespace: app.Namespace, Annotations: app.Annotations, Labels: app.Labels}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": app.Name}}
	one := new(int32(1))
	job := batchv1.JobSpec{Template: template, BackoffLimit: new(int32(0))}
	kind := func(group, name string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: group, Kind: name} }
	switch app.Kind {
	case "", "Deployment":
		return &appsv1.Deployment{
			TypeMeta:   kind("apps/v1", "Deployment"),
			ObjectMeta: meta,
			Spec:       appsv1.DeploymentSpec{Replicas: one, Selector: selector, Template: template},
		}, nil
	case "StatefulSet":
		return &appsv1.StatefulSet{
			TypeMeta:   kind("apps/v1", "StatefulSet"),
			ObjectMeta: meta,
			Spec:       appsv1.StatefulSetSpec{Replicas: one, Selector: selector, Template: template},
		}, nil
	case "DaemonSet":
		return &appsv1.DaemonSet{
			TypeMeta:   kind("apps/v1", "DaemonSet"),
			ObjectMeta: meta,
			Spec:       appsv1.DaemonSetSpec{Selector: selector, Template: template},
		}, nil
	case "ReplicaSet":
		return &appsv1.ReplicaSet{
			TypeMeta:   kind("apps/v1", "ReplicaSet"),
			ObjectMeta: meta,
			Spec:       appsv1.ReplicaSetSpec{Replicas: one, Selector: selector, Template: template},
		}, nil
	case "Job":
		return &batchv1.Job{TypeMeta: kind("batch/v1", "Job"), ObjectMeta: meta, Spec: job}, nil
	case "CronJob":
		return &batchv1.CronJob{
			TypeMeta:   kind("batch/v1", "CronJob"),
			ObjectMeta: meta,
			Spec:       batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: job}},
		}, nil
	case "Pod":
		meta.Annotations, meta.Labels = template.Annotations, template.Labels
		return &corev1.Pod{TypeMeta: kind("v1", "Pod"), ObjectMeta: meta, Spec: template.Spec}, nil
	}
	return nil, fmt.Errorf("no workload of kind %q", app.Kind)
}

// Deploy creates the app. It doesn't wait for it to run. In a mesh whose sidecars resolve hosts, no
// Pod is admitted before its targets are programmed, so they are first.
func (s *Scene) Deploy(ctx context.Context, app App) error {
	if s.Mesh().Mode() == cluster.AllowAnyDynamicDNS {
		if err := s.ProgramTargets(ctx, app.Namespace, app.hosts()...); err != nil {
			return err
		}
	}
	_, err := s.Create(ctx, app)
	return err
}

// hosts are those of the targets that the app asks for.
func (a App) hosts() []string {
	asked := a.Annotations[egress.AnnotationTarget] + "," + a.PodAnnotations[egress.AnnotationTarget]
	return strings.FieldsFunc(asked, func(r rune) bool { return r == ',' })
}

// Create is Deploy, and returns what kubectl prints on standard error: the warnings.
func (s *Scene) Create(ctx context.Context, app App) (warnings string, err error) {
	object, err := s.Object(app)
	if err != nil {
		return "", err
	}
	manifest, err := yaml.Marshal(object)
	if err != nil {
		return "", err
	}
	cmd := s.Command(ctx, "kubectl", "create", "--filename", "-")
	cmd.Stdin = bytes.NewReader(manifest)
	_, warnings, err = apiserver.Output(cmd)
	return warnings, err
}

// Pod waits until a Pod of the app runs its container, ready or not, and returns it.
func (s *Scene) Pod(ctx context.Context, namespace, app string) (pod *corev1.Pod, err error) {
	err = Until(ctx, "a running Pod of "+namespace+"/"+app, func(ctx context.Context) error {
		pods, err := s.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil {
			return err
		}
		for i := range pods.Items {
			if pod = &pods.Items[i]; pod.DeletionTimestamp == nil && running(pod, "app") {
				return nil
			}
		}
		return fmt.Errorf("none of %d Pods runs: %s", len(pods.Items), states(pods.Items))
	})
	return pod, err
}

// ReadyPod waits until a Pod of the app is ready and returns it.
func (s *Scene) ReadyPod(ctx context.Context, namespace, app string) (pod *corev1.Pod, err error) {
	err = Until(ctx, "a ready Pod of "+namespace+"/"+app, func(ctx context.Context) error {
		if pod, err = s.Pod(ctx, namespace, app); err != nil {
			return err
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return errors.New("not ready: " + states([]corev1.Pod{*pod}))
	})
	return pod, err
}

func running(pod *corev1.Pod, container string) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container {
			return status.State.Running != nil
		}
	}
	return false
}

// states says in one line what the containers of Pods do.
func states(pods []corev1.Pod) string {
	var all []string
	for _, pod := range pods {
		for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			switch {
			case status.State.Waiting != nil:
				all = append(all, pod.Name+"/"+status.Name+": "+status.State.Waiting.Reason)
			case status.State.Terminated != nil:
				all = append(all, pod.Name+"/"+status.Name+": "+status.State.Terminated.Reason)
			}
		}
	}
	return strings.Join(all, ", ")
}

// Caller talks to the caller in a Pod.
func (s *Scene) Caller(pod *corev1.Pod) *caller.Client {
	base := "/api/v1/namespaces/" + pod.Namespace + "/pods/" + pod.Name + ":" + controlPort + "/proxy"
	return &caller.Client{Do: func(ctx context.Context, method, path string, body []byte) ([]byte, error) {
		return s.Client.CoreV1().RESTClient().Verb(method).RequestURI(base + path).Body(body).DoRaw(ctx)
	}}
}
