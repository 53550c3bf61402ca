package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// muslSource is a client whose resolver is musl's, relative to this module.
const muslSource = "../actor/clients/musl.c"

const muslProgram = "musl-client"

func muslFlags() []string { return []string{"-static", "-O2"} }

func muslKey() (string, error) {
	source, err := os.ReadFile(muslSource)
	return keyOf("musl", runtime.GOARCH, string(source), fmt.Sprintf("%q", muslFlags())), err
}

func muslComplete(entry string) bool { return isProgram(filepath.Join(entry, muslProgram)) }

// makeMusl compiles the client.
func makeMusl(ctx context.Context, entry string, progress io.Writer) error {
	begin := time.Now()
	unfinished, err := os.MkdirTemp(entry, temporary)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(unfinished) }()
	program := filepath.Join(unfinished, muslProgram)
	compiler := command{dir: ".", args: append(append([]string{"musl-gcc"}, muslFlags()...), "-o", program, muslSource)}
	if _, err := compiler.run(ctx, still(progress, muslProgram, begin)); err != nil {
		return err
	}
	tellf(progress, "%s: done in %s\n", muslProgram, since(begin))
	return os.Rename(program, filepath.Join(entry, muslProgram))
}
