// Package mesh holds the tests of the data path: the promises of the project, each shown on real
// parts (package scene). Every test asserts what the partner saw as well as what the app saw. The
// tests are grouped by promise; what they counted becomes the table in docs/project/guarantees.md
// (make guarantees).
//
// Tests that stop or reconfigure what all namespaces share don't run in parallel. All others do,
// each in a namespace of its own.
//
// On another mesh than the default one (MTLS_EGRESS_MESH, see cluster.Meshes), those in onVariants
// are played, and docs/project/guarantees.md is not compared.
package mesh
