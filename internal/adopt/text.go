package adopt

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
)

// Manifest returns the EgressTarget as a manifest.
func (p Proposal) Manifest() (map[string]any, error) {
	encoded, err := json.Marshal(p.EgressTarget.Spec)
	if err != nil {
		return nil, err
	}
	var spec map[string]any
	if err := json.Unmarshal(encoded, &spec); err != nil {
		return nil, err
	}
	for name, value := range spec {
		if fields, isMap := value.(map[string]any); isMap && len(fields) == 0 {
			delete(spec, name)
		}
	}
	metadata := map[string]any{"name": p.Host}
	if p.Namespace != "" {
		metadata["namespace"] = p.Namespace
	}
	return map[string]any{
		"apiVersion": p.EgressTarget.APIVersion, "kind": p.EgressTarget.Kind, "metadata": metadata, "spec": spec,
	}, nil
}

// Text returns the proposal for people.
func (p Proposal) Text() (string, error) {
	var text strings.Builder
	title := p.Host
	if p.Namespace != "" {
		title = p.Namespace + "/" + p.Host
	}
	if len(p.Refused) > 0 {
		fmt.Fprintf(&text, "%s: can't be taken over\n", title)
		writeList(&text, "Why", p.Refused)
		return text.String(), nil
	}
	manifest, err := p.Manifest()
	if err != nil {
		return "", err
	}
	encoded, err := manifests.YAML([]map[string]any{manifest})
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&text, "%s: can be taken over\n", title)
	writeList(&text, "Annotations", p.annotations())
	fmt.Fprintf(&text, "  EgressTarget:\n%s", indent(string(encoded), "    "))
	fmt.Fprintf(&text, "  Secret: %s\n", p.secret())
	writeList(&text, "Replaced", p.replaced())
	writeList(&text, "Not carried over", p.losses())
	writeList(&text, "What changes for calls", p.Changes)
	writeList(&text, "Also", p.Notes)
	return text.String(), nil
}

// annotations returns the annotations with their workloads.
func (p Proposal) annotations() []string {
	var lines []string
	for _, workload := range p.Workloads {
		for _, name := range slices.Sorted(maps.Keys(workload.Annotations)) {
			lines = append(lines, fmt.Sprintf("%s: %s: %s", reference(workload.Object), name, workload.Annotations[name]))
		}
	}
	return lines
}

// secret describes the Secret and its keys.
func (p Proposal) secret() string {
	name := p.Secret.Name
	if name == egress.DefaultSecretName(p.Host) {
		name += " (the default for the host)"
	}
	layout := p.Secret.Layout
	switch {
	case layout.Certificate == "":
		return fmt.Sprintf("%s, with the keys %s or %s", name, credential.TLSLayout(), credential.CertKeyLayout())
	case layout.ServerCA == "":
		return fmt.Sprintf("%s, with the keys %s (certificate) and %s (private key)", name, layout.Certificate,
			layout.PrivateKey)
	}
	return fmt.Sprintf("%s, with the keys %s (certificate), %s (private key) and %s (the partner's CA)", name,
		layout.Certificate, layout.PrivateKey, layout.ServerCA)
}

// replaced returns the objects that the target replaces.
func (p Proposal) replaced() []string {
	var lines []string
	for _, object := range p.Objects {
		line := reference(object.Object)
		if len(object.Others) > 0 {
			line += " loses the host, and keeps " + strings.Join(object.Others, ", ")
		}
		lines = append(lines, line)
	}
	return lines
}

// losses returns what can't be carried over, and what matters first.
func (p Proposal) losses() []string {
	sorted := slices.SortedStableFunc(slices.Values(p.Lost), func(a, b Loss) int {
		return cmp.Compare(rank(a.Matters), rank(b.Matters))
	})
	lines := make([]string, len(sorted))
	for n, loss := range sorted {
		lines[n] = fmt.Sprintf("%s %s: %s%s", loss.Object, loss.Field, loss.Effect,
			map[bool]string{true: " (matters)", false: " (rarely matters)"}[loss.Matters])
	}
	return lines
}

func rank(matters bool) int {
	if matters {
		return 0
	}
	return 1
}

func writeList(text *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(text, "  %s:\n", title)
	for _, line := range lines {
		fmt.Fprintf(text, "  - %s\n", line)
	}
}

func indent(text, by string) string {
	var indented strings.Builder
	for line := range strings.Lines(text) {
		indented.WriteString(by + line)
	}
	return indented.String()
}
