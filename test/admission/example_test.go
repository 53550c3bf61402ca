package admission_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/installation"
)

// TestTheExampleBecomesInTheClusterWhatRenderShows does what the README of the example says, a dry
// run before each step, and holds the outcome against what the command render makes of the same
// files.
func TestTheExampleBecomesInTheClusterWhatRenderShows(t *testing.T) {
	w := newWorld(t)
	w.namespace = "project"
	dir, err := installed.Example("egress")
	if err != nil {
		t.Fatal(err)
	}
	if err := installation.WriteCredential(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	commands, err := installation.DocumentedCommands(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(commands) != 4 {
		t.Fatalf("the README has the commands %q, want namespace, Secret, Deployment and a look at the outcome", commands)
	}
	w.kubectlIn(dir, commands[0]...)
	w.kubectlIn(dir, commands[1]...)

	dry := w.kubectlIn(dir, "apply", "--dry-run=server", "--output=yaml", "--filename=.")
	var list struct{ Items []unstructured.Unstructured }
	if err := yaml.Unmarshal([]byte(dry), &list); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(list.Items, func(item unstructured.Unstructured) bool { return item.GetKind() == "Deployment" })
	if at < 0 {
		t.Fatalf("the dry run shows no Deployment:\n%s", dry)
	}
	want := map[string]string{
		"mtls.egress/target":     host,
		"mtls.egress/propagated": `{"mtls.egress/target":"external.system.com"}`,
	}
	got, _, err := unstructured.NestedStringMap(list.Items[at].Object, "spec", "template", "metadata", "annotations")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("the template in the dry run (-want +got), error %v:\n%s", err, diff)
	}
	var deployment appsv1.Deployment
	if err := w.Get(t.Context(), key(w, "shop"), &deployment); !apierrors.IsNotFound(err) {
		t.Errorf("the Deployment after a dry run: %v", err)
	}

	w.kubectlIn(dir, commands[2]...)
	w.read(&deployment, "shop")
	if diff := cmp.Diff(want, deployment.Spec.Template.Annotations); diff != "" {
		t.Errorf("the template in the cluster (-want +got):\n%s", diff)
	}
	if found := w.kubectl("get", "egt", "--output=name") + w.kubectl(
		"get", "serviceentries,virtualservices,destinationrules", "--output=name",
	); found != "" {
		t.Errorf("before there is a Pod there is %s", found)
	}
	created, err := installed.CreatePod(t.Context(), &deployment)
	if err != nil {
		t.Fatal(err)
	}
	egressTarget := w.programmed()

	t.Run("the Pod", func(t *testing.T) {
		pod, err := asMap(created)
		if err != nil {
			t.Fatal(err)
		}
		labels := created.DeepCopy().Labels
		if hash := labels["pod-template-hash"]; hash == "" || !strings.HasPrefix(created.Name, "shop-"+hash+"-") {
			t.Errorf("the Pod %s with the template hash %q isn't one of a ReplicaSet", created.Name, hash)
		}
		delete(labels, "pod-template-hash")
		inCluster := map[string]any{
			"annotations": created.Annotations, "labels": labels,
			"hostAliases": pod["spec"].(map[string]any)["hostAliases"], "volumes": pod["spec"].(map[string]any)["volumes"],
		}
		template := rendered(t, dir, "pods")[0]["template"].(map[string]any)
		metadata, spec := template["metadata"].(map[string]any), template["spec"].(map[string]any)
		offline := map[string]any{
			"annotations": metadata["annotations"],
			"labels":      metadata["labels"],
			"hostAliases": spec["hostAliases"],
			"volumes":     spec["volumes"],
		}
		sameJSON(t, offline, inCluster)
		sameJSON(t, map[string]any{
			"annotations": map[string]any{
				"mtls.egress/propagated":      `{"mtls.egress/target":"external.system.com"}`,
				"mtls.egress/target":          host,
				"sidecar.istio.io/userVolume": `[{"name":"` + volume + `","secret":{"secretName":"` + secret + `"}}]`,
				"sidecar.istio.io/userVolumeMount": `[{"name":"` + volume +
					`","mountPath":"/etc/mtls-egress/` + host + `","readOnly":true}]`,
			},
			"labels":      map[string]any{"app": "shop", "mtls.egress/injected": "true", "to.mtls.egress/" + host: "true"},
			"hostAliases": []any{map[string]any{"ip": address, "hostnames": []any{host}}},
			"volumes":     nil,
		}, inCluster)
	})

	t.Run("the Istio objects", func(t *testing.T) {
		offline := rendered(t, dir, "objects")
		if len(offline) != len(generated()) {
			t.Fatalf("render shows %d objects, want %d", len(offline), len(generated()))
		}
		var inCluster []map[string]any
		for n, o := range generated() {
			if offline[n]["kind"] != o.kind {
				t.Errorf("object %d is a %v, want %s", n, offline[n]["kind"], o.kind)
			}
			object := w.istio(o).Object
			metadata := object["metadata"].(map[string]any)
			object["metadata"] = map[string]any{
				"name":      metadata["name"],
				"namespace": metadata["namespace"],
				"labels":    metadata["labels"],
			}
			inCluster = append(inCluster, object)
		}
		sameJSON(t, offline, inCluster)
	})

	t.Run("the Deployment", func(t *testing.T) {
		documents := rendered(t, dir, "manifests")
		at := slices.IndexFunc(documents, func(document map[string]any) bool { return document["kind"] == "Deployment" })
		template := documents[at]["spec"].(map[string]any)["template"].(map[string]any)
		sameJSON(t, template["metadata"].(map[string]any)["annotations"], deployment.Spec.Template.Annotations)
	})

	t.Run("what kubectl shows of it", func(t *testing.T) {
		lines := strings.Split(strings.TrimSpace(w.kubectlIn(dir, commands[3]...)), "\n")
		table := make([][]string, len(lines))
		for n, line := range lines {
			table[n] = strings.Fields(line)
		}
		age := table[1][6]
		want := [][]string{
			{"NAME", "READY", "REASON", "SECRET", "EXPIRES", "PODS", "AGE"},
			{host, "False", "NoSidecar", secret, egressTarget.Status.NotAfter.UTC().Format(time.RFC3339), "1", age},
		}
		if diff := cmp.Diff(want, table); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestTheExampleOfAnEgressTargetSetsEverything holds the example against the CRD of a real API
// server, and against render.
func TestTheExampleOfAnEgressTargetSetsEverything(t *testing.T) {
	w := newWorld(t)
	dir, err := installed.Example("egresstarget")
	if err != nil {
		t.Fatal(err)
	}
	_, err = installed.Admin.CoreV1().Namespaces().Get(t.Context(), "project", getOptions())
	if apierrors.IsNotFound(err) {
		w.kubectlIn(dir, "create", "namespace", "project")
	}
	w.namespace = "project"
	w.kubectlIn(dir, "apply", "--validate=strict", "--filename=.")
	egressTarget := &v1alpha1.EgressTarget{}
	w.read(egressTarget, "api.partner.example")
	spec, err := asMap(egressTarget.Spec)
	if err != nil {
		t.Fatal(err)
	}
	var set []string
	fields(&set, "", spec)
	slices.Sort(set)
	want := slices.DeleteFunc(fieldsOf(reflect.TypeFor[v1alpha1.EgressTargetSpec](), ""), excludedByOthers)
	slices.Sort(want)
	if diff := cmp.Diff(want, set); diff != "" {
		t.Errorf("the fields of the example (-want +got):\n%s", diff)
	}

	template := rendered(t, dir, "pods")[0]["template"].(map[string]any)
	var deployment appsv1.Deployment
	w.read(&deployment, "billing")
	pod, err := installed.CreatePod(t.Context(), &deployment)
	if err != nil {
		t.Fatal(err)
	}
	metadata, podSpec := template["metadata"].(map[string]any), template["spec"].(map[string]any)
	labels := pod.DeepCopy().Labels
	delete(labels, "pod-template-hash")
	sameJSON(t, []any{metadata["annotations"], metadata["labels"], podSpec["hostAliases"]},
		[]any{pod.Annotations, labels, pod.Spec.HostAliases})
	if objects := rendered(t, dir, "objects"); len(objects) != 5 {
		t.Errorf("render shows %d objects, want 5", len(objects))
	}
}

// excludedByOthers reports whether a field can't be set next to those of the example. The example
// of cert-manager sets credential.issuerRef and credential.certificate.
func excludedByOthers(path string) bool {
	return strings.HasPrefix(path, "credential.issuerRef.") || strings.HasPrefix(path, "credential.certificate.") ||
		path == "serverCA.secretKey" || path == "serverCA.system"
}

// fieldsOf returns the paths of all leaves that the API type can have.
func fieldsOf(of reflect.Type, at string) []string {
	var paths []string
	for _, field := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		kind := field.Type
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		if kind.Kind() == reflect.Struct && kind.PkgPath() == of.PkgPath() {
			paths = append(paths, fieldsOf(kind, at+name+".")...)
			continue
		}
		paths = append(paths, at+name)
	}
	return paths
}

// fields appends the paths of all leaves that are set.
func fields(paths *[]string, at string, content map[string]any) {
	for name, value := range content {
		if inner, ok := value.(map[string]any); ok {
			fields(paths, at+name+".", inner)
			continue
		}
		*paths = append(*paths, at+name)
	}
}

// rendered is a part of what the command render makes of the manifests in dir.
func rendered(t *testing.T, dir, part string) []map[string]any {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), installed.Command, "render", "-f", dir, "-o", "json", "--show", part)
	output, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("render: %v\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Items []map[string]any }
	if err := json.Unmarshal(output, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) == 0 {
		t.Fatalf("render shows no %s", part)
	}
	return list.Items
}

// sameJSON compares two values as JSON with sorted keys, byte for byte.
func sameJSON(t *testing.T, want, got any) {
	t.Helper()
	a, b := sortedJSON(t, want), sortedJSON(t, got)
	if !bytes.Equal(a, b) {
		t.Errorf("not the same (-want +got):\n%s", cmp.Diff(string(a), string(b)))
	}
}

func sortedJSON(t *testing.T, value any) []byte {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(encoded, &plain); err != nil {
		t.Fatal(err)
	}
	sorted, err := json.MarshalIndent(plain, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return sorted
}

func asMap(object any) (map[string]any, error) {
	encoded, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var content map[string]any
	return content, json.Unmarshal(encoded, &content)
}
