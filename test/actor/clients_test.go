package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/actor/partner"
)

// foreign is a client in another language, with the program that it needs.
type foreign struct {
	needs string
	// command runs it; a build may come first.
	command func(t *testing.T) *exec.Cmd
}

func foreigners() map[string]foreign {
	script := func(program, file string) foreign {
		return foreign{needs: program, command: func(t *testing.T) *exec.Cmd {
			return exec.CommandContext(t.Context(), program, filepath.Join("clients", file))
		}}
	}
	curl := script("sh", "curl.sh")
	curl.needs = "curl"
	return map[string]foreign{
		"curl": curl,
		"node": script("node", "node.js"),
		"java": script("java", "Loop.java"),
		"musl": {needs: "musl-gcc", command: func(t *testing.T) *exec.Cmd {
			binary := filepath.Join(t.TempDir(), "musl-client")
			build := exec.CommandContext(t.Context(), "musl-gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror",
				"-o", binary, "clients/musl.c")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build musl.c: %v\n%s", err, out)
			}
			return exec.CommandContext(t.Context(), binary)
		}},
	}
}

func TestForeignClientsSayWhatCameOfTheirCalls(t *testing.T) {
	for name, client := range foreigners() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(client.needs); err != nil {
				t.Skip(err)
			}
			server, stop := startPartner(t, "127.0.0.1:0")
			address := fmt.Sprintf("127.0.0.1:%d", server.PlainPorts()[0])

			command := client.command(t)
			command.Env = append(command.Environ(), "URL=http://"+address+"/"+name+"/loop")
			out, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			said := bufio.NewScanner(out)
			waitFor := func(line string) {
				t.Helper()
				for said.Scan() {
					if strings.HasPrefix(said.Text(), line) {
						return
					}
				}
				t.Fatalf("it ended without saying %q", line)
			}
			waitFor(name + " 200")
			waitFor(name + " calls=100 ok=")
			seen := userAgents(t, server, "/"+name+"/loop")
			stop()
			waitFor(name + " refused")
			_, stop = startPartner(t, address)
			waitFor(name + " 200")
			if err := command.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			for said.Scan() { // to the end: nothing may be left that holds the output open
			}
			_ = command.Wait() // Java says 143, the others 0
			if code := command.ProcessState.ExitCode(); code != 0 && code != 128+int(syscall.SIGTERM) {
				t.Errorf("it ended with %s", command.ProcessState)
			}
			stop()
			if diff := cmp.Diff(map[string]bool{name: true}, seen); diff != "" {
				t.Error("the User-Agents (-want +got):\n" + diff)
			}
		})
	}
}

// startPartner runs a partner without TLS until stop, or the end of the test.
func startPartner(t *testing.T, address string) (server *partner.Server, stop func()) {
	t.Helper()
	server, err := partner.Listen(t.Context(), partner.Options{
		Plain: []string{address}, Control: "127.0.0.1:0", ClientAuth: partner.ClientAuthNone, Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	return server, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the partner ended with %v", err)
		}
	}
}

// userAgents are those of the requests with the path.
func userAgents(t *testing.T, server *partner.Server, path string) map[string]bool {
	t.Helper()
	client := partner.Client{Get: func(ctx context.Context, path string) ([]byte, error) {
		return fetch(ctx, fmt.Sprintf("http://127.0.0.1:%d%s", server.ControlPort(), path))
	}}
	connections, err := client.Connections(t.Context(), partner.Filter{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	agents := map[string]bool{}
	for _, connection := range connections {
		for _, request := range connection.FirstRequests {
			agents[request.Headers.Get("User-Agent")] = true
		}
	}
	return agents
}

func fetch(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	return io.ReadAll(response.Body)
}
