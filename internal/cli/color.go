package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// colored reports whether out is a terminal whose user hasn't switched colors off
// (https://no-color.org).
func colored(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" &&
		term.IsTerminal(int(file.Fd()))
}
