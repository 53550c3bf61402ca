package cli

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// logOptions configures logging to standard error.
type logOptions struct {
	format string
	level  string
}

const (
	logText = "text"
	logJSON = "json"
)

// logLevels returns the values of --log-level.
func logLevels() map[string]slog.Level {
	return map[string]slog.Level{
		"debug": slog.LevelDebug,
		"info":  slog.LevelInfo,
		"warn":  slog.LevelWarn,
		"error": slog.LevelError,
	}
}

func (o *logOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.format, "log-format", logText, "The log format on standard error: text or json.")
	flags.StringVar(&o.level, "log-level", "info", "The minimum log level: debug, info, warn or error.")
}

func (o *logOptions) validate() []error {
	var problems []error
	if o.format != logText && o.format != logJSON {
		problems = append(problems, fmt.Errorf("--log-format: %q is neither text nor json", o.format))
	}
	if _, known := logLevels()[o.level]; !known {
		levels := slices.Sorted(maps.Keys(logLevels()))
		problems = append(problems, fmt.Errorf("--log-level: %q is not one of %s", o.level, strings.Join(levels, ", ")))
	}
	return problems
}

func (o *logOptions) handler(w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: logLevels()[o.level], ReplaceAttr: plainLevel}
	if o.format == logJSON {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// plainLevel maps all levels below info to DEBUG. slog would print them as DEBUG+3 and similar,
// which log collectors don't recognize.
func plainLevel(groups []string, attribute slog.Attr) slog.Attr {
	if len(groups) > 0 || attribute.Key != slog.LevelKey {
		return attribute
	}
	if level, ok := attribute.Value.Any().(slog.Level); ok && level < slog.LevelInfo {
		return slog.Any(slog.LevelKey, slog.LevelDebug)
	}
	return attribute
}

// install sets one logger for the whole process: this program, controller-runtime, client-go
// (klog), and the standard library, which reports failed TLS handshakes.
func (o *logOptions) install(w io.Writer) logr.Logger {
	handler := o.handler(w)
	log := logr.FromSlogHandler(handler)
	slog.SetDefault(slog.New(handler))
	klog.SetSlogLogger(slog.New(handler))
	ctrl.SetLogger(log)
	return log
}
