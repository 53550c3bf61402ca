package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// noAssertion is the SPDX value for missing information.
const noAssertion = "NOASSERTION"

func (r release) billName() string { return fmt.Sprintf("%s_%s.spdx.json", product, r.version) }

// bill writes the SBOM in SPDX 2.3: the artifacts, the program in them, and the modules in the
// program, according to the build information in the binaries.
// https://spdx.github.io/spdx-spec/v2.3/
func (r release) bill(folder string, artifacts []artifact, libraries []library) (err error) {
	modules, err := r.modules()
	if err != nil {
		return err
	}
	document := r.document(artifacts, modules, libraries)
	if err := uniqueIdentifiers(document); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(folder, r.billName()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return spdxjson.Write(document, file, spdxjson.Indent(" "))
}

// modules returns the modules of all binaries with their versions, and the standard library with
// the version of Go.
func (r release) modules() (map[string]string, error) {
	modules := map[string]string{}
	for _, p := range r.platforms() {
		info, err := buildinfo.ReadFile(r.binaries[p])
		if err != nil {
			return nil, err
		}
		modules[standardLibrary] = info.GoVersion
		for _, module := range info.Deps {
			if module.Replace != nil {
				return nil, fmt.Errorf("%s has %s in place of %s: a release must use published modules", r.binaries[p],
					module.Replace.Path, module.Path)
			}
			modules[module.Path] = module.Version
		}
	}
	return modules, nil
}

func (r release) document(artifacts []artifact, modules map[string]string, libraries []library) *spdx.Document {
	document := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      product + " " + r.version,
		DocumentNamespace: fmt.Sprintf("https://mtls.egress/spdx/%s/%s/%s", product, r.version, r.commit),
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: product + "-release"}},
			Created:  r.created.Format(time.RFC3339),
		},
	}
	program := pack("Application-"+product, product, r.version, ownLicense)
	program.PrimaryPackagePurpose, program.PackageLicenseDeclared = "APPLICATION", ownLicense
	program.PackageSourceInfo = "commit " + r.commit
	if r.source != "" {
		program.PackageDownloadLocation = fmt.Sprintf("git+%s@%s", r.source, r.commit)
	}
	document.Packages = append(document.Packages, program)
	for _, a := range artifacts {
		described := pack("Artifact-"+a.name, a.name, r.version, ownLicense)
		described.PrimaryPackagePurpose, described.PackageFileName = a.purpose, a.name
		described.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: a.sha256}}
		if a.purpose == "CONTAINER" {
			described.PackageComment = "The checksum is the digest of the image index."
		}
		document.Packages = append(document.Packages, described)
		document.Relationships = append(document.Relationships,
			relation("DOCUMENT", common.TypeRelationshipDescribe, string(described.PackageSPDXIdentifier)))
		// The chart doesn't contain the program.
		if a.purpose != "INSTALL" {
			document.Relationships = append(
				document.Relationships,
				relation(string(described.PackageSPDXIdentifier), common.TypeRelationshipContains,
					string(program.PackageSPDXIdentifier)),
			)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		module := pack("Module-"+path, path, modules[path], licenseOf(path, libraries))
		module.PrimaryPackagePurpose = "LIBRARY"
		module.PackageExternalReferences = []*spdx.PackageExternalReference{
			{
				Category: common.CategoryPackageManager,
				RefType:  common.TypePackageManagerPURL,
				Locator:  packageURL(path, modules[path]),
			},
		}
		document.Packages = append(document.Packages, module)
		document.Relationships = append(
			document.Relationships,
			relation(string(program.PackageSPDXIdentifier), common.TypeRelationshipDependsOn,
				string(module.PackageSPDXIdentifier)),
		)
	}
	return document
}

func pack(identifier, name, version, license string) *spdx.Package {
	return &spdx.Package{
		PackageName:             name,
		PackageSPDXIdentifier:   common.ElementID(identifierOf(identifier)),
		PackageVersion:          version,
		PackageDownloadLocation: noAssertion,
		PackageLicenseConcluded: license,
		PackageLicenseDeclared:  noAssertion,
		PackageCopyrightText:    noAssertion,
	}
}

func relation(from, kind, to string) *spdx.Relationship {
	return &spdx.Relationship{
		RefA:         common.MakeDocElementID("", from),
		Relationship: kind,
		RefB:         common.MakeDocElementID("", to),
	}
}

// identifierOf replaces the characters that SPDX doesn't allow.
func identifierOf(text string) string {
	return regexp.MustCompile(`[^0-9A-Za-z.-]+`).ReplaceAllString(text, "-")
}

// uniqueIdentifiers returns an error if two packages have the same identifier, because their names
// differ only in replaced characters.
func uniqueIdentifiers(document *spdx.Document) error {
	seen := map[common.ElementID]string{}
	for _, p := range document.Packages {
		if other, ok := seen[p.PackageSPDXIdentifier]; ok {
			return fmt.Errorf("%s and %s have the same identifier %s", other, p.PackageName, p.PackageSPDXIdentifier)
		}
		seen[p.PackageSPDXIdentifier] = p.PackageName
	}
	return nil
}

// licenseOf returns the license of a module, including those of parts with another license.
func licenseOf(module string, libraries []library) string {
	var found []string
	for _, l := range libraries {
		if l.name == module || strings.HasPrefix(l.name, module+"/") {
			found = append(found, l.licenses...)
		}
	}
	if len(found) == 0 {
		return noAssertion
	}
	slices.Sort(found)
	return strings.Join(slices.Compact(found), " AND ")
}

// packageURL returns the package URL of a module, which scanners use.
// https://github.com/package-url/purl-spec/blob/main/types-doc/golang-definition.md
func packageURL(path, version string) string {
	if path == standardLibrary {
		path, version = "stdlib", strings.TrimPrefix(version, "go")
	}
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}
