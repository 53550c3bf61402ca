package informers

// host is the host of tests that need only one.
const host = "external.system.com"
