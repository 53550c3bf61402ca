package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The names of files in the folder of artefacts that don't carry the version.
const (
	licenceFile     = "LICENSE"              // the project's own, copied from its folder
	thirdPartyFile  = "THIRD_PARTY_LICENSES" // those of everything else that the program is made of
	imageDigestFile = "image.digest"         // the digest of the image's index, as a registry shows it
	checksumsFile   = "SHA256SUMS"           // of all other files, for sha256sum --check
)

// release is what a release is made from.
type release struct {
	version    string // as the binaries print it
	commit     string
	created    time.Time // of the commit: the only time in any artefact
	repository string    // name of the image, with its registry
	source     string    // where the sources are, or empty
	helm       string    // path of Helm
	binaries   map[platform]string
}

// platform is what a binary was built for, as in GOOS and GOARCH.
type platform struct{ system, architecture string }

func (p platform) String() string { return p.system + "/" + p.architecture }

// platforms are those of the binaries, in the order of their names.
func (r release) platforms() []platform {
	return slices.SortedFunc(maps.Keys(r.binaries), func(a, b platform) int { return strings.Compare(a.String(), b.String()) })
}

func (r release) systems() []string {
	var all []string
	for _, p := range r.platforms() {
		all = append(all, p.system)
	}
	return slices.Compact(all)
}

// artefact is a file of the release, and what it is to the reader of a bill of materials.
type artefact struct {
	name    string
	purpose string // as SPDX calls it
	sha256  string
}

// semantic is what Helm takes for a version.
// https://semver.org/#is-there-a-suggested-regular-expression-regex-to-check-a-semver-string
var semantic = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

// chartVersion is the version without its v. What was built from a commit without a tag comes
// before all releases.
func chartVersion(version string) string {
	if short := strings.TrimPrefix(version, "v"); semantic.MatchString(short) {
		return short
	}
	return "0.0.0-g" + version
}

// check finds what would make artefacts that belie their name, all of it at once.
func (r release) check() error {
	var problems []error
	// An image's tag and a label of Kubernetes take nothing else.
	if !regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_.-]{0,62}$`).MatchString(r.version) {
		problems = append(problems, fmt.Errorf("-version %q: want one that can be the tag of an image, as in v1.2.3", r.version))
	}
	if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(r.commit) {
		problems = append(problems, fmt.Errorf("-commit %q: want the 40 digits of a commit", r.commit))
	}
	if r.created.Unix() <= 0 {
		problems = append(problems, errors.New("-created: want the time of the commit in seconds since 1970"))
	}
	if !slices.ContainsFunc(r.platforms(), func(p platform) bool { return p.system == "linux" }) {
		problems = append(problems, errors.New("-binary: want one for Linux at least, for the image"))
	}
	for _, p := range r.platforms() {
		if err := checkBinary(r.binaries[p], p); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// checkBinary reads from the binary what it was built for and how.
func checkBinary(path string, p platform) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	got := fmt.Sprintf("GOOS=%s GOARCH=%s CGO_ENABLED=%s -trimpath=%s", settings["GOOS"], settings["GOARCH"], settings["CGO_ENABLED"], settings["-trimpath"])
	if want := fmt.Sprintf("GOOS=%s GOARCH=%s CGO_ENABLED=0 -trimpath=true", p.system, p.architecture); got != want {
		return fmt.Errorf("%s was built with %s: want %s, as `make build` does", path, got, want)
	}
	return nil
}

// assemble replaces the folder by the artefacts.
func (r release) assemble(ctx context.Context, folder string) error {
	if err := r.check(); err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	libraries, err := libraries(ctx, r.systems())
	if err != nil {
		return err
	}
	if err := r.writeLicences(folder, libraries); err != nil {
		return err
	}
	var artefacts []artefact
	for _, p := range r.platforms() {
		a, err := r.archive(folder, p)
		if err != nil {
			return err
		}
		artefacts = append(artefacts, a)
	}
	image, err := r.image(folder)
	if err != nil {
		return err
	}
	chart, err := r.chart(ctx, folder, image.sha256)
	if err != nil {
		return err
	}
	if err := r.bill(folder, append(artefacts, image, chart), libraries); err != nil {
		return err
	}
	return writeChecksums(folder)
}

func (r release) writeLicences(folder string, libraries []library) error {
	own, err := os.ReadFile(licenceFile)
	if err != nil {
		return err
	}
	others, err := licenceTexts(libraries)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(folder, licenceFile), own, 0o644), os.WriteFile(filepath.Join(folder, thirdPartyFile), others, 0o644))
}

// licences are the files that go into every artefact.
func (r release) licences(folder string) []string {
	return []string{filepath.Join(folder, licenceFile), filepath.Join(folder, thirdPartyFile)}
}

// archive packs a binary with its licences.
func (r release) archive(folder string, p platform) (artefact, error) {
	program := product
	if p.system == "windows" {
		program += ".exe"
	}
	files := []member{{name: program, source: r.binaries[p], mode: 0o755}}
	for _, licence := range r.licences(folder) {
		files = append(files, member{name: filepath.Base(licence), source: licence, mode: 0o644})
	}
	name := fmt.Sprintf("%s_%s_%s_%s.tar.gz", product, r.version, p.system, p.architecture)
	if err := writeArchive(filepath.Join(folder, name), files, r.created); err != nil {
		return artefact{}, err
	}
	return newArtefact(folder, name, "ARCHIVE")
}

func newArtefact(folder, name, purpose string) (artefact, error) {
	sum, err := sha256Of(filepath.Join(folder, name))
	return artefact{name: name, purpose: purpose, sha256: sum}, err
}

func sha256Of(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}

func checksumsIn(folder string) string { return filepath.Join(folder, checksumsFile) }

// writeChecksums writes those of all files of the folder, in the order of their names.
func writeChecksums(folder string) error {
	var lines strings.Builder
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		sum, err := sha256Of(path)
		fmt.Fprintf(&lines, "%s  %s\n", sum, entry.Name())
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(checksumsIn(folder), []byte(lines.String()), 0o644)
}

// output runs a program and returns what it prints. The error carries standard error.
func output(cmd *exec.Cmd) (string, error) {
	stdout, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w\n%s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return string(stdout), err
}
