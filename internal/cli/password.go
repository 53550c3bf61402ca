package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"mtls.egress/webhook/internal/certs/credential"
)

// maxPassword is the maximum size of a password file in bytes. It detects a wrong file.
const maxPassword = 4096

// readPassword reads a password from the file source, or from in if source is -. If source is empty
// and in is a terminal, it prompts without echo. Otherwise the password is empty, which some key
// stores accept. It converts the encodings of [credential.Text], and removes one trailing newline,
// because editors and echo add one.
func readPassword(source string, in io.Reader, prompt io.Writer, question string) (string, error) {
	switch source {
	case "":
		return askPassword(in, prompt, question)
	case standardInput:
		return passwordOf(in, "standard input")
	}
	file, err := os.Open(source)
	if err != nil {
		return "", fmt.Errorf("--password-file: %w", err)
	}
	password, err := passwordOf(file, source)
	return password, errors.Join(err, file.Close())
}

func askPassword(in io.Reader, prompt io.Writer, question string) (string, error) {
	terminal, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return "", nil
	}
	if _, err := io.WriteString(prompt, question); err != nil {
		return "", err
	}
	typed, err := term.ReadPassword(int(terminal.Fd()))
	_, newline := io.WriteString(prompt, "\n")
	if err := errors.Join(err, newline); err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	return string(typed), nil
}

func passwordOf(reader io.Reader, name string) (string, error) {
	content, err := io.ReadAll(io.LimitReader(reader, maxPassword+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the password from %s: %w", name, err)
	case len(content) > maxPassword:
		return "", fmt.Errorf(
			"reading the password from %s: it has more than %d bytes; check that it is the right file", name,
			maxPassword)
	}
	text, _, err := credential.Text(content)
	if err != nil {
		return "", fmt.Errorf("reading the password from %s: it %w", name, err)
	}
	line, found := strings.CutSuffix(string(text), "\n")
	if found {
		line = strings.TrimSuffix(line, "\r")
	}
	return line, nil
}
