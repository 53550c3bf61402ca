// Package pfx reads the PFX, the outer structure of a PKCS#12 file (RFC 7292), and converts files
// from BER to DER. It doesn't decode keys and certificates.
//
// RFC 7292 §3.1 allows BER. NSS (https://github.com/nss-dev/nss/blob/master/lib/pkcs12/p12e.c)
// writes it, for Firefox, Thunderbird and pk12util.
package pfx

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"unicode/utf16"

	pkcs12 "software.sslmate.com/src/go-pkcs12"
)

// file is the PFX of RFC 7292 §4.
type file struct {
	Version  int
	AuthSafe asn1.RawValue
	MAC      macData `asn1:"optional"`
}

type macData struct {
	Digest struct {
		Algorithm pkix.AlgorithmIdentifier
		Value     []byte
	}
	Salt       []byte
	Iterations int `asn1:"optional,default:1"`
}

// data is a ContentInfo of the type data (RFC 5652 §4). In a file with a password, it contains the
// AuthenticatedSafe.
type data struct {
	Type    asn1.ObjectIdentifier
	Content []byte `asn1:"tag:0,explicit"`
}

// Iterations returns the iteration count of the MAC of a file in DER. The file is untrusted, so the
// count must be checked. [ContentIterations] returns the counts of the contents. Iterations returns
// 0 if the structure is unreadable. The decoder then returns an error.
func Iterations(der []byte) int {
	var pfx file
	if _, err := asn1.Unmarshal(der, &pfx); err != nil {
		return 0
	}
	// PBMAC1 has its own iteration count, and ignores the other one (RFC 9579).
	if isPBMAC1(pfx.MAC) {
		return pbmac1Iterations(pfx.MAC.Digest.Algorithm.Parameters)
	}
	return pfx.MAC.Iterations
}

func isPBMAC1(mac macData) bool {
	return mac.Digest.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14})
}

// pbmac1Iterations returns the iteration count of PBKDF2 in the parameters of PBMAC1 (RFC 8018
// appendix A.2 and A.5).
func pbmac1Iterations(parameters asn1.RawValue) int {
	var mac struct {
		Derivation struct {
			Algorithm  asn1.ObjectIdentifier
			Parameters struct {
				Salt       asn1.RawValue
				Iterations int
			}
		}
	}
	if _, err := asn1.Unmarshal(parameters.FullBytes, &mac); err != nil {
		return 0
	}
	return mac.Derivation.Parameters.Iterations
}

// Rewrite converts the AuthenticatedSafe in a file to DER. The file must be in DER, as [ToDER]
// returns it. The MAC is computed over the original bytes. Therefore Rewrite verifies it with the
// password, and replaces it with a MAC over the new bytes. The new MAC has a single iteration, so
// the result is only for a decoder and must not be stored. Rewrite returns a file unchanged if its
// AuthenticatedSafe is in DER, or if it is unreadable, so that the decoder returns the error. The
// errors are [pkcs12.ErrIncorrectPassword], and [pkcs12.NotImplementedError] for PBMAC1 over BER,
// which pk12util writes in FIPS mode or on request
// (https://github.com/nss-dev/nss/blob/master/cmd/pk12util/pk12util.c).
func Rewrite(der []byte, password string) ([]byte, error) {
	pfx, authSafe, content, ok := openBER(der)
	encoded, encodes := encodePassword(password)
	if !ok || !encodes {
		return der, nil
	}
	if len(pfx.MAC.Digest.Algorithm.Algorithm) > 0 {
		if isPBMAC1(pfx.MAC) {
			return nil, pkcs12.NotImplementedError(
				"PBMAC1 over content in BER; export it again with another MAC, for example pk12util " +
					"-o FILE -n NAME -M SHA-256")
		}
		hash, known := digestOf(pfx.MAC.Digest.Algorithm.Algorithm)
		if !known {
			return der, nil
		}
		// Some tools encode an empty password as no bytes, without the two terminating zeros.
		verified := verify(pfx.MAC, hash, authSafe.Content, encoded)
		if !verified && password == "" {
			encoded = nil
			verified = verify(pfx.MAC, hash, authSafe.Content, encoded)
		}
		if !verified {
			return nil, pkcs12.ErrIncorrectPassword
		}
		pfx.MAC.Iterations = 1
		pfx.MAC.Digest.Algorithm = pkix.AlgorithmIdentifier{
			Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1},
		}
		pfx.MAC.Digest.Value = sum(pfx.MAC, crypto.SHA256, content, encoded)
	}
	marshaled, err := asn1.Marshal(data{Type: authSafe.Type, Content: content})
	if err != nil {
		return nil, err
	}
	pfx.AuthSafe = asn1.RawValue{FullBytes: marshaled}
	return asn1.Marshal(pfx)
}

