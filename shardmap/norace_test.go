//go:build !race

package shardmap

const raceDetector = false
