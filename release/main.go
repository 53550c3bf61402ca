// Command release creates the artifacts of a release from the binaries that `make release` builds:
//
//	go -C release run . assemble …   writes the artifacts and their checksums into a folder
//	go -C release run . licenses …   writes the licenses of all dependencies of the program
//
// Releases are reproducible: the same binaries result in the same artifacts, because all times in
// them are the time of the commit. Paths are relative to the root of the project.
//
// It is a separate module, so that its dependencies are neither in the webhook's go.mod nor in
// those of the test servers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// product is the prefix of the name of every artifact.
const product = "mtls-egress-webhook"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := os.Chdir("..")
	if err == nil {
		err = run(ctx, os.Args[1:], os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	commands := map[string]func(context.Context, []string, io.Writer) error{
		"assemble": assembleCommand,
		"licenses": licensesCommand,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("usage: go -C release run . assemble|licenses …; use -h to list the flags of a command")
	}
	return commands[args[0]](ctx, args[1:], stdout)
}

func assembleCommand(ctx context.Context, args []string, stdout io.Writer) error {
	r := release{binaries: map[platform]string{}}
	flags := flag.NewFlagSet("assemble", flag.ContinueOnError)
	flags.StringVar(&r.version, "version", "", "`VERSION` of the binaries, as in v1.2.3")
	flags.StringVar(&r.commit, "commit", "", "`COMMIT` of the binaries")
	created := flags.Int64("created", 0, "time of the commit, in `SECONDS` since 1970")
	flags.StringVar(&r.repository, "image", product, "`NAME` of the image, with its registry")
	flags.StringVar(&r.source, "source", "", "`URL` of the sources; optional")
	flags.StringVar(&r.helm, "helm", "helm", "`PATH` of Helm 4")
	output := flags.String("output", "dist", "`FOLDER` for the artifacts; its content is replaced")
	flags.Func("binary", "a binary, `OS/ARCH=PATH`; repeatable", func(value string) error {
		name, path, found := strings.Cut(value, "=")
		system, architecture, ok := strings.Cut(name, "/")
		if !found || !ok || path == "" {
			return errors.New("want OS/ARCH=PATH")
		}
		r.binaries[platform{system, architecture}] = path
		return nil
	})
	if err := parse(flags, args); err != nil {
		return err
	}
	r.created = time.Unix(*created, 0).UTC()
	if err := r.assemble(ctx, *output); err != nil {
		return err
	}
	sums, err := os.ReadFile(checksumsIn(*output))
	if err != nil {
		return err
	}
	_, err = stdout.Write(sums)
	return err
}

func licensesCommand(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("licenses", flag.ContinueOnError)
	systems := flags.String("systems", "linux", "`OS,…` of the program")
	output := flags.String("output", "", "`FILE` for the license texts; default: print only the list")
	if err := parse(flags, args); err != nil {
		return err
	}
	libraries, err := libraries(ctx, strings.Split(*systems, ","))
	if err != nil {
		return err
	}
	if *output == "" {
		_, err := io.WriteString(stdout, licenseTable(libraries))
		return err
	}
	text, err := licenseTexts(libraries)
	if err != nil {
		return err
	}
	return os.WriteFile(*output, text, 0o644)
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	return nil
}