// openBER parses a file whose AuthenticatedSafe is in BER, and also returns the AuthenticatedSafe
// in DER. For all other files, ok is false.
func openBER(der []byte) (pfx file, authSafe data, content []byte, ok bool) {
	if _, err := asn1.Unmarshal(der, &pfx); err != nil {
		return pfx, authSafe, nil, false
	}
	if _, err := asn1.Unmarshal(pfx.AuthSafe.FullBytes, &authSafe); err != nil {
		return pfx, authSafe, nil, false
	}
	content, rest, err := ToDER(authSafe.Content)
	return pfx, authSafe, content, err == nil && len(rest) == 0 && !bytes.Equal(authSafe.Content, content)
}

func verify(mac macData, hash crypto.Hash, message, password []byte) bool {
	return hmac.Equal(mac.Digest.Value, sum(mac, hash, message, password))
}

func sum(mac macData, hash crypto.Hash, message, password []byte) []byte {
	code := hmac.New(hash.New, MACKey(hash, password, mac.Salt, mac.Iterations))
	code.Write(message)
	return code.Sum(nil)
}

// digestOf returns the hash for a digest algorithm. It supports the digests of the decoder, which
// also links them.
func digestOf(algorithm asn1.ObjectIdentifier) (hash crypto.Hash, known bool) {
	switch algorithm.String() {
	case "1.3.14.3.2.26":
		return crypto.SHA1, true
	case "2.16.840.1.101.3.4.2.1":
		return crypto.SHA256, true
	case "2.16.840.1.101.3.4.2.3":
		return crypto.SHA512, true
	}
	return 0, false
}

// MACKey derives the key of a MAC from a password in the encoding of RFC 7292 appendix B.1,
// according to appendix B.2 with the ID 3. The key has the length of the hash, so the steps for
// longer keys (6.B and 6.C) are not needed. Iterations below 1 count as 1. It is exported so that
// tests can compare it with another implementation.
func MACKey(hash crypto.Hash, password, salt []byte, iterations int) []byte {
	h := hash.New()
	h.Write(bytes.Repeat([]byte{3}, h.BlockSize()))
	h.Write(fill(salt, h.BlockSize()))
	h.Write(fill(password, h.BlockSize()))
	key := h.Sum(nil)
	for range iterations - 1 {
		h.Reset()
		h.Write(key)
		key = h.Sum(key[:0])
	}
	return key
}

// fill repeats text up to the next multiple of block. The last repetition can be partial.
func fill(text []byte, block int) []byte {
	if len(text) == 0 {
		return nil
	}
	size := (len(text) + block - 1) / block * block
	return bytes.Repeat(text, size/len(text)+1)[:size]
}

// encodePassword encodes a password as a BMPString with two terminating zeros, as RFC 7292 appendix
// B.1 requires. ok is false for characters outside the Unicode Basic Multilingual Plane.
func encodePassword(password string) (encoded []byte, ok bool) {
	for _, unit := range append(utf16.Encode([]rune(password)), 0) {
		if utf16.IsSurrogate(rune(unit)) {
			return nil, false
		}
		encoded = binary.BigEndian.AppendUint16(encoded, unit)
	}
	return encoded, true
}
