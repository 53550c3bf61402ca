package main

import (
	"fmt"
	"strings"
)

// section is a part of the document that is written by this program.
type section struct {
	// begin and end are the lines between which it stands.
	begin, end string
	// tables are its content.
	tables func(results) (string, error)
}

// sections by their names on the command line.
func sections() map[string]section {
	return map[string]section{
		"bench": {begin: "<!-- figures: written by test/perf/figures -->", end: "<!-- end of figures -->", tables: tables},
		"mesh":  {begin: "<!-- figures of the mesh: written by test/perf/figures -->", end: "<!-- end of the figures of the mesh -->", tables: meshTables},
	}
}

// replace puts the tables between the markers of a document.
func (s section) replace(document, tables string) (string, error) {
	before, rest, hasBegin := strings.Cut(document, s.begin)
	_, after, hasEnd := strings.Cut(rest, s.end)
	if !hasBegin || !hasEnd {
		return "", fmt.Errorf("the lines %q and, below it, %q are missing: the tables go between them", s.begin, s.end)
	}
	return before + s.begin + "\n\n" + tables + "\n" + s.end + after, nil
}
