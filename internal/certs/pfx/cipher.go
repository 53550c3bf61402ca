package pfx

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // Old files use it.
	"crypto/rc4" //nolint:gosec // Old files use it.
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
)

// scheme is a password-based encryption. decrypt doesn't check the padding.
type scheme interface {
	decrypt(candidate password, data []byte, rounds *budget) ([]byte, error)
	// block is the size of the blocks, which are padded, or 1 for a stream.
	block() int
	// candidates are the encodings of the password that give different keys.
	candidates(all []password) []password
}

// decrypt decrypts data and passes it to read, which reports whether it has the right structure.
func (r *reader) decrypt(what string, algorithm pkix.AlgorithmIdentifier, data []byte, read func([]byte) bool) error {
	encryption, err := schemeOf(algorithm)
	if err != nil {
		return err
	}
	size := encryption.block()
	if len(data) == 0 || len(data)%size != 0 {
		return &LayoutError{Where: "the encrypted data of " + what, Why: "not a multiple of the block size",
			Verified: r.verified}
	}
	padded := false
	for _, candidate := range encryption.candidates(r.passwords) {
		plain, err := encryption.decrypt(candidate, data, r.rounds)
		if err != nil {
			return err
		}
		plain, ok := unpad(plain, size)
		if ok && read(plain) {
			return nil
		}
		padded = padded || ok && size > 1
	}
	if padded && r.verified {
		return &LayoutError{Where: what, Verified: true}
	}
	return &PasswordError{What: what, Verified: r.verified}
}

// unpad removes the padding of RFC 8018 §6.1.1.
func unpad(plain []byte, block int) (content []byte, ok bool) {
	if block == 1 {
		return plain, true
	}
	length := int(plain[len(plain)-1])
	if length == 0 || length > block {
		return nil, false
	}
	content, padding := plain[:len(plain)-length], plain[len(plain)-length:]
	return content, bytes.Equal(padding, bytes.Repeat(plain[len(plain)-1:], length))
}

// schemeOf returns the scheme of an algorithm in RFC 7292 appendix C, or of PBES2.
func schemeOf(algorithm pkix.AlgorithmIdentifier) (scheme, error) {
	const pkcs12PBE = "1.2.840.113549.1.12.1."
	var old oldScheme
	switch algorithm.Algorithm.String() {
	case pkcs12PBE + "1":
		old = oldScheme{keySize: 16, stream: true}
	case pkcs12PBE + "2":
		old = oldScheme{keySize: 5, stream: true}
	case pkcs12PBE + "3":
		old = oldScheme{keySize: 24, newCipher: des.NewTripleDESCipher}
	case pkcs12PBE + "4":
		old = oldScheme{keySize: 16, newCipher: newTwoKeyTripleDES}
	case pkcs12PBE + "5":
		old = oldScheme{keySize: 16, newCipher: newRC2}
	case pkcs12PBE + "6":
		old = oldScheme{keySize: 5, newCipher: newRC2}
	case "1.2.840.113549.1.5.13":
		return parsePBES2(algorithm.Parameters.FullBytes)
	default:
		return nil, unsupportedCipher(algorithm.Algorithm)
	}
	var parameters struct {
		Salt       []byte
		Iterations int
	}
	if !unmarshal(algorithm.Parameters.FullBytes, &parameters) {
		return nil, &LayoutError{Where: "the parameters of a cipher", Why: "salt and iterations"}
	}
	old.salt, old.iterations = parameters.Salt, parameters.Iterations
	return old, nil
}

func unsupportedCipher(algorithm asn1.ObjectIdentifier) *UnsupportedError {
	// https://docs.openssl.org/3.0/man7/OSSL_PROVIDER-legacy/
	legacy := slices.Contains([]string{
		"1.3.14.3.2.7", "1.2.840.113549.3.2", "1.2.840.113549.3.9", "1.2.840.113533.7.66.10", "1.3.6.1.4.1.3029.1.2",
		"1.3.6.1.4.1.188.7.1.1.2", "1.2.410.200004.1.4", "1.2.840.113549.1.5.3", "1.2.840.113549.1.5.6",
		"1.2.840.113549.1.5.10", "1.2.840.113549.1.5.11",
	}, algorithm.String())
	return &UnsupportedError{What: "the cipher " + nameOf(algorithm), OpenSSL: true, Legacy: legacy}
}

