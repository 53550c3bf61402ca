package controller

import "time"

// host is the host of tests that need only one.
const host = "external.system.com"

func noon() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }
