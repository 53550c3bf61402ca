package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"time"
)

// member is a file in an archive, with the source of its content.
type member struct {
	name   string
	source string
	mode   int64
}

// writeArchive writes a tar archive with the files in the given order. All files belong to root and
// have the same time. The archive is compressed if path ends in gz.
func writeArchive(path string, files []member, modified time.Time) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var output io.WriteCloser = file
	if strings.HasSuffix(path, "gz") {
		if output, err = gzip.NewWriterLevel(file, gzip.BestCompression); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, output.Close()) }()
	}
	archive := tar.NewWriter(output)
	for _, f := range files {
		if err := f.write(archive, modified); err != nil {
			return err
		}
	}
	return archive.Close()
}

func (f member) write(archive *tar.Writer, modified time.Time) error {
	content, err := os.Open(f.source)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(
		&tar.Header{Name: f.name, Mode: f.mode, Size: info.Size(), ModTime: modified}); err != nil {
		return err
	}
	_, err = io.Copy(archive, content)
	return err
}
