package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"istio.io/api/label"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/explain"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/workload"
)

// Reader reads facts. All fields but mutex, files and secrets must be set.
type Reader struct {
	Client client.Client
	Config *rest.Config
	// Namespace is that of the subject, and ReleaseNamespace that of the controller.
	Namespace, ReleaseNamespace string
	Kinds                       workload.Kinds
	Now                         time.Time

	mutex  sync.Mutex
	unread map[explain.Source]string
	// files are what was read, for a bundle: objects as JSON, and the answers of Envoy.
	files map[string][]byte
	// secrets are the values of Secrets that were read, which must not be in a bundle.
	secrets [][]byte
}

// Facts returns the facts for each host that the subject asks for. host limits that to one host,
// unless it is "".
func (r *Reader) Facts(ctx context.Context, subject Subject, host string) ([]explain.Facts, error) {
	r.unread, r.files = map[explain.Source]string{}, map[string][]byte{}
	w, pods, err := r.resolve(ctx, subject)
	if err != nil {
		return nil, err
	}
	if subject.Host != "" {
		host = subject.Host
	}
	pod := choose(pods, host)
	common := explain.Facts{Namespace: r.Namespace, Now: r.Now, Workload: w, Pod: pod, Pods: len(pods)}
	hosts := []string{host}
	if host == "" {
		if asked := hostsOf(pod, w); len(asked) > 0 {
			hosts = asked
		}
	}
	r.readCommon(ctx, &common)
	var facts []explain.Facts
	for _, each := range hosts {
		f := common
		f.Host = each
		f.Objects = common.Objects
		if each != "" {
			r.readTarget(ctx, &f)
		}
		r.mutex.Lock()
		f.Unread = maps.Clone(r.unread)
		r.mutex.Unlock()
		facts = append(facts, f)
	}
	return facts, nil
}

// hostsOf returns the hosts that the Pod or the workload asks for.
func hostsOf(pod *corev1.Pod, w *explain.Workload) []string {
	var places []map[string]string
	if pod != nil {
		places = append(places, pod.Annotations)
	}
	if w != nil {
		places = append(places, w.Template, w.Annotations)
	}
	for _, annotations := range places {
		intent, _, errs := egress.ParseIntent(annotations, field.NewPath("metadata", "annotations"))
		if len(errs) == 0 && len(intent.Hosts()) > 0 {
			return intent.Hosts()
		}
	}
	return nil
}

// readCommon reads what all hosts share, at the same time.
func (r *Reader) readCommon(ctx context.Context, f *explain.Facts) {
	if f.Pod != nil {
		r.collect("pod.json", f.Pod)
	}
	var reads sync.WaitGroup
	for _, read := range []func(context.Context, *explain.Facts){
		r.readNamespace, r.readMisplaced, r.readEvents, r.readObjects, r.readController,
	} {
		reads.Go(func() { read(ctx, f) })
	}
	reads.Wait()
}

func (r *Reader) readNamespace(ctx context.Context, f *explain.Facts) {
	namespace := &corev1.Namespace{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: r.Namespace}, namespace); err != nil {
		r.miss(explain.SourceNamespace, r.forbidden(err, "get", "namespaces"))
		return
	}
	r.collect("namespace.json", namespace)
	f.NamespaceObject = namespace
}

// readMisplaced looks for annotations on objects that create no Pods. It only helps, so nothing is
// said if the objects can't be read.
func (r *Reader) readMisplaced(ctx context.Context, f *explain.Facts) {
	var services corev1.ServiceList
	if r.Client.List(ctx, &services, client.InNamespace(r.Namespace)) != nil {
		return
	}
	var found []string
	for i := range services.Items {
		if _, annotated := services.Items[i].Annotations[egress.AnnotationTarget]; annotated {
			found = append(found, "the Service "+services.Items[i].Name)
		}
	}
	f.Misplaced = found
}

