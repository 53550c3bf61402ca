package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the release version, such as v1.2.3. Only the linker sets it (-X
// mtls.egress/webhook/internal/cli.version=v1.2.3), because a build from a source archive or in an
// image knows neither tag nor commit.
var version string

// commit is the commit of the release, also set by the linker. The go command's own stamp would
// include the tags of the clone, so two clones of a commit would produce different binaries.
//
//nolint:gochecknoglobals // the linker can only set variables
var commit string

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit and the Go release it was built with",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			_, err := fmt.Fprintln(cmd.OutOrStdout(), name, describeBuild(version, commit, info))
			return err
		},
	}
}

// buildVersion returns the released version, or else the version that the Go toolchain recorded, or
// else (devel).
func buildVersion(released string, info *debug.BuildInfo) string {
	switch {
	case released != "":
		return released
	case info != nil && info.Main.Version != "":
		return info.Main.Version
	default:
		return "(devel)"
	}
}

// describeBuild returns the version, followed by the commit and the Go release in parentheses if
// known.
func describeBuild(released, commit string, info *debug.BuildInfo) string {
	text := buildVersion(released, info)
	if info == nil {
		return text
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	details := info.GoVersion
	if commit == "" {
		commit = settings["vcs.revision"]
		if commit != "" && settings["vcs.modified"] == "true" {
			commit += " with changes"
		}
	}
	if commit != "" {
		details = "commit " + commit + ", " + details
	}
	return fmt.Sprintf("%s (%s)", text, details)
}
