package credential

import (
	"archive/zip"
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/certs/pfx"
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
	// keys and certificates are what the file holds, and findings are about what is omitted of it.
	keys         []crypto.Signer
	certificates []*x509.Certificate
	findings     []Finding
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

// ArchiveHolds reports whether an archive holds a file of a name. It is false for an archive that
// can't be read.
func ArchiveHolds(content []byte, name string) bool {
	files, err := unpack(content)
	return err == nil && slices.ContainsFunc(files, func(f archived) bool { return f.name == name })
}

// NotInArchive is the serverCA for [ReadArchive] if the CA of the server is not in the archive. No
// file in an archive has this name.
const NotInArchive = "/"

// ReadArchive reads a ZIP archive with a private key, its certificates and the CA of the server, in
// files of any name. password is that of the encrypted files. serverCA is the name of the file with
// the CA of the server, or [NotInArchive]. If it is "", the CA is taken from the only file that has
// no key, and none of whose certificates belongs to the chain of the client certificate. A CA that
// also issued the client certificate must be named, because nothing shows that it is meant. So must
// every CA if that chain doesn't end at a root, because the CA can be the missing root. If no file
// is the CA, ServerCAFile is "".
//
// Files with anything else are skipped with a warning. With an error, the Findings of the Bundle
// are those until then. If password is the reason for the error, it is a [*WrongPasswordError].
func ReadArchive(content []byte, password, serverCA string) (Parcel, error) {
	files, err := unpack(content)
	if err != nil {
		return Parcel{}, err
	}
	var failures []error
	for i := range files {
		if err := files[i].read(password); err != nil {
			failures = append(failures, fmt.Errorf("%s in the archive: %w", Quote(files[i].name), err))
		}
	}
	bundle, err := joined(files)
	if len(failures) > 0 {
		err = errors.Join(failures...)
	}
	if err != nil {
		return Parcel{Bundle: Bundle{Findings: findingsOf(files)}}, err
	}
	chosen, err := chooseServerCA(files, bundle, serverCA)
	if err != nil || chosen < 0 {
		return Parcel{Bundle: bundle}, err
	}
	file := files[chosen]
	authorities, err := ReadTrustStore(file.name, file.content, password)
	if err != nil {
		return Parcel{Bundle: bundle}, err
	}
	others := slices.Delete(slices.Clone(files), chosen, chosen+1)
	// A CA that is only the server's would be a stranger in the chain of the client.
	if rest, err := joined(others); err == nil && sameChain(bundle, rest) {
		bundle = rest
	}
	// The findings about the chosen file are those of the CA.
	bundle.Findings = findingsOf(others)
	return Parcel{Bundle: bundle, ServerCA: authorities, ServerCAFile: file.name}, nil
}

func findingsOf(files []archived) (findings []Finding) {
	for _, file := range files {
		findings = append(findings, file.findings...)
	}
	return findings
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
		if block := keyInDER(unpacked); block != nil {
			unpacked = pem.EncodeToMemory(block)
		}
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

// keyInDER returns the PEM block of a private key in DER, which can be encrypted, or nil for other
// files. It looks at the structure alone: the key is parsed later, like one in PEM.
func keyInDER(content []byte) *pem.Block {
	elements, ok := children(content, asn1.TagSequence)
	if !ok || len(elements) < 2 {
		return nil
	}
	const rsaIntegers = 9 // RFC 8017 appendix A.1.2, with two primes
	isOther := func(element asn1.RawValue) bool { return !isInteger(element) }
	kind := ""
	switch first, second := elements[0], elements[1]; {
	case isAlgorithm(first) && second.Tag == asn1.TagOctetString && len(elements) == 2:
		kind = encryptedKeyBlock
	case !isInteger(first):
	case isAlgorithm(second) && len(elements) > 2 && elements[2].Tag == asn1.TagOctetString:
		kind = pkcs8Block
	case second.Tag == asn1.TagOctetString:
		kind = sec1Block
	case len(elements) == rsaIntegers && !slices.ContainsFunc(elements, isOther):
		kind = pkcs1Block
	}
	if kind == "" {
		return nil
	}
	return &pem.Block{Type: kind, Bytes: content}
}

// read parses the file. It warns about a file without a key and a certificate.
func (f *archived) read(password string) error {
	isKnown, err := f.parse(password)
	if err == nil && !isKnown {
		f.findings = append(f.findings, warning(FileIgnored,
			"the file %s in the archive is ignored: it holds neither a private key nor a certificate", Quote(f.name)))
	}
	return err
}

// parse parses the file. isKnown is false if it holds neither a key nor a certificate.
func (f *archived) parse(password string) (isKnown bool, err error) {
	contents, isStore, err := storeOf(f.content, password)
	switch {
	case err != nil:
		return false, err
	case isStore && len(contents.Keys) > 0:
		return true, f.takeKeyStore(contents)
	case isStore && len(contents.Certificates) > 0:
		var encoded [][]byte
		for _, item := range contents.Certificates {
			encoded = append(encoded, item.DER)
		}
		f.certificates, f.findings, err = parseChain(part{certificatePart, f.name}, encoded)
		return true, err
	case isStore:
		return false, nil
	case isPEM(f.content):
		return f.readPEM(password)
	case isDER(f.content):
		p := part{certificatePart, f.name}
		encoded, _, problem := encodedCertificates(p, f.content)
		if problem != "" {
			return false, nil // Other binary files are ignored.
		}
		f.certificates, f.findings, err = parseChain(p, encoded)
		return true, err
	}
	return false, nil
}

func (f *archived) takeKeyStore(contents pfx.Contents) error {
	bundle, err := bundleOf(contents)
	for _, finding := range bundle.Findings {
		finding.Message = fmt.Sprintf("%s in the archive: %s", Quote(f.name), finding.Message)
		f.findings = append(f.findings, finding)
	}
	if err != nil {
		return err
	}
	f.keys, f.certificates = []crypto.Signer{bundle.PrivateKey}, bundle.Certificates
	return nil
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
			f.certificates, f.findings, err = ReadChain(f.name, f.content)
			return true, err
		}
	}
	return len(f.keys) > 0, nil
}

// joined returns the only key of the files, and all of their certificates.
func joined(files []archived) (Bundle, error) {
	bundle := Bundle{Findings: findingsOf(files)}
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
// named is like serverCA of [ReadArchive].
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
	last := whole[len(whole)-1]
	switch {
	case len(candidates) > 1:
		return -1, fmt.Errorf("the archive holds several files that can be the CA of the server (%s): choose one with "+
			"--server-ca archive:NAME", few(candidates))
	case len(candidates) == 1 && !selfSigned(last):
		return -1, fmt.Errorf("the archive holds a CA in %s, but not the issuer of %s in the chain of the client "+
			"certificate: the CA can be that of the client or that of the server. If the partner says that it signs the "+
			"server certificate, choose it with --server-ca archive:NAME", candidates[0], identify(last))
	}
	return chosen, nil
}
