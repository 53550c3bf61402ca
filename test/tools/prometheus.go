package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// The module of the Prometheus operator, whose checksum is as in a go.sum. Only its manifests are
// wanted, so no go.mod requires it: that would bring some hundred modules.
const (
	prometheusOperator    = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
	prometheusOperatorSum = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
)

// prometheusCRDs returns the folder with the CustomResourceDefinitions of the Prometheus operator,
// a file for each.
func prometheusCRDs(ctx context.Context) (string, error) {
	printed, err := runGo(ctx, os.TempDir(), func(int) {}, "mod", "download", "-json", prometheusOperator)
	if err != nil {
		return "", err
	}
	var module struct{ Dir, Sum string }
	if err := json.Unmarshal([]byte(printed), &module); err != nil {
		return "", fmt.Errorf("reading what go mod download says of %s: %w", prometheusOperator, err)
	}
	if module.Sum != prometheusOperatorSum {
		return "", fmt.Errorf("%s has the checksum %s, want %s", prometheusOperator, module.Sum, prometheusOperatorSum)
	}
	folder := filepath.Join(module.Dir, "example", "prometheus-operator-crd")
	if _, err := os.Stat(folder); err != nil {
		return "", fmt.Errorf("%s has its CRDs elsewhere: %w", prometheusOperator, err)
	}
	return folder, nil
}
