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

// DistinguishedName is the RFC 4514 string of a name in DER, for example "CN=orders,O=Example,C=DE". What is no name is written as # and
// hexadecimal. The pkix package's String puts attributes in an order of its own when it prints a Name, and knows neither DC nor UID.
func DistinguishedName(der []byte) string {
	return printName(der, shortName, escape)
}

// EnvoySubject is the same name as Envoy prints it for %DOWNSTREAM_PEER_SUBJECT% and in X-Forwarded-Client-Cert, which partners compare as a string.
// The order is that of RFC 4514 too; different are the names of some attributes, which are those of BoringSSL, and bytes beyond ASCII, which are escaped.
// Envoy prints with X509_NAME_print_ex and XN_FLAG_RFC2253: https://github.com/envoyproxy/envoy/blob/main/source/common/tls/utility.cc
func EnvoySubject(der []byte) string {
	return printName(der, opensslName, func(text string) string { return escapeBytes(escape(text)) })
}

func printName(der []byte, nameOf func(asn1.ObjectIdentifier) string, write func(string) string) string {
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
			name.WriteString(attribute.print(nameOf, write))
		}
	}
	return name.String()
}

func (a attribute) print(nameOf func(asn1.ObjectIdentifier) string, write func(string) string) string {
	short := nameOf(a.Type)
	text, isText := a.text()
	switch {
	case short == "":
		return a.Type.String() + "=#" + hex.EncodeToString(a.Value.FullBytes)
	case !isText:
		return short + "=#" + hex.EncodeToString(a.Value.FullBytes)
	}
	return short + "=" + write(text)
}

// opensslName is the short name that OpenSSL and BoringSSL have for an attribute type; it stands for the type in what Envoy prints.
func opensslName(oid asn1.ObjectIdentifier) string {
	switch oid.String() {
	case "2.5.4.4":
		return "SN"
	case "2.5.4.9":
		return "street"
	case "2.5.4.12":
		return "title"
	case "2.5.4.13":
		return "description"
	case "2.5.4.15":
		return "businessCategory"
	case "2.5.4.17":
		return "postalCode"
	case "2.5.4.41":
		return "name"
	case "2.5.4.42":
		return "GN"
	case "2.5.4.43":
		return "initials"
	case "2.5.4.44":
		return "generationQualifier"
	case "2.5.4.46":
		return "dnQualifier"
	case "2.5.4.65":
		return "pseudonym"
	default:
		return shortName(oid)
	}
}

// escapeBytes writes each byte beyond ASCII in hexadecimal.
func escapeBytes(text string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		if c < utf8.RuneSelf {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, `\%02X`, c)
		}
	}
	return out.String()
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
