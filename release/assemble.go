package main

import (
	"context"
	"crypto/sha256"
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

// The names of the artifacts whose names don't contain the version.
const (
	licenseFile     = "LICENSE"              // the license of the project
	thirdPartyFile  = "THIRD_PARTY_LICENSES" // the licenses of all dependencies
	imageDigestFile = "image.digest"         // the digest of the image index, as in a registry
	checksumsFile   = "SHA256SUMS"           // checksums of all other files, for sha256sum --check
)

// release is the input of a release.
type release struct {
	version    string // as the binaries print it
	commit     string
	created    time.Time // the time of the commit, which is the only time in any artifact
	repository string    // the name of the image, with its registry
	source     string    // the URL of the sources, or empty
	helm       string    // the path of Helm 4
	binaries   map[platform]string
}

// platform is the GOOS and GOARCH of a binary.
type platform struct{ system, architecture string }

func (p platform) String() string { return p.system + "/" + p.architecture }

// program returns the name of the binary.
func (p platform) program() string {
	if p.system == "windows" {
		return product + ".exe"
	}
	return product
}

// platforms returns the platforms of the binaries, sorted by name.
func (r release) platforms() []platform {
	return slices.SortedFunc(maps.Keys(r.binaries),
		func(a, b platform) int { return strings.Compare(a.String(), b.String()) })
}

func (r release) systems() []string {
	var all []string
	for _, p := range r.platforms() {
		all = append(all, p.system)
	}
	return slices.Compact(all)
}

// artifact is a file of the release.
type artifact struct {
	name    string
	purpose string // in SPDX
	sha256  string
}

// semantic matches the versions that Helm accepts.
// https://semver.org/#is-there-a-suggested-regular-expression-regex-to-check-a-semver-string
var semantic = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

// chartVersion returns the version without the leading v. For a commit without a tag, it returns a
// version that is lower than all releases.
func chartVersion(version string) string {
	if short := strings.TrimPrefix(version, "v"); semantic.MatchString(short) {
		return short
	}
	return "0.0.0-g" + version
}

// check validates the input. The error lists all problems.
func (r release) check() error {
	var problems []error
	// The version is the tag of the image and a Kubernetes label, which allow no other characters.
	if !regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_.-]{0,62}$`).MatchString(r.version) {
		problems = append(problems, fmt.Errorf("-version %q: want a valid image tag, as in v1.2.3", r.version))
	}
	if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(r.commit) {
		problems = append(problems, fmt.Errorf("-commit %q: want the 40 digits of a commit", r.commit))
	}
	if r.created.Unix() <= 0 {
		problems = append(problems, errors.New("-created: want the time of the commit in seconds since 1970"))
	}
	if !slices.ContainsFunc(r.platforms(), func(p platform) bool { return p.system == "linux" }) {
		problems = append(problems, errors.New("-binary: want at least one for Linux, for the image"))
	}
	return errors.Join(problems...)
}

// assemble replaces the content of the folder with the artifacts.
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
	if err := r.writeLicenses(folder, libraries); err != nil {
		return err
	}
	var artifacts []artifact
	archives := map[platform]artifact{}
	for _, p := range r.platforms() {
		if archives[p], err = r.archive(folder, p); err != nil {
			return err
		}
		artifacts = append(artifacts, archives[p])
	}
	if err := r.writeKrew(folder, archives); err != nil {
		return err
	}
	image, err := r.image(folder)
	if err != nil {
		return err
	}
	chart, err := r.chart(ctx, folder, image.sha256)
	if err != nil {
		return err
	}
	if err := r.bill(folder, append(artifacts, image, chart), libraries); err != nil {
		return err
	}
	return writeChecksums(folder)
}

func (r release) writeLicenses(folder string, libraries []library) error {
	own, err := os.ReadFile(licenseFile)
	if err != nil {
		return err
	}
	others, err := licenseTexts(libraries)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(folder, licenseFile), own, 0o644),
		os.WriteFile(filepath.Join(folder, thirdPartyFile), others, 0o644))
}

// licenses returns the license files in every artifact.
func (r release) licenses(folder string) []string {
	return []string{filepath.Join(folder, licenseFile), filepath.Join(folder, thirdPartyFile)}
}

// archive packs a binary with its licenses.
func (r release) archive(folder string, p platform) (artifact, error) {
	files := []member{{name: p.program(), source: r.binaries[p], mode: 0o755}}
	for _, license := range r.licenses(folder) {
		files = append(files, member{name: filepath.Base(license), source: license, mode: 0o644})
	}
	name := fmt.Sprintf("%s_%s_%s_%s.tar.gz", product, r.version, p.system, p.architecture)
	if err := writeArchive(filepath.Join(folder, name), files, r.created); err != nil {
		return artifact{}, err
	}
	return newArtifact(folder, name, "ARCHIVE")
}

func newArtifact(folder, name, purpose string) (artifact, error) {
	sum, err := sha256Of(filepath.Join(folder, name))
	return artifact{name: name, purpose: purpose, sha256: sum}, err
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

// writeChecksums writes the checksums of all files in the folder, sorted by name.
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

// output runs a program and returns its standard output. The error contains standard error.
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
