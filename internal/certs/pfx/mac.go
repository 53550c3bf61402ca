package pfx

import (
	"crypto"
	"crypto/hmac"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
)

// macData is the MacData of RFC 7292 §4.
type macData struct {
	Digest struct {
		Algorithm pkix.AlgorithmIdentifier
		Value     []byte
	}
	Salt       []byte
	Iterations int `asn1:"optional,default:1"`
}

const pbmac1Type = "1.2.840.113549.1.5.14"

// The bounds of the key length in PBMAC1. A short key makes the MAC match any password
// (CVE-2026-34181), and RFC 9579 §5 requires 20 bytes. The upper bound is that of SHA-512's block.
const (
	minMACKey = 20
	maxMACKey = 128
)

// verify verifies the MAC of content. Afterwards, the first of the passwords is the matching one.
func (r *reader) verify(der, content []byte) error {
	var mac macData
	if !unmarshal(der, &mac) {
		return &LayoutError{Where: "the MAC", Why: "MacData"}
	}
	if mac.Digest.Algorithm.Algorithm.String() == pbmac1Type {
		return r.verifyPBMAC1(mac, content)
	}
	hash, known := digestOf(mac.Digest.Algorithm.Algorithm)
	if !known {
		return &UnsupportedError{What: "a MAC with " + nameOf(mac.Digest.Algorithm.Algorithm), OpenSSL: true}
	}
	for i, candidate := range r.passwords {
		if err := r.rounds.spend(mac.Iterations); err != nil {
			return err
		}
		key := Derive(hash, ForMAC, candidate.unicode, mac.Salt, mac.Iterations, hash.Size())
		if hmac.Equal(mac.Digest.Value, sum(hash, key, content)) {
			r.verified = true
			r.passwords[0], r.passwords[i] = r.passwords[i], r.passwords[0]
			return nil
		}
	}
	return &PasswordError{}
}

// verifyPBMAC1 verifies a MAC of RFC 9579, with the parameters of RFC 8018 appendix A.5. The salt
// and the iterations outside of these parameters have no meaning.
func (r *reader) verifyPBMAC1(mac macData, content []byte) error {
	var parameters struct{ Derivation, Scheme pkix.AlgorithmIdentifier }
	if !unmarshal(mac.Digest.Algorithm.Parameters.FullBytes, &parameters) {
		return &LayoutError{Where: "the MAC", Why: "parameters of PBMAC1"}
	}
	derivation, err := parsePBKDF2(parameters.Derivation)
	if err != nil {
		return err
	}
	hash, known := prfOf(parameters.Scheme.Algorithm)
	switch {
	case !known:
		return &UnsupportedError{What: "a MAC (PBMAC1) with " + nameOf(parameters.Scheme.Algorithm), OpenSSL: true}
	case derivation.KeyLength == 0:
		return &LayoutError{Where: "the MAC", Why: "PBMAC1 without the length of its key, which RFC 9579 requires"}
	case derivation.KeyLength < minMACKey || derivation.KeyLength > maxMACKey:
		return &LayoutError{Where: "the MAC", Why: fmt.Sprintf("PBMAC1 with a key of length %d, which must be %d to %d",
			derivation.KeyLength, minMACKey, maxMACKey)}
	}
	key, err := derivation.key(r.passwords[0].text, derivation.KeyLength, r.rounds)
	if err != nil {
		return err
	}
	if !hmac.Equal(mac.Digest.Value, sum(hash, key, content)) {
		return &PasswordError{}
	}
	r.verified = true
	return nil
}

func sum(hash crypto.Hash, key, message []byte) []byte {
	code := hmac.New(hash.New, key)
	code.Write(message)
	return code.Sum(nil)
}

// digestOf returns the hash of a digest algorithm.
func digestOf(algorithm asn1.ObjectIdentifier) (hash crypto.Hash, known bool) {
	return hashAt(algorithm, "1.3.14.3.2.26", "2.16.840.1.101.3.4.2.4", "2.16.840.1.101.3.4.2.1",
		"2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.3")
}

// prfOf returns the hash of an HMAC (RFC 8018 appendix B.1).
func prfOf(algorithm asn1.ObjectIdentifier) (hash crypto.Hash, known bool) {
	const hmacs = "1.2.840.113549.2."
	return hashAt(algorithm, hmacs+"7", hmacs+"8", hmacs+"9", hmacs+"10", hmacs+"11")
}

// hashAt returns the hash whose identifier is algorithm. The identifiers are in the order of the
// hashes.
func hashAt(algorithm asn1.ObjectIdentifier, identifiers ...string) (hash crypto.Hash, known bool) {
	at := slices.Index(identifiers, algorithm.String())
	if at < 0 {
		return 0, false
	}
	return []crypto.Hash{crypto.SHA1, crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512}[at], true
}
