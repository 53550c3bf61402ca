package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"mtls.egress/webhook/internal/workload"
)

// workloadFlag holds the kinds of workloads.
type workloadFlag struct{ value string }

func (f *workloadFlag) addFlag(set *pflag.FlagSet) {
	set.StringVar(&f.value, "workloads", "",
		"The kinds of workloads and the places of their Pod templates, as in the chart's value workloads: "+
			"a YAML file, or JSON. Default: the default of the chart.")
}

// kinds returns the kinds of workloads.
func (f *workloadFlag) kinds() (workload.Kinds, error) {
	if f.value == "" {
		return workload.Known(), nil
	}
	text := []byte(f.value)
	if !strings.HasPrefix(strings.TrimSpace(f.value), "{") {
		var err error
		if text, err = os.ReadFile(f.value); err != nil {
			return nil, wrongCommandLine(fmt.Errorf("--workloads: %w", err))
		}
	}
	kinds, err := workload.Parse(text)
	if err != nil {
		return nil, wrongCommandLine(fmt.Errorf("--workloads: %w", err))
	}
	return kinds, nil
}
