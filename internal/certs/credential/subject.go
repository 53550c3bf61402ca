package credential

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ParseSubject parses a distinguished name in the notation of RFC 4514, with the most specific part
// first, for example "CN=orders,O=Example,C=DE", and returns it in DER. It drops blanks around
// parts. In addition to the RFC, it supports the names and notations of keytool, Windows and the
// guides for PSD2 certificates: quoted values (RFC 2253 §4), more attributes, and OID. before a
// dotted OID. The error lists all problems, one per line.
func ParseSubject(text string) ([]byte, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "/") {
		return nil, errors.New("has the syntax of OpenSSL's -subj; use commas, with the most specific part first, as " +
			"in CN=orders,O=Example,C=DE")
	}
	var name pkix.RDNSequence
	var problems []error
	for _, part := range splitUnescaped(text, ',') {
		var set pkix.RelativeDistinguishedNameSET
		for _, assertion := range splitUnescaped(part, '+') {
			parsed, err := parseAttribute(assertion)
			if err != nil {
				problems = append(problems, err)
				continue
			}
			set = append(set, parsed)
		}
		name = append(pkix.RDNSequence{set}, name...)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return asn1.Marshal(name)
}

// splitUnescaped splits at separators that are not escaped with a backslash, and not in a quoted
// value.
func splitUnescaped(text string, separator byte) []string {
	var parts []string
	start := 0
	for at := 0; at < len(text); at++ {
		switch {
		case text[at] == '\\':
			at++
		case text[at] == '"' && strings.HasSuffix(strings.TrimRight(text[start:at], " "), "="):
			at += max(quotedLength(text[at:])-1, 0)
		case text[at] == separator:
			parts = append(parts, text[start:at])
			start = at + 1
		}
	}
	return append(parts, text[start:])
}

// quotedLength returns the length of the quoted value at the start of text, including the quotation
// marks, or 0 if the closing one is missing. Windows doubles a quotation mark in the value.
func quotedLength(text string) int {
	for at := 1; at < len(text); at++ {
		switch {
		case text[at] == '\\', text[at] == '"' && strings.HasPrefix(text[at+1:], `"`):
			at++
		case text[at] == '"':
			return at + 1
		}
	}
	return 0
}

// unquote returns a quoted value without its marks, as an unquoted value with escapes. Other values
// are returned as they are.
func unquote(value string) (string, error) {
	if !strings.HasPrefix(value, `"`) {
		return value, nil
	}
	length := quotedLength(value)
	switch {
	case length == 0:
		return "", errors.New(`the quotation mark at the start is not closed; close it, or escape it as \"`)
	case length < len(value):
		return "", errors.New(`text follows the closing quotation mark; quote the whole value`)
	}
	var escaped strings.Builder
	quoted := value[1 : length-1]
	for at := 0; at < len(quoted); at++ {
		switch c := quoted[at]; {
		case c == '\\' && at+1 < len(quoted):
			at++
			escaped.WriteString(quoted[at-1 : at+1])
		case c == '"':
			at++ // the second one
			escaped.WriteString(`\"`)
		case strings.IndexByte(`+,;<>#= `, c) >= 0:
			escaped.WriteString(`\` + string(c))
		default:
			escaped.WriteByte(c)
		}
	}
	return escaped.String(), nil
}

func parseAttribute(text string) (pkix.AttributeTypeAndValue, error) {
	name, value, found := strings.Cut(text, "=")
	name = strings.TrimSpace(name)
	if !found || name == "" {
		return pkix.AttributeTypeAndValue{}, fmt.Errorf(
			"%s is not an attribute: write NAME=VALUE, as in CN=orders; escape a comma in a value as \\,",
			Quote(strings.TrimSpace(text)))
	}
	kind, known := attributeType(name)
	if !known {
		return pkix.AttributeTypeAndValue{}, fmt.Errorf(
			"%s is not a known attribute: use CN, OU, O, L, ST, STREET, postalCode, C, DC, UID, serialNumber, "+
				"organizationIdentifier, emailAddress, or a dotted OID", Quote(name))
	}
	if encoded, binary := strings.CutPrefix(strings.TrimSpace(value), "#"); binary {
		return parseBinary(kind, name, encoded)
	}
	value, err := unquote(trimBlanks(value))
	if err != nil {
		return pkix.AttributeTypeAndValue{}, fmt.Errorf("%s: %w", name, err)
	}
	plain, err := unescape(value)
	if err != nil {
		return pkix.AttributeTypeAndValue{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := checkValue(shortName(kind), plain); err != nil {
		return pkix.AttributeTypeAndValue{}, fmt.Errorf("%s %w", name, err)
	}
	return pkix.AttributeTypeAndValue{Type: kind, Value: encodable(kind, plain)}, nil
}

// parseBinary parses a value in hexadecimal DER (RFC 4514 §2.4).
func parseBinary(kind asn1.ObjectIdentifier, name, encoded string) (pkix.AttributeTypeAndValue, error) {
	der, err := hex.DecodeString(encoded)
	var value asn1.RawValue
	if err == nil {
		var rest []byte
		rest, err = asn1.Unmarshal(der, &value)
		if len(rest) > 0 {
			err = errors.New("trailing bytes")
		}
	}
	if err != nil {
		return pkix.AttributeTypeAndValue{}, fmt.Errorf(
			"%s: the text after # is not DER in hexadecimal; escape a # at the start of a value as \\#", name)
	}
	return pkix.AttributeTypeAndValue{Type: kind, Value: value}, nil
}

// trimBlanks removes leading and trailing blanks, except an escaped trailing blank.
func trimBlanks(value string) string {
	value = strings.TrimLeft(value, " ")
	trimmed := strings.TrimRight(value, " ")
	backslashes := len(trimmed) - len(strings.TrimRight(trimmed, `\`))
	if backslashes%2 == 1 && len(trimmed) < len(value) {
		return trimmed + " "
	}
	return trimmed
}

// unescape removes the escapes of RFC 4514 §2.4: a backslash before a special character, or before
// two hexadecimal digits of a UTF-8 byte.
func unescape(value string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(value); i++ {
		c := value[i]
		if strings.IndexByte(`"+;<>`, c) >= 0 {
			return "", fmt.Errorf(`%q must be escaped as \%c`, c, c)
		}
		if c != '\\' {
			out.WriteByte(c)
			continue
		}
		i++
		switch {
		case i == len(value):
			return "", errors.New(`a backslash at the end must be escaped as \\`)
		case strings.IndexByte(`"+,;<>\ #=`, value[i]) >= 0:
			out.WriteByte(value[i])
		default:
			decoded, err := hex.DecodeString(value[i:min(i+2, len(value))])
			if err != nil || len(decoded) != 1 {
				return "", errors.New(
					`a backslash must precede a special character or two hexadecimal digits; escape ` +
						`the backslash itself as \\`)
			}
			out.Write(decoded)
			i++
		}
	}
	return out.String(), nil
}

// checkValue validates a value. The maximum lengths are those of RFC 5280 appendix A.1, because CAs
// reject requests with longer values.
func checkValue(name, value string) error {
	length := utf8.RuneCountInString(value)
	longest := 0
	switch name {
	case "CN", "O", "OU", "serialNumber":
		longest = 64
	case "L", "ST", "STREET":
		longest = 128
	case "emailAddress":
		longest = 255
	}
	switch {
	case !utf8.ValidString(value):
		return errors.New("is not UTF-8")
	case value == "":
		return errors.New("has no value: remove it, or specify a value")
	case strings.ContainsFunc(value, unicode.IsControl):
		return errors.New("has a control character, which CAs reject")
	case name == "C" && (length != 2 || strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != ""):
		return fmt.Errorf("is %s: a country has two capital letters (ISO 3166), for example DE", Quote(value))
	case longest > 0 && length > longest:
		return fmt.Errorf("has %d characters; X.509 allows %d", length, longest)
	case (name == "DC" || name == "emailAddress") &&
		strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII }):
		return errors.New("has non-ASCII characters, which are not allowed")
	}
	return nil
}

