package pfx

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"io"
)

// maxDepth bounds how deep values lie in one another, and with it the work: each level copies what
// is in it. The deepest layer of what NSS writes has 11 levels.
const maxDepth = 32

// indefinite is the length that an end-of-contents takes the place of (X.690 §8.1.3.6).
const indefinite = -1

var errBER = errors.New("pfx: neither DER nor the BER that PKCS#12 files are written in")

// ToDER brings the first value of ber to DER, and returns what lies behind that value. Lengths
// become definite and minimal, and octet strings in pieces become one, the implicitly tagged one of
// an EncryptedContentInfo (RFC 5652 §8) among them. What DER asks of primitive values is left to
// who reads them. DER comes back as it is. The error is [io.ErrUnexpectedEOF] where ber ends before
// the value does; all else that is not of these forms is an error as well, tags of several bytes
// and strings in pieces of other types among it. The work and the memory grow linearly with ber.
func ToDER(ber []byte) (der, rest []byte, err error) {
	value, rest, err := readValue(ber, 0)
	if err != nil {
		return nil, nil, err
	}
	der, err = asn1.Marshal(value)
	return der, rest, err
}

// readValue reads one value, whose content it brings to DER.
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
			// It is all there, but longer within than without.
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

// isKnown reports whether the layers of a PKCS#12 file have values of such a tag: of one byte, and
// of the universal ones those in pieces only that DER has in pieces, and octet strings.
func isKnown(value asn1.RawValue) bool {
	if value.Tag == 0x1f {
		return false
	}
	if value.Class != asn1.ClassUniversal {
		return true
	}
	switch value.Tag {
	case 0: // The end of contents, which is none of the contents.
		return false
	case asn1.TagOctetString:
		return true
	case asn1.TagSequence, asn1.TagSet:
		return value.IsCompound
	default:
		return !value.IsCompound
	}
}

// readLength reads a length of any form of X.690 §8.1.3 in at most four bytes.
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

// readValues reads the values in a value, and returns them in DER: up to the end of contents, or
// all of ber.
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
		// EncryptedContentInfo is the one structure of these layers whose [0] is IMPLICIT, behind an
		// object identifier and a sequence.
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

// join makes one octet string of one in pieces, whose pieces are in DER.
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
