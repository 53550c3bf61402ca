package credential

import (
	"bytes"
	"strconv"
	"strings"
)

// parseProperties parses Java properties
// (https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)).
// A file without the separators of properties results in no fields.
func parseProperties(content []byte) map[string]string {
	fields := map[string]string{}
	logical := ""
	for line := range bytes.SplitSeq(bytes.ReplaceAll(content, []byte("\r"), []byte("\n")), []byte("\n")) {
		text := strings.TrimLeft(string(line), " \t\f")
		if logical == "" && (text == "" || text[0] == '#' || text[0] == '!') {
			continue
		}
		logical += text
		// An odd number of backslashes at the end continues the line.
		if trimmed := strings.TrimRight(logical, `\`); (len(logical)-len(trimmed))%2 == 1 {
			logical = logical[:len(logical)-1]
			continue
		}
		if key, value, found := cutProperty(logical); found {
			fields[key] = value
		}
		logical = ""
	}
	return fields
}

// cutProperty splits a line at its first separator that isn't escaped.
func cutProperty(line string) (key, value string, found bool) {
	for at := 0; at < len(line); at++ {
		switch line[at] {
		case '\\':
			at++
		case '=', ':':
			return strings.TrimRight(unescapeProperty(line[:at]), " \t\f"),
				unescapeProperty(strings.TrimLeft(line[at+1:], " \t\f")), true
		}
	}
	return "", "", false
}

func unescapeProperty(text string) string {
	var out strings.Builder
	for at := 0; at < len(text); at++ {
		if text[at] != '\\' || at+1 == len(text) {
			out.WriteByte(text[at])
			continue
		}
		at++
		switch text[at] {
		case 't':
			out.WriteByte('\t')
		case 'n':
			out.WriteByte('\n')
		case 'r':
			out.WriteByte('\r')
		case 'f':
			out.WriteByte('\f')
		case 'u':
			if unit, err := strconv.ParseUint(text[at+1:min(at+5, len(text))], 16, 16); err == nil {
				out.WriteRune(rune(unit))
				at += 4
			}
		default:
			out.WriteByte(text[at])
		}
	}
	return out.String()
}
