package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/google/go-licenses/v2/licenses"
	"k8s.io/klog/v2"
)

// ownLicense is the SPDX license of the project, and program its main package.
const (
	ownLicense = "Apache-2.0"
	ownModule  = "mtls.egress/webhook"
	program    = ownModule + "/cmd/webhook"
)

// allowed contains the SPDX licenses that dependencies can have. These require only that their text
// is distributed with the program, as in THIRD_PARTY_LICENSES.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// library is a module, or a part of one, with its own license.
type library struct {
	name     string   // import path
	version  string   // of its module
	licenses []string // SPDX identifiers, which all apply
	file     string   // path of the license text
}

// expression returns the SPDX license expression.
func (l library) expression() string { return strings.Join(l.licenses, " AND ") }

// standardLibrary is the name of Go's standard library.
const standardLibrary = "std"

// libraries returns the dependencies of the program on all systems, sorted by name. It returns an
// error if the license of one is unknown or not allowed.
func libraries(ctx context.Context, systems []string) ([]library, error) {
	// The library logs each package with assembly code. It also returns errors.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	classifier, err := licenses.NewClassifier()
	if err != nil {
		return nil, err
	}
	standard, err := goItself(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]library{standardLibrary: standard}
	for _, system := range systems {
		of, err := librariesOn(ctx, classifier, system)
		if err != nil {
			return nil, err
		}
		for _, l := range of {
			// Name is the common prefix of the used packages, so it can differ between systems. The license
			// file can't.
			if before, ok := found[l.LicenseFile]; ok && len(before.name) <= len(l.Name()) {
				continue
			}
			found[cmp.Or(l.LicenseFile, l.Name())] = library{
				name:     l.Name(),
				version:  l.Version(),
				licenses: names(l.Licenses),
				file:     l.LicenseFile,
			}
		}
	}
	all := slices.SortedFunc(maps.Values(found), func(a, b library) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.file, b.file))
	})
	return all, checkLicenses(all)
}

// librariesOn returns the dependencies on one system. The library runs the go command, which reads
// the system from the environment.
func librariesOn(
	ctx context.Context,
	classifier licenses.Classifier,
	system string,
) (found []*licenses.Library, err error) {
	for name, value := range map[string]string{"GOOS": system, "CGO_ENABLED": "0"} {
		before, was := os.LookupEnv(name)
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
		defer func() {
			if was {
				err = errors.Join(err, os.Setenv(name, before))
			} else {
				err = errors.Join(err, os.Unsetenv(name))
			}
		}()
	}
	return licenses.Libraries(ctx, classifier, false, []string{ownModule}, program)
}

func names(found []licenses.License) []string {
	var all []string
	for _, l := range found {
		all = append(all, l.Name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// goItself returns the standard library, which is part of every program.
func goItself(ctx context.Context) (library, error) {
	text, err := output(exec.CommandContext(ctx, "go", "env", "GOROOT", "GOVERSION"))
	if err != nil {
		return library{}, err
	}
	root, version, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return library{
		name:     standardLibrary,
		version:  version,
		licenses: []string{"BSD-3-Clause"},
		file:     filepath.Join(root, "LICENSE"),
	}, nil
}

// checkLicenses returns an error that lists all libraries with an unknown or disallowed license.
func checkLicenses(all []library) error {
	var problems []error
	for _, l := range all {
		if len(l.licenses) == 0 {
			problems = append(problems, fmt.Errorf("%s %s: no license found", l.name, l.version))
			continue
		}
		for _, license := range l.licenses {
			if !slices.Contains(allowed, license) {
				problems = append(
					problems,
					fmt.Errorf("%s %s has the license %s: want one of %s", l.name, l.version, license,
						strings.Join(allowed, ", ")),
				)
			}
		}
	}
	return errors.Join(problems...)
}

// licenseTable returns a table with one line per library.
func licenseTable(all []library) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, l := range all {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", l.name, l.version, l.expression()) // into memory
	}
	_ = table.Flush()
	return text.String()
}

// licenseTexts returns the table, followed by each distinct text with its libraries. NOTICE files
// are also texts, because licenses require their distribution.
func licenseTexts(all []library) ([]byte, error) {
	type text struct {
		content []byte
		of      []string
	}
	var texts []text
	for _, l := range all {
		files := []string{l.file}
		notices, err := filepath.Glob(filepath.Join(filepath.Dir(l.file), "NOTICE*"))
		if err != nil {
			return nil, err
		}
		for _, file := range append(files, notices...) {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			content = bytes.TrimSpace(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n")))
			if i := slices.IndexFunc(texts, func(t text) bool { return bytes.Equal(t.content, content) }); i >= 0 {
				texts[i].of = append(texts[i].of, l.name)
			} else {
				texts = append(texts, text{content, []string{l.name}})
			}
		}
	}
	var written bytes.Buffer
	fmt.Fprintf(&written, "%s contains:\n\n%s", product, licenseTable(all))
	for _, t := range texts {
		fmt.Fprintf(&written, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(t.of, "\n"), t.content)
	}
	return written.Bytes(), nil
}
