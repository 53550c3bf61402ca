package cli

import (
	"fmt"
	"io"
	"runtime"
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
	output := ""
	cmd := &cobra.Command{
		Use:   "version [flags]",
		Short: "Print the version, the commit and the Go release",
		Long: `Print the version of this program, the commit that it was built from, the
release of Go, and the platform.`,
		Example: `  mtls-egress-webhook version
  mtls-egress-webhook version -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return writeVersion(cmd.OutOrStdout(), output) },
	}
	addOutput(cmd, &output, outputText, outputYAML, outputJSON)
	return cmd
}

func writeVersion(out io.Writer, output string) error {
	info, _ := debug.ReadBuildInfo()
	built := buildOf(version, commit, info)
	encoded, err := encodeResult(built, output, func() string { return name + " " + built.String() + "\n" })
	if err != nil {
		return err
	}
	_, err = out.Write(encoded)
	return err
}

// build describes the build of this program.
type build struct {
	// Version is the release version, such as v1.2.3, or (devel).
	Version string `json:"version"`
	// Commit is "" if it isn't known.
	Commit string `json:"commit,omitempty"`
	// GoVersion is the release of Go, such as go1.26.0, or "" if it isn't known.
	GoVersion string `json:"goVersion,omitempty"`
	// Platform is the operating system and the architecture, such as linux/amd64.
	Platform string `json:"platform"`
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

// buildOf returns what is known of the build.
func buildOf(released, commit string, info *debug.BuildInfo) build {
	built := build{
		Version: buildVersion(released, info), Commit: commit, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info == nil {
		return built
	}
	built.GoVersion = info.GoVersion
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	if commit == "" {
		built.Commit = settings["vcs.revision"]
		if built.Commit != "" && settings["vcs.modified"] == "true" {
			built.Commit += " with changes"
		}
	}
	return built
}

// String returns the version, followed by the commit and the Go release in parentheses if known.
func (b build) String() string {
	details := b.GoVersion
	if b.Commit != "" && details != "" {
		details = "commit " + b.Commit + ", " + details
	}
	if details == "" {
		return b.Version
	}
	return fmt.Sprintf("%s (%s)", b.Version, details)
}
