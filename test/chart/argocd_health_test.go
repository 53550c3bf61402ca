package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

// TestArgoCDKnowsTheHealthOfAnEgressTarget runs the script in examples/gitops/argocd-cm.yaml with
// the Lua library that Argo CD has (https://github.com/argoproj/argo-cd/blob/v3.1.0/go.mod#L90).
func TestArgoCDKnowsTheHealthOfAnEgressTarget(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "examples", "gitops", "argocd-cm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var settings struct{ Data map[string]string }
	if err := yaml.UnmarshalStrict(content, &settings); err != nil {
		t.Fatal(err)
	}
	const key = "resource.customizations.health.mtls.egress_EgressTarget"
	script := settings.Data[key]
	if script == "" || len(settings.Data) != 1 {
		t.Fatalf("the settings are %v, want %s", settings.Data, key)
	}
	const unseen = "The controller has not seen the EgressTarget yet"
	tests := map[string]struct{ object, status, message string }{
		"no status":     {`{"metadata": {"generation": 1}}`, "Progressing", unseen},
		"no conditions": {`{"metadata": {"generation": 1}, "status": {"pods": 0}}`, "Progressing", unseen},
		"no condition Ready": {
			`{"metadata": {"generation": 1}, "status": {"conditions": [
				{"type": "Programmed", "status": "True", "observedGeneration": 1, "message": "in sync"}]}}`,
			"Progressing", unseen,
		},
		"ready": {
			`{"metadata": {"generation": 1}, "status": {"conditions": [
				{"type": "Programmed", "status": "False", "observedGeneration": 1, "message": "other"},
				{"type": "Ready", "status": "True", "observedGeneration": 1, "message": "calls use mutual TLS"}]}}`,
			"Healthy", "calls use mutual TLS",
		},
		"not ready": {
			`{"metadata": {"generation": 1}, "status": {"conditions": [
				{"type": "Ready", "status": "False", "observedGeneration": 1, "message": "the Secret is missing"}]}}`,
			"Degraded", "the Secret is missing",
		},
		"ready before it was changed": {
			`{"metadata": {"generation": 2}, "status": {"conditions": [
				{"type": "Ready", "status": "True", "observedGeneration": 1, "message": "calls use mutual TLS"}]}}`,
			"Progressing", unseen,
		},
		"being deleted": {
			`{"metadata": {"generation": 1, "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"conditions": [
				{"type": "Ready", "status": "True", "observedGeneration": 1, "message": "calls use mutual TLS"}]}}`,
			"Progressing", "The EgressTarget is being deleted",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var object map[string]any
			if err := json.Unmarshal([]byte(test.object), &object); err != nil {
				t.Fatal(err)
			}
			state := lua.NewState()
			defer state.Close()
			state.SetGlobal("obj", inLua(state, object))
			if err := state.DoString(script); err != nil {
				t.Fatal(err)
			}
			health, ok := state.Get(-1).(*lua.LTable)
			if !ok {
				t.Fatalf("the script returns %v", state.Get(-1))
			}
			got := []string{health.RawGetString("status").String(), health.RawGetString("message").String()}
			if diff := cmp.Diff([]string{test.status, test.message}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// inLua converts decoded JSON into a value of Lua.
func inLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, field := range value {
			table.RawSetString(key, inLua(state, field))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, element := range value {
			table.Append(inLua(state, element))
		}
		return table
	case string:
		return lua.LString(value)
	case float64:
		return lua.LNumber(value)
	case bool:
		return lua.LBool(value)
	default:
		return lua.LNil
	}
}
