// Package metrics shows what a node counts to those who watch clusters.
//
// It counts nothing: each figure is a field beside what it counts, and is read when somebody
// asks. It knows no cluster either: package node collects the figures onto a [Page], and says
// how it is. Whoever mounts the handlers decides who may see them.
//
// # Start reading
//
// table.go has each metric with its kind, unit, labels and meaning, page.go the text that
// Prometheus reads; scrape.go, health.go, discovery.go and profile.go are the handlers.
package metrics