// oldScheme is an encryption of RFC 7292 appendix C. Key and IV come from the password.
type oldScheme struct {
	salt       []byte
	iterations int
	keySize    int
	newCipher  func(key []byte) (cipher.Block, error)
	// stream reports whether the cipher is RC4.
	stream bool
}

func (s oldScheme) block() int {
	if s.stream {
		return 1
	}
	return des.BlockSize
}

func (oldScheme) candidates(all []password) []password { return all }

func (s oldScheme) decrypt(candidate password, data []byte, rounds *budget) ([]byte, error) {
	if err := rounds.spend(s.iterations); err != nil {
		return nil, err
	}
	derive := func(purpose Purpose, size int) []byte {
		return Derive(crypto.SHA1, purpose, candidate.unicode, s.salt, s.iterations, size)
	}
	key := derive(ForKey, s.keySize)
	if s.stream {
		plain := make([]byte, len(data))
		stream, err := rc4.NewCipher(key) //nolint:gosec // Old files use it.
		if err != nil {
			return nil, err
		}
		stream.XORKeyStream(plain, data)
		return plain, nil
	}
	block, err := s.newCipher(key)
	if err != nil {
		return nil, err
	}
	return decryptCBC(block, derive(ForIV, block.BlockSize()), data), nil
}

func newTwoKeyTripleDES(key []byte) (cipher.Block, error) {
	return des.NewTripleDESCipher(slices.Concat(key, key[:8])) //nolint:gosec // Old files use it.
}

// newScheme is PBES2 (RFC 8018 §6.2) with PBKDF2 and a cipher in CBC mode.
type newScheme struct {
	derivation derivation
	keySize    int
	newCipher  func(key []byte) (cipher.Block, error)
	iv         []byte
}

func parsePBES2(der []byte) (scheme, error) {
	var parameters struct{ Derivation, Encryption pkix.AlgorithmIdentifier }
	if !unmarshal(der, &parameters) {
		return nil, &LayoutError{Where: "the parameters of a cipher", Why: "PBES2"}
	}
	s := newScheme{newCipher: aes.NewCipher}
	block := aes.BlockSize
	switch parameters.Encryption.Algorithm.String() {
	case "2.16.840.1.101.3.4.1.2":
		s.keySize = 16
	case "2.16.840.1.101.3.4.1.22":
		s.keySize = 24
	case "2.16.840.1.101.3.4.1.42":
		s.keySize = 32
	case "1.2.840.113549.3.7":
		s.keySize, s.newCipher, block = 24, des.NewTripleDESCipher, des.BlockSize
	default:
		return nil, unsupportedCipher(parameters.Encryption.Algorithm)
	}
	derivation, err := parsePBKDF2(parameters.Derivation)
	if err != nil {
		return nil, err
	}
	s.derivation = derivation
	if !unmarshal(parameters.Encryption.Parameters.FullBytes, &s.iv) || len(s.iv) != block {
		return nil, &LayoutError{Where: "the parameters of a cipher", Why: "initialization vector"}
	}
	if derivation.KeyLength != 0 && derivation.KeyLength != s.keySize {
		return nil, &LayoutError{Where: "the parameters of a cipher", Why: "length of the key"}
	}
	return s, nil
}

func (s newScheme) block() int { return len(s.iv) }

// candidates returns one, because PBKDF2 uses the text of the password, which is always the same.
func (newScheme) candidates(all []password) []password { return all[:1] }

func (s newScheme) decrypt(candidate password, data []byte, rounds *budget) ([]byte, error) {
	key, err := s.derivation.key(candidate.text, s.keySize, rounds)
	if err != nil {
		return nil, err
	}
	block, err := s.newCipher(key)
	if err != nil {
		return nil, err
	}
	return decryptCBC(block, s.iv, data), nil
}

func decryptCBC(block cipher.Block, iv, data []byte) []byte {
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	return plain
}
