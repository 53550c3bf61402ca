package credential

import (
	"encoding/asn1"
	"math/big"
	"time"
	"unicode/utf8"
)

// outlined reports whether the sidecar can load a certificate from a file of CAs, and returns its
// subject in DER. Envoy refuses the whole file if BoringSSL can't parse one of its certificates
// (https://github.com/envoyproxy/envoy/blob/main/source/common/tls/cert_validator/default_validator.cc,
// initializeSslContexts). BoringSSL parses only this outline, and the public key and the values of
// extensions when it uses the certificate. crypto/x509 parses everything at once, so it refuses
// more: unknown curves, duplicate extensions, wrong characters in a name.
// https://github.com/google/boringssl/blob/main/crypto/x509/x_x509.cc (X509_parse_with_algorithms)
func outlined(der []byte) (subject []byte, ok bool) {
	certificate, ok := children(der, asn1.TagSequence)
	if !ok || len(certificate) != 3 || !isAlgorithm(certificate[1]) || !isBitString(certificate[2]) {
		return nil, false
	}
	fields, ok := children(certificate[0].FullBytes, asn1.TagSequence)
	if !ok || len(fields) == 0 {
		return nil, false
	}
	version := 0
	if isContext(fields[0], 0) {
		if rest, err := asn1.Unmarshal(fields[0].Bytes, &version); err != nil || len(rest) > 0 || version < 0 || version > 2 {
			return nil, false
		}
		fields = fields[1:]
	}
	const serial, algorithm, issuer, validity, name, key, optional = 0, 1, 2, 3, 4, 5, 6
	if len(fields) < optional || !isInteger(fields[serial]) || !isAlgorithm(fields[algorithm]) ||
		!isName(fields[issuer]) || !isValidity(fields[validity]) || !isName(fields[name]) || !isPublicKey(fields[key]) ||
		!areOptional(fields[optional:], version) {
		return nil, false
	}
	return fields[name].FullBytes, true
}

// children returns the elements of a constructed value with the given universal tag, or false if
// der is anything else.
func children(der []byte, tag int) (elements []asn1.RawValue, ok bool) {
	var value asn1.RawValue
	rest, err := asn1.Unmarshal(der, &value)
	if err != nil || len(rest) > 0 || value.Class != asn1.ClassUniversal || value.Tag != tag || !value.IsCompound {
		return nil, false
	}
	for rest = value.Bytes; len(rest) > 0; {
		var element asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &element); err != nil {
			return nil, false
		}
		elements = append(elements, element)
	}
	return elements, true
}

func isUniversal(value asn1.RawValue, tag int) bool {
	return value.Class == asn1.ClassUniversal && value.Tag == tag && !value.IsCompound
}

func isContext(value asn1.RawValue, tag int) bool {
	return value.Class == asn1.ClassContextSpecific && value.Tag == tag
}

func isInteger(value asn1.RawValue) bool {
	var number *big.Int
	_, err := asn1.Unmarshal(value.FullBytes, &number)
	return err == nil
}

func isBitString(value asn1.RawValue) bool {
	var bits asn1.BitString
	_, err := asn1.Unmarshal(value.FullBytes, &bits)
	return err == nil
}

func isIdentifier(value asn1.RawValue) bool {
	return isUniversal(value, asn1.TagOID) && len(value.Bytes) > 0
}

// isAlgorithm reports whether value is an identifier, with or without parameters.
func isAlgorithm(value asn1.RawValue) bool {
	parts, ok := children(value.FullBytes, asn1.TagSequence)
	return ok && (len(parts) == 1 || len(parts) == 2) && isIdentifier(parts[0])
}

func isPublicKey(value asn1.RawValue) bool {
	parts, ok := children(value.FullBytes, asn1.TagSequence)
	return ok && len(parts) == 2 && isAlgorithm(parts[0]) && isBitString(parts[1])
}

func isName(value asn1.RawValue) bool {
	sets, ok := children(value.FullBytes, asn1.TagSequence)
	for _, set := range sets {
		attributes, isSet := children(set.FullBytes, asn1.TagSet)
		ok = ok && isSet && len(attributes) > 0
		for _, attribute := range attributes {
			parts, isSequence := children(attribute.FullBytes, asn1.TagSequence)
			ok = ok && isSequence && len(parts) == 2 && isIdentifier(parts[0]) && isText(parts[1])
		}
	}
	return ok
}

// isText reports whether BoringSSL can convert a value to UTF-8, which it does with all names. It
// doesn't check the alphabet of the other string types.
func isText(value asn1.RawValue) bool {
	const universalString, unitOfBMP, unitOfUniversal = 28, 2, 4
	if value.Class != asn1.ClassUniversal || value.IsCompound {
		return false
	}
	switch value.Tag {
	case asn1.TagUTF8String:
		return utf8.Valid(value.Bytes)
	case asn1.TagBMPString:
		return len(value.Bytes)%unitOfBMP == 0
	case universalString:
		return len(value.Bytes)%unitOfUniversal == 0
	case asn1.TagPrintableString, asn1.TagT61String, asn1.TagIA5String, asn1.TagNumericString:
		return true
	default:
		return false
	}
}

func isValidity(value asn1.RawValue) bool {
	times, ok := children(value.FullBytes, asn1.TagSequence)
	return ok && len(times) == 2 && isTime(times[0]) && isTime(times[1])
}

// isTime reports whether value is a time with seconds and without fractions.
func isTime(value asn1.RawValue) bool {
	length := map[int]int{
		asn1.TagUTCTime: len("060102150405Z"), asn1.TagGeneralizedTime: len("20060102150405Z"),
	}[value.Tag]
	var parsed time.Time
	_, err := asn1.Unmarshal(value.FullBytes, &parsed)
	return err == nil && len(value.Bytes) == length
}

// areOptional reports whether values are those that can follow the public key: two unique
// identifiers since version 2 (1) and extensions since version 3 (2), in this order.
func areOptional(values []asn1.RawValue, version int) bool {
	last := 0
	for _, value := range values {
		isExtensions := isContext(value, 3)
		known := isExtensions && version == 2 && areExtensions(value.Bytes) ||
			!isExtensions && version >= 1 && (isContext(value, 1) || isContext(value, 2))
		if !known || value.Tag <= last {
			return false
		}
		last = value.Tag
	}
	return true
}

func areExtensions(der []byte) bool {
	extensions, ok := children(der, asn1.TagSequence)
	for _, one := range extensions {
		parts, isSequence := children(one.FullBytes, asn1.TagSequence)
		if len(parts) == 3 {
			var critical bool
			_, err := asn1.Unmarshal(parts[1].FullBytes, &critical)
			ok = ok && err == nil
		}
		ok = ok && isSequence && (len(parts) == 2 || len(parts) == 3) && isIdentifier(parts[0]) &&
			isUniversal(parts[len(parts)-1], asn1.TagOctetString)
	}
	return ok
}
