package cli

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/manifests"
)

// originAnnotation is the annotation in which kustomize tracks where an object is from.
// https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/buildmetadata/
const originAnnotation = "config.kubernetes.io/origin"

// kustomized returns the manifests of a kustomization directory, each at the position of its origin
// as far as that is known.
func kustomized(directory string) ([]manifests.Document, error) {
	tracking, err := trackOrigins(directory)
	if err != nil {
		return nil, err
	}
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(tracking, directory)
	if err != nil {
		return nil, err
	}
	var documents []manifests.Document
	files := map[string][]manifests.Document{}
	for _, built := range result.Resources() {
		origin, err := built.GetOrigin()
		if err != nil {
			return nil, err
		}
		if !tracking.wanted {
			annotations := built.GetAnnotations()
			delete(annotations, originAnnotation)
			if err := built.SetAnnotations(annotations); err != nil {
				return nil, err
			}
		}
		encoded, err := built.AsYAML()
		if err != nil {
			return nil, err
		}
		read, problems := manifests.Read(directory, encoded)
		for _, problem := range problems {
			return nil, errors.New(problem.String())
		}
		for _, document := range read {
			documents = append(documents, atOrigin(document, directory, origin, files))
		}
	}
	return documents, nil
}

// atOrigin returns the document at its origin. files are those read before.
func atOrigin(
	document manifests.Document, directory string, origin *resource.Origin, files map[string][]manifests.Document,
) manifests.Document {
	switch {
	case origin == nil:
		return document.At(directory, nil)
	case origin.Repo != "":
		return document.At(fmt.Sprintf("%s//%s?ref=%s", origin.Repo, origin.Path, origin.Ref), nil)
	case origin.Path == "":
		return document.At(filepath.Join(directory, origin.ConfiguredIn), nil)
	}
	path := filepath.Join(directory, origin.Path)
	if _, found := files[path]; !found {
		// A generated object has a path that isn't that of a manifest.
		content, err := filesys.MakeFsOnDisk().ReadFile(path)
		if err != nil {
			content = nil
		}
		files[path], _ = manifests.Read(path, content)
	}
	return document.At(path, files[path])
}

// tracked are the files of the machine, with a kustomization that tracks origins.
type tracked struct {
	filesys.FileSystem

	// path is the kustomization, and content what kustomize reads of it. It is nil if the file is used
	// as it is.
	path    string
	content []byte
	// wanted reports whether the kustomization itself tracks origins, so that the user wants to see
	// them.
	wanted bool
}

func (t tracked) ReadFile(path string) ([]byte, error) {
	if t.content != nil && path == t.path {
		return bytes.Clone(t.content), nil
	}
	return t.FileSystem.ReadFile(path)
}

// trackOrigins returns the files with buildMetadata in the kustomization of a directory. One that
// can't be read is left as it is: kustomize reports the problem.
func trackOrigins(directory string) (tracked, error) {
	files := tracked{FileSystem: filesys.MakeFsOnDisk()}
	root, _, err := files.CleanedAbs(directory)
	if err != nil {
		return files, err
	}
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		path := root.Join(name)
		if !files.Exists(path) {
			continue
		}
		content, err := files.FileSystem.ReadFile(path)
		if err != nil {
			return files, err
		}
		var kustomization map[string]any
		if yaml.Unmarshal(content, &kustomization) != nil || kustomization == nil {
			return files, nil //nolint:nilerr // kustomize says what is wrong
		}
		options, _ := kustomization["buildMetadata"].([]any)
		files.path, files.wanted = path, slices.Contains(options, any(types.OriginAnnotations))
		if !files.wanted {
			kustomization["buildMetadata"] = append(options, types.OriginAnnotations)
			files.content, err = yaml.Marshal(kustomization)
		}
		return files, err
	}
	return files, nil
}