// readEvents reads the events of the Pod or, without a Pod, those about Pods that were refused.
func (r *Reader) readEvents(ctx context.Context, f *explain.Facts) {
	selectors := []client.MatchingFields{{"reason": "NotPropagated"}}
	if f.Pod != nil {
		selectors = append(selectors, client.MatchingFields{"involvedObject.name": f.Pod.Name})
	} else {
		selectors = append(selectors, client.MatchingFields{"reason": "FailedCreate"})
	}
	for _, selector := range selectors {
		var list corev1.EventList
		if err := r.Client.List(ctx, &list, client.InNamespace(r.Namespace), selector); err != nil {
			r.miss(explain.SourceEvents, r.forbidden(err, "list", "events"))
			return
		}
		for i := range list.Items {
			event := &list.Items[i]
			if about(event.InvolvedObject, f) {
				at := latest(event.LastTimestamp.Time, event.EventTime.Time, event.FirstTimestamp.Time)
				f.Events = append(f.Events, explain.Event{
					Object: event.InvolvedObject.Name, Reason: event.Reason, Message: event.Message, Time: at,
				})
			}
		}
	}
	slices.SortStableFunc(f.Events, func(a, b explain.Event) int { return a.Time.Compare(b.Time) })
	r.collect("events.json", f.Events)
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

// about reports whether an event is about the Pod, the workload or its ReplicaSets.
func about(object corev1.ObjectReference, f *explain.Facts) bool {
	if f.Pod != nil && object.Kind == "Pod" && object.Name == f.Pod.Name {
		return true
	}
	if f.Workload == nil {
		return f.Pod != nil && slices.ContainsFunc(f.Pod.OwnerReferences, func(owner metav1.OwnerReference) bool {
			return owner.Kind == object.Kind && owner.Name == object.Name
		})
	}
	name := f.Workload.Name
	return object.Name == name || len(object.Name) > len(name) && object.Name[:len(name)+1] == name+"-" &&
		slices.Contains([]string{"ReplicaSet", "Job"}, object.Kind)
}

// readObjects reads all Istio objects of the namespace that concern targets.
func (r *Reader) readObjects(ctx context.Context, f *explain.Facts) {
	objects := map[explain.ObjectKey]*unstructured.Unstructured{}
	for _, kind := range append(mesh.HostKinds(), mesh.KindSidecar) {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(mesh.GroupVersion().WithKind(kind + "List"))
		if err := r.Client.List(ctx, list, client.InNamespace(r.Namespace)); err != nil {
			r.miss(explain.SourceObjects, r.forbidden(err, "list", resourceOf(kind)))
			return
		}
		for i := range list.Items {
			objects[explain.ObjectKey{Kind: kind, Name: list.Items[i].GetName()}] = &list.Items[i]
		}
		r.collect("istio/"+resourceOf(kind)+".json", list.Items)
	}
	f.Objects = objects
	f.Others = mesh.Others{
		VirtualServices:  typed[networkingv1.VirtualService](objects, mesh.KindVirtualService),
		DestinationRules: typed[networkingv1.DestinationRule](objects, mesh.KindDestinationRule),
		ServiceEntries:   typed[networkingv1.ServiceEntry](objects, mesh.KindServiceEntry),
		Sidecars:         typed[networkingv1.Sidecar](objects, mesh.KindSidecar),
	}
	if f.Pod != nil && f.Pod.Annotations[label.IoIstioRev.Name] != "" {
		f.Others.Revisions = []string{f.Pod.Annotations[label.IoIstioRev.Name]}
	}
}

// resourceOf returns the resource of one of the kinds in package mesh.
func resourceOf(kind string) string {
	plural := kind + "s"
	if stem, found := strings.CutSuffix(kind, "y"); found {
		plural = stem + "ies"
	}
	return strings.ToLower(plural) + "." + mesh.GroupVersion().Group
}

// isController reports whether a Lease of this name is the controllers'.
func isController(name string) bool { return strings.HasSuffix(name, "-controller") }

// typed returns the objects of a kind. It leaves out those that this version can't read.
func typed[T any](objects map[explain.ObjectKey]*unstructured.Unstructured, kind string) []*T {
	var found []*T
	for key, object := range objects {
		if key.Kind != kind {
			continue
		}
		if converted, err := mesh.Typed[T](object); err == nil {
			found = append(found, converted)
		}
	}
	return found
}

// readController reads the Lease of the controllers.
func (r *Reader) readController(ctx context.Context, f *explain.Facts) {
	var leases coordinationv1.LeaseList
	if err := r.Client.List(ctx, &leases, client.InNamespace(r.ReleaseNamespace)); err != nil {
		err = forbidden(err, "list", "leases.coordination.k8s.io", r.ReleaseNamespace)
		r.miss(explain.SourceController, err)
		return
	}
	for i := range leases.Items {
		lease := &leases.Items[i]
		if !isController(lease.Name) {
			continue
		}
		r.collect("lease.json", lease)
		found := explain.Controller{Read: true, Present: true}
		if lease.Spec.HolderIdentity != nil {
			found.Holder = *lease.Spec.HolderIdentity
		}
		if lease.Spec.RenewTime != nil {
			found.Renewed = lease.Spec.RenewTime.Time
		}
		if lease.Spec.LeaseDurationSeconds != nil {
			found.Duration = time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second
		}
		f.Controller = found
		return
	}
}

// readTarget reads what belongs to one host.
func (r *Reader) readTarget(ctx context.Context, f *explain.Facts) {
	var list v1alpha1.EgressTargetList
	if err := r.Client.List(ctx, &list, client.InNamespace(r.Namespace)); err != nil {
		r.miss(explain.SourceEgressTarget, r.forbidden(err, "list", "egresstargets.mtls.egress"))
	}
	for i := range list.Items {
		each := &list.Items[i]
		if each.Name == f.Host {
			f.EgressTarget = each
			r.collect("egresstarget-"+f.Host+".json", each)
			continue
		}
		f.Siblings = append(f.Siblings, explain.TargetOf(r.Namespace, each.Name, each))
	}
	t := f.Target()
	r.readDemands(ctx, t, f)
	var reads sync.WaitGroup
	reads.Go(func() { r.readCredential(ctx, t, f) })
	if f.Pod != nil && egress.HasSidecar(f.Pod) && !sidecarRuns(f.Pod) {
		r.miss(explain.SourceEnvoy, errors.New("the sidecar doesn't run"))
	}
	if f.Pod != nil && sidecarRuns(f.Pod) {
		reads.Go(func() { r.readSidecar(ctx, t, f) })
		reads.Go(func() { r.readLog(ctx, t, f) })
	}
	reads.Wait()
}

// sidecarRuns reports whether the sidecar can answer.
func sidecarRuns(pod *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses),
		func(status corev1.ContainerStatus) bool {
			return status.Name == egress.ProxyContainer && status.State.Running != nil
		})
}

