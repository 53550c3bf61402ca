package credential

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/bits"
)

// Any user who can write a Secret or a ConfigMap controls what is parsed here. The time to parse
// numbers grows with the square or the cube of their length, so sizes are checked first. With the
// limits below, the work is at most
//   - one pass over [MaxPartSize] bytes for each part,
//   - [maxAuthorities] certificates, which are parsed but not used in calculations, and
//   - the checks of one RSA key with two primes, none of which computes a value of the key.
const (
	// maxModulusBits is the size of the longest RSA modulus. BoringSSL, and therefore the sidecar,
	// rejects longer ones (https://github.com/google/boringssl/blob/main/include/openssl/rsa.h,
	// OPENSSL_RSA_MAX_MODULUS_BITS).
	maxModulusBits = 16_384
	// maxKeySize is the size of the largest private key in DER, in bytes. An RSA key of
	// maxModulusBits has 9.3 KB.
	maxKeySize = 16 << 10
	// maxCertificateSize is the size of the largest certificate in DER, in bytes. Real ones have 1
	// or 2 KB, and 20 KB with a hundred names.
	maxCertificateSize = 64 << 10
	// maxAuthorities is the maximum number of CA certificates for a server. Public bundles have
	// about 150 (https://wiki.mozilla.org/CA/Included_Certificates).
	maxAuthorities = 1000
	// maxCertificates is the maximum number of certificates in a chain, including unrelated ones.
	// Real chains are much shorter.
	maxCertificates = 100
	// maxVerifying limits the cost of the search for a chain. The cost is that of one signature for
	// each pair of certificates of which one can have signed the other, according to their names. A
	// unit takes about 5 µs. Real chains have a few pairs.
	maxVerifying = 1_000_000
)

const (
	storeSmallerKey = "store a key of 2048 to 4096 bits"
	keepChain       = "keep only the client certificate and its chain to the root"
)

// checkKeySize validates the size of the private key p before it is parsed. It returns "" if the
// size is valid. For keys other than RSA, the curve limits the work of the parser.
func checkKeySize(p string, block *pem.Block) (problem string) {
	if len(block.Bytes) > maxKeySize {
		return fmt.Sprintf("%s has a block of %d bytes: at most %d are read; %s", p, len(block.Bytes), maxKeySize,
			storeSmallerKey)
	}
	numbers, isRSA := rsaNumbers(block)
	if !isRSA {
		return ""
	}
	const version, modulus, numbersOfTwoPrimes = 0, 1, 9
	length := numbers[modulus].BitLen()
	if length > maxModulusBits {
		return fmt.Sprintf("%s has an RSA modulus of %d bits; at most %d are read: %s", p, length, maxModulusBits,
			storeSmallerKey)
	}
	whole := len(numbers) == numbersOfTwoPrimes && numbers[version].Sign() == 0
	for _, number := range numbers {
		whole = whole && number.BitLen() <= length
	}
	if !whole {
		// Go would compute the missing values, in a time that grows with the cube of the modulus.
		// BoringSSL rejects such keys
		// (https://github.com/google/boringssl/blob/main/crypto/rsa/rsa_asn1.cc, RSA_parse_private_key).
		return fmt.Sprintf(
			"%s is an RSA key in a form that the sidecar can't read: the key needs two primes and all values for the "+
				"Chinese remainder theorem (RFC 8017 appendix A.1.2); store a key that OpenSSL generated", p)
	}
	return ""
}

// rsaNumbers returns the leading numbers of an RSA private key in PKCS#1 or PKCS#8, of which the
// version is the first. ok is false for other keys. The numbers are not used in calculations.
func rsaNumbers(block *pem.Block) (numbers []*big.Int, ok bool) {
	der := block.Bytes
	if block.Type == pkcs8Block {
		var wrapped struct {
			Version   int
			Algorithm asn1.RawValue
			Key       []byte
		}
		if _, err := asn1.Unmarshal(der, &wrapped); err != nil {
			return nil, false
		}
		der = wrapped.Key
	}
	var key asn1.RawValue
	if _, err := asn1.Unmarshal(der, &key); err != nil || key.Tag != asn1.TagSequence {
		return nil, false
	}
	for rest := key.Bytes; len(rest) > 0; {
		var number asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &number); err != nil || number.Tag != asn1.TagInteger {
			break
		}
		numbers = append(numbers, new(big.Int).SetBytes(number.Bytes))
	}
	// PKCS#8 and SEC1 begin with a single number.
	return numbers, len(numbers) > 1
}

