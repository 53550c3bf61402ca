package credential

import (
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// attribute is like pkix.AttributeTypeAndValue, but keeps the value in DER, which RFC 4514 requires
// for types without a name.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type relativeNameSET []attribute

// DistinguishedName returns the RFC 4514 string of a name in DER, for example
// "CN=orders,O=Example,C=DE". If der is not a name, the result is # and hexadecimal. pkix.Name is
// not suitable: its String method reorders attributes, and it supports neither DC nor UID.
func DistinguishedName(der []byte) string {
	return notation{shortName, escape, "#%x"}.writeName(der)
}

// EnvoySubject returns the name as Envoy prints it for %DOWNSTREAM_PEER_SUBJECT% and in
// X-Forwarded-Client-Cert, which partners compare as a string. It differs from RFC 4514 in the
// names of some attributes, which are those of BoringSSL, in non-ASCII bytes, which are escaped,
// and in hexadecimal, which is uppercase
// (https://github.com/google/boringssl/blob/main/crypto/asn1/a_strex.cc). Envoy prints with
// X509_NAME_print_ex and XN_FLAG_RFC2253:
// https://github.com/envoyproxy/envoy/blob/main/source/common/tls/utility.cc
func EnvoySubject(der []byte) string {
	return notation{opensslName, func(text string) string { return escapeBytes(escape(text)) }, "#%X"}.writeName(der)
}

// notation is a format for names: the names of attribute types, the escapes in text, and the format
// verb for binary values.
type notation struct {
	nameOf func(asn1.ObjectIdentifier) string
	escape func(string) string
	binary string
}

func (n notation) writeName(der []byte) string {
	var sequence []relativeNameSET
	if rest, err := asn1.Unmarshal(der, &sequence); err != nil || len(rest) > 0 {
		return fmt.Sprintf(n.binary, der)
	}
	var name strings.Builder
	for i, set := range slices.Backward(sequence) {
		if i < len(sequence)-1 {
			name.WriteByte(',')
		}
		// RFC 4514 doesn't define the order within a set. OpenSSL and Envoy also reverse it, and partners
		// compare strings.
		for j, attribute := range slices.Backward(set) {
			if j < len(set)-1 {
				name.WriteByte('+')
			}
			name.WriteString(n.writeAttribute(attribute))
		}
	}
	return name.String()
}

func (n notation) writeAttribute(a attribute) string {
	short := n.nameOf(a.Type)
	text, isText := a.text()
	switch {
	case short == "":
		return a.Type.String() + "=" + fmt.Sprintf(n.binary, a.Value.FullBytes)
	case !isText:
		return short + "=" + fmt.Sprintf(n.binary, a.Value.FullBytes)
	}
	return short + "=" + n.escape(text)
}

// opensslName returns the short name of an attribute type in BoringSSL, which Envoy prints. OpenSSL
// has the same names and some more, for example for organizationIdentifier (2.5.4.97). The tables
// contain the names of three arcs by their last number:
// https://github.com/google/boringssl/blob/main/crypto/obj/objects.txt
func opensslName(oid asn1.ObjectIdentifier) string {
	var names []string
	switch oid[:len(oid)-1].String() {
	case "2.5.4":
		names = []string{
			3: "CN", "SN", "serialNumber", "C", "L", "ST", "street", "O", "OU", "title", "description",
			"searchGuide", "businessCategory", "postalAddress", "postalCode", "postOfficeBox",
			"physicalDeliveryOfficeName", "telephoneNumber", "telexNumber", "teletexTerminalIdentifier",
			"facsimileTelephoneNumber", "x121Address", "internationaliSDNNumber", "registeredAddress",
			"destinationIndicator", "preferredDeliveryMethod", "presentationAddress", "supportedApplicationContext",
			"member", "owner", "roleOccupant", "seeAlso", "userPassword", "userCertificate", "cACertificate",
			"authorityRevocationList", "certificateRevocationList", "crossCertificatePair", "name", "GN", "initials",
			"generationQualifier", "x500UniqueIdentifier", "dnQualifier", "enhancedSearchGuide",
			"protocolInformation", "distinguishedName", "uniqueMember", "houseIdentifier", "supportedAlgorithms",
			"deltaRevocationList", "dmdName", 65: "pseudonym", 72: "role",
		}
	case "1.2.840.113549.1.9":
		names = []string{
			1: "emailAddress", "unstructuredName", "contentType", "messageDigest", "signingTime", "countersignature",
			"challengePassword", "unstructuredAddress", "extendedCertificateAttributes", 14: "extReq", "SMIME-CAPS",
			"SMIME", 20: "friendlyName", "localKeyID",
		}
	case "0.9.2342.19200300.100.1":
		names = []string{
			1: "UID", "textEncodedORAddress", "mail", "info", "favouriteDrink", "roomNumber", "photo", "userClass",
			"host", "manager", "documentIdentifier", "documentTitle", "documentVersion", "documentAuthor",
			"documentLocation", 20: "homeTelephoneNumber", "secretary", "otherMailbox", "lastModifiedTime",
			"lastModifiedBy", "DC", "aRecord", "pilotAttributeType27", "mXRecord", "nSRecord", "sOARecord",
			"cNAMERecord", 37: "associatedDomain", "associatedName", "homePostalAddress", "personalTitle",
			"mobileTelephoneNumber", "pagerTelephoneNumber", "friendlyCountryName", 45: "organizationalStatus",
			"janetMailbox", "mailPreferenceOption", "buildingName", "dSAQuality", "singleLevelQuality",
			"subtreeMinimumQuality", "subtreeMaximumQuality", "personalSignature", "dITRedirect", "audio",
			"documentPublisher",
		}
	}
	if last := oid[len(oid)-1]; last < len(names) {
		return names[last]
	}
	return ""
}

// escapeBytes escapes each non-ASCII byte in hexadecimal.
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

// text returns the value as UTF-8, if it has a string type.
func (a attribute) text() (string, bool) {
	var value any
	if _, err := asn1.Unmarshal(a.Value.FullBytes, &value); err != nil {
		return "", false
	}
	text, ok := value.(string)
	return text, ok && utf8.ValidString(text)
}

// shortName returns the name of an attribute type in RFC 4514 §3, or emailAddress as in OpenSSL. It
// returns "" for other types.
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

// escape escapes text as RFC 4514 §2.4 requires. As the RFC allows, it also escapes characters that
// are not printable, such as control characters and bidirectional overrides.
func escape(text string) string {
	var out strings.Builder
	for i, r := range text {
		switch {
		case !unicode.IsPrint(r):
			for _, octet := range []byte(string(r)) {
				fmt.Fprintf(&out, `\%02X`, octet)
			}
		case strings.ContainsRune(`"+,;<>\`, r), i == 0 && (r == '#' || r == ' '), r == ' ' && i == len(text)-1:
			out.WriteByte('\\')
			out.WriteRune(r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
