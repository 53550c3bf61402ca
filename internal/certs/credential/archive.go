package credential

import (
	"archive/zip"
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// FileIgnored means that a file of an archive is neither a key nor a certificate.
const FileIgnored Reason = "FileIgnored"

// The limits of an archive. What a partner sends has a few files of some kilobytes.
const (
	// maxArchiveFiles is the maximum number of files.
	maxArchiveFiles = 100
	// maxArchiveSize is the maximum size of all files together, in bytes, unpacked.
	maxArchiveSize = 4 * MaxPartSize
)

// Parcel is the content of a ZIP archive with the files of one credential.
type Parcel struct {
	Bundle Bundle
	// ServerCA is the CA of the server, if one file of the archive holds it. ServerCAFile is the name
	// of that file, or "".
	ServerCA     Authorities
	ServerCAFile string
}

// archived is a file of an archive. The name is only compared and printed: nothing is unpacked to a
// disk.
type archived struct {
	name    string
	content []byte
	// keys and certificates are what the file holds.
	keys         []crypto.Signer
	certificates []*x509.Certificate
}

// IsArchive reports whether content begins like a ZIP archive.
func IsArchive(content []byte) bool {
	return bytes.HasPrefix(content, []byte("PK\x03\x04")) || bytes.HasPrefix(content, []byte("PK\x05\x06"))
}

// ArchiveNeedsPassword reports whether a file of an archive can be encrypted. It is false for an
// archive that can't be read.
func ArchiveNeedsPassword(content []byte) bool {
	files, err := unpack(content)
	return err == nil && slices.ContainsFunc(files, func(f archived) bool { return NeedsPassword(f.content) })
}

// ReadArchive reads a ZIP archive with a private key, its certificates and the CA of the server, in
// files of any name. password is that of the encrypted files. serverCA is the name of the file with
// the CA of the server. If it is "", the CA is taken from the only file that has no key, and none
// of whose certificates belongs to the chain of the client certificate: a CA that also issued the
// client certificate must be named, because nothing shows that it is meant. If no file is the CA,
// ServerCAFile is "".
//
// Files with anything else are skipped with a warning. If password is the reason for the error, it
// is a [*WrongPasswordError].
func ReadArchive(content []byte, password, serverCA string) (Parcel, error) {
	files, err := unpack(content)
	if err != nil {
		return Parcel{}, err
	}
	var findings []Finding
	var known []archived
	for _, file := range files {
		switch isKnown, err := file.read(password); {
		case err != nil:
			return Parcel{}, fmt.Errorf("%s in the archive: %w", Quote(file.name), err)
		case isKnown:
			known = append(known, file)
		default:
			findings = append(findings, warning(FileIgnored,
				"the file %s in the archive is ignored: it holds neither a private key nor a certificate", Quote(file.name)))
		}
	}
	bundle, err := joined(known)
	if err != nil {
		return Parcel{}, err
	}
	chosen, err := chooseServerCA(known, bundle, serverCA)
	if err != nil || chosen < 0 {
		bundle.Findings = findings
		return Parcel{Bundle: bundle}, err
	}
	file := known[chosen]
	authorities, err := ReadTrustStore(file.name, file.content, password)
	if err != nil {
		return Parcel{}, err
	}
	// A CA that is only the server's would be a stranger in the chain of the client.
	if rest, err := joined(slices.Delete(slices.Clone(known), chosen, chosen+1)); err == nil && sameChain(bundle, rest) {
		bundle = rest
	}
	bundle.Findings = findings
	return Parcel{Bundle: bundle, ServerCA: authorities, ServerCAFile: file.name}, nil
}

// sameChain reports whether two bundles with the same key have the same chain.
func sameChain(a, b Bundle) bool {
	first, firstErr := Arrange(a)
	second, secondErr := Arrange(b)
	return firstErr == nil && secondErr == nil &&
		slices.EqualFunc(first.withRoot(), second.withRoot(), (*x509.Certificate).Equal)
}

// unpack returns the files of an archive, within the limits.
func unpack(content []byte) ([]archived, error) {
	reader, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, errors.New("the file is a damaged ZIP archive; download it again in binary mode")
	}
	if count := len(reader.File); count > maxArchiveFiles {
		return nil, fmt.Errorf("the archive holds %d files: at most %d are read; keep the key, the certificates and the CA",
			count, maxArchiveFiles)
	}
	var files []archived
	left := int64(maxArchiveSize)
	for _, entry := range reader.File {
		name := entry.Name
		const encryptedFlag = 1
		switch {
		case !fs.ValidPath(strings.TrimSuffix(name, "/")) || strings.Contains(name, `\`):
			return nil, fmt.Errorf("the archive holds the path %s, which leads out of it: request an archive of plain files",
				Quote(name))
		case entry.FileInfo().IsDir(), strings.HasPrefix(name, "__MACOSX/"), path.Base(name) == ".DS_Store":
			continue
		case !entry.Mode().IsRegular():
			return nil, fmt.Errorf("the archive holds %s, which is not a plain file: request an archive of plain files",
				Quote(name))
		case entry.Flags&encryptedFlag != 0:
			return nil, errors.New("the archive itself is encrypted: unpack it, and import its files")
		case slices.ContainsFunc(files, func(f archived) bool { return f.name == name }):
			return nil, fmt.Errorf("the archive holds the file %s twice: request it again", Quote(name))
		}
		// The size in the header is that which the sender claims.
		unpacked, err := readEntry(entry, min(left, MaxPartSize))
		if err != nil {
			return nil, err
		}
		left -= int64(len(unpacked))
		files = append(files, archived{name: name, content: unpacked})
	}
	return files, nil
}

func readEntry(entry *zip.File, limit int64) ([]byte, error) {
	opened, err := entry.Open()
	if err != nil {
		return nil, fmt.Errorf("the archive packs the file %s in a way that is not supported: unpack it, and import its "+
			"files", Quote(entry.Name))
	}
	content, err := io.ReadAll(io.LimitReader(opened, limit+1))
	_ = opened.Close() // it was only read
	switch {
	case int64(len(content)) > limit:
		return nil, fmt.Errorf("the file %s makes the archive too large: at most %d bytes of a file are read, and %d of all "+
			"files", Quote(entry.Name), MaxPartSize, maxArchiveSize)
	case err != nil:
		return nil, fmt.Errorf("the file %s in the archive is damaged; download the archive again in binary mode",
			Quote(entry.Name))
	}
	return content, nil
}

// read parses the file. isKnown is false if it holds neither a key nor a certificate.
func (f *archived) read(password string) (isKnown bool, err error) {
	contents, isStore, err := storeOf(f.content, password)
	switch {
	case err != nil:
		return false, err
	case isStore && len(contents.Keys) > 0:
		bundle, err := bundleOf(contents)
		if err != nil {
			return false, err
		}
		f.keys, f.certificates = []crypto.Signer{bundle.PrivateKey}, bundle.Certificates
		return true, nil
	case isStore:
		authorities, err := ReadTrustStore(f.name, f.content, password)
		f.certificates = authorities.Certificates
		return true, err
	case isPEM(f.content):
		return f.readPEM(password)
	case isDER(f.content):
		f.certificates, err = ReadCertificates(f.name, f.content)
		return err == nil, nil // Other binary files are ignored.
	}
	return false, nil
}

func (f *archived) readPEM(password string) (isKnown bool, err error) {
	text, _, err := Text(f.content)
	if err != nil {
		return false, err
	}
	blocks := blocksOf(text)
	if slices.ContainsFunc(blocks, isKeyBlock) {
		key, err := ReadKey(f.name, f.content, password)
		if err != nil {
			return false, err
		}
		f.keys = []crypto.Signer{key}
	}
	for _, block := range blocks {
		if block.Type == certificateBlock || block.Type == pkcs7Block {
			f.certificates, _, err = ReadChain(f.name, f.content)
			return true, err
		}
	}
	return len(f.keys) > 0, nil
}

// joined returns the only key of the files, and all of their certificates.
func joined(files []archived) (Bundle, error) {
	var bundle Bundle
	var holders []string
	for _, file := range files {
		bundle.Certificates = append(bundle.Certificates, file.certificates...)
		for _, key := range file.keys {
			public, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
			if bundle.PrivateKey != nil && ok && public.Equal(bundle.PrivateKey.Public()) {
				continue
			}
			bundle.PrivateKey = key
			holders = append(holders, Quote(file.name))
		}
	}
	switch {
	case len(holders) == 0:
		return Bundle{}, errors.New("the archive holds no private key: it must hold the key, its certificates and the CA " +
			"of the server, or a PKCS#12 file")
	case len(holders) > 1:
		return Bundle{}, fmt.Errorf("the archive holds %d different private keys (%s): import the file with the right one",
			len(holders), few(holders))
	case len(bundle.Certificates) == 0:
		return Bundle{}, errors.New("the archive holds a private key but no certificate: request the certificate, and join " +
			"both with credential complete")
	}
	return bundle, nil
}

// chooseServerCA returns the index of the file with the CA of the server, or -1 if there is none.
func chooseServerCA(files []archived, bundle Bundle, named string) (int, error) {
	if named != "" {
		return slices.IndexFunc(files, func(f archived) bool { return f.name == named }), nil
	}
	chain, err := Arrange(bundle)
	if err != nil {
		return -1, err
	}
	whole := chain.withRoot()
	chosen := -1
	var candidates []string
	for i, file := range files {
		inChain := slices.ContainsFunc(file.certificates, func(c *x509.Certificate) bool {
			return slices.ContainsFunc(whole, c.Equal) ||
				bytes.Equal(c.RawSubjectPublicKeyInfo, whole[0].RawSubjectPublicKeyInfo)
		})
		if len(file.keys) == 0 && !inChain && slices.ContainsFunc(file.certificates, isAuthority) {
			chosen = i
			candidates = append(candidates, Quote(file.name))
		}
	}
	if len(candidates) > 1 {
		return -1, fmt.Errorf("the archive holds several files that can be the CA of the server (%s): choose one with "+
			"--server-ca NAME", few(candidates))
	}
	return chosen, nil
}
