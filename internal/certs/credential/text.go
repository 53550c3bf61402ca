package credential

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf16"
)

// EncodingConverted means that a file has an encoding or line breaks that the commands convert, but
// that the sidecar can't read.
const EncodingConverted Reason = "EncodingConverted"

// The forms of text that [Text] converts. Each continues a sentence about a file.
const (
	formMarked     = "starts with a byte order mark, as some editors write it"
	formJoined     = "has byte order marks in the middle, as joined files have them"
	formUTF16      = "is UTF-16, as PowerShell writes it"
	formReturns    = "ends its lines with a carriage return only"
	formBackslashN = `has \n in place of line breaks`
)

const (
	carriageReturn, lineFeed = "\r", "\n"
	// mark is the byte order mark in UTF-8.
	mark = "\ufeff"
)

// Text returns the text of a file as UTF-8 with line breaks. It recognizes what editors and shells
// write: byte order marks, UTF-16 with or without one, and lines that end with a carriage return
// only. In PEM, it also recognizes \n in place of line breaks, as in JSON and environment files.
// form is "" if the file is plain text already, and otherwise continues a sentence about the file.
// Don't pass binary files. The error continues a sentence too, and contains nothing of the file.
func Text(content []byte) (text []byte, form string, err error) {
	if bytes.HasPrefix(content, []byte("\xff\xfe\x00\x00")) || bytes.HasPrefix(content, []byte("\x00\x00\xfe\xff")) {
		return nil, "", errors.New("is UTF-32: save it as UTF-8")
	}
	text = content
	if order := byteOrder(content); order != nil {
		if text, err = decodeUTF16(content, order); err != nil {
			return nil, "", err
		}
		form = formUTF16
	}
	if rest, marked := bytes.CutPrefix(text, []byte(mark)); marked {
		text = rest
		form = orForm(form, formMarked)
	}
	// Files that were joined have marks in the middle.
	if joined := []byte(lineFeed + mark + begin); bytes.Contains(text, joined) {
		text, form = bytes.ReplaceAll(text, joined, []byte(lineFeed+begin)), orForm(form, formJoined)
	}
	if bytes.Contains(text, []byte(carriageReturn)) && !bytes.Contains(text, []byte(lineFeed)) {
		text, form = bytes.ReplaceAll(text, []byte(carriageReturn), []byte(lineFeed)), orForm(form, formReturns)
	}
	quoted := bytes.Trim(bytes.TrimSpace(text), `"'`)
	if first, _, _ := bytes.Cut(quoted, []byte(lineFeed)); bytes.HasPrefix(first, []byte(begin)) &&
		bytes.Contains(first, []byte(`\n`)) {
		text = bytes.ReplaceAll(bytes.ReplaceAll(quoted, []byte(`\r\n`), []byte(lineFeed)), []byte(`\n`), []byte(lineFeed))
		form = orForm(form, formBackslashN)
	}
	return text, form, nil
}

// orForm returns the first form that was found.
func orForm(found, other string) string {
	if found != "" {
		return found
	}
	return other
}

// byteOrder returns the byte order of UTF-16, or nil for other encodings. Text without a mark is
// recognized by its first character, if that is ASCII.
func byteOrder(content []byte) binary.ByteOrder {
	switch {
	case len(content) < 2:
		return nil
	case content[0] == 0xff && content[1] == 0xfe, content[0] != 0 && content[0] < 0x80 && content[1] == 0:
		return binary.LittleEndian
	case content[0] == 0xfe && content[1] == 0xff, content[0] == 0 && content[1] != 0 && content[1] < 0x80:
		return binary.BigEndian
	}
	return nil
}

func decodeUTF16(content []byte, order binary.ByteOrder) ([]byte, error) {
	if len(content)%2 != 0 {
		return nil, errors.New("is UTF-16 with half a character at its end: save it as UTF-8")
	}
	units := make([]uint16, 0, len(content)/2)
	for at := 0; at < len(content); at += 2 {
		units = append(units, order.Uint16(content[at:]))
	}
	return []byte(string(utf16.Decode(units))), nil
}

// readable returns the text of a PEM file. Binary files are returned as they are.
func readable(p part, content []byte) (text []byte, problem string) {
	if isDER(content) || IsPKCS12(content) {
		return content, ""
	}
	text, _, err := Text(content)
	if err != nil {
		return nil, p.String() + " " + err.Error()
	}
	return text, ""
}
