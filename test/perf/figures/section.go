package main

import "mtls.egress/webhook/test/marked"

// section is a part of the document that is written by this program.
type section struct {
	marked.Part
	// tables are its content.
	tables func(results) (string, error)
}

// sections by their names on the command line.
func sections() map[string]section {
	return map[string]section{
		"bench": {
			Part:   marked.Part{Begin: "<!-- figures: written by test/perf/figures -->", End: "<!-- end of figures -->"},
			tables: tables,
		},
		"mesh": {
			Part: marked.Part{
				Begin: "<!-- figures of the mesh: written by test/perf/figures -->",
				End:   "<!-- end of the figures of the mesh -->",
			},
			tables: meshTables,
		},
		"targets": {
			Part: marked.Part{
				Begin: "<!-- figures of targets: written by test/perf/figures -->",
				End:   "<!-- end of the figures of targets -->",
			},
			tables: targetTables,
		},
	}
}
