package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/internal/manifests"
)

// checkInput is what the rules look at.
type checkInput struct {
	documents []manifests.Document
	// files is the number of sources with manifests, and skipped that of files without.
	files, skipped int
	// notes are for standard error.
	notes []string
	// namespace is the one to report findings of. If "", all are reported.
	namespace string
}

// includes reports whether findings of objects in the namespace are reported.
func (i checkInput) includes(namespace string) bool {
	return i.namespace == "" || namespace == "" || namespace == i.namespace
}

// unreadableInputError is the error for files that can't be read. problems are the same for a
// report.
type unreadableInputError struct {
	error

	problems []manifests.Problem
}

func (e *unreadableInputError) Unwrap() error { return e.error }

// add adds a problem. If the file can't be read at all, err says so, and the problem is at the
// first line.
func (e *unreadableInputError) add(problem manifests.Problem, err error) {
	if err != nil {
		problem.Location.Number, problem.Location.Line, problem.Message = 1, 1, err.Error()
	} else {
		err = errors.New(printable(problem.String()))
	}
	e.problems, e.error = append(e.problems, problem), errors.Join(e.error, err)
}

// read returns the input. An error has its exit code.
func (f *checkFlags) read(
	ctx context.Context, in io.Reader, diagnostics io.Writer, options manifests.Options,
) (checkInput, error) {
	if f.live {
		defer f.connection.progress(diagnostics).wait("reading the objects of the cluster")()
		return f.readLive(ctx, options.Workloads)
	}
	input, err := f.readFiles(in)
	return input, err
}

// readFiles returns the manifests of -f and -k, or all problems.
func (f *checkFlags) readFiles(in io.Reader) (checkInput, error) {
	var input checkInput
	unreadable := &unreadableInputError{}
	ofSource := func(source string) manifests.Problem {
		return manifests.Problem{Location: manifests.Location{Source: source}}
	}
	if f.Kustomize != "" {
		built, err := kustomized(f.Kustomize)
		if err != nil {
			unreadable.add(ofSource(f.Kustomize), err)
		}
		input.documents, input.files = append(input.documents, built...), sourcesOf(built)
	}
	eachSource(in, f.FilenameOptions, func(source string, content []byte, err error) {
		if err != nil {
			unreadable.add(ofSource(source), err)
			return
		}
		read, problems := manifests.Read(source, content)
		template := isTemplate(content, problems)
		switch skip := source != standardInputSource && (template || notManifests(content, read, problems)); {
		case skip && f.strictFiles && len(problems) == 0:
			unreadable.add(ofSource(source), fmt.Errorf("%s has no Kubernetes manifest", source))
		case skip && !f.strictFiles:
			input.skipped++
			if template && slices.ContainsFunc(read, isKubernetes) {
				input.notes = append(input.notes,
					"Note: "+source+" is a template; it is skipped: check what is made of it\n")
			}
			return
		}
		for _, problem := range problems {
			if problem.Reason == manifests.ReasonNoManifest && !f.strictFiles {
				input.notes = append(input.notes, "Note: "+problem.String()+"; it is skipped\n")
			} else {
				unreadable.add(problem, nil)
			}
		}
		input.documents = append(input.documents, read...)
		if len(read) > 0 {
			input.files++
		}
	})
	input.leaveOutEncrypted()
	if len(unreadable.problems) > 0 {
		return checkInput{}, unreadable
	}
	return input, nil
}

// leaveOutEncrypted removes the objects that SOPS encrypted. Their values say nothing.
func (i *checkInput) leaveOutEncrypted() {
	i.documents = slices.DeleteFunc(i.documents, func(document manifests.Document) bool {
		_, encrypted := document.Object["sops"].(map[string]any)
		if encrypted {
			for _, object := range manifests.Objects([]manifests.Document{document}, "") {
				i.notes = append(i.notes, "Note: "+object.Location.String()+": is encrypted with SOPS; it is skipped\n")
			}
		}
		return encrypted
	})
}

// sourcesOf returns the number of files that the documents are from.
func sourcesOf(documents []manifests.Document) int {
	sources := map[string]bool{}
	for _, document := range documents {
		sources[document.Source] = true
	}
	return len(sources)
}

// notManifests reports whether a file has nothing that kubectl would apply: no document is an
// object of Kubernetes.
func notManifests(content []byte, read []manifests.Document, unreadable []manifests.Problem) bool {
	if slices.ContainsFunc(read, isKubernetes) {
		return false
	}
	return !slices.ContainsFunc(unreadable, func(problem manifests.Problem) bool {
		if problem.Reason == manifests.ReasonSyntax {
			return manifestField.Match(content)
		}
		return problem.Reason != manifests.ReasonNoManifest
	})
}

// isTemplate reports whether the file is a template that another program makes manifests of: its
// actions keep it from being read, or are those of Helm.
func isTemplate(content []byte, unreadable []manifests.Problem) bool {
	return bytes.Contains(content, []byte("{{")) && (len(unreadable) > 0 || helmAction.Match(content))
}

// helmAction is an action of a chart's template. Templates in values of other tools have other
// ones.
var helmAction = regexp.MustCompile(`\{\{-?[^{}]*\$?\.(Values|Release|Chart|Capabilities)\.`)

// manifestField is the field that tells a damaged manifest from another file.
var manifestField = regexp.MustCompile(`(?m)^[\s{]*"?apiVersion"?\s*:`)

// isKubernetes reports whether the document is an object of Kubernetes, and not of a tool that
// reads it from a file.
func isKubernetes(document manifests.Document) bool {
	apiVersion, _ := document.Object["apiVersion"].(string)
	group := schema.FromAPIVersionAndKind(apiVersion, "").Group
	return apiVersion != "" && group != "kustomize.config.k8s.io"
}
