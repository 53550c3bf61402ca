// Command dashboard draws a Grafana dashboard as a picture, without Grafana: it asks a Prometheus the queries of each panel and puts what comes of them where Grafana would.
//
//	go -C test/tools/dashboard run . -dashboard FILE -prometheus URL -last 5m -picture FILE
//
// It draws what the project's dashboard uses of Grafana, and fails for anything else in the file, so that nothing is left out silently. It fails as well when Prometheus
// refuses a query or warns of it, and when a query brings nothing: a panel without data is one that nobody has seen work. A query that ends with "or vector(0)" is asked
// without that, too. All problems are told at once; the picture is written all the same, for whoever looks for the cause.
//
// This is a module of its own so that the webhook's go.mod carries only what the webhook needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/tools/dashboard:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, usage io.Writer) error {
	flags := flag.NewFlagSet("dashboard", flag.ContinueOnError)
	flags.SetOutput(usage)
	file := flags.String("dashboard", "", "The `file` with the dashboard, as JSON.")
	server := flags.String("prometheus", "", "The `URL` of the Prometheus.")
	last := flags.Duration("last", time.Hour, "How much time until now is drawn.")
	scrape := flags.Duration("scrape-interval", 15*time.Second, "How often the Prometheus scrapes, which Grafana has in its data source. Lines have a point for each, or fewer.")
	picture := flags.String("picture", "", "The `file` that the picture is written to, as PNG. Without it, only the queries are tried.")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *file == "" || *server == "" || flags.NArg() > 0 {
		return errors.New("want -dashboard and -prometheus, and no argument")
	}
	content, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	board, err := parse(content)
	if err != nil {
		return fmt.Errorf("%s: %w", *file, err)
	}
	client, err := api.NewClient(api.Config{Address: *server})
	if err != nil {
		return err
	}
	now := time.Now()
	span := span{from: now.Add(-*last), to: now, scrape: *scrape}
	results, err := ask(ctx, promv1.NewAPI(client), board, span)
	if *picture == "" {
		return err
	}
	return errors.Join(err, write(*picture, board, results, span))
}

func write(path string, board *dashboard, results []result, span span) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	return encoder.Encode(file, paint(board, results, span))
}
