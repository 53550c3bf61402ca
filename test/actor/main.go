// Command actor plays the two ends of a call in the mesh tests, and what is between them, from one
// static binary:
//
//	actor partner --plain :80 --tls :443,:8443 --control :9000 \
//	  --certificates DIR --client-auth require
//	actor caller --control :9100 --loop http://external.system.com/
//	actor relay --way :9443=external.system.com:443
//
// Package partner says what the first records, package caller what the second does, and package
// relay what the third passes on.
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

	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/actor/relay"
)

func main() {
	// Signals are handled here because the first process of a container is not ended by one that it
	// does not handle.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "actor:", err)
		os.Exit(1)
	}
}

// run plays the part that the first argument names until the context ends.
func run(ctx context.Context, args []string, out, problems io.Writer) error {
	if len(args) == 0 {
		return errors.New("which part? The first argument must be partner, caller or relay")
	}
	switch args[0] {
	case "partner":
		return runPartner(ctx, args[1:], problems)
	case "caller":
		return runCaller(ctx, args[1:], out, problems)
	case "relay":
		return runRelay(ctx, args[1:], problems)
	default:
		return fmt.Errorf("there is no part %q; the first argument must be partner, caller or relay", args[0])
	}
}

func runPartner(ctx context.Context, args []string, problems io.Writer) error {
	flags := newFlags("actor partner", problems)
	plain := list(flags, "plain", "`addresses` for plain HTTP, for example :80; comma-separated or repeated")
	secured := list(flags, "tls", "`addresses` for TLS, for example :443,:8443")
	control := flags.String("control", ":9000", "`address` of the control port")
	certificates := flags.String("certificates", "",
		"`folder` with default.crt and .key, further pairs chosen by their DNS names, and client-ca.crt")
	clientAuth := flags.String("client-auth", string(partner.ClientAuthRequire),
		"client certificates: require, request or none")
	if err := parse(flags, args); err != nil {
		return err
	}
	server, err := partner.Listen(ctx, partner.Options{
		Plain:        *plain,
		TLS:          *secured,
		Control:      *control,
		Certificates: *certificates,
		ClientAuth:   partner.ClientAuth(*clientAuth),
		Log:          problems,
	})
	if err != nil {
		return err
	}
	return server.Serve(ctx)
}

func runCaller(ctx context.Context, args []string, out, problems io.Writer) error {
	flags := newFlags("actor caller", problems)
	// A URL may hold a comma: it is not split.
	var loops []string
	flags.Func(
		"loop", "`URL` to call back to back from the first moment on; repeated for more",
		func(address string) error {
			loops = append(loops, address)
			return nil
		},
	)
	control := flags.String("control", ":9100", "`address` of the control port")
	timeout := flags.Duration("timeout", time.Second, "of each call of a loop")
	pause := flags.Duration("pause", 5*time.Millisecond, "between two calls of a loop")
	keepAlive := flags.Bool("keepalive", true, "loops reuse their connection")
	until := flags.Int("until", 0, "end with status 0 when each loop has had so many successful calls; 0 is never")
	if err := parse(flags, args); err != nil {
		return err
	}
	return caller.Run(ctx, caller.Options{
		Control: *control, Loops: loops, Timeout: *timeout, Pause: *pause, KeepAlive: *keepAlive, Until: *until, Out: out,
	})
}

func runRelay(ctx context.Context, args []string, problems io.Writer) error {
	flags := newFlags("actor relay", problems)
	ways := list(flags, "way", "`pairs` of an address and a destination, for example :9443=external.system.com:443")
	if err := parse(flags, args); err != nil {
		return err
	}
	return relay.Run(ctx, *ways)
}

func newFlags(name string, problems io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(problems)
	return flags
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s takes flags only, not %q", flags.Name(), flags.Args())
	}
	return nil
}

// list is a flag with several values.
func list(flags *flag.FlagSet, name, usage string) *[]string {
	var values []string
	flags.Func(name, usage, func(value string) error {
		values = append(values, strings.Split(value, ",")...)
		return nil
	})
	return &values
}
