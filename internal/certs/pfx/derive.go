package pfx

import (
	"bytes"
	"crypto"
	"crypto/pbkdf2"
	_ "crypto/sha1"   //nolint:gosec // Linked for [digestOf], because old files use it.
	_ "crypto/sha256" // Linked for [digestOf].
	_ "crypto/sha512" // Linked for [digestOf].
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"unicode/utf16"
)

// Purpose is the ID of a key derivation (RFC 7292 appendix B.3).
type Purpose byte

// The purposes of a derived value.
const (
	ForKey Purpose = 1
	ForIV  Purpose = 2
	ForMAC Purpose = 3
)

// Derive derives size bytes from a password in the encoding of RFC 7292 appendix B.1, according to
// appendix B.2. Iterations below 1 count as 1. It is exported so that tests can compare it with
// another implementation.
func Derive(hash crypto.Hash, purpose Purpose, password, salt []byte, iterations, size int) []byte {
	h := hash.New()
	input := append(fill(salt, h.BlockSize()), fill(password, h.BlockSize())...)
	var derived []byte
	for {
		h.Reset()
		h.Write(bytes.Repeat([]byte{byte(purpose)}, h.BlockSize()))
		h.Write(input)
		block := h.Sum(nil)
		for range iterations - 1 {
			h.Reset()
			h.Write(block)
			block = h.Sum(block[:0])
		}
		derived = append(derived, block...)
		if len(derived) >= size {
			return derived[:size]
		}
		increase(input, fill(block, h.BlockSize()))
	}
}

// increase adds step+1 to each block of input, modulo the size of the block (step 6.C).
func increase(input, step []byte) {
	for block := input; len(block) > 0; block = block[len(step):] {
		carry := 1
		for i := len(step) - 1; i >= 0; i-- {
			carry += int(block[i]) + int(step[i])
			block[i] = byte(carry & 0xff)
			carry >>= 8
		}
	}
}

// fill repeats text up to the next multiple of block. The last repetition can be partial.
func fill(text []byte, block int) []byte {
	if len(text) == 0 {
		return nil
	}
	size := (len(text) + block - 1) / block * block
	return bytes.Repeat(text, size/len(text)+1)[:size]
}

// password is an encoding of a password.
type password struct {
	// unicode is for the derivation of RFC 7292, text for PBKDF2.
	unicode []byte
	text    string
}

// encodings returns the encodings of a password that tools use, the one of the standard first:
//   - UTF-16 in big endian with two terminating zeros. RFC 7292 appendix B.1 allows only characters
//     of two bytes, and OpenSSL and Java write surrogates for others.
//   - For an empty password, no bytes. Some tools of Microsoft omit the zeros.
//   - For a password that isn't ASCII, its bytes in UTF-8 as characters, as OpenSSL before 1.1.0
//     writes them (https://docs.openssl.org/3.0/man7/passphrase-encoding/).
func encodings(text string) []password {
	standard := password{bigEndian(utf16.Encode([]rune(text))), text}
	bytewise := make([]uint16, 0, len(text))
	ascii := true
	for _, octet := range []byte(text) {
		bytewise = append(bytewise, uint16(octet))
		ascii = ascii && octet < 0x80
	}
	switch {
	case text == "":
		return []password{standard, {nil, text}}
	case ascii:
		return []password{standard}
	default:
		return []password{standard, {bigEndian(bytewise), text}}
	}
}

// bigEndian returns the units with a terminating zero.
func bigEndian(units []uint16) []byte {
	encoded := make([]byte, 0, 2*len(units)+2)
	for _, unit := range append(units, 0) {
		encoded = binary.BigEndian.AppendUint16(encoded, unit)
	}
	return encoded
}

// budget limits the iterations of all key derivations together. The file is untrusted.
type budget struct{ spent, limit int }

func (b *budget) spend(iterations int) error {
	if iterations < 0 {
		return &LayoutError{Where: "a key derivation", Why: "a negative number of iterations"}
	}
	if iterations > b.limit-b.spent {
		return &IterationsError{Count: max(iterations, b.spent+iterations)}
	}
	b.spent += iterations
	return nil
}

const pbkdf2Type = "1.2.840.113549.1.5.12"

// derivation is a key derivation with PBKDF2 (RFC 8018 appendix A.2).
type derivation struct {
	Salt       []byte
	Iterations int
	// KeyLength is 0 if it is not given.
	KeyLength int
	hash      crypto.Hash
}

// parsePBKDF2 parses the parameters of a key derivation, and checks that it is supported.
func parsePBKDF2(algorithm pkix.AlgorithmIdentifier) (derivation, error) {
	if algorithm.Algorithm.String() != pbkdf2Type {
		return derivation{}, &UnsupportedError{What: "the key derivation " + nameOf(algorithm.Algorithm), OpenSSL: true}
	}
	var d struct {
		Salt       []byte
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	if !unmarshal(algorithm.Parameters.FullBytes, &d) {
		return derivation{}, &LayoutError{Where: "a key derivation", Why: "parameters of PBKDF2"}
	}
	hash, known := crypto.SHA1, true
	if len(d.PRF.Algorithm) > 0 {
		hash, known = prfOf(d.PRF.Algorithm)
	}
	if !known {
		return derivation{}, &UnsupportedError{
			What: "the key derivation PBKDF2 with " + nameOf(d.PRF.Algorithm), OpenSSL: true}
	}
	return derivation{Salt: d.Salt, Iterations: d.Iterations, KeyLength: d.KeyLength, hash: hash}, nil
}

func (d derivation) key(password string, size int, rounds *budget) ([]byte, error) {
	if err := rounds.spend(d.Iterations); err != nil {
		return nil, err
	}
	key, err := pbkdf2.Key(d.hash.New, password, d.Salt, max(1, d.Iterations), size)
	if err != nil {
		return nil, &LayoutError{Where: "a key derivation", Why: "parameters of PBKDF2"}
	}
	return key, nil
}

// nameOf returns the name of an algorithm that a file can use and [Read] doesn't support, as
// OpenSSL writes it. Its identifier is added, and is the name of unknown ones.
func nameOf(algorithm asn1.ObjectIdentifier) string {
	name, known := names()[algorithm.String()]
	if !known {
		return algorithm.String()
	}
	return name + " (" + algorithm.String() + ")"
}
