package credential

import (
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// attribute is pkix.AttributeTypeAndValue with the value still in DER, which RFC 4514 wants for types without a name.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type relativeNameSET []attribute

// DistinguishedName is the RFC 4514 string of a name in DER, for example "CN=orders,O=Example,C=DE". What is no name is written as # and hexadecimal.
func DistinguishedName(der []byte) string {
	return distinguishedName(der)
}

// distinguishedName is here because the pkix package's String puts attributes in an order of its own when it prints a Name, and knows
// neither DC nor UID.
func distinguishedName(der []byte) string {
	var sequence []relativeNameSET
	if rest, err := asn1.Unmarshal(der, &sequence); err != nil || len(rest) > 0 {
		return "#" + hex.EncodeToString(der)
	}
	var name strings.Builder
	for i, set := range slices.Backward(sequence) {
		if i < len(sequence)-1 {
			name.WriteByte(',')
		}
		// RFC 4514 leaves the order within a set open; OpenSSL and Envoy reverse it too, and partners compare strings.
		for j, attribute := range slices.Backward(set) {
			if j < len(set)-1 {
				name.WriteByte('+')
			}
			name.WriteString(attribute.String())
		}
	}
	return name.String()
}

func (a attribute) String() string {
	short := shortName(a.Type)
	text, isText := a.text()
	if short == "" || !isText {
		if short == "" {
			short = a.Type.String()
		}
		return short + "=#" + hex.EncodeToString(a.Value.FullBytes)
	}
	return short + "=" + escape(text)
}

// text is the value as UTF-8, when it is of a string type.
func (a attribute) text() (string, bool) {
	var value any
	if _, err := asn1.Unmarshal(a.Value.FullBytes, &value); err != nil {
		return "", false
	}
	text, ok := value.(string)
	return text, ok && utf8.ValidString(text)
}

// shortName is the name of RFC 4514 §3 for an attribute type, or emailAddress as OpenSSL prints it, or empty.
func shortName(oid asn1.ObjectIdentifier) string {
	switch oid.String() {
	case "2.5.4.3":
		return "CN"
	case "2.5.4.6":
		return "C"
	case "2.5.4.7":
		return "L"
	case "2.5.4.8":
		return "ST"
	case "2.5.4.9":
		return "STREET"
	case "2.5.4.10":
		return "O"
	case "2.5.4.11":
		return "OU"
	case "2.5.4.5":
		return "serialNumber"
	case "0.9.2342.19200300.100.1.1":
		return "UID"
	case "0.9.2342.19200300.100.1.25":
		return "DC"
	case "1.2.840.113549.1.9.1":
		return "emailAddress"
	default:
		return ""
	}
}

// escape follows RFC 4514 §2.4, and writes control characters in hexadecimal too, as it allows.
func escape(text string) string {
	var out strings.Builder
	for i, r := range text {
		switch {
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&out, `\%02X`, r)
		case strings.ContainsRune(`"+,;<>\`, r), i == 0 && (r == '#' || r == ' '), r == ' ' && i == len(text)-1:
			out.WriteByte('\\')
			out.WriteRune(r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
