// Package security tests what is kept from whom, by nodes that run as processes.
//
// Captures, memories, dumps and logs are searched for what is secret; strangers, wrong certificates,
// wrong roles and hostile bytes are turned away, with one line that says what would be right. The
// threats that docs/security.md lists have their attacks, each with its planted bug, in the packages
// that hold the defences.
//
// exposed_test.go has what is planted and searched for, capture_test.go the capture.
package security
