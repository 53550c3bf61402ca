// Package encodings writes text as editors and shells write it, for the tests of all readers.
package encodings

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// Of returns the encodings of text with line feeds, by a description.
func Of(text string) map[string][]byte {
	const mark = "\ufeff"
	returned := strings.ReplaceAll(text, "\n", "\r\n")
	return map[string][]byte{
		"UTF-8":                                  []byte(text),
		"UTF-8 with CR and LF":                   []byte(returned),
		"UTF-8 with a mark":                      []byte(mark + text),
		"UTF-8 with CR only":                     []byte(strings.ReplaceAll(text, "\n", "\r")),
		"UTF-8 with a mark and CR only":          []byte(mark + strings.ReplaceAll(text, "\n", "\r")),
		"UTF-16 LE with a mark, CR and LF":       utf16Of(mark+returned, binary.LittleEndian),
		"UTF-16 LE with a mark":                  utf16Of(mark+text, binary.LittleEndian),
		"UTF-16 BE with a mark":                  utf16Of(mark+text, binary.BigEndian),
		"UTF-16 LE without a mark":               utf16Of(text, binary.LittleEndian),
		"UTF-16 BE without a mark":               utf16Of(text, binary.BigEndian),
		"UTF-16 LE without a mark, with CR only": utf16Of(strings.ReplaceAll(text, "\n", "\r"), binary.LittleEndian),
	}
}

// OfPEM returns the encodings of a PEM text, including those of JSON strings and environment files.
func OfPEM(text string) map[string][]byte {
	encoded := Of(text)
	onOneLine := strings.ReplaceAll(text, "\n", `\n`)
	encoded[`\n in place of line breaks`] = []byte(onOneLine)
	encoded[`\r\n in place of line breaks`] = []byte(strings.ReplaceAll(text, "\n", `\r\n`))
	encoded[`\n in place of line breaks, in quotes`] = []byte(`"` + onOneLine + "\"\n")
	encoded[`UTF-16 with \n in place of line breaks`] = utf16Of("\ufeff"+onOneLine, binary.LittleEndian)
	return encoded
}

func utf16Of(text string, order binary.AppendByteOrder) []byte {
	var encoded []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		encoded = order.AppendUint16(encoded, unit)
	}
	return encoded
}
