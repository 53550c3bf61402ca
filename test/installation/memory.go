package installation

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is a figure in the status of the process, such as VmRSS or VmHWM, in bytes. The error is
// [os.ErrNotExist] where the system keeps no such status.
// https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
func (p *Process) Memory(figure string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == figure+":" {
			kibibytes, err := strconv.ParseFloat(words[1], 64)
			return 1024 * kibibytes, err
		}
	}
	return 0, fmt.Errorf("the status of the process has no %s", figure)
}
