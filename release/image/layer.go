package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layers returns the base root file system, if there is one, and a layer with the files and
// folders.
func (c Contents) layers() ([]v1.Layer, error) {
	level := gzip.NoCompression
	if c.Compressed {
		level = gzip.BestCompression
	}
	newLayer := func(open tarball.Opener) (v1.Layer, error) {
		return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(level))
	}
	var layers []v1.Layer
	if c.Base != "" {
		layer, err := newLayer(func() (io.ReadCloser, error) { return os.Open(c.Base) })
		if err != nil {
			return nil, fmt.Errorf("root file system %s: %w", c.Base, err)
		}
		layers = append(layers, layer)
	}
	if len(c.Files)+len(c.Folders) == 0 {
		return layers, nil
	}
	layer, err := newLayer(func() (io.ReadCloser, error) {
		reader, writer := io.Pipe()
		go func() { writer.CloseWithError(c.pack(writer)) }()
		return reader, nil
	})
	if err != nil {
		return nil, err
	}
	return append(layers, layer), nil
}

// pack writes an archive of the files and folders, without the time and the owner of the files.
func (c Contents) pack(output io.Writer) error {
	archive := tar.NewWriter(output)
	for _, folder := range c.Folders {
		header := &tar.Header{Typeflag: tar.TypeDir, Name: strings.Trim(folder, "/") + "/", Mode: 0o1777}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
	}
	for _, f := range c.Files {
		if err := f.pack(archive, f.Target == c.Entrypoint); err != nil {
			return fmt.Errorf("%s: %w", f.Source, err)
		}
	}
	return archive.Close()
}

func (f File) pack(archive *tar.Writer, entrypoint bool) error {
	content, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if entrypoint || info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	begin := make([]byte, 4)
	if _, err := io.ReadFull(content, begin); entrypoint && (err != nil || !bytes.Equal(begin, []byte("\x7fELF"))) {
		return errors.New("the entry point is not a Linux program: build it with GOOS=linux CGO_ENABLED=0")
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := archive.WriteHeader(
		&tar.Header{Name: strings.TrimPrefix(f.Target, "/"), Mode: mode, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(archive, content)
	return err
}
