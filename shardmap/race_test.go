//go:build race

package shardmap

// The race detector keeps notes of its own beside what is allocated.
const raceDetector = true
