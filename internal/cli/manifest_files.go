package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/cli-runtime/pkg/resource"

	"mtls.egress/webhook/internal/manifests"
)

// The name of standard input in kubectl, as a file name and as a source.
const (
	standardInput       = "-"
	standardInputSource = "STDIN"
)

// oneInput returns the problems of a command line that names no input, or several.
func oneInput(files resource.FilenameOptions, live bool) []error {
	sources := 0
	for _, given := range []bool{len(files.Filenames) > 0, files.Kustomize != "", live} {
		if given {
			sources++
		}
	}
	switch {
	case sources == 0:
		return []error{errors.New("no input: pass -f FILE|DIR|-, -k DIR or --live")}
	case sources > 1:
		return []error{errors.New("-f, -k and --live are mutually exclusive")}
	}
	return nil
}

// readDocuments reads what -f and -k name, as kubectl does: files, directories, patterns, URLs,
// standard input, or a kustomization. It returns all problems at once.
func readDocuments(in io.Reader, options resource.FilenameOptions) ([]manifests.Document, error) {
	var documents []manifests.Document
	var problems []error
	if options.Kustomize != "" {
		built, err := kustomized(options.Kustomize)
		documents, problems = append(documents, built...), append(problems, err)
	}
	eachSource(in, options, func(source string, content []byte, err error) {
		if err != nil {
			problems = append(problems, err)
			return
		}
		read, unreadable := manifests.Read(source, content)
		documents = append(documents, read...)
		for _, problem := range unreadable {
			problems = append(problems, errors.New(printable(problem.String())))
		}
	})
	return documents, errors.Join(problems...)
}

// eachSource calls add with the content of each file, URL or stream that -f names, or with the
// error that keeps it from being read.
func eachSource(in io.Reader, options resource.FilenameOptions, add func(source string, content []byte, err error)) {
	for _, name := range options.Filenames {
		switch {
		case name == standardInput:
			content, err := io.ReadAll(in)
			add(standardInputSource, content, err)
		case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
			content, err := download(name)
			add(name, content, err)
		default:
			files, err := filesOf(name, options.Recursive)
			if err != nil {
				add(name, nil, err)
			}
			for _, file := range files {
				content, err := os.ReadFile(file)
				add(file, content, err)
			}
		}
	}
}

// filesOf returns the files that a path or a pattern names. Of a directory these are the files with
// the extensions that kubectl reads.
func filesOf(name string, recursive bool) ([]string, error) {
	names := []string{name}
	if _, err := os.Lstat(name); err != nil {
		matches, globErr := filepath.Glob(name)
		if globErr != nil || len(matches) == 0 {
			return nil, fmt.Errorf("the path %q does not exist", name)
		}
		names = matches
	}
	var files []string
	for _, name := range names {
		visitors, err := resource.ExpandPathsToFileVisitors(nil, name, recursive, resource.FileExtensions, nil)
		if err != nil {
			return nil, err
		}
		for _, visitor := range visitors {
			if file, ok := visitor.(*resource.FileVisitor); ok {
				files = append(files, file.Path)
			}
		}
	}
	return files, nil
}

func download(url string) (content []byte, err error) {
	response, err := http.Get(url) //nolint:gosec,noctx // the user names the URL, and can interrupt
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the server answers %s", url, response.Status)
	}
	return io.ReadAll(response.Body)
}
