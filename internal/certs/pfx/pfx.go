// Package pfx reads the outside of a PKCS#12 file (RFC 7292), the PFX, and brings a file in BER to
// DER. It knows nothing of keys and certificates.
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

// data is a ContentInfo of the type data (RFC 5652 §4), as which the AuthenticatedSafe lies in a
// file with a password.
type data struct {
	Type    asn1.ObjectIdentifier
	Content []byte `asn1:"tag:0,explicit"`
}

// Iterations is how many rounds the MAC of a file in DER takes, which anybody can set who sends a
// file. [ContentIterations] are those behind the MAC. It is 0 where the structure can't be read;
// the decoder says so then.
func Iterations(der []byte) int {
	var pfx file
	if _, err := asn1.Unmarshal(der, &pfx); err != nil {
		return 0
	}
	// PBMAC1 has its own number, and the other means nothing then (RFC 9579).
	if isPBMAC1(pfx.MAC) {
		return pbmac1Iterations(pfx.MAC.Digest.Algorithm.Parameters)
	}
	return pfx.MAC.Iterations
}

func isPBMAC1(mac macData) bool {
	return mac.Digest.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14})
}

// pbmac1Iterations reads the number of rounds of PBKDF2 in the parameters of PBMAC1 (RFC 8018
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

// Rewrite takes a file in DER, as [ToDER] returns it, and brings the AuthenticatedSafe in it to DER
// as well. The MAC is over the bytes that were there before: it is verified with the password, and
// one that fits what is there now takes its place. The new one has a single round, so the result is
// for a decoder alone and must not be stored. A file whose AuthenticatedSafe is in DER comes back
// as it is, with its MAC, and so does one that can't be read, for which the decoder has the words.
// The errors are [pkcs12.ErrIncorrectPassword], and [pkcs12.NotImplementedError] for PBMAC1 over
// BER, which pk12util writes in FIPS mode or when told to
// (https://github.com/nss-dev/nss/blob/master/cmd/pk12util/pk12util.c).
func Rewrite(der []byte, password string) ([]byte, error) {
	pfx, authSafe, content, ok := openBER(der)
	encoded, encodes := encodePassword(password)
	if !ok || !encodes {
		return der, nil
	}
	if len(pfx.MAC.Digest.Algorithm.Algorithm) > 0 {
		if isPBMAC1(pfx.MAC) {
			return nil, pkcs12.NotImplementedError("PBMAC1 over content in BER; export it again with another MAC, for example pk12util -o FILE -n NAME -M SHA-256")
		}
		hash, known := digestOf(pfx.MAC.Digest.Algorithm.Algorithm)
		if !known {
			return der, nil
		}
		// Some write an empty password as no bytes, without the two zeros of its end.
		verified := verify(pfx.MAC, hash, authSafe.Content, encoded)
		if !verified && password == "" {
			encoded = nil
			verified = verify(pfx.MAC, hash, authSafe.Content, encoded)
		}
		if !verified {
			return nil, pkcs12.ErrIncorrectPassword
		}
		pfx.MAC.Iterations = 1
		pfx.MAC.Digest.Algorithm = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}}
		pfx.MAC.Digest.Value = sum(pfx.MAC, crypto.SHA256, content, encoded)
	}
	marshaled, err := asn1.Marshal(data{Type: authSafe.Type, Content: content})
	if err != nil {
		return nil, err
	}
	pfx.AuthSafe = asn1.RawValue{FullBytes: marshaled}
	return asn1.Marshal(pfx)
}

// openBER reads a file whose AuthenticatedSafe is in BER, and returns that in DER as well. Of all
// other files it says that they aren't ok.
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

// digestOf knows the digests that the decoder knows, which links them as well.
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

// MACKey derives the key of a MAC from a password in the encoding of RFC 7292 appendix B.1, as its
// appendix B.2 does for the ID 3. The key is as long as the hash, so the steps for longer keys (6.B
// and 6.C) are never taken. Iterations below 1 are taken for 1. It is exported to be compared with
// another's.
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

// fill repeats text until it ends with a block, the last time perhaps in part.
func fill(text []byte, block int) []byte {
	if len(text) == 0 {
		return nil
	}
	size := (len(text) + block - 1) / block * block
	return bytes.Repeat(text, size/len(text)+1)[:size]
}

// encodePassword writes a password as the BMPString with two zeros at its end that RFC 7292
// appendix B.1 wants. Characters beyond Unicode's first plane have none.
func encodePassword(password string) (encoded []byte, ok bool) {
	for _, unit := range append(utf16.Encode([]rune(password)), 0) {
		if utf16.IsSurrogate(rune(unit)) {
			return nil, false
		}
		encoded = binary.BigEndian.AppendUint16(encoded, unit)
	}
	return encoded, true
}
