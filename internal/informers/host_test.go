package informers

// host is the target of tests that need but one.
const host = "external.system.com"
