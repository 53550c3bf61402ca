package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseProgramPages gives up the pages of the program's file that nobody has changed.
// https://man7.org/linux/man-pages/man2/madvise.2.html, MADV_DONTNEED
func releaseProgramPages() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the file of the program: %w", err)
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("find what is mapped into the process: %w", err)
	}
	defer func() { _ = smaps.Close() }() // it was only read
	mappings, err := unchangedMappings(smaps, program)
	if err != nil {
		return fmt.Errorf("read what is mapped into the process: %w", err)
	}
	for _, m := range mappings {
		if _, _, failed := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); failed != 0 {
			return fmt.Errorf("give up the pages from %#x to %#x: %w", m.from, m.to, failed)
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// unchangedMappings returns, of /proc/PID/smaps, the mappings of a file that can't be written and never were: of these alone the file has what is in memory. A linker writes into others
// before it makes them read-only (RELRO), and a debugger later; what was written is anonymous memory, or swapped.
// https://docs.kernel.org/filesystems/proc.html
func unchangedMappings(smaps io.Reader, path string) (unchanged []mapping, err error) {
	var current *mapping
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		value = strings.TrimSpace(value)
		switch {
		case !strings.HasSuffix(name, ":"):
			if current, err = mappingOf(name, value, path); err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
		case name == "Anonymous:" && value != "0 kB":
			current = nil
		case name == "Swap:" && value == "0 kB" && current != nil: // it comes after Anonymous
			unchanged = append(unchanged, *current)
		}
	}
	return unchanged, lines.Err()
}

// mappingOf reads the first line of a mapping: its addresses, and its rights, offset, device, inode and file. It returns nil when it is of another file, or can be written.
func mappingOf(addresses, about, path string) (*mapping, error) {
	rights, rest, _ := strings.Cut(about, " ")
	if strings.Contains(rights, "w") || !strings.HasSuffix(rest, " "+path) {
		return nil, nil //nolint:nilnil // no mapping of the file
	}
	var m mapping
	if _, err := fmt.Sscanf(addresses, "%x-%x", &m.from, &m.to); err != nil {
		return nil, err
	}
	return &m, nil
}