// encodable returns the value in the string type of its attribute: IA5String for DC and
// emailAddress (RFC 4519 §2.4, RFC 2985 §5.2.1). For others, encoding/asn1 chooses PrintableString
// if possible, otherwise UTF8String.
func encodable(kind asn1.ObjectIdentifier, value string) any {
	switch shortName(kind) {
	case "DC", "emailAddress":
		return asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(value)}
	}
	return value
}

// attributeType returns the attribute type for a name, which is case-insensitive, or a dotted OID,
// which keytool and Windows write after "OID.".
func attributeType(name string) (asn1.ObjectIdentifier, bool) {
	for _, kind := range namedAttributes() {
		if strings.EqualFold(name, shortName(kind)) {
			return kind, true
		}
	}
	if kind, known := otherNamesOfAttributes()[strings.ToLower(name)]; known {
		return kind, true
	}
	const prefix = "OID."
	if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
		name = name[len(prefix):]
	}
	arcs := strings.Split(name, ".")
	kind := make(asn1.ObjectIdentifier, 0, len(arcs))
	for _, arc := range arcs {
		number, err := strconv.ParseInt(arc, 10, 32)
		if err != nil || number < 0 {
			return nil, false
		}
		kind = append(kind, int(number))
	}
	_, err := asn1.Marshal(kind)
	return kind, err == nil && len(kind) > 1
}

// otherNamesOfAttributes returns names in lowercase that certificates are requested with, but that
// [DistinguishedName] doesn't write. They are those of OpenSSL, keytool and Windows
// (https://learn.microsoft.com/windows/win32/api/wincrypt/nf-wincrypt-certstrtonamew), and of
// certificates for PSD2 (ETSI TS 119 495 §5.1, ETSI EN 319 412-1 §5.1.4).
func otherNamesOfAttributes() map[string]asn1.ObjectIdentifier {
	return map[string]asn1.ObjectIdentifier{
		"e":                      {1, 2, 840, 113549, 1, 9, 1},
		"email":                  {1, 2, 840, 113549, 1, 9, 1},
		"s":                      {2, 5, 4, 8},
		"streetaddress":          {2, 5, 4, 9},
		"sn":                     {2, 5, 4, 4},
		"surname":                {2, 5, 4, 4},
		"t":                      {2, 5, 4, 12},
		"title":                  {2, 5, 4, 12},
		"businesscategory":       {2, 5, 4, 15},
		"postalcode":             {2, 5, 4, 17},
		"g":                      {2, 5, 4, 42},
		"gn":                     {2, 5, 4, 42},
		"givenname":              {2, 5, 4, 42},
		"organizationidentifier": {2, 5, 4, 97},
	}
}

func namedAttributes() []asn1.ObjectIdentifier {
	return []asn1.ObjectIdentifier{
		{
			2,
			5,
			4,
			3,
		},
		{2, 5, 4, 6},
		{2, 5, 4, 7},
		{2, 5, 4, 8},
		{2, 5, 4, 9},
		{2, 5, 4, 10},
		{2, 5, 4, 11},
		{2, 5, 4, 5},
		{0, 9, 2342, 19200300, 100, 1, 1},
		{0, 9, 2342, 19200300, 100, 1, 25},
		{1, 2, 840, 113549, 1, 9, 1},
	}
}
