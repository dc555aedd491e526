// Package security tests what is kept from whom, by nodes that run as processes.
//
// Captures, memories, dumps and logs are searched for what is secret; strangers, wrong certificates,
// wrong roles and hostile bytes are turned away, with one line that says what would be right. The
// attacks on the threats that docs/security.md lists, with their planted bugs, stand in the packages
// that have the defences.
//
// exposed_test.go has what is planted and searched for, capture_test.go the capture.
package security
