package main

import (
	"fmt"
	"slices"

	"mtls.egress/webhook/test/cluster"
)

// combination is something that tests can run on, and the tests that run on it for the table.
type combination struct {
	// name is the first cell of its row, and how the command line names it.
	name string
	// about says in a few words what is tested on it.
	about string
	// packages are those of the tests.
	packages []string
	// provided are commands of test/tools with their arguments, by the variable that gets their
	// output.
	provided map[string][]string
	// env are further variables, as NAME=VALUE.
	env []string
	// counts reports whether the tests write evidence: calls, and what the partner received in plain
	// text.
	counts bool
}

// combinations are all rows of the table, in its order.
func combinations() []combination {
	var all []combination
	for _, minor := range []string{"1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"} {
		all = append(all, onKubernetes(minor))
	}
	all = append(all,
		onMesh("istio-1.31", "Istio of August 2026, which became 1.31, with Envoy 1.40: all tests of the data path",
			cluster.Mesh{}),
		onMesh("ipv6", "Pods, Services and nodes with IPv6 addresses only", cluster.Mesh{}, "MTLS_EGRESS_NODE_FAMILY=ipv6"))
	for _, mesh := range cluster.Meshes() {
		all = append(all, onMesh(mesh.Name, mesh.Description, mesh, "MTLS_EGRESS_MESH="+mesh.Name))
	}
	return all
}

// pinnedMinor is the minor version of Kubernetes in go.mod of test/tools, whose API server all
// suites run on.
const pinnedMinor = "1.36"

func onKubernetes(minor string) combination {
	c := combination{
		name:     "kubernetes-" + minor,
		about:    "the API server of Kubernetes " + minor + ": admission, policies, chart, controller",
		packages: []string{"./test/admission", "./test/chart", "./test/controller"},
		provided: map[string][]string{"MTLS_EGRESS_ASSETS": {"assets", minor}},
	}
	if minor == pinnedMinor {
		c.provided = map[string][]string{"MTLS_EGRESS_ASSETS": {"assets"}}
	}
	return c
}

// onMesh is a run of the tests of the data path on a mesh.
func onMesh(name, about string, mesh cluster.Mesh, env ...string) combination {
	node := []string{"node"}
	if mesh.Node != "" {
		node = append(node, mesh.Node)
	}
	return combination{
		name: name, about: about, packages: []string{"./test/mesh"}, env: env, counts: true,
		provided: map[string][]string{"MTLS_EGRESS_NODE": node, "MTLS_EGRESS_CERTMANAGER": {"certmanager"}},
	}
}

// chosen are the combinations of these names; all, if there are no names.
func chosen(names []string) ([]combination, error) {
	all := combinations()
	if len(names) == 0 {
		return all, nil
	}
	var picked []combination
	var unknown []string
	for _, name := range names {
		at := slices.IndexFunc(all, func(c combination) bool { return c.name == name })
		if at < 0 {
			unknown = append(unknown, name)
			continue
		}
		picked = append(picked, all[at])
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("no combination is called %q; there are %q", unknown, namesOf(all))
	}
	return picked, nil
}

func namesOf(all []combination) []string {
	var names []string
	for _, c := range all {
		names = append(names, c.name)
	}
	return names
}
