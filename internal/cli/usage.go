package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mtls.egress/webhook/internal/egress"
)

// wrongUsage adds the command's line of usage to what is wrong with the command line.
func wrongUsage(cmd *cobra.Command, problem string) error {
	usage := strings.Join(strings.Fields(cmd.UseLine()), " ")
	if cmd.HasAvailableSubCommands() {
		usage = cmd.CommandPath() + " COMMAND"
	}
	return fmt.Errorf("%s\nUsage: %s\nSee %s --help", problem, usage, cmd.CommandPath())
}

// commandLineError says what is wrong with flags or arguments that cobra accepts.
type commandLineError struct{ error }

func (e *commandLineError) Unwrap() error { return e.error }

// wrongCommandLine joins the problems of a command line, so that [addUsage] adds the line of usage.
// It returns nil if all problems are nil.
func wrongCommandLine(problems ...error) error {
	if err := errors.Join(problems...); err != nil {
		return &commandLineError{err}
	}
	return nil
}

// addUsage makes all commands refuse a wrong command line in the same way: also a long flag with
// one hyphen, and what the command itself refuses with [wrongCommandLine].
func addUsage(root *cobra.Command) {
	forEachCommand(root, func(command *cobra.Command) {
		checkArguments, run := command.Args, command.RunE
		command.Args = func(cmd *cobra.Command, args []string) error {
			// What follows such a flag looks like an argument.
			if problem := oneHyphen(cmd); problem != "" {
				return wrongUsage(cmd, problem)
			}
			if checkArguments == nil {
				return nil
			}
			return checkArguments(cmd, args)
		}
		command.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if _, wrong := errors.AsType[*commandLineError](err); wrong {
				return wrongUsage(cmd, err.Error())
			}
			return err
		}
	})
}

// oneHyphen returns the problem of a long flag that is written with one hyphen, or "". Pflag reads
// -namespace as -n amespace.
func oneHyphen(cmd *cobra.Command) string {
	problem := ""
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		values := []string{flag.Value.String()}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			if long := longFlag(cmd, flag, value); long != "" && problem == "" {
				problem = long
			}
		}
	})
	return problem
}

// longFlag returns the problem if the shorthand and its value are a long flag of the command, or
// "".
func longFlag(cmd *cobra.Command, flag *pflag.Flag, value string) string {
	long, _, _ := strings.Cut(flag.Shorthand+value, "=")
	if flag.Shorthand == "" || cmd.Flags().Lookup(long) == nil {
		return ""
	}
	return fmt.Sprintf("-%s is read as -%s %s: write --%[1]s", long, flag.Shorthand, long[len(flag.Shorthand):])
}

// noArguments refuses arguments.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	problem := fmt.Sprintf("%s takes no arguments: remove %q", cmd.CommandPath(), args[0])
	if cmd.Flags().Lookup("filename") != nil {
		problem += ", or write -f " + shellQuoted(args[0]) + " to read it"
	}
	return wrongUsage(cmd, problem)
}

// oneArgument refuses any number of arguments but one. what describes the argument.
func oneArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return wrongUsage(cmd, fmt.Sprintf("%s needs an argument: %s", cmd.CommandPath(), what))
		}
		return optionalArgument(what)(cmd, args)
	}
}

// optionalArgument refuses more than one argument. what describes the argument.
func optionalArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= 1 {
			return nil
		}
		return wrongUsage(cmd, fmt.Sprintf("%s takes one argument, %s: remove %q", cmd.CommandPath(), what,
			strings.Join(args[1:], " ")))
	}
}

// noSuchCommand refuses the name of a command that doesn't exist.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	// By default cobra makes no suggestions.
	cmd.SuggestionsMinimumDistance = 2
	return wrongUsage(cmd, fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])+
		didYouMean(cmd.SuggestionsFor(args[0])))
}

// wrongFlag describes an error of pflag.
func wrongFlag(cmd *cobra.Command, err error) error {
	if missing, ok := errors.AsType[*pflag.NotExistError](err); ok {
		return wrongUsage(cmd, unknownFlag(cmd, missing))
	}
	if empty, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		_, about := pflag.UnquoteUsage(empty.GetFlag())
		return wrongUsage(cmd, fmt.Sprintf("--%s needs a value: %s", empty.GetFlag().Name, about))
	}
	if syntax, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return wrongUsage(cmd, fmt.Sprintf("%q is not a flag: write --NAME or --NAME=VALUE", syntax.GetSpecifiedFlag()))
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		problem := longFlag(cmd, invalid.GetFlag(), invalid.GetValue())
		if problem == "" {
			problem = invalidValue(invalid)
		}
		return wrongUsage(cmd, problem)
	}
	return wrongUsage(cmd, err.Error())
}

// unknownFlag says that a flag doesn't exist, and which one is near.
func unknownFlag(cmd *cobra.Command, missing *pflag.NotExistError) string {
	var names []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			names = append(names, flag.Name)
		}
	})
	given := "--" + missing.GetSpecifiedName()
	// pflag reads -output as shorthands.
	typed := missing.GetSpecifiedName()
	if shorthands := missing.GetSpecifiedShortnames(); shorthands != "" {
		given, typed = "-"+typed, shorthands
		if len(shorthands) > 1 {
			given += " (in -" + shorthands + ")"
		}
	}
	var near []string
	for _, name := range names {
		if name == typed || len(typed) > 2 && strings.HasPrefix(name, typed) {
			near = append(near, "--"+name)
		}
	}
	const most = 2
	if nearest := egress.Nearest(typed, names, most); len(near) == 0 && nearest != "" && len(typed) > most {
		near = append(near, "--"+nearest)
	}
	return fmt.Sprintf("%s has no flag %s", cmd.CommandPath(), given) + didYouMean(near)
}

// didYouMean asks for the near names, if there are any.
func didYouMean(near []string) string {
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}

// invalidValue says what the value of a flag must be.
func invalidValue(invalid *pflag.InvalidValueError) string {
	flag := invalid.GetFlag()
	if _, ok := flag.Value.(*outputValue); ok {
		return fmt.Sprintf("-%s %s: %v", flag.Shorthand, printable(invalid.GetValue()), invalid.Unwrap())
	}
	rule, known := map[string][2]string{
		"bool":          {"true or false", "true"},
		"int":           {"a whole number", "3"},
		"int32":         {"a whole number", "443"},
		"duration":      {"a duration", "90s"},
		"durationSlice": {"a list of durations", "720h,24h"},
		"ipSlice":       {"a list of IP addresses", "192.0.2.1,2001:db8::1"},
		"stringSlice":   {"a list of values", "a,b"},
	}[flag.Value.Type()]
	if !known {
		return fmt.Sprintf("--%s: %q: %v", flag.Name, invalid.GetValue(), invalid.Unwrap())
	}
	return fmt.Sprintf("--%s: %q is not %s; write it as in --%[1]s=%[4]s", flag.Name, invalid.GetValue(), rule[0], rule[1])
}
