package pfx

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"io"
)

// maxDepth is the maximum nesting depth of values. It limits the work, because each level copies
// its content. Files of NSS have at most 11 levels.
const maxDepth = 32

// indefinite is the length of a value that ends with end-of-contents (X.690 §8.1.3.6).
const indefinite = -1

var errBER = errors.New("pfx: neither DER nor the BER that PKCS#12 files are written in")

// ToDER converts the first value in ber to DER, and returns the rest after it. Lengths become
// definite and minimal. Constructed octet strings become primitive, including the implicitly tagged
// one of an EncryptedContentInfo (RFC 5652 §8). ToDER doesn't validate the content of primitive
// values. DER is returned unchanged. The error is [io.ErrUnexpectedEOF] if ber ends before the
// value. All other encodings are also errors, such as tags of several bytes and constructed strings
// of other types. Time and memory grow linearly with ber.
func ToDER(ber []byte) (der, rest []byte, err error) {
	value, rest, err := readValue(ber, 0)
	if err != nil {
		return nil, nil, err
	}
	der, err = asn1.Marshal(value)
	return der, rest, err
}

// readValue reads one value, and converts its content to DER.
func readValue(ber []byte, depth int) (value asn1.RawValue, rest []byte, err error) {
	if len(ber) < 2 {
		return value, nil, io.ErrUnexpectedEOF
	}
	value = asn1.RawValue{Class: int(ber[0] >> 6), Tag: int(ber[0] & 0x1f), IsCompound: ber[0]&0x20 != 0}
	if depth >= maxDepth || !isKnown(value) {
		return value, nil, errBER
	}
	length, rest, err := readLength(ber[1:])
	switch {
	case err != nil:
		return value, nil, err
	case length > int64(len(rest)):
		return value, nil, io.ErrUnexpectedEOF
	case length == indefinite && value.IsCompound:
		value.Bytes, rest, err = readValues(rest, depth+1, true)
	case length == indefinite:
		return value, nil, errBER
	case value.IsCompound:
		value.Bytes, _, err = readValues(rest[:length], depth+1, false)
		rest = rest[length:]
		if errors.Is(err, io.ErrUnexpectedEOF) {
			// The value is complete, but its content is longer than its length.
			err = errBER
		}
	default:
		value.Bytes, rest = rest[:length], rest[length:]
	}
	if err == nil && value.Class == asn1.ClassUniversal && value.Tag == asn1.TagOctetString && value.IsCompound {
		value, err = join(value)
	}
	return value, rest, err
}

// isKnown reports whether a PKCS#12 file can contain the tag of value. The tag must have one byte.
// A constructed universal value must be of a type that is constructed in DER, or an octet string.
func isKnown(value asn1.RawValue) bool {
	if value.Tag == 0x1f {
		return false
	}
	if value.Class != asn1.ClassUniversal {
		return true
	}
	switch value.Tag {
	case 0: // End-of-contents is not a value.
		return false
	case asn1.TagOctetString:
		return true
	case asn1.TagSequence, asn1.TagSet:
		return value.IsCompound
	default:
		return !value.IsCompound
	}
}

// readLength reads a length in any form of X.690 §8.1.3, with at most four bytes.
func readLength(ber []byte) (length int64, rest []byte, err error) {
	first, rest := ber[0], ber[1:]
	octets := int(first & 0x7f)
	switch {
	case first < 0x80:
		return int64(first), rest, nil
	case octets == 0:
		return indefinite, rest, nil
	case octets > 4:
		return 0, nil, errBER
	case octets > len(rest):
		return 0, nil, io.ErrUnexpectedEOF
	}
	for _, octet := range rest[:octets] {
		length = length<<8 | int64(octet)
	}
	return length, rest[octets:], nil
}

// readValues reads the values inside a value, up to end-of-contents or all of ber, and returns them
// in DER.
func readValues(ber []byte, depth int, untilEnd bool) (der, rest []byte, err error) {
	var identifiers []byte
	for untilEnd || len(ber) > 0 {
		if untilEnd && bytes.HasPrefix(ber, []byte{0, 0}) {
			return der, ber[2:], nil
		}
		value, behind, err := readValue(ber, depth)
		if err != nil {
			return nil, nil, err
		}
		// EncryptedContentInfo is the only structure here with an IMPLICIT [0], after an object
		// identifier and a sequence.
		if identifiers = append(identifiers, ber[0]); bytes.Equal(identifiers, []byte{0x06, 0x30, 0xa0}) {
			if value, err = join(value); err != nil {
				return nil, nil, err
			}
		}
		encoded, err := asn1.Marshal(value)
		if err != nil {
			return nil, nil, err
		}
		der, ber = append(der, encoded...), behind
	}
	return der, nil, nil
}

// join converts a constructed octet string with segments in DER to a primitive one.
func join(value asn1.RawValue) (asn1.RawValue, error) {
	var octets []byte
	for rest := value.Bytes; len(rest) > 0; {
		var piece []byte
		var err error
		if rest, err = asn1.Unmarshal(rest, &piece); err != nil {
			return value, errBER
		}
		octets = append(octets, piece...)
	}
	value.IsCompound, value.Bytes = false, octets
	return value, nil
}
