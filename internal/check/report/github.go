package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"mtls.egress/webhook/internal/egress"
)

// writeGitHub writes workflow commands, which GitHub shows at the lines of a pull request, and the
// summary for the log.
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
func writeGitHub(out io.Writer, r Report) error {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	var text strings.Builder
	for _, finding := range r.open() {
		at := ""
		if finding.Line > 0 {
			at = fmt.Sprintf("file=%s,line=%d,col=%d,",
				property.Replace(strings.TrimPrefix(filepath.ToSlash(finding.Location.Source), "./")),
				finding.Line, finding.Column)
		}
		fmt.Fprintf(&text, "::%s %stitle=%s::%s\n", finding.Rule.Severity, at,
			property.Replace(finding.Rule.ID+" "+finding.Rule.Name),
			data.Replace(egress.Printable(sentence(finding))+"\nfix: "+finding.Rule.Fix))
	}
	text.WriteString(summary(r) + "\n")
	_, err := io.WriteString(out, text.String())
	return err
}
