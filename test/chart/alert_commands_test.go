package chart

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"mtls.egress/webhook/test/apiserver"
)

// TestCommandsOfAlerts: kubectl knows the command and the flags in the description of each alert,
// and a selector of the release's Pods selects them, whatever the names in the values, and no Pods
// of another release.
func TestCommandsOfAlerts(t *testing.T) {
	for name, set := range map[string]string{
		"the default names": "",
		"another name, in another namespace": "nameOverride=egress,namespaceOverride=elsewhere," +
			"fullnameOverride=shop",
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"--set", "prometheusRule.enabled=true", "--set", set}
			rendered := render(t, args...)
			manifests, problems, err := template(t, "other", args...)
			if err != nil {
				t.Fatalf("%v\n%s", err, problems)
			}
			own, others := deployedPods(t, rendered), deployedPods(t, read(t, manifests))
			found := 0
			for _, alert := range alertsOf(t, rendered.one(t, "PrometheusRule").Object) {
				command := commandOf(t, alert)
				if command == nil {
					continue
				}
				found++
				if err := knownToKubectl(t, command); err != nil {
					t.Errorf("%s: %v", alert.Alert, err)
				}
				if command[0] == "logs" && !slices.Contains(command, "--tail=-1") {
					t.Errorf("%s: %q prints ten lines of each Pod: add --tail=-1", alert.Alert, command)
				}
				selector := flag(command, "-l")
				if !strings.Contains(selector, "app.kubernetes.io/") {
					continue
				}
				if !selects(t, selector, flag(command, "-n"), own) {
					t.Errorf("%s: %q selects no Pods of the release, which are %v", alert.Alert, command, own)
				}
				if selects(t, selector, flag(command, "-n"), others) {
					t.Errorf("%s: %q selects Pods of another release: %v", alert.Alert, command, others)
				}
			}
			if found == 0 {
				t.Error("no description has a command")
			}
		})
	}
}

// commandOf returns the arguments of the kubectl command at the end of the description of an alert,
// nil without one. A label of the alert is a word.
func commandOf(t *testing.T, alert alert) []string {
	t.Helper()
	parts := strings.Split(alert.Annotations["description"], "kubectl ")
	if len(parts) > 2 || len(parts) == 2 && !strings.HasSuffix(parts[0], ": ") {
		t.Errorf("%s: the description needs one command at most, at its end, after a colon: %s",
			alert.Alert, alert.Annotations["description"])
	}
	if len(parts) == 1 {
		return nil
	}
	return strings.Fields(regexp.MustCompile(`{{[^}]*}}`).ReplaceAllString(parts[len(parts)-1], "word"))
}

// knownToKubectl has kubectl read the flags of a command and print its help, which needs no
// cluster.
func knownToKubectl(t *testing.T, command []string) error {
	t.Helper()
	assets, err := apiserver.Assets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), filepath.Join(assets, "kubectl"), append(slices.Clone(command), "--help")...)
	stdout, _, err := apiserver.Output(run)
	// kubectl prints its own help for a command that it doesn't know.
	if err == nil && !strings.Contains(stdout, "kubectl "+command[0]+" ") {
		err = fmt.Errorf("kubectl doesn't know %q", command)
	}
	return err
}

// flag returns the value of a flag in arguments, empty without it.
func flag(args []string, name string) string {
	if at := slices.Index(args, name); at >= 0 && at+1 < len(args) {
		return args[at+1]
	}
	return ""
}

// deployed are the namespace and the labels of the Pods of a Deployment.
type deployed struct {
	namespace string
	labels    labels.Set
}

func deployedPods(t *testing.T, rendered objects) (found []deployed) {
	t.Helper()
	for _, object := range rendered {
		if object.GetKind() != "Deployment" {
			continue
		}
		var deployment appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
			t.Fatal(err)
		}
		found = append(found, deployed{deployment.Namespace, deployment.Spec.Template.Labels})
	}
	return found
}

func selects(t *testing.T, selector, namespace string, of []deployed) bool {
	t.Helper()
	parsed, err := labels.Parse(selector)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(of, func(p deployed) bool { return p.namespace == namespace && parsed.Matches(p.labels) })
}
