// Command release makes what is published of a version, from binaries that `make release` has
// built:
//
//	go -C release run . assemble …   writes the artefacts and their checksums into a folder
//	go -C release run . licences …   writes the licences of everything that the program is made of
//	go -C release run . publish …    pushes the image and the chart of such a folder to a registry
//
// The same binaries give the same artefacts to the byte: every time in them is that of the commit.
// Paths are relative to the project's folder.
//
// It is a module of its own, so that its libraries reach neither the webhook's go.mod nor the ones
// that the test servers are built from.
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

// product is what every artefact's name starts with.
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
	commands := map[string]func(context.Context, []string, io.Writer) error{"assemble": assembleCommand, "licences": licencesCommand, "publish": publishCommand}
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("usage: go -C release run . assemble|licences|publish …; -h after it lists its flags")
	}
	return commands[args[0]](ctx, args[1:], stdout)
}

func assembleCommand(ctx context.Context, args []string, stdout io.Writer) error {
	r := release{binaries: map[platform]string{}}
	flags := flag.NewFlagSet("assemble", flag.ContinueOnError)
	flags.StringVar(&r.version, "version", "", "`VERSION` that the binaries were built with, as in v1.2.3")
	flags.StringVar(&r.commit, "commit", "", "the `COMMIT` that they were built from")
	created := flags.Int64("created", 0, "when that was made, in `SECONDS` since 1970")
	flags.StringVar(&r.repository, "image", product, "`NAME` of the image, with its registry")
	flags.StringVar(&r.source, "source", "", "`URL` of the sources, if there is one")
	flags.StringVar(&r.helm, "helm", "helm", "`PATH` of Helm")
	output := flags.String("output", "dist", "the `FOLDER` to write; what was there before is removed")
	flags.Func("binary", "a binary, `OS/ARCH=PATH`; repeated", func(value string) error {
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

func licencesCommand(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("licences", flag.ContinueOnError)
	systems := flags.String("systems", "linux", "`OS,…` that the program is built for")
	output := flags.String("output", "", "the `FILE` to write; without it, the list without the texts is printed")
	if err := parse(flags, args); err != nil {
		return err
	}
	libraries, err := libraries(ctx, strings.Split(*systems, ","))
	if err != nil {
		return err
	}
	if *output == "" {
		_, err := io.WriteString(stdout, licenceTable(libraries))
		return err
	}
	text, err := licenceTexts(libraries)
	if err != nil {
		return err
	}
	return os.WriteFile(*output, text, 0o644)
}

func publishCommand(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("publish", flag.ContinueOnError)
	folder := flags.String("dist", "dist", "the `FOLDER` of the artefacts")
	registry := flags.String("registry", "", "where to, as in `HOST/OWNER`; required")
	helm := flags.String("helm", "helm", "`PATH` of Helm")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *registry == "" {
		return errors.New("-registry is required")
	}
	return publish(ctx, *folder, *registry, *helm, stdout)
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	return nil
}
