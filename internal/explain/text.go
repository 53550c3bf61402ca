package explain

import (
	"fmt"
	"strings"

	"mtls.egress/webhook/internal/color"
	"mtls.egress/webhook/internal/egress"
)

// Text formats the report for people. Text from the cluster can't change the terminal.
func (r *Report) Text(colored bool) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", color.Bold.Paint(colored, egress.Printable(r.title())))
	for _, s := range r.Steps {
		mark := map[State]string{
			OK: color.Green.Paint(colored, "✓"), Failed: color.Red.Paint(colored, "✗"),
			Unknown: color.Yellow.Paint(colored, "?"), Skipped: "-",
		}[s.State]
		fmt.Fprintf(&text, "  %s %-12s  %s\n", mark, s.ID, egress.Printable(s.line()))
	}
	text.WriteString("\n")
	writeResult(&text, r.Result, func(cause string) string {
		if r.Found() {
			return color.Red.Paint(colored, cause)
		}
		return color.Green.Paint(colored, cause)
	})
	for _, also := range r.Also {
		text.WriteString("\nalso ")
		writeResult(&text, also, func(cause string) string { return color.Red.Paint(colored, cause) })
	}
	return text.String()
}

// line is what the step's line says. The result has the detail of a failed step.
func (s Step) line() string {
	if s.State == Failed || s.Detail == "" {
		return s.Title
	}
	return s.Detail
}

func (r *Report) title() string {
	parts := []string{"namespace " + r.Namespace}
	for _, part := range []struct{ name, value string }{
		{"workload", r.Workload}, {"Pod", r.Pod}, {"host", r.Host},
	} {
		if part.value != "" {
			parts = append(parts, part.name+" "+part.value)
		}
	}
	return strings.Join(parts, ", ")
}

func writeResult(text *strings.Builder, v Result, paint func(string) string) {
	cause := string(v.Cause)
	if cause == "" {
		cause = "OK"
	}
	fmt.Fprintf(text, "%s: %s\n", paint(cause), egress.Printable(v.Sentence))
	if v.Command != "" {
		fmt.Fprintf(text, "  run:  %s\n", egress.Printable(v.Command))
	}
	if v.Docs != "" {
		fmt.Fprintf(text, "  read: %s\n", v.Docs)
	}
}