func (r *Reader) readDemands(ctx context.Context, t egress.Target, f *explain.Facts) {
	pods, err := r.pods(ctx, client.HasLabels{egress.HostLabel(f.Host)})
	if err != nil && f.Pod != nil {
		pods = []corev1.Pod{*f.Pod} // only this one may be read
	}
	sinkhole, views := f.Sinkhole(), make([]*informers.Pod, 0, len(pods))
	for i := range pods {
		views = append(views, informers.NewPod(&pods[i], sinkhole))
	}
	f.Demands = plan.DemandsOf(t, views)
}

// readCredential reads and checks the Secret that the Pod presents.
func (r *Reader) readCredential(ctx context.Context, t egress.Target, f *explain.Facts) {
	name := t.SecretName
	for _, demand := range f.Demands {
		if f.Pod != nil && demand.Pod == f.Pod.Name {
			name = demand.SecretName
		}
	}
	secret, err := absent.ReadByName[corev1.Secret](ctx, r.Client, r.Namespace, name)
	if err != nil {
		r.miss(explain.SourceSecret, r.forbidden(err, "get", "secrets"))
		return
	}
	check := plan.CheckCredential(t, name, int32(f.Pods), secret, r.Now) //nolint:gosec // a namespace has fewer Pods
	if secret != nil {
		r.hide(secret)
		if material, err := credential.MaterialOfSecret(secret); err == nil {
			for _, found := range material.Inspect(r.Now).Findings {
				if found.Severity == credential.Warning {
					f.Findings = append(f.Findings, found)
				}
			}
		}
	}
	if source := t.ServerCA.ConfigMap; source.Name != "" {
		configMap, err := absent.ReadByName[corev1.ConfigMap](ctx, r.Client, r.Namespace, source.Name)
		if err != nil {
			r.miss(explain.SourceSecret, r.forbidden(err, "get", "configmaps"))
			return
		}
		check = check.WithServerCA(t, configMap, r.Now)
	}
	f.Credential = &check
}

// hide keeps the values of a Secret, so that they are taken out of a bundle.
func (r *Reader) hide(secret *corev1.Secret) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, value := range secret.Data {
		r.secrets = append(r.secrets, value)
	}
}

// miss keeps the reason why a source was not read.
func (r *Reader) miss(source explain.Source, err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.unread[source] = strings.TrimSpace(err.Error())
}

// collect keeps content for a bundle.
func (r *Reader) collect(name string, content any) {
	encoded, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		encoded = []byte("can't be encoded: " + err.Error())
	}
	r.collectBytes(name, encoded)
}

func (r *Reader) collectBytes(name string, content []byte) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.files[name] = content
}

// Files returns what was read, for a bundle, and Secrets the values that must not be in it.
func (r *Reader) Files() (files map[string][]byte, secrets [][]byte) { return r.files, r.secrets }

// forbidden turns the answer that a right is missing into a sentence that names the right.
func (r *Reader) forbidden(err error, verb, resource string) error {
	return forbidden(err, verb, resource, r.Namespace)
}

func forbidden(err error, verb, resource, namespace string) error {
	// An answer to a request for streaming is only a text.
	if !apierrors.IsForbidden(err) && !strings.Contains(err.Error(), " is forbidden: ") {
		return err
	}
	if resource == "namespaces" {
		return fmt.Errorf("it needs the right to %s the resource namespaces", verb)
	}
	return fmt.Errorf("it needs the right to %s the resource %s in the namespace %s", verb, resource, namespace)
}

var errNoAdmin = errors.New("the admin interface of Envoy was not reached")