// parseCertificates parses certificates in DER. problem is "" if all are valid. Otherwise, the
// certificates before the first invalid one are returned.
func parseCertificates(p part, encoded [][]byte) (certificates []*x509.Certificate, problem string) {
	if problem := checkCount(p, len(encoded)); problem != "" {
		return nil, problem
	}
	for i, der := range encoded {
		certificate, why := parseCertificate(der)
		if why != "" {
			return certificates, fmt.Sprintf("%s: certificate %d of %d %s", p, i+1, len(encoded), why)
		}
		certificates = append(certificates, certificate)
	}
	if p.role == certificatePart {
		if problem := checkChain(certificates); problem != "" {
			return nil, p.String() + " holds " + problem
		}
	}
	return certificates, ""
}

func checkCount(p part, count int) (problem string) {
	switch {
	case p.role == certificatePart && count > maxCertificates:
		return fmt.Sprintf("%s holds %s", p, tooMany(count))
	case count > maxAuthorities:
		return fmt.Sprintf("%s holds %d certificates: at most %d are read; keep those that are needed", p, count,
			maxAuthorities)
	}
	return ""
}

func tooMany(certificates int) string {
	return fmt.Sprintf("%d certificates: the limit for a chain is %d; %s", certificates, maxCertificates, keepChain)
}

// checkModulus validates the size of the key of a certificate, before a signature is verified with
// it. It returns "" if the size is valid.
func checkModulus(certificate *x509.Certificate) (problem string) {
	if key, ok := certificate.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxModulusBits {
		return fmt.Sprintf(
			"has an RSA modulus of %d bits; at most %d are read: have it issued for a key of 2048 to 4096 bits",
			key.N.BitLen(), maxModulusBits)
	}
	return ""
}

// checkChain checks whether the search for a chain in certificates is cheap enough. It returns ""
// if it is. It verifies no signature.
func checkChain(certificates []*x509.Certificate) (problem string) {
	if len(certificates) > maxCertificates {
		return tooMany(len(certificates))
	}
	for i, certificate := range certificates {
		if problem := checkModulus(certificate); problem != "" {
			return fmt.Sprintf("%d certificates, of which number %d (%s) %s", len(certificates), i+1,
				identify(certificate), problem)
		}
	}
	signers := map[string]int{}
	for _, certificate := range certificates {
		signers[string(certificate.RawSubject)] += verifyingCost(certificate)
	}
	cost := 0
	for _, certificate := range certificates {
		cost += signers[string(certificate.RawIssuer)]
	}
	if cost > maxVerifying {
		return fmt.Sprintf(
			"%d certificates with names so alike and keys so long that a search for the chain would take too long; %s",
			len(certificates), keepChain)
	}
	return ""
}

// verifyingCost returns the cost of verifying a signature with the key of a certificate. For RSA,
// it grows with the square of the modulus and with the length of the exponent, which Go limits to
// 31 bits. For other keys, the curve limits it.
func verifyingCost(signer *x509.Certificate) int {
	key, ok := signer.PublicKey.(*rsa.PublicKey)
	if !ok {
		return 100
	}
	const unit = 1024
	return (1 + key.N.BitLen()*key.N.BitLen()/(unit*unit)) * bits.Len(uint(key.E))
}

// splitDER splits content into consecutive DER values. ok is false if it contains anything else.
func splitDER(content []byte) (values [][]byte, ok bool) {
	for rest := content; len(rest) > 0; {
		var value asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &value); err != nil {
			return nil, false
		}
		values = append(values, value.FullBytes)
	}
	return values, len(values) > 0
}
