// Package services tests the checks of services by nodes that run as processes.
//
// The targets are real servers where they are installed, else small ones of their protocols. Those
// tests that compare times with bounds of a second run one after the other. The rules of checks are
// tested where they are, in node/probe and repl/health.
//
// service_servers_test.go has the targets, service_kinds_test.go a service of each type.
package services
