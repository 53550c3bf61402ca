package adopt

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
)

// StepsText returns the steps for people, each with its check, the commands that would do it by
// hand, and those that undo it.
func StepsText(steps []Step) string {
	var text strings.Builder
	for n, step := range steps {
		fmt.Fprintf(&text, "%d. %s.\n", n+1, step.Title)
		text.WriteString(indent(commands(step.Do), "     "))
		if step.Do.Proof != Nothing {
			fmt.Fprintf(&text, "   Go on if %s.\n", step.Do.Proof)
		}
		if step.Undo != nil && step.Undo.Verb != Forget {
			fmt.Fprintf(&text, "   To undo it:\n%s", indent(commands(*step.Undo), "     "))
		}
	}
	return text.String()
}

// commands returns the commands of kubectl for an action.
func commands(a Action) string {
	namespace := inNamespace(a.Object)
	name := resourceOf(a.Object) + "/" + nameOf(a.Object)
	switch a.Verb {
	case Record:
		return ""
	case Forget:
		return "kubectl delete " + name + namespace + "\n"
	case Write:
		wait := "kubectl wait --for=condition=Programmed egresstarget/" + a.Host + namespace + " --timeout=2m\n"
		if a.Proof == Closed {
			wait = "kubectl wait --for=create virtualservice." + mesh.GroupVersion().Group + "/" + egress.ObjectName(a.Host) +
				namespace + " --timeout=2m\n"
		}
		return written("kubectl apply --server-side --field-manager="+FieldManager, a.Object) + wait
	case Copy:
		return written("kubectl create", a.Object)
	case Restore:
		return written("kubectl apply --server-side --force-conflicts --field-manager="+FieldManager, a.Object)
	case Remove, Delete:
		wait := ""
		if a.Proof == Open {
			wait = "kubectl wait --for=condition=Programmed egresstarget/" + a.Host + namespace + " --timeout=2m\n"
		}
		return "kubectl delete " + name + namespace + "\n" + wait
	case DropHost:
		index := hostIndex(a.Object, a.Host)
		return fmt.Sprintf("kubectl patch %s%s --type=json \\\n"+
			`  -p '[{"op":"test","path":"/spec/hosts/%d","value":"%s"},{"op":"remove","path":"/spec/hosts/%d"}]'`+"\n",
			name, namespace, index, a.Host, index)
	case Annotate:
		return annotating(a, name, namespace)
	}
	return ""
}

func annotating(a Action, name, namespace string) string {
	var changes []string
	for _, key := range slices.Sorted(maps.Keys(a.Annotations)) {
		if value := a.Annotations[key]; value != "" {
			changes = append(changes, key+"="+value)
		} else {
			changes = append(changes, key+"-")
		}
	}
	return "kubectl annotate --overwrite " + name + namespace + " " + strings.Join(changes, " ") + "\n" +
		"kubectl rollout status " + name + namespace + "\n"
}

// written returns a command that reads the object from standard input.
func written(command string, object map[string]any) string {
	encoded, err := manifests.YAML([]map[string]any{object})
	if err != nil {
		return "" // objects that were read can be written
	}
	return command + " -f - <<'EOF'\n" + string(encoded) + "EOF\n"
}

func inNamespace(object map[string]any) string {
	metadata, _ := object["metadata"].(map[string]any)
	if namespace, _ := metadata["namespace"].(string); namespace != "" {
		return " -n " + namespace
	}
	return ""
}

func nameOf(object map[string]any) string {
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return name
}
