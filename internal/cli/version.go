package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the version of a release, such as v1.2.3. The linker sets it (-X
// mtls.egress/webhook/internal/cli.version=v1.2.3), because a build from a source archive or in an
// image knows neither tag nor commit; nothing else writes it.
var version string

// commit is the commit of a release, which the linker sets as well: the go command's own stamp
// would hold the tags of the clone besides, so that two clones of a commit would give two binaries.
//
//nolint:gochecknoglobals // the linker sets nothing but variables
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

// buildVersion returns the released version, else the one that the Go toolchain knows, else
// (devel).
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

// describeBuild returns the version, and in brackets the commit and the Go release as far as they
// are known.
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
