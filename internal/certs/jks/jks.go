// Package jks reads Java key stores of the old types JKS and JCEKS. It returns the private keys and
// certificates in the file, and doesn't choose among them.
//
// Both types have the structure that the source of OpenJDK describes
// (https://github.com/openjdk/jdk/blob/master/src/java.base/share/classes/sun/security/provider/JavaKeyStore.java,
// engineStore). They differ in the encryption of keys. Of JCEKS, only the certificates are read.
//
// No value is allocated before its bytes are there, because a file can declare any length.
package jks

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // The format uses it.
	"crypto/subtle"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

// The errors of [Read], besides those about the structure of the file.
var (
	// ErrPassword means that the password doesn't match the digest of the file.
	ErrPassword = errors.New("jks: the digest doesn't match the password")
	// ErrKeyPassword means that the password matches the file, but doesn't decrypt a key in it.
	ErrKeyPassword = errors.New("jks: a key has another password")
	// ErrNoPassword means that the file holds a key, and no password was given.
	ErrNoPassword = errors.New("jks: the file holds a key and needs a password")
	// ErrUnsupported means that a key in the file is encrypted in a way that Read doesn't know, or
	// that the file holds a secret key.
	ErrUnsupported = errors.New("jks: unsupported key")
)

// Contents are the private keys and certificates in a file, each in the order of the file.
type Contents struct {
	// Keys are in PKCS#8, decrypted.
	Keys []Item
	// Certificates are those of the chains of keys, and trusted ones. They are not parsed.
	Certificates []Item
}

// Item is a key or a certificate in DER with its alias.
type Item struct {
	DER  []byte
	Name string
}

const (
	jksMagic   = 0xfeedfeed
	jceksMagic = 0xcececece

	keyTag         = 1
	certificateTag = 2

	// maxItems is the maximum number of keys and certificates. It limits what a caller parses. Java's
	// own trust store has about 150.
	maxItems = 1000
)

// Is reports whether content begins like a key store.
func Is(content []byte) bool { return Kind(content) != "" }

// Kind returns JKS or JCEKS, or "" for other files.
func Kind(content []byte) string {
	switch {
	case len(content) < 4:
		return ""
	case binary.BigEndian.Uint32(content) == jksMagic:
		return "JKS"
	case binary.BigEndian.Uint32(content) == jceksMagic:
		return "JCEKS"
	default:
		return ""
	}
}

// Read reads a file with its password. Without a password, it doesn't verify the digest, as keytool
// doesn't, and a file with keys results in [ErrNoPassword]. The error contains nothing of the file.
func Read(content []byte, password string) (Contents, error) {
	encoded := encode(password)
	if !Is(content) || len(content) < sha1.Size {
		return Contents{}, errors.New("jks: not a key store")
	}
	body, digest := content[:len(content)-sha1.Size], content[len(content)-sha1.Size:]
	if password != "" && subtle.ConstantTimeCompare(digest, digestOf(encoded, []byte("Mighty Aphrodite"), body)) == 0 {
		// A truncated file has no valid digest either.
		if _, err := (&reader{rest: body}).contents(); err != nil {
			return Contents{}, err
		}
		return Contents{}, ErrPassword
	}
	r := &reader{rest: body, password: encoded, decrypts: true, withPassword: password != ""}
	return r.contents()
}

// encode returns a password as Java hashes it: UTF-16 in big endian.
func encode(password string) []byte {
	var encoded []byte
	for _, unit := range utf16.Encode([]rune(password)) {
		encoded = binary.BigEndian.AppendUint16(encoded, unit)
	}
	return encoded
}

