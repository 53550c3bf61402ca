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

// ownLicence is the project's, as SPDX calls it, and program its main package.
const (
	ownLicence = "Apache-2.0"
	ownModule  = "mtls.egress/webhook"
	program    = ownModule + "/cmd/webhook"
)

// allowed are the licences that a dependency may have, as SPDX calls them: those that ask for no
// more than to be passed on with the program, as THIRD_PARTY_LICENSES does.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// library is packages under one licence: a module, or a part of one.
type library struct {
	name     string   // import path
	version  string   // of its module
	licences []string // as SPDX calls them; all of them hold
	file     string   // the text of the licence
}

// expression is the licence as SPDX writes it.
func (l library) expression() string { return strings.Join(l.licences, " AND ") }

// standardLibrary is the name of Go's own packages.
const standardLibrary = "std"

// libraries are what the program is made of on any of the systems, in the order of their names. It
// is an error when the licence of one is unknown or not allowed.
func libraries(ctx context.Context, systems []string) ([]library, error) {
	// The library logs each package with assembly. What goes wrong it returns as well.
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
			// Name is what the packages used have in common, so it can differ between systems; the file of
			// the licence can't.
			if before, ok := found[l.LicenseFile]; ok && len(before.name) <= len(l.Name()) {
				continue
			}
			found[cmp.Or(l.LicenseFile, l.Name())] = library{name: l.Name(), version: l.Version(), licences: names(l.Licenses), file: l.LicenseFile}
		}
	}
	all := slices.SortedFunc(maps.Values(found), func(a, b library) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.file, b.file))
	})
	return all, judge(all)
}

// librariesOn reads the system from the environment, as the go command that the library runs does.
func librariesOn(ctx context.Context, classifier licenses.Classifier, system string) (found []*licenses.Library, err error) {
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

// goItself is the standard library, which goes into every program.
func goItself(ctx context.Context) (library, error) {
	text, err := output(exec.CommandContext(ctx, "go", "env", "GOROOT", "GOVERSION"))
	if err != nil {
		return library{}, err
	}
	root, version, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return library{name: standardLibrary, version: version, licences: []string{"BSD-3-Clause"}, file: filepath.Join(root, "LICENSE")}, nil
}

// judge names every library with a licence that is unknown or not allowed.
func judge(all []library) error {
	var problems []error
	for _, l := range all {
		if len(l.licences) == 0 {
			problems = append(problems, fmt.Errorf("%s %s: no licence was found", l.name, l.version))
			continue
		}
		for _, licence := range l.licences {
			if !slices.Contains(allowed, licence) {
				problems = append(problems, fmt.Errorf("%s %s has the licence %s: want one of %s", l.name, l.version, licence, strings.Join(allowed, ", ")))
			}
		}
	}
	return errors.Join(problems...)
}

// licenceTable has a line for each library.
func licenceTable(all []library) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, l := range all {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", l.name, l.version, l.expression()) // into memory
	}
	_ = table.Flush()
	return text.String()
}

// licenceTexts is the table and below it each text once, with the libraries that it is of. A notice
// that the licence asks to pass on is a text as well.
func licenceTexts(all []library) ([]byte, error) {
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
	fmt.Fprintf(&written, "%s is made with:\n\n%s", product, licenceTable(all))
	for _, t := range texts {
		fmt.Fprintf(&written, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(t.of, "\n"), t.content)
	}
	return written.Bytes(), nil
}
