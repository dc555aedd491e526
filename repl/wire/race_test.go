//go:build race

package wire_test

// The race detector keeps notes of its own beside what is allocated.
const raceDetector = true
