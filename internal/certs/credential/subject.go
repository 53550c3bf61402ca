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

// ParseSubject reads a distinguished name as RFC 4514 writes it, the most specific part first, as
// in "CN=orders,O=Example,C=DE", and returns it in DER. Blanks around parts are dropped. Besides
// the names of the RFC it knows serialNumber, emailAddress (or E) and dotted OIDs. The error has
// all problems, a line each.
func ParseSubject(text string) ([]byte, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "/") {
		return nil, errors.New("is written as OpenSSL's -subj takes it; write it with commas, the most specific part first, as in CN=orders,O=Example,C=DE")
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

// splitUnescaped splits at separators that no backslash stands before.
func splitUnescaped(text string, separator rune) []string {
	var parts []string
	start, escaped := 0, false
	for at, r := range text {
		switch {
		case escaped:
			escaped = false
		case r == '\\':
			escaped = true
		case r == separator:
			parts = append(parts, text[start:at])
			start = at + 1
		}
	}
	return append(parts, text[start:])
}

func parseAttribute(text string) (pkix.AttributeTypeAndValue, error) {
	name, value, found := strings.Cut(text, "=")
	name = strings.TrimSpace(name)
	if !found || name == "" {
		return pkix.AttributeTypeAndValue{}, fmt.Errorf("%s is no attribute: write NAME=VALUE, as in CN=orders; a comma within a value is written \\,", quoted(strings.TrimSpace(text)))
	}
	kind, known := attributeType(name)
	if !known {
		return pkix.AttributeTypeAndValue{}, fmt.Errorf("%s is no attribute of a name: use CN, OU, O, L, ST, STREET, C, DC, UID, serialNumber, emailAddress, or a dotted OID", quoted(name))
	}
	if encoded, binary := strings.CutPrefix(strings.TrimSpace(value), "#"); binary {
		return parseBinary(kind, name, encoded)
	}
	plain, err := unescape(trimBlanks(value))
	if err != nil {
		return pkix.AttributeTypeAndValue{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := checkValue(shortName(kind), plain); err != nil {
		return pkix.AttributeTypeAndValue{}, fmt.Errorf("%s %w", name, err)
	}
	return pkix.AttributeTypeAndValue{Type: kind, Value: encodable(kind, plain)}, nil
}

func quoted(text string) string { return strconv.Quote(Printable(text)) }

// parseBinary reads a value that is given in DER (RFC 4514 §2.4).
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
		return pkix.AttributeTypeAndValue{}, fmt.Errorf("%s: what follows # is no DER in hexadecimal; a value that starts with # is written \\#", name)
	}
	return pkix.AttributeTypeAndValue{Type: kind, Value: value}, nil
}

// trimBlanks drops blanks at the ends, but for the last one when it is escaped.
func trimBlanks(value string) string {
	value = strings.TrimLeft(value, " ")
	trimmed := strings.TrimRight(value, " ")
	backslashes := len(trimmed) - len(strings.TrimRight(trimmed, `\`))
	if backslashes%2 == 1 && len(trimmed) < len(value) {
		return trimmed + " "
	}
	return trimmed
}

// unescape undoes RFC 4514 §2.4: a backslash before a special character, or before two hexadecimal
// digits that are a byte of UTF-8.
func unescape(value string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(value); i++ {
		c := value[i]
		if strings.IndexByte(`"+;<>`, c) >= 0 {
			return "", fmt.Errorf(`%q has to be written \%c`, c, c)
		}
		if c != '\\' {
			out.WriteByte(c)
			continue
		}
		i++
		switch {
		case i == len(value):
			return "", errors.New(`a backslash stands at the end; it is written \\`)
		case strings.IndexByte(`"+,;<>\ #=`, value[i]) >= 0:
			out.WriteByte(value[i])
		default:
			decoded, err := hex.DecodeString(value[i:min(i+2, len(value))])
			if err != nil || len(decoded) != 1 {
				return "", errors.New(`a backslash stands before a special character or two hexadecimal digits; itself it is written \\`)
			}
			out.Write(decoded)
			i++
		}
	}
	return out.String(), nil
}

// checkValue holds values to the sizes of RFC 5280 appendix A.1, beyond which CAs refuse a request.
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
		return errors.New("has no value: leave it out, or give one")
	case strings.ContainsFunc(value, unicode.IsControl):
		return errors.New("has a control character, which CAs refuse")
	case name == "C" && (length != 2 || strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != ""):
		return fmt.Errorf("is %s: a country has two capital letters (ISO 3166), for example DE", quoted(value))
	case longest > 0 && length > longest:
		return fmt.Errorf("has %d characters; X.509 allows %d", length, longest)
	case (name == "DC" || name == "emailAddress") && strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII }):
		return errors.New("has characters beyond ASCII, which it can't have")
	}
	return nil
}

// encodable is the value in the string type of its attribute: IA5String for these two (RFC 4519
// §2.4, RFC 2985 §5.2.1), else what encoding/asn1 chooses, which is PrintableString where that is
// enough and UTF8String where it isn't.
func encodable(kind asn1.ObjectIdentifier, value string) any {
	switch shortName(kind) {
	case "DC", "emailAddress":
		return asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(value)}
	}
	return value
}

// attributeType is the type of a name as people write it.
func attributeType(name string) (asn1.ObjectIdentifier, bool) {
	if strings.EqualFold(name, "E") {
		name = "emailAddress"
	}
	for _, kind := range namedAttributes() {
		if strings.EqualFold(name, shortName(kind)) {
			return kind, true
		}
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

func namedAttributes() []asn1.ObjectIdentifier {
	return []asn1.ObjectIdentifier{
		{2, 5, 4, 3}, {2, 5, 4, 6}, {2, 5, 4, 7}, {2, 5, 4, 8}, {2, 5, 4, 9}, {2, 5, 4, 10}, {2, 5, 4, 11}, {2, 5, 4, 5},
		{0, 9, 2342, 19200300, 100, 1, 1}, {0, 9, 2342, 19200300, 100, 1, 25}, {1, 2, 840, 113549, 1, 9, 1},
	}
}