func digestOf(parts ...[]byte) []byte {
	h := sha1.New() //nolint:gosec // The format uses it.
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

// reader reads values from the start of rest. After the first error, all values are zero.
type reader struct {
	rest     []byte
	password []byte
	// decrypts reports whether keys are decrypted, and withPassword whether there is a password.
	decrypts, withPassword bool
	version                uint32
	read                   Contents
	err                    error
}

func (r *reader) contents() (Contents, error) {
	const magic = 4
	kind := Kind(r.rest)
	r.take(magic)
	r.version = r.uint32()
	count := r.uint32()
	if r.err == nil && r.version != 1 && r.version != 2 {
		return Contents{}, fmt.Errorf("jks: unknown version %d", r.version)
	}
	for i := uint32(0); i < count && r.err == nil; i++ {
		r.entry(kind)
	}
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("jks: %d extra bytes", len(r.rest))
	}
	if r.err != nil {
		return Contents{}, r.err
	}
	return r.read, nil
}

func (r *reader) entry(kind string) {
	tag := r.uint32()
	alias := string(r.take(int(r.uint16())))
	r.take(8) // the time of creation
	switch {
	case r.err != nil:
	case tag == certificateTag:
		r.certificate(alias)
	case tag == keyTag:
		r.key(kind, alias, r.take(int(r.uint32())))
		count := r.uint32()
		for i := uint32(0); i < count && r.err == nil; i++ {
			r.certificate(alias)
		}
	default:
		r.err = ErrUnsupported
	}
	if len(r.read.Keys)+len(r.read.Certificates) > maxItems {
		r.err = fmt.Errorf("jks: more than %d keys and certificates", maxItems)
	}
}

func (r *reader) certificate(alias string) {
	if r.version == 2 {
		r.take(int(r.uint16())) // the type, X.509
	}
	der := r.take(int(r.uint32()))
	if len(r.read.Certificates) > maxItems {
		r.err = fmt.Errorf("jks: more than %d keys and certificates", maxItems)
	}
	if r.err == nil {
		r.read.Certificates = append(r.read.Certificates, Item{bytes.Clone(der), alias})
	}
}

func (r *reader) key(kind, alias string, encrypted []byte) {
	switch {
	case r.err != nil || !r.decrypts:
	case kind != "JKS":
		r.err = ErrUnsupported
	case !r.withPassword:
		r.err = ErrNoPassword
	default:
		der, err := decrypt(encrypted, r.password)
		r.read.Keys = append(r.read.Keys, Item{der, alias})
		r.err = err
	}
}

// decrypt decrypts a key. The cipher text is the salt, the key XORed with a chain of digests, and a
// digest of the key
// (https://github.com/openjdk/jdk/blob/master/src/java.base/share/classes/sun/security/provider/KeyProtector.java).
func decrypt(encrypted, password []byte) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if rest, err := asn1.Unmarshal(encrypted, &info); err != nil || len(rest) > 0 {
		return nil, errors.New("jks: a key is not an EncryptedPrivateKeyInfo")
	}
	const protector = "1.3.6.1.4.1.42.2.17.1.1"
	if info.Algorithm.Algorithm.String() != protector || len(info.Data) < 2*sha1.Size {
		return nil, ErrUnsupported
	}
	digest, body := info.Data[:sha1.Size], info.Data[sha1.Size:]
	body, check := body[:len(body)-sha1.Size], body[len(body)-sha1.Size:]
	plain := make([]byte, 0, len(body))
	for len(plain) < len(body) {
		digest = digestOf(password, digest)
		for _, b := range digest[:min(len(digest), len(body)-len(plain))] {
			plain = append(plain, b^body[len(plain)])
		}
	}
	if subtle.ConstantTimeCompare(check, digestOf(password, plain)) == 0 {
		return nil, ErrKeyPassword
	}
	return plain, nil
}

// take returns the next bytes.
func (r *reader) take(length int) []byte {
	if r.err == nil && (length < 0 || length > len(r.rest)) {
		r.err = errors.New("jks: the file ends inside a value")
	}
	if r.err != nil {
		return nil
	}
	taken := r.rest[:length]
	r.rest = r.rest[length:]
	return taken
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}
